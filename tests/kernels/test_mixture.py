"""The kernels of mixtures: their twins against the definition."""

import array_api_strict
import numpy as np
import pytest
from scipy.special import logsumexp

from dask_exa import kernels

NAMESPACES = pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numba", "array-api"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def features(xp, X, origin, dtype):
    out = xp.empty((X.shape[0], 2 * X.shape[1] + 1), dtype=getattr(xp, dtype))
    kernels.quadratic_features(xp.asarray(X), xp.asarray(origin.astype(dtype)), out)
    return out


@NAMESPACES
@DTYPES
@pytest.mark.parametrize("order", ["C", "F"])
def test_features_are_offset_square_and_one(xp, dtype, order):
    X = np.asarray(np.random.default_rng(0).normal(50, 1, (37, 5)), dtype=dtype, order=order)
    origin = np.full(5, 49.5)
    out = np.asarray(features(xp, X, origin, dtype))
    offsets = X.astype(float) - origin
    rtol = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(out, np.c_[offsets, offsets**2, np.ones(37)], rtol=rtol, atol=rtol)


@NAMESPACES
@DTYPES
@pytest.mark.parametrize("n_features", [1, 2, 9])
def test_pairs_are_the_upper_triangle_of_the_products(xp, dtype, n_features):
    X = np.random.default_rng(0).normal(50, 1, (37, n_features)).astype(dtype)
    origin = np.full(n_features, 49.5, dtype=dtype)
    n_pairs = n_features * (n_features + 1) // 2
    out = xp.empty((37, n_features + n_pairs + 1), dtype=getattr(xp, dtype))
    kernels.quadratic_features(xp.asarray(X), xp.asarray(origin), out, pairs=True)
    offsets = X.astype(float) - origin
    i, j = np.triu_indices(n_features)
    expected = np.c_[offsets, offsets[:, i] * offsets[:, j], np.ones(37)]
    rtol = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(np.asarray(out), expected, rtol=rtol, atol=rtol)


def test_float32_samples_are_squared_in_the_dtype_of_the_result():
    X = np.array([[1e5 + 1 / 128]], dtype=np.float32)
    out = np.asarray(features(np, X, np.array([1e5]), "float64"))
    assert out[0, 0] == float(X[0, 0]) - 1e5
    assert out[0, 1] == out[0, 0] ** 2


@NAMESPACES
@DTYPES
@pytest.mark.parametrize("n_components", [1, 3, 40])
def test_shares_and_their_total(xp, dtype, n_components):
    joint = np.random.default_rng(0).normal(-700, 300, (29, n_components)).astype(dtype)
    joint[3, 0] = -np.inf
    joint[3, -1] = -5.0
    shares = xp.asarray(joint, copy=True)
    log_norm = np.asarray(kernels.normalize_log(shares))
    expected = logsumexp(joint.astype(float), axis=1)
    rtol = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(log_norm, expected, rtol=rtol)
    exact = np.exp(joint - expected[:, None])
    # what is a difference of large numbers cannot be more exact than these
    np.testing.assert_allclose(np.asarray(shares), exact, atol=100 * rtol)
    np.testing.assert_allclose(np.asarray(shares).sum(axis=1), 1, rtol=rtol)
    assert log_norm.dtype == dtype


@NAMESPACES
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_not_finite_shows_in_its_row_only(xp, bad, place):
    joint = np.zeros((4, 3))
    joint[1, place] = bad
    shares = xp.asarray(joint, copy=True)
    log_norm = np.asarray(kernels.normalize_log(shares))
    assert np.flatnonzero(~np.isfinite(log_norm)).tolist() == [1]
    assert np.flatnonzero(np.isnan(np.asarray(shares)).any(axis=1)).tolist() == [1]


@pytest.mark.gpu
@DTYPES
def test_gpu_twin(dtype):
    cupy = pytest.importorskip("cupy")
    X = np.random.default_rng(0).normal(50, 1, (700, 5)).astype(dtype)
    origin = np.full(5, 49.5)
    rtol = 1e-5 if dtype == "float32" else 1e-13
    there = cupy.asnumpy(features(cupy, X, origin, dtype))
    np.testing.assert_allclose(there, features(np, X, origin, dtype), rtol=rtol)
    here, there = (xp.empty((700, 5 + 15 + 1), dtype=dtype) for xp in (np, cupy))
    kernels.quadratic_features(X, origin.astype(dtype), here, pairs=True)
    kernels.quadratic_features(cupy.asarray(X), cupy.asarray(origin, dtype), there, pairs=True)
    np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=rtol, atol=rtol)
    here, shares = X.copy(), cupy.asarray(X)
    log_norm = kernels.normalize_log(here)
    np.testing.assert_allclose(cupy.asnumpy(kernels.normalize_log(shares)), log_norm, rtol=rtol)
    np.testing.assert_allclose(cupy.asnumpy(shares), here, rtol=rtol)
