"""The kernels of nearest centres: their twins against the oracle, and where rounding misleads."""

import array_api_strict
import numpy as np
import pytest

from dask_exa import kernels
from dask_exa._threads import thread_share
from tests import naive

NAMESPACES = pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numba", "array-api"])
SHAPES = [(1, 1, 1), (7, 1, 3), (60, 3, 1), (50, 5, 40), (90, 70, 7), (3000, 4, 17)]


def _case(n_samples, n_features, n_clusters, dtype="float64", offset=0.0):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features)) + offset
    centers = rng.standard_normal((n_clusters, n_features)) + offset
    weights = rng.random(n_samples) * (rng.random(n_samples) > 0.3)
    return X.astype(dtype), centers, weights


def _check(xp, X, centers, weights, to_numpy=np.asarray):
    expected = naive.sum_nearest(X, centers, weights)
    given = xp.asarray(X, copy=True), xp.asarray(centers)
    labels, attracted = kernels.sum_nearest(
        *given, None if weights is None else xp.asarray(weights)
    )
    assert np.array_equal(to_numpy(labels), expected[0])
    assert labels.dtype == xp.int32
    for found, exact in zip(attracted, expected[1:], strict=True):
        np.testing.assert_allclose(to_numpy(found), exact, rtol=1e-9, atol=1e-10)
    labels, distances = kernels.nearest_centers(*given)
    assert np.array_equal(to_numpy(labels), expected[0])
    wanted = naive.nearest_centers(X, centers)[1]
    np.testing.assert_allclose(to_numpy(distances), wanted, rtol=1e-9)


@NAMESPACES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_oracle(xp, dtype, weighted, shape):
    X, centers, weights = _case(*shape, dtype)
    _check(xp, X, centers, weights if weighted else None)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gpu_twin_equals_the_oracle(dtype, weighted, shape):
    cupy = pytest.importorskip("cupy")
    X, centers, weights = _case(*shape, dtype)
    _check(cupy, X, centers, weights if weighted else None, cupy.asnumpy)


@pytest.mark.parametrize("offset", [1e3, 1e5, 1e7])
def test_large_mean_in_single_precision(offset):
    """Spread 1 at 1e7 is one step of float32: exact labels all the same."""
    _check(np, *_case(500, 6, 20, "float32", offset))


def test_one_centre_far_from_the_others():
    """The common origin then is of no use, the second look is."""
    X, centers, weights = _case(500, 6, 20, "float32", 3e4)
    centers[0] = -1e6
    _check(np, X, centers, weights)


def test_near_ties_in_single_precision():
    """Centres that differ by less than a product in float32 can tell."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((400, 64)).astype(np.float32)
    centers = rng.standard_normal(64) * 10 + 1e-6 * rng.standard_normal((12, 64))
    _check(np, X, centers, None)


@NAMESPACES
def test_of_equal_centres_the_first_is_taken(xp):
    X = xp.asarray([[0.0, 1.0], [4.0, 4.0], [2.0, 2.0]])
    centers = xp.asarray([[4.0, 4.0], [0.0, 0.0], [0.0, 0.0], [4.0, 4.0]])
    labels, _ = kernels.nearest_centers(X, centers)
    assert np.asarray(labels).tolist() == [1, 0, 0]


@pytest.mark.parametrize("n_clusters", [2, 17, 64, 300])
def test_duplicates_and_ties_anywhere(n_clusters):
    """Integers on a grid: many exact ties."""
    rng = np.random.default_rng(n_clusters)
    X = rng.integers(0, 4, (600, 3)).astype(np.float32)
    centers = rng.integers(0, 4, (n_clusters, 3)).astype(float)
    _check(np, X, centers, None)


@pytest.mark.parametrize("view", ["fortran", "columns", "reversed", "read-only"])
def test_any_layout(view):
    X, centers, weights = _case(300, 6, 9, "float32")
    wide = np.repeat(X, 2, axis=1)
    same = {"fortran": np.asfortranarray(X), "columns": wide[:, ::2], "reversed": X[::-1][::-1]}
    given = same.get(view, X)
    given.flags.writeable = False
    _check(np, given, centers, weights)


def test_weights_of_any_stride():
    X, centers, weights = _case(300, 6, 9)
    _check(np, X, centers, np.repeat(weights, 3)[::3])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_shows_in_its_distance_only(bad, dtype):
    X, centers, _ = _case(300, 6, 9, dtype)
    X[17, 3] = bad
    labels, distances = kernels.nearest_centers(X, centers)
    assert np.flatnonzero(~np.isfinite(distances)).tolist() == [17]
    assert ((labels >= 0) & (labels < 9)).all()
    assert not np.isfinite(kernels.sum_nearest(X, centers)[1].inertia)


def test_values_whose_squares_overflow_in_single_precision():
    X = np.array([[3e30], [-3e30], [2e30]], dtype=np.float32)
    labels, distances = kernels.nearest_centers(X, np.array([[-1e30], [0.0], [2.5e30]]))
    assert labels.tolist() == [2, 0, 2]
    np.testing.assert_allclose(distances, [2.5e59, 4e60, 2.5e59], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_nothing(dtype):
    """To the last bit."""
    X, centers, weights = _case(9000, 24, 50, dtype)
    found = []
    for n_threads in (1, 2, 3):
        with thread_share(n_threads):
            labels, attracted = kernels.sum_nearest(X, centers, weights)
            found.append((labels.tobytes(), *(np.asarray(part).tobytes() for part in attracted)))
    assert found[0] == found[1] == found[2]
