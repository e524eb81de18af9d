"""Samples under the Gaussian law that principal components stand for."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy import sparse, stats
from sklearn.decomposition import PCA

from dask_exa.decomposition import IncrementalPCA

N_SAMPLES, N_FEATURES = 200, 7
X = np.random.default_rng(0).normal(size=(N_SAMPLES, N_FEATURES)) * np.arange(7, 0, -1) + 100


@pytest.mark.parametrize("n_components", [1, 3, 6, 7])
@pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])
def test_likelihood_is_that_of_scikit_learn(n_components, solver):
    pca = IncrementalPCA(n_components, solver=solver).fit(X)
    theirs = PCA(n_components).fit(X)
    np.testing.assert_allclose(pca.score_samples(X), theirs.score_samples(X), rtol=1e-9)
    assert pca.score(X) == pytest.approx(theirs.score(X), rel=1e-12)


def test_likelihood_is_that_of_the_covariance():
    pca = IncrementalPCA(3).fit(X)
    law = stats.multivariate_normal(pca.mean_, pca.get_covariance())
    np.testing.assert_allclose(pca.score_samples(X), law.logpdf(X), rtol=1e-10)


@pytest.mark.parametrize("chunks", [(50, -1), (64, 3)])
def test_lazy_samples_have_lazy_likelihoods(chunks):
    lazy = da.from_array(X, chunks=chunks)
    pca = IncrementalPCA(3, layout="rows").fit(lazy)
    scores = pca.score_samples(lazy)
    assert isinstance(scores, da.Array)
    assert scores.chunks == lazy.chunks[:1]
    np.testing.assert_allclose(scores, PCA(3).fit(X).score_samples(X), rtol=1e-9)
    assert pca.score(lazy) == pytest.approx(PCA(3).fit(X).score(X), rel=1e-12)


def test_labelled_samples_have_labelled_likelihoods():
    rows = X[:, :6]
    film = xr.DataArray(rows.reshape(10, 20, 2, 3), dims=("shot", "time", "y", "x"))
    pca = IncrementalPCA(2, sample_dims=("shot", "time")).fit(film)
    scores = pca.score_samples(film)
    assert scores.dims == ("shot", "time")
    expected = PCA(2).fit(rows)
    np.testing.assert_allclose(scores.values.ravel(), expected.score_samples(rows), rtol=1e-9)
    assert pca.score(film) == pytest.approx(expected.score(rows), rel=1e-12)


@pytest.mark.parametrize("lazy_weight", [False, True])
@pytest.mark.parametrize("data", [X, da.from_array(X, chunks=(50, -1))], ids=["NumPy", "Dask"])
def test_weights_are_repetitions(data, lazy_weight):
    times = np.random.default_rng(1).integers(0, 4, N_SAMPLES)
    weight = da.from_array(times.astype(float), chunks=80) if lazy_weight else times
    pca = IncrementalPCA(3).fit(X)
    expected = pca.score(np.repeat(X, times, axis=0))
    assert pca.score(data, sample_weight=weight) == pytest.approx(expected, rel=1e-12)


def test_weights_of_other_samples_are_refused():
    pca = IncrementalPCA(3).fit(X)
    for wrong in (np.ones(N_SAMPLES - 1), np.ones((N_SAMPLES, 1))):
        with pytest.raises(ValueError, match="sample_weight has shape"):
            pca.score(X, sample_weight=wrong)


def test_float32_keeps_its_digits():
    """A mean that is large against the spread costs none."""
    single = X.astype(np.float32)
    scores = IncrementalPCA(3).fit(single).score_samples(single)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, PCA(3).fit(X).score_samples(X), rtol=1e-5)


def test_sparse_samples_have_the_same_likelihood():
    pca = IncrementalPCA(3).fit(X)
    np.testing.assert_allclose(
        pca.score_samples(sparse.csr_array(X)), pca.score_samples(X), rtol=1e-12
    )


def test_samples_in_a_subspace_have_no_likelihood():
    pca = IncrementalPCA(3).fit(X[:4])
    with pytest.raises(ValueError, match="n_components=3 leaves no variance to the rest of the 7"):
        pca.score(X)


def test_split_components_have_no_likelihood():
    slabs = da.from_array(X, chunks=(-1, 3))
    pca = IncrementalPCA(3, layout="columns").fit(slabs)
    with pytest.raises(TypeError, match="score_samples needs the components in memory"):
        pca.score_samples(slabs)
