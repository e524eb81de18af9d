"""scikit-learn's own checks of a meta-estimator, on arrays in memory."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_exa.anomaly import IsolationForest
from dask_exa.compose import PerBlock


@parametrize_with_checks([PerBlock(IsolationForest(n_estimators=10, random_state=0))])
def test_scikit_learns_checks(estimator, check):
    check(estimator)
