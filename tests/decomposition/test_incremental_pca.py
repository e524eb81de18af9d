"""IncrementalPCA finds what scikit-learn's PCA does, on any kind of array and by every solver."""

import dask.array as da
import numpy as np
import pytest
import sklearn.decomposition
from scipy import sparse
from sklearn.datasets import make_low_rank_matrix

from dask_exa.decomposition import IncrementalPCA
from tests import naive

SOLVERS = pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])
ATTRIBUTES = (
    "components_",
    "mean_",
    "singular_values_",
    "explained_variance_",
    "explained_variance_ratio_",
    "noise_variance_",
)


def host(array):
    return np.asarray(getattr(array, "values", array))


def refuses_scatter(X):
    with pytest.raises(ValueError, match="solver='scatter' needs all features in one chunk"):
        IncrementalPCA(2, solver="scatter").fit(X)


def assert_like_pca(ipca, X, n_components=None, rtol=1e-9):
    """Compare with scikit-learn's PCA by full SVD, whose variances are those of the samples."""
    pca = sklearn.decomposition.PCA(n_components, svd_solver="full").fit(X)
    assert ipca.n_components_ == pca.n_components_
    assert ipca.n_samples_seen_ == len(X)
    for name in ATTRIBUTES:
        expected = getattr(pca, name)
        scale = np.abs(expected).max()
        actual = host(getattr(ipca, name))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale, err_msg=name)
    np.testing.assert_allclose(host(ipca.var_), X.var(axis=0), rtol=1e-10)


@pytest.mark.parametrize("shape", [(200, 6), (30, 30), (12, 40)])
@pytest.mark.parametrize("n_components", [1, 5, None])
@SOLVERS
def test_attributes_are_those_of_pca(solver, shape, n_components):
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape) * np.linspace(3, 1, shape[1]) + 7
    ipca = IncrementalPCA(n_components, solver=solver, oversampling=50).fit(X)
    # as many components as samples: the last has no variance and no direction
    if n_components is None and shape[0] <= shape[1]:
        pca = sklearn.decomposition.PCA(svd_solver="full").fit(X)
        assert ipca.n_components_ == len(X)
        np.testing.assert_allclose(ipca.components_[:-1], pca.components_[:-1], atol=1e-8)
        np.testing.assert_allclose(ipca.singular_values_, pca.singular_values_, atol=1e-5)
    else:
        assert_like_pca(ipca, X, n_components)


def test_every_kind_of_array_is_like_pca(present, iris):
    for n_components in (1, 2, 3, None):
        ipca = IncrementalPCA(n_components).fit(present(iris))
        assert_like_pca(ipca, iris, n_components)


def test_agrees_with_incremental_pca_of_sklearn(present, iris):
    theirs = sklearn.decomposition.IncrementalPCA(3, batch_size=20).fit(iris)
    ours = IncrementalPCA(3).fit(present(iris))
    # theirs cuts every batch to the rank that is kept
    np.testing.assert_allclose(host(ours.components_)[:2], theirs.components_[:2], atol=1e-3)
    np.testing.assert_allclose(ours.explained_variance_, theirs.explained_variance_, rtol=0.02)
    np.testing.assert_allclose(host(ours.mean_), theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(host(ours.var_), theirs.var_, rtol=1e-11)
    for name in set(vars(theirs)) - {"batch_size_"}:
        assert hasattr(ours, name), f"{name} is missing"


@pytest.mark.parametrize("share", [0.3, 0.9, 0.95, 0.999999])
def test_share_of_the_variance_picks_the_number(share, present, iris):
    ipca = IncrementalPCA(share).fit(present(iris))
    assert_like_pca(ipca, iris, share)
    assert ipca.explained_variance_ratio_.sum() >= share
    assert ipca.explained_variance_ratio_[:-1].sum() < share


def test_share_may_be_of_any_float_type(iris):
    wanted = IncrementalPCA(0.9).fit(iris).n_components_
    assert IncrementalPCA(np.float32(0.9)).fit(iris).n_components_ == wanted


@SOLVERS
@pytest.mark.parametrize("tol", [0.5, 0.1, 0.01])
def test_tolerance_bounds_the_error(solver, tol, present):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((90, 40)) * 0.7 ** np.arange(40)) @ rng.standard_normal((40, 24)) + 3
    lazy = present(X)
    if solver == "scatter" and getattr(lazy, "numblocks", (1, 1))[-1] > 1:
        return refuses_scatter(lazy)
    ipca = IncrementalPCA(tol=tol, solver=solver).fit(lazy)
    error = X - host(ipca.inverse_transform(ipca.transform(X)))
    centred = X - X.mean(axis=0)
    relative = np.linalg.norm(error) / np.linalg.norm(centred)
    assert relative <= tol * (1 + 1e-9)
    s2 = np.linalg.svd(centred, compute_uv=False) ** 2
    needed = np.count_nonzero(np.sqrt(np.cumsum(s2[::-1])[::-1] / s2.sum()) > tol)
    # half of the loss is spent on merges, which may cost one component more
    assert needed <= ipca.n_components_ <= needed + 2
    assert ipca.truncation_error_ <= tol


