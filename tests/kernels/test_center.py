"""The centring kernel: its twins against the oracle, and the source of the GPU twin compiled."""

import array_api_strict
import numpy as np
import pytest

from dask_exa import kernels
from tests import naive

COLUMNS = slice(5, 17)


def _case(dtype, weighted, n_samples=37, n_features=23):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((n_samples, n_features)) + 100).astype(dtype)
    return X, rng.random(n_samples) if weighted else None


def _check(xp, X, weight, to_numpy):
    out = xp.empty((X.shape[0], 12), dtype=xp.float64)
    weight_there = None if weight is None else xp.asarray(weight)
    mean, m2 = kernels.center(xp.asarray(X, copy=True), COLUMNS, weight_there, out)
    expected = naive.center(X[:, COLUMNS], weight)
    for found, exact in zip((mean, m2, out), expected, strict=True):
        np.testing.assert_allclose(to_numpy(found), exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numba", "array-api"])
def test_equals_the_oracle(xp, dtype, weighted):
    _check(xp, *_case(dtype, weighted), np.asarray)


@pytest.mark.parametrize("weighted", [False, True])
def test_fortran_order_takes_the_generic_path(weighted):
    X, weight = _case("float64", weighted)
    _check(np, np.asfortranarray(X), weight, np.asarray)


def test_does_not_write_to_the_samples():
    X, weight = _case("float32", True)
    X.flags.writeable = False
    kernels.center(X, COLUMNS, weight, np.empty((len(X), 12)))


def test_non_finite_values_show_in_the_moments_of_their_column_only():
    X, _ = _case("float64", False)
    X[3, 6] = np.nan
    mean, m2 = kernels.center(X, COLUMNS, None, np.empty((len(X), 12)))
    assert np.flatnonzero(np.isnan(mean)).tolist() == [1]
    assert np.flatnonzero(np.isnan(m2)).tolist() == [1]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gpu_twin_equals_the_oracle(dtype, weighted):
    cupy = pytest.importorskip("cupy")
    _check(cupy, *_case(dtype, weighted), cupy.asnumpy)
