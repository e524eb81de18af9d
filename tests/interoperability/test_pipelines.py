"""scikit-learn's own pipelines, unions and column transformers around our estimators."""

import dask.array as da
import numpy as np
import pytest
import sklearn.decomposition
import xarray as xr
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from dask_exa.anomaly import HalfSpaceTrees, IsolationForest
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler
from tests.interoperability._data import CLASSES, LABELLED, LAZY, X, nothing_computed, values

FORMS = {
    "NumPy": (X, np.ndarray),
    "Dask": (LAZY, da.Array),
    "xarray": (LABELLED, xr.DataArray),
    "xarray of Dask": (LABELLED.chunk(time=50), xr.DataArray),
}
PATHS = make_pipeline(StandardScaler(), IncrementalPCA(3), IsolationForest(random_state=0))


@pytest.mark.parametrize("form", FORMS)
def test_pipeline_is_its_steps_by_hand(form):
    data, kind = FORMS[form]
    scaler, pca, forest = (clone(step) for step in PATHS.named_steps.values())
    scaled = scaler.fit(X).transform(X)
    reduced = pca.fit(scaled).transform(scaled)
    expected = forest.fit(reduced).score_samples(reduced)
    pipeline = clone(PATHS).fit(data)
    scores = pipeline.score_samples(data)
    assert isinstance(scores, kind)
    # float32 trees: a rounding of the last bit can put a sample on the other side of a cut
    assert np.mean(values(scores) == expected) > 0.95
    np.testing.assert_allclose(values(scores), expected, atol=0.05)
    np.testing.assert_allclose(
        np.abs(values(pipeline[:-1].transform(data))), np.abs(reduced), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("form", ["Dask", "xarray of Dask"])
def test_pipeline_stays_lazy(form):
    data, _ = FORMS[form]
    pipeline = clone(PATHS).fit(data)
    with nothing_computed():
        for method in ("predict", "score_samples", "decision_function"):
            getattr(pipeline, method)(data)
        features = pipeline[:-1].transform(data)
    assert features.chunks[0] == (50, 50, 50, 50, 40)


def test_labels_go_through_every_step():
    lazy = LABELLED.chunk(time=50)
    features = make_pipeline(StandardScaler(), IncrementalPCA(3)).fit(lazy).transform(lazy)
    assert features.dims == ("time", "component")
    assert features.time.equals(LABELLED.time)


def test_steps_replace_those_of_scikit_learn():
    theirs = make_pipeline(
        sklearn.preprocessing.StandardScaler(), sklearn.decomposition.PCA(3), LogisticRegression()
    )
    ours = make_pipeline(StandardScaler(), IncrementalPCA(3), LogisticRegression())
    expected = theirs.fit(X, CLASSES).predict_proba(X)
    np.testing.assert_allclose(ours.fit(X, CLASSES).predict_proba(X), expected, atol=1e-5)


@pytest.mark.parametrize("data", [X, LAZY], ids=["NumPy", "Dask"])
def test_feature_union_puts_columns_side_by_side(data):
    union = FeatureUnion([("pca", IncrementalPCA(2)), ("white", IncrementalPCA(3, whiten=True))])
    features = union.fit_transform(data)
    assert isinstance(features, type(data))
    expected = np.hstack(
        [IncrementalPCA(2).fit_transform(X), IncrementalPCA(3, whiten=True).fit_transform(X)]
    )
    np.testing.assert_allclose(values(features), expected, atol=1e-12)
    assert [*union.get_feature_names_out()][::3] == [
        "pca__incrementalpca0",
        "white__incrementalpca1",
    ]


@pytest.mark.parametrize("data", [X, LAZY], ids=["NumPy", "Dask"])
def test_column_transformer_takes_columns_by_number(data):
    columns = ColumnTransformer(
        [("first", IncrementalPCA(2), [0, 1, 2]), ("scaled", StandardScaler(), [4])]
    )
    features = columns.fit_transform(data)
    assert isinstance(features, type(data))
    first, last = X[:, :3], X[:, 4:5]
    expected = [IncrementalPCA(2).fit_transform(first), StandardScaler().fit_transform(last)]
    np.testing.assert_allclose(values(features), np.hstack(expected), atol=1e-12)


def test_steps_are_set_and_cloned_by_name():
    pipeline = Pipeline([("pca", IncrementalPCA()), ("trees", HalfSpaceTrees())])
    pipeline.set_params(pca__n_components=2, trees__n_estimators=7)
    copied = clone(pipeline.fit(X))
    assert copied.get_params()["pca__n_components"] == 2
    assert copied["trees"].n_estimators == 7
    assert not copied["pca"].__sklearn_is_fitted__()