@SOLVERS
def test_large_mean_costs_no_digits(solver):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 8)) * np.linspace(2, 1, 8)
    near = IncrementalPCA(3, solver=solver).fit(X)
    far = IncrementalPCA(3, solver=solver)
    for batch in np.array_split(X + 1e6, 13):
        far.partial_fit(batch)
    # the samples themselves have ten digits left
    np.testing.assert_allclose(far.explained_variance_, near.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(far.components_, near.components_, atol=1e-8)
    np.testing.assert_allclose(far.var_, X.var(axis=0), rtol=1e-8)


@SOLVERS
def test_float32_is_learnt_in_float64(solver, present):
    rng = np.random.default_rng(0)
    spectrum = 10.0 ** -np.arange(0, 4, 0.5)
    X = (rng.standard_normal((500, 8)) * spectrum) @ np.linalg.qr(rng.standard_normal((20, 8)))[0].T
    X = (X + 10).astype(np.float32)
    lazy = present(X)
    if solver == "scatter" and getattr(lazy, "numblocks", (1, 1))[-1] > 1:
        return refuses_scatter(lazy)
    ipca = IncrementalPCA(8, solver=solver).fit(lazy)
    exact = naive.pca(X, 8)  # of the rounded samples, in float64
    assert ipca.components_.dtype == np.float32
    assert ipca.mean_.dtype == ipca.singular_values_.dtype == np.float64
    np.testing.assert_allclose(host(ipca.mean_), exact.mean, rtol=1e-13)
    np.testing.assert_allclose(host(ipca.var_), exact.var, rtol=1e-10)
    rounding = np.finfo(np.float32).eps * exact.singular_values[0]
    np.testing.assert_allclose(ipca.singular_values_, exact.singular_values, rtol=0, atol=rounding)
    components = host(ipca.components_).astype(float)
    np.testing.assert_allclose(components @ components.T, np.eye(8), atol=1e-6)
    np.testing.assert_allclose(components[:6], exact.components[:6], atol=1e-3)


def test_transform_and_back(present, iris):
    pca = sklearn.decomposition.PCA(3, svd_solver="full").fit(iris)
    ipca = IncrementalPCA(3).fit(present(iris))
    scores = ipca.transform(present(iris))
    np.testing.assert_allclose(host(scores), pca.transform(iris), atol=1e-9)
    fields = ipca.inverse_transform(scores)
    np.testing.assert_allclose(host(fields), pca.inverse_transform(pca.transform(iris)), atol=1e-9)
    np.testing.assert_allclose(
        host(IncrementalPCA(3).fit_transform(present(iris))), pca.transform(iris), atol=1e-9
    )


def test_whitened_scores_have_unit_variance(present):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 6)) * np.arange(6, 0, -1) @ rng.standard_normal((6, 6)) + 3
    pca = sklearn.decomposition.PCA(4, whiten=True, svd_solver="full").fit(X)
    ipca = IncrementalPCA(4, whiten=True).fit(present(X))
    scores = ipca.transform(present(X))
    np.testing.assert_allclose(host(scores), pca.transform(X), atol=1e-9)
    np.testing.assert_allclose(host(scores).std(axis=0, ddof=1), 1.0, rtol=1e-11)
    back = ipca.inverse_transform(scores)
    np.testing.assert_allclose(host(back), pca.inverse_transform(pca.transform(X)), atol=1e-9)


