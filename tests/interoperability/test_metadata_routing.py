"""scikit-learn's metadata routing: sample weights through pipelines, searches and validation."""

import dask.array as da
import numpy as np
import pytest
import sklearn
import sklearn.decomposition
import sklearn.preprocessing
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline

from dask_exa.anomaly import IsolationForest
from dask_exa.base import MergeableEstimator
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler
from dask_exa.testing.estimator_checks import public_estimators
from tests.interoperability._data import CLASSES, LABELLED, LAZY, WEIGHTS, X

FOLDS = KFold(4)
WEIGHTED = [IncrementalPCA(2), StandardScaler(), IsolationForest(random_state=0)]
MERGEABLE = [cls for cls in public_estimators("dask_exa") if issubclass(cls, MergeableEstimator)]
FORMS = {
    "NumPy": (X, WEIGHTS),
    "Dask": (LAZY, da.from_array(WEIGHTS, chunks=(LAZY.chunks[0],))),
    "xarray": (LABELLED, WEIGHTS),
}


@pytest.fixture(autouse=True)
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def weighted(estimator):
    return estimator.set_fit_request(sample_weight=True)


@pytest.mark.parametrize("form", FORMS)
def test_pipeline_passes_weights_to_the_steps_that_ask(form):
    data, weight = FORMS[form]
    pipeline = make_pipeline(
        weighted(StandardScaler()),
        IncrementalPCA(2).set_fit_request(sample_weight=False),
        weighted(IsolationForest(random_state=0)),
    ).fit(data, sample_weight=weight)
    scaler = StandardScaler().fit(X, sample_weight=WEIGHTS)
    scaled = scaler.transform(X)
    pca = IncrementalPCA(2).fit(scaled)
    np.testing.assert_allclose(np.ravel(pipeline[0].mean_), scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(pipeline[1].explained_variance_, pca.explained_variance_, rtol=1e-12)
    assert not np.allclose(
        pca.explained_variance_,
        IncrementalPCA(2).fit(scaled, sample_weight=WEIGHTS).explained_variance_,
    )
    reduced = pipeline[:-1].transform(data)
    forest = IsolationForest(random_state=0).fit(reduced, sample_weight=weight)
    assert np.array_equal(
        np.asarray(pipeline.score_samples(data)), np.asarray(forest.score_samples(reduced))
    )


def test_step_that_did_not_say_is_an_error():
    with pytest.raises(UnsetMetadataPassedError, match=r"sample_weight.* IncrementalPCA"):
        make_pipeline(IncrementalPCA(2), IsolationForest()).fit(X, sample_weight=WEIGHTS)


def test_grid_search_fits_with_weights():
    pca = weighted(IncrementalPCA()).set_score_request(sample_weight=False)
    search = GridSearchCV(pca, {"n_components": [1, 2, 3]}, cv=FOLDS)
    search.fit(X, sample_weight=WEIGHTS)
    expected = [
        np.mean(
            [
                IncrementalPCA(n).fit(X[train], sample_weight=WEIGHTS[train]).score(X[test])
                for train, test in FOLDS.split(X)
            ]
        )
        for n in (1, 2, 3)
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected, rtol=1e-12)
    direct = IncrementalPCA(3).fit(X, sample_weight=WEIGHTS)
    np.testing.assert_allclose(search.best_estimator_.components_, direct.components_, atol=1e-12)


def scored_folds(scored):
    """Return the scores of a loop by hand that fits, and perhaps scores, with weights."""
    expected = []
    for train, test in FOLDS.split(X):
        fitted = IncrementalPCA(2).fit(X[train], sample_weight=WEIGHTS[train])
        weight = WEIGHTS[test] if scored else None
        expected.append(np.average(fitted.score_samples(X[test]), weights=weight))
    return expected


@pytest.mark.parametrize(
    ("wrap", "scored"),
    [(lambda pca: pca, True), (lambda pca: pca, False), (make_pipeline, True)],
    ids=["scored", "fitted only", "pipeline"],
)
def test_cross_validation_fits_and_scores_with_weights(wrap, scored):
    pca = weighted(IncrementalPCA(2)).set_score_request(sample_weight=scored)
    model = wrap(pca)
    if hasattr(model, "set_score_request"):  # a pipeline of scikit-learn 1.7 has to ask as well
        model.set_score_request(sample_weight=scored)
    found = cross_validate(model, X, cv=FOLDS, params={"sample_weight": WEIGHTS})
    np.testing.assert_allclose(found["test_score"], scored_folds(scored), rtol=1e-12)


@pytest.mark.xfail(
    strict=True,
    raises=TypeError,
    reason="scikit-learn 1.9: Pipeline.score passes on weights, None too, that its last step did "
    "not ask for, and refuses them itself",
)
@pytest.mark.parametrize("whose", ["scikit-learn", "dask-exa"])
def test_score_of_a_pipeline_without_weights(whose):
    if whose == "scikit-learn":
        steps = weighted(sklearn.preprocessing.StandardScaler()), sklearn.decomposition.PCA(2)
    else:
        pca = weighted(IncrementalPCA(2)).set_score_request(sample_weight=False)
        steps = weighted(StandardScaler()), pca
    make_pipeline(*steps).fit(X, sample_weight=WEIGHTS).score(X)


def test_classifier_behind_our_steps_gets_its_weights_too():
    def pipeline(scaler, pca):
        return make_pipeline(weighted(scaler), pca, weighted(LogisticRegression()))

    ours = pipeline(StandardScaler(), IncrementalPCA(3).set_fit_request(sample_weight=False))
    theirs = pipeline(sklearn.preprocessing.StandardScaler(), sklearn.decomposition.PCA(3))
    for each in (ours, theirs):
        each.fit(X, CLASSES, sample_weight=WEIGHTS)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("estimator", WEIGHTED, ids=lambda e: type(e).__name__)
def test_weights_are_requested_of_fit_and_partial_fit(estimator):
    estimator = sklearn.clone(estimator)
    estimator.set_fit_request(sample_weight=True).set_partial_fit_request(sample_weight="counts")
    requests = estimator.get_metadata_routing()
    assert requests.fit.requests == {"sample_weight": True}
    assert requests.partial_fit.requests == {"sample_weight": "counts"}
    assert sklearn.clone(estimator).get_metadata_routing().fit.requests == {"sample_weight": True}


@pytest.mark.parametrize("cls", MERGEABLE, ids=lambda cls: cls.__name__)
def test_nothing_but_weights_is_routed_to_learning(cls):
    """`check_input` and the like are no metadata."""
    for method in ("set_fit_request", "set_partial_fit_request"):
        if hasattr(cls, method):
            parameters = getattr(cls, method).__signature__.parameters
            assert {*parameters} <= {"self", "sample_weight"}
