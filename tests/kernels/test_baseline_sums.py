"""Sums over the visibilities of baselines: the twins against a loop over every visibility."""

import array_api_strict
import numpy as np
import pytest

from dask_exa._threads import thread_share
from dask_exa.kernels.baseline_sums import BaselineSums, baseline_sums
from tests.naive._interferometer import sums_of_baseline

SHAPE = (4, 7, 5, 2)


def _case(dtype, shape=SHAPE):
    random = np.random.default_rng(0)
    parts = random.normal(size=(2, *shape))
    real = np.float32 if dtype == "complex64" else np.float64
    weight = random.random(shape).astype(real)
    weight[random.random(shape) < 0.3] = 0
    weight[:, 2] = 0
    visibility = (parts[0] + 1j * parts[1]).astype(dtype)
    visibility[weight == 0] = np.nan
    return visibility, weight


def _check(xp, visibility, weight, to_numpy):
    found = baseline_sums(xp.asarray(visibility), xp.asarray(weight))
    for baseline in range(visibility.shape[1]):
        expected = sums_of_baseline(visibility[:, baseline], weight[:, baseline])
        for name in BaselineSums._fields:
            value = to_numpy(getattr(found, name))[baseline]
            np.testing.assert_allclose(value, expected[name], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numba", "array-api"])
def test_equals_the_oracle(xp, dtype):
    _check(xp, *_case(dtype), np.asarray)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3, 6, 1), (3, 4, 1, 4), (2, 0, 3, 1)])
def test_single_dumps_and_channels_have_no_neighbours(shape):
    _check(np, *_case("complex64", (shape[0], max(shape[1], 3), *shape[2:])), np.asarray)
    empty = baseline_sums(np.empty((2, 0, 3, 1), np.complex64), np.empty((2, 0, 3, 1), np.float32))
    assert empty.weight.shape == (0,)


def test_other_orders_take_the_generic_path():
    visibility, weight = _case("complex64")
    _check(np, np.asfortranarray(visibility), weight, np.asarray)


def test_number_of_threads_does_not_change_a_bit():
    visibility, weight = _case("complex64")
    found = []
    for n_threads in (1, 3):
        with thread_share(n_threads):
            found.append(baseline_sums(visibility, weight))
    for one, three in zip(*found, strict=True):
        assert np.array_equal(one, three)


def test_parts_add_up():
    visibility, weight = _case("complex128")
    whole = baseline_sums(visibility, weight)
    halves = [
        baseline_sums(visibility[part].copy(), weight[part].copy())
        for part in (np.s_[:2], np.s_[2:])
    ]
    for name in BaselineSums._fields:
        if name != "next_dump":
            one, two = (getattr(half, name) for half in halves)
            np.testing.assert_allclose(one + two, getattr(whole, name), rtol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_gpu_twin_equals_the_oracle(dtype):
    cupy = pytest.importorskip("cupy")
    _check(cupy, *_case(dtype), cupy.asnumpy)