@pytest.mark.parametrize("n_components", [1, 2, 3, None])
def test_covariance_and_precision(n_components, iris):
    ipca = IncrementalPCA(n_components).fit(iris)
    pca = sklearn.decomposition.PCA(n_components, svd_solver="full").fit(iris)
    np.testing.assert_allclose(ipca.get_covariance(), pca.get_covariance(), atol=1e-11)
    np.testing.assert_allclose(ipca.get_precision(), pca.get_precision(), rtol=1e-9)
    np.testing.assert_allclose(ipca.get_covariance() @ ipca.get_precision(), np.eye(4), atol=1e-10)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix, sparse.lil_array])
@SOLVERS
def test_sparse_samples_are_like_dense_ones(solver, container):
    X = np.random.default_rng(0).standard_normal((80, 12))
    X[np.abs(X) < 1] = 0
    weights = np.random.default_rng(1).uniform(1, 2, 80)
    dense = IncrementalPCA(3, solver=solver).fit(X, sample_weight=weights)
    fitted = IncrementalPCA(3, solver=solver, batch_size=17).fit(
        container(X), sample_weight=weights
    )
    stream = IncrementalPCA(3, solver=solver)
    for batch, w in zip(np.split(X, 4), np.split(weights, 4), strict=True):
        stream.partial_fit(container(batch), sample_weight=w)
    for model in (fitted, stream):
        np.testing.assert_allclose(model.components_, dense.components_, atol=1e-9)
        np.testing.assert_allclose(model.noise_variance_, dense.noise_variance_, rtol=1e-11)
        np.testing.assert_allclose(model.transform(container(X)), dense.transform(X), atol=1e-9)


def test_sparse_samples_are_forgotten_like_dense_ones():
    X = np.random.default_rng(0).standard_normal((80, 12))
    dense = IncrementalPCA(3, forgetting_factor=0.9).fit(X)
    fitted = IncrementalPCA(3, forgetting_factor=0.9).fit(sparse.csr_matrix(X))
    np.testing.assert_allclose(fitted.components_, dense.components_, atol=1e-9)


def test_float32_far_from_the_origin_is_projected_as_well_as_by_dask():
    X = np.random.default_rng(0).standard_normal((500, 50)).astype(np.float32) + np.float32(1e4)
    ipca = IncrementalPCA(3).fit(X)
    exact = (X.astype(float) - ipca.mean_) @ ipca.components_.astype(float).T
    lazy = ipca.transform(da.from_array(X, chunks=(100, 50)))
    np.testing.assert_allclose(lazy, exact, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ipca.transform(X), exact, rtol=0, atol=1e-5)


def test_variances_are_those_of_sklearn_on_a_low_rank_matrix():
    X = make_low_rank_matrix(100, 60, effective_rank=10, tail_strength=0.0, random_state=0)
    for solver in ("scatter", "gram", "qr"):
        assert_like_pca(IncrementalPCA(10, solver=solver, oversampling=40).fit(X), X, 10, rtol=1e-7)


def test_names_of_the_components(iris):
    ipca = IncrementalPCA(2).fit(iris)
    names = ["incrementalpca0", "incrementalpca1"]
    assert ipca.get_feature_names_out().tolist() == names
    framed = ipca.set_output(transform="pandas").transform(iris)
    assert framed.columns.tolist() == names
    np.testing.assert_allclose(framed, IncrementalPCA(2).fit_transform(iris))


def test_signs_make_the_largest_entry_positive(present):
    X = np.random.default_rng(5).standard_normal((50, 7))
    for scale in (1, -1):
        components = host(IncrementalPCA(4).fit(present(scale * X)).components_)
        largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], axis=1)
        assert np.all(largest > 0)
        np.testing.assert_allclose(components, naive.pca(X, 4).components, atol=1e-9)


@SOLVERS
def test_constant_features_and_low_rank(solver):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 10)) + 2
    X[:, 4] = 5.0
    ipca = IncrementalPCA(6, solver=solver).fit(X)
    exact = naive.pca(X, 3)
    np.testing.assert_allclose(ipca.components_[:3], exact.components, atol=1e-9)
    np.testing.assert_allclose(ipca.components_ @ ipca.components_.T, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(ipca.explained_variance_[3:], 0, atol=1e-12)
    np.testing.assert_allclose(ipca.noise_variance_, 0, atol=1e-12)
    np.testing.assert_allclose(ipca.inverse_transform(ipca.transform(X)), X, atol=1e-10)
    assert ipca.var_[4] == 0.0
