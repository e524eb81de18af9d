"""Laws of centring: any samples, any weights, any layout in memory, to the last digits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa import kernels
from dask_exa._array import to_host
from dask_exa.kernels._centering import _center
from dask_exa.testing.strategies import matrices
from dask_exa.testing.strategies import sample_weights as weights
from tests import naive

LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "part of the columns": lambda X: np.hstack([X, X])[:, : X.shape[1]],
    "read-only": lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
}


def assert_centred(center, X, w, columns, asarray=np.asarray):
    """Compare with the oracle, and the rows with their own definition."""
    out = asarray(np.full((len(X), columns.stop - columns.start), np.nan))
    given_weights = None if w is None else asarray(w)
    mean, m2 = map(to_host, center(asarray(X), columns, given_weights, out))
    weight, exact_mean, scatter = naive.moments(X, w)
    digits = np.finfo(float).eps * np.abs(X).max()
    np.testing.assert_allclose(mean, exact_mean[columns], rtol=0, atol=8 * digits)
    exact_m2 = scatter.diagonal()[columns]
    spread = np.sqrt(exact_m2.max(initial=0) / weight)
    atol = weight * (1e-14 * spread**2 + 16 * digits * (spread + 16 * digits))
    np.testing.assert_allclose(m2, exact_m2, rtol=0, atol=atol)
    roots = np.ones(len(X)) if w is None else np.sqrt(w)
    rows = roots[:, None] * (X[:, columns].astype(float) - mean)
    np.testing.assert_allclose(to_host(out), rows, rtol=1e-15, atol=4 * digits * roots.max())


@pytest.mark.parametrize("center", [kernels.center, _center])
@given(data=st.data())
def test_centres_as_the_oracle_does(center, data):
    X = data.draw(matrices())
    w = data.draw(weights(len(X)))
    start = data.draw(st.integers(0, X.shape[1] - 1))
    columns = slice(start, data.draw(st.integers(start + 1, X.shape[1])))
    if data.draw(st.booleans(), label="float32"):
        X = X.astype(np.float32)
    assert_centred(center, X, w, columns)


@pytest.mark.parametrize("arrange", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_any_layout_in_memory(arrange):
    X = np.random.default_rng(0).normal(3, 2, (30, 7))
    before = X.copy()
    assert_centred(kernels.center, arrange(X), None, slice(2, 6))
    assert_centred(kernels.center, arrange(X), np.arange(30.0), slice(0, 7))
    assert np.array_equal(X, before)


def test_out_may_be_a_part_of_a_stack():
    X = np.random.default_rng(0).normal(3, 2, (10, 4))
    stack = np.full((12, 4), 7.0)
    mean, m2 = kernels.center(X, slice(0, 4), None, stack[1:11])
    np.testing.assert_allclose(stack[1:11], X - mean, rtol=1e-15, atol=1e-14)
    np.testing.assert_allclose((stack[1:11] ** 2).sum(axis=0), m2, rtol=1e-14)
    assert np.array_equal(stack[[0, 11]], np.full((2, 4), 7.0))


@pytest.mark.parametrize("center", [kernels.center, _center])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_non_finite_values_show_in_their_moment_and_in_no_other(center, bad):
    X = np.random.default_rng(0).normal(3, 2, (30, 3))
    X[11, 1] = bad
    _, m2 = center(X, slice(0, 3), None, np.empty((30, 3)))
    assert np.isfinite(m2).tolist() == [True, False, True]
