"""xarray: labelled arrays in, labelled arrays out, alone and through scikit-learn's pipelines."""

import numpy as np
import pytest
import xarray as xr
from sklearn.pipeline import make_pipeline

from dask_exa.anomaly import IsolationForest
from dask_exa.cluster import KMeans
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler
from tests.interoperability._data import LABELLED, X, values

FORMS = {"in memory": LABELLED, "lazy": LABELLED.chunk(time=50)}
MODELS = {
    "transform": IncrementalPCA(3),
    "predict": KMeans(n_clusters=3, random_state=0),
    "score_samples": IsolationForest(random_state=0),
}


@pytest.fixture(params=FORMS)
def film(request):
    return FORMS[request.param]


@pytest.mark.parametrize("method", MODELS)
def test_answers_have_the_labels_of_the_samples(film, method):
    answer = getattr(MODELS[method].fit(film), method)(film)
    assert isinstance(answer, xr.DataArray)
    assert answer.dims[0] == "time"
    assert answer.time.equals(LABELLED.time)
    assert (answer.chunks is None) == (film.chunks is None)
    expected = getattr(MODELS[method].fit(X), method)(X)
    np.testing.assert_allclose(values(answer), expected, atol=1e-9)


def test_fitted_attributes_have_the_labels_of_the_features(film):
    pca, scaler = IncrementalPCA(2).fit(film), StandardScaler().fit(film)
    assert pca.components_.dims == ("component", "y", "x")
    assert scaler.mean_.dims == ("y", "x")
    np.testing.assert_allclose(values(scaler.mean_).ravel(), X.mean(axis=0), rtol=1e-12)


def test_pipeline_goes_to_coefficients_and_back(film):
    pipeline = make_pipeline(StandardScaler(), IncrementalPCA(6)).fit(film)
    coefficients = pipeline.transform(film)
    assert coefficients.dims == ("time", "component")
    back = pipeline.inverse_transform(coefficients)
    assert back.dims == film.dims
    assert back.time.equals(LABELLED.time)
    np.testing.assert_allclose(values(back), values(film), atol=1e-9)
    half = make_pipeline(StandardScaler(), IncrementalPCA(3)).fit(film)
    kept = half.inverse_transform(half.transform(film))
    by_hand = make_pipeline(StandardScaler(), IncrementalPCA(3)).fit(X)
    expected = by_hand.inverse_transform(by_hand.transform(X))
    np.testing.assert_allclose(values(kept).reshape(X.shape), expected, atol=1e-9)


def test_dimensions_of_samples_are_named(film):
    """Every point of the field is a sample, and y and x come back in its place."""
    dims = ("time", "y")
    pipeline = make_pipeline(
        StandardScaler(sample_dims=dims), KMeans(n_clusters=2, random_state=0, sample_dims=dims)
    )
    clusters = pipeline.fit(film).predict(film)
    assert clusters.dims == dims
    assert clusters.shape == LABELLED.shape[:2]
    rows = values(film).reshape(-1, 3)
    expected = make_pipeline(StandardScaler(), KMeans(n_clusters=2, random_state=0))
    np.testing.assert_array_equal(values(clusters).ravel(), expected.fit(rows).predict(rows))


def test_fields_of_other_dimensions_are_refused(film):
    pipeline = make_pipeline(StandardScaler(), IncrementalPCA(2)).fit(film)
    with pytest.raises(ValueError, match="feature dimensions"):
        pipeline.transform(film.rename(x="z"))
