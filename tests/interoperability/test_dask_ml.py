"""dask-ml's wrappers and searches around our estimators, beside scikit-learn's as a control.

Where dask-ml fails with scikit-learn's own estimator too, the control is an expected failure: it
tells when that has been mended.
"""

import dask
import dask.array as da
import numpy as np
import pytest
import sklearn.decomposition
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import ParameterGrid

from dask_exa.anomaly import IsolationForest
from dask_exa.decomposition import IncrementalPCA
from tests.interoperability._data import CLASSES, LAZY, N_FEATURES, N_SAMPLES, X, values

model_selection = pytest.importorskip("dask_ml.model_selection")
wrappers = pytest.importorskip("dask_ml.wrappers")

LAZY_CLASSES = da.from_array(CLASSES, chunks=(LAZY.chunks[0],))
COMPONENTS = {"n_components": [1, 2, 3, 4, 5]}


def mean_score(estimator, X, y=None):
    """Scoring of detectors, which have no `score`."""
    return float(estimator.score_samples(X).mean())


def test_incremental_feeds_one_chunk_after_the_other():
    wrapped = wrappers.Incremental(IncrementalPCA(3)).fit(LAZY)
    expected = IncrementalPCA(3).fit(X)
    assert wrapped.estimator_.n_samples_seen_ == N_SAMPLES
    np.testing.assert_allclose(wrapped.estimator_.components_, expected.components_, atol=1e-9)
    np.testing.assert_allclose(values(wrapped.transform(LAZY)), expected.transform(X), atol=1e-9)


def test_incremental_detector_needs_a_scoring():
    forest = IsolationForest(random_state=0)
    with pytest.raises(TypeError, match="should have a 'score' method"):
        wrappers.Incremental(forest).fit(LAZY)
    wrapped = wrappers.Incremental(forest, scoring=mean_score).fit(LAZY)
    expected = IsolationForest(random_state=0).fit(X)
    assert np.array_equal(values(wrapped.predict(LAZY)), expected.predict(X))
    lazy = wrapped.estimator_.score_samples(LAZY)  # the wrapper has no such method
    assert np.array_equal(values(lazy), expected.score_samples(X))


def test_incremental_asks_the_same_of_scikit_learn():
    """Control of the scoring that a detector needs."""
    with pytest.raises(TypeError, match="should have a 'score' method"):
        wrappers.Incremental(sklearn.decomposition.IncrementalPCA(2)).fit(LAZY)


@pytest.mark.parametrize("data", [X, LAZY], ids=["NumPy", "Dask"])
def test_parallel_post_fit_transforms_and_predicts_chunk_by_chunk(data):
    pca = wrappers.ParallelPostFit(IncrementalPCA(3)).fit(data)
    forest = wrappers.ParallelPostFit(IsolationForest(random_state=0)).fit(data)
    features, verdicts = pca.transform(LAZY), forest.predict(LAZY)
    assert isinstance(features, da.Array)
    assert isinstance(verdicts, da.Array)
    expected = IncrementalPCA(3).fit(X).transform(X)
    np.testing.assert_allclose(values(features), expected, atol=1e-9)
    assert np.array_equal(values(verdicts), IsolationForest(random_state=0).fit(X).predict(X))


def test_without_a_wrapper_the_shape_is_right():
    """Our transform of a Dask array is lazy by itself, and knows how many columns come out."""
    lazy = IncrementalPCA(3).fit(LAZY).transform(LAZY)
    assert lazy.shape == (N_SAMPLES, 3)


@pytest.mark.xfail(
    strict=True,
    reason="dask-ml 2025.1.0: transform promises as many columns as go in (wrappers.py, "
    "map_blocks without chunks); the computed values are right",
)
@pytest.mark.parametrize("pca", [sklearn.decomposition.IncrementalPCA(3), IncrementalPCA(3)])
def test_shape_that_the_wrapper_promises(pca):
    features = wrappers.ParallelPostFit(pca).fit(X).transform(LAZY)
    assert values(features).shape == (N_SAMPLES, 3)
    assert features.shape == (N_SAMPLES, 3)


SEARCHES = {
    "IncrementalSearchCV": lambda estimator, grid: model_selection.IncrementalSearchCV(
        estimator,
        grid,
        n_initial_parameters="grid",
        decay_rate=None,
        max_iter=6,
        test_size=0.25,
        random_state=0,
    ),
    "HyperbandSearchCV": lambda estimator, grid: model_selection.HyperbandSearchCV(
        estimator, grid, max_iter=9, test_size=0.25, random_state=0
    ),
    "SuccessiveHalvingSearchCV": lambda estimator, grid: model_selection.SuccessiveHalvingSearchCV(
        estimator, grid, n_initial_parameters=5, n_initial_iter=4, test_size=0.25, random_state=0
    ),
}


@pytest.mark.xfail(
    strict=True,
    raises=RuntimeError,
    reason="dask-ml 2025.1.0 calls dask.persist inside its event loop (_incremental.py, _fit), "
    "where Dask refuses an asynchronous client",
)
@pytest.mark.parametrize("search", SEARCHES)
def test_searches_of_dask_ml_as_they_come(search, client):
    alphas = {"alpha": [1e-4, 1e-2, 1.0]}
    SEARCHES[search](SGDClassifier(tol=1e-3, random_state=0), alphas).fit(
        LAZY, LAZY_CLASSES, classes=[0, 1, 2]
    )


@pytest.mark.parametrize("search", SEARCHES)
def test_searches_of_dask_ml_with_the_client_named(search, client):
    """Naming the client as the scheduler is all they need; y must be there, if only for show."""
    found = SEARCHES[search](IncrementalPCA(), COMPONENTS)
    with dask.config.set(scheduler=client.get):
        found.fit(LAZY, LAZY_CLASSES)
    train, test = model_selection.train_test_split(
        LAZY, test_size=0.25, random_state=0, shuffle=True
    )
    model = found.best_estimator_
    assert model.n_samples_seen_ >= len(train)
    assert found.best_score_ == pytest.approx(model.score(test), rel=1e-12)
    # some chunks are learnt more often than others, which can decide between equally good ones
    likelihood = {n: IncrementalPCA(n).fit(train).score(test) for n in COMPONENTS["n_components"]}
    best = found.best_params_["n_components"]
    assert likelihood[best] == pytest.approx(max(likelihood.values()), abs=0.02)
    assert max(likelihood.values()) - likelihood[1] > 0.5


def test_grid_search_of_dask_ml():
    """It has numbers of its own only in how it shares fits between candidates."""
    search = model_selection.GridSearchCV(IncrementalPCA(), COMPONENTS, cv=4).fit(X)
    control = model_selection.GridSearchCV(sklearn.decomposition.PCA(), COMPONENTS, cv=4).fit(X)
    scores = "mean_test_score"
    np.testing.assert_allclose(search.cv_results_[scores], control.cv_results_[scores], rtol=1e-9)
    assert search.best_params_ == control.best_params_ == {"n_components": 3}
    assert len(search.cv_results_[scores]) == len(ParameterGrid(COMPONENTS)) < N_FEATURES
