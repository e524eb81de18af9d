"""One pass over a distribution function: its twins against the oracle."""

import numpy as np
import pytest

from dask_exa._threads import thread_share
from dask_exa.kernels.phase_space import reduce_phase_space
from tests.naive._phase_space import reduce_phase_space as oracle


def case(dtype, n_points=13, n_velocities=21, n_columns=6):
    random = np.random.default_rng(0)
    f = random.normal(size=(n_points, n_velocities)).astype(dtype)
    return (
        f,
        random.normal(size=(n_columns, n_velocities)),
        random.random(n_points),
        random.random(n_velocities),
    )


def check(found, expected):
    for ours, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_columns", [1, 4, 6, 8])
def test_equals_the_oracle(dtype, n_columns):
    given = case(dtype, n_columns=n_columns)
    check(reduce_phase_space(*given), oracle(*given))


def test_any_order_of_memory_and_read_only_arrays():
    f, *rest = case("float64")
    f.flags.writeable = False
    check(reduce_phase_space(np.asfortranarray(f), *rest), oracle(f, *rest))


def test_threads_do_not_change_a_bit():
    given = case("float32", n_points=50_000, n_velocities=8)
    with thread_share(1):
        one = reduce_phase_space(*given)
    with thread_share(2):
        two = reduce_phase_space(*given)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_points_give_empty_sums():
    f, *rest = case("float64")
    sums = reduce_phase_space(f[:0], rest[0], rest[1][:0], rest[2])
    assert sums.projected.shape == (0, 6)
    assert sums.marginal.tolist() == [0.0] * 21
    assert (sums.absolute, sums.squares) == (0.0, 0.0)


def test_what_is_not_finite_shows_in_the_sums():
    f, *rest = case("float64")
    f[3, 4] = np.nan
    sums = reduce_phase_space(f, *rest)
    assert np.isnan([sums.absolute, sums.squares]).all()
    assert np.flatnonzero(np.isnan(sums.marginal)).tolist() == [4]
    assert np.unique(np.nonzero(np.isnan(sums.projected))[0]).tolist() == [3]


def test_other_arrays_are_refused():
    with pytest.raises(TypeError, match="f is a list"):
        reduce_phase_space([[1.0]], np.ones((1, 1)), np.ones(1), np.ones(1))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gpu_twin_equals_the_oracle(dtype):
    cupy = pytest.importorskip("cupy")
    given = case(dtype)
    found = reduce_phase_space(*map(cupy.asarray, given))
    check([cupy.asnumpy(array) for array in found[:2]] + list(found[2:]), oracle(*given))
