"""scikit-learn's own checks of meta-estimators, on arrays in memory."""

import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import SGDClassifier, SGDOneClassSVM, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_exa.anomaly import IsolationForest
from dask_exa.compose import Ensemble, FederatedAverage, PerBlock

ESTIMATORS = [
    PerBlock(IsolationForest(n_estimators=10, random_state=0)),
    Ensemble(GaussianNB(), n_estimators=2, weights="n_samples"),
    Ensemble(SGDClassifier(random_state=0), n_estimators=1),
    Ensemble(DecisionTreeRegressor(random_state=0)),
    Ensemble(IsolationForest(n_estimators=10, random_state=0), n_estimators=2),
    Ensemble(KMeans(2, n_init=1, random_state=0), n_estimators=1),
    FederatedAverage(SGDRegressor(random_state=0)),
    FederatedAverage(SGDOneClassSVM(random_state=0)),
    FederatedAverage(MLPClassifier((8,), random_state=0, learning_rate_init=0.01), n_rounds=40),
]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
