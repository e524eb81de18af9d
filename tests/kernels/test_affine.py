"""Affine maps of features: the twin on the CPU, the array API, and the way back."""

import array_api_strict
import numpy as np
import pytest

from dask_exa import kernels


def case(dtype):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((300, 7)) + 1e6).astype(dtype)
    return X, rng.uniform(0.9e6, 1.1e6, 7), rng.uniform(0.1, 10, 7), rng.uniform(-1, 1, 7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numba", "array-api"])
def test_equals_the_formula_in_float64(xp, dtype):
    X, origin, unit, start = case(dtype)
    there = kernels.scale(xp.asarray(X), origin, unit, start)
    assert there.dtype == xp.asarray(X).dtype
    wanted = ((X - origin) / unit + start).astype(dtype)
    np.testing.assert_allclose(np.asarray(there), wanted, rtol=4 * np.finfo(dtype).eps)
    back = kernels.unscale(there, origin, unit, start)
    np.testing.assert_allclose(np.asarray(back), X, rtol=4 * np.finfo(dtype).eps)


def test_other_orders_and_read_only_samples_are_taken():
    X, origin, unit, start = case("float64")
    X.flags.writeable = False
    wanted = kernels.scale(X, origin, unit, start)
    for other in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        found = kernels.scale(other, origin, unit, start)
        np.testing.assert_allclose(found, wanted, rtol=1e-15)


def test_blocks_of_rows_are_not_seen(monkeypatch):
    from dask_exa.kernels import _affine_numba

    whole = kernels.scale(*case("float64"))
    monkeypatch.setattr(_affine_numba, "_BLOCK", 50)
    assert np.array_equal(kernels.scale(*case("float64")), whole)
