"""Searches and cross-validation of scikit-learn, on every kind of array."""

import numpy as np
import pytest
import sklearn.decomposition
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline

from dask_exa.anomaly import IsolationForest
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler
from tests.interoperability._data import CLASSES, LABELLED, LAZY, X

FOLDS = KFold(4)
COMPONENTS = {"n_components": [1, 2, 3, 4, 5]}
FORMS = {
    "NumPy": X,
    "Dask": LAZY,
    "xarray": LABELLED,
    "xarray of Dask": LABELLED.chunk(time=50),
}


@pytest.mark.parametrize("form", FORMS)
def test_grid_search_finds_what_it_finds_with_scikit_learns_pca(form):
    theirs = GridSearchCV(sklearn.decomposition.PCA(), COMPONENTS, cv=FOLDS).fit(X)
    ours = GridSearchCV(IncrementalPCA(), COMPONENTS, cv=FOLDS).fit(FORMS[form])
    scores = "mean_test_score"  # log-likelihood of what was left out
    np.testing.assert_allclose(ours.cv_results_[scores], theirs.cv_results_[scores], rtol=1e-9)
    assert ours.best_params_ == theirs.best_params_ == {"n_components": 3}
    assert ours.best_score_ == pytest.approx(theirs.best_score_, rel=1e-9)


def test_grid_search_of_a_pipeline_finds_what_it_finds_with_scikit_learns_steps():
    grid = {"reduce__n_components": [1, 2, 3], "classify__C": [0.01, 1.0]}
    searches = [
        GridSearchCV(
            Pipeline([("scale", scaler), ("reduce", pca), ("classify", LogisticRegression())]),
            grid,
            cv=FOLDS,
        ).fit(X, CLASSES)
        for scaler, pca in (
            (sklearn.preprocessing.StandardScaler(), sklearn.decomposition.PCA()),
            (StandardScaler(), IncrementalPCA()),
        )
    ]
    expected, found = (search.cv_results_["mean_test_score"] for search in searches)
    assert np.array_equal(found, expected)
    assert searches[0].best_params_ == searches[1].best_params_


@pytest.mark.parametrize("form", ["NumPy", "Dask"])
def test_halving_search_finds_what_it_finds_with_scikit_learns_pca(form):
    def search(estimator, data):
        return HalvingRandomSearchCV(
            estimator,
            COMPONENTS,
            n_candidates=5,
            factor=2,
            min_resources=40,
            cv=FOLDS,
            random_state=0,
        ).fit(data)

    theirs = search(sklearn.decomposition.PCA(), X)
    ours = search(IncrementalPCA(), FORMS[form])
    assert ours.n_resources_ == theirs.n_resources_ == [40, 80, 160]
    assert ours.n_candidates_ == theirs.n_candidates_ == [5, 3, 2]
    assert ours.best_params_ == theirs.best_params_
    scores = "mean_test_score"
    np.testing.assert_allclose(ours.cv_results_[scores], theirs.cv_results_[scores], rtol=1e-9)


@pytest.mark.parametrize("form", ["NumPy", "Dask"])
def test_detectors_are_cross_validated_by_ranking(form):
    """Scores of the folds are those of a loop by hand."""
    from sklearn.metrics import roc_auc_score

    data, far = FORMS[form], X[:, 0] > 10
    expected = []
    for train, test in FOLDS.split(X):
        forest = IsolationForest(random_state=0).fit(X[train])
        expected.append(roc_auc_score(far[test], -forest.decision_function(X[test])))
    labels = np.where(far, -1, 1)
    found = cross_val_score(
        IsolationForest(random_state=0), data, labels, cv=FOLDS, scoring="roc_auc"
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
