"""Nearest centres on the CPU; the twin of `_distances_cupy`.

Blocks of samples that stay in the cache are multiplied with all centres by BLAS, in the dtype of
the samples and relative to an origin among the centres. The same block is then searched while it
is hot. A product of many terms has rounding errors: every centre that is as near as these allow
is measured again, by its difference from the sample in float64. Labels and sums are therefore
those of exact distances, and the same whatever BLAS does and however many threads there are.
"""

from __future__ import annotations

import itertools

import numba
import numpy as np

from dask_exa._array import scratch
from dask_exa._threads import map_threads

_BLOCK_BYTES = 256 << 10
"""Of the products of a block of samples: it shares the cache with the block and the centres."""
_LEAST_ROWS, _MOST_ROWS = 32, 1024
_PART_ROWS = 1024
"""Samples that are worth a thread, and accumulators, of their own."""
_MAX_PARTS, _MAX_PART_BYTES = 32, 64 << 20
_NO_WEIGHTS = np.empty(0)
_NO_SUMS = np.empty((0, 0))


def nearest_centers(X: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `dask_exa.kernels.nearest_centers`."""
    labels, distances, _ = _assign_all(X, centers, None, with_sums=False)
    return labels, distances


def sum_nearest(
    X: np.ndarray, centers: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """See `dask_exa.kernels.sum_nearest`; returns labels and what is `Attracted`."""
    labels, distances, parts = _assign_all(X, centers, sample_weight, with_sums=True)
    counts, sums = parts[0]
    for other_counts, other_sums in parts[1:]:
        counts += other_counts
        sums += other_sums
    weights = 1.0 if sample_weight is None else sample_weight
    return labels, counts, sums, float(np.sum(distances * weights))


def _assign_all(
    X: np.ndarray, centers: np.ndarray, sample_weight: np.ndarray | None, *, with_sums: bool
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    n_samples = X.shape[0]
    search = _Search(X, centers, sample_weight, with_sums)
    n_parts = max(1, min(n_samples // _PART_ROWS, _MAX_PARTS))
    if with_sums:
        n_parts = max(1, min(n_parts, _MAX_PART_BYTES // (8 * centers.size)))
    edges = [n_samples * i // n_parts for i in range(n_parts + 1)]
    parts = map_threads(search, [slice(*pair) for pair in itertools.pairwise(edges)])
    return search.labels, search.distances, parts


class _Search:
    """Finds the nearest centres of parts of the samples, and what these attract."""

    def __init__(
        self, X: np.ndarray, centers: np.ndarray, sample_weight: np.ndarray | None, with_sums: bool
    ) -> None:
        self.X, self.with_sums = X, with_sums
        self.centers = np.ascontiguousarray(centers, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # measured exactly, whatever comes out
            self.origin = self.centers.mean(axis=0).astype(X.dtype)
            shifted = self.centers - self.origin
            self.factors = shifted.astype(X.dtype)
            self.factors *= -2
            squares = np.einsum("ij,ij->i", shifted, shifted)
            self.squares = squares.astype(X.dtype)
        self.reach = float(np.sqrt(squares.max()))
        terms = 8 + 4 * np.sqrt(X.shape[1])  # rounding errors of a sum walk at random
        self.slack = float(terms * np.finfo(X.dtype).eps)
        self.weights = _NO_WEIGHTS if sample_weight is None else np.ascontiguousarray(sample_weight)
        self.labels = np.empty(X.shape[0], dtype=np.int32)
        self.distances = np.empty(X.shape[0])
        n_rows = _BLOCK_BYTES // (X.itemsize * max(self.factors.shape))
        self.step = min(max(n_rows, _LEAST_ROWS), _MOST_ROWS)

    def __call__(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Label the samples of a part; return the weights and sums that every centre attracts."""
        counts = np.zeros(self.centers.shape[0])
        sums = np.zeros(self.centers.shape) if self.with_sums else _NO_SUMS
        for start in range(part.start, part.stop, self.step):
            rows = slice(start, min(start + self.step, part.stop))
            block = np.ascontiguousarray(self.X[rows])
            shifted = _buffer("shifted", block.shape, self.X)
            near = _buffer("near", (self.factors.shape[0], block.shape[0]), self.X)
            norms = np.empty(block.shape[0])
            _shift(block, self.origin, shifted, norms)
            with np.errstate(all="ignore"):
                np.matmul(self.factors, shifted.T, out=near)
            weights = self.weights[rows] if self.weights.size else _NO_WEIGHTS
            given = (block, near, norms, weights, self.centers, self.squares)
            bounds = (self.slack, self.reach)
            _assign(*given, *bounds, self.labels[rows], self.distances[rows], counts, sums)
        return counts, sums


def _buffer(name: str, shape: tuple[int, int], like: np.ndarray) -> np.ndarray:
    size = shape[0] * shape[1]
    words = -(-size * like.itemsize // 8)
    return scratch(name, (1, words), like).view(like.dtype).reshape(-1)[:size].reshape(shape)


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _shift(block, origin, shifted, norms):  # pragma: no cover  (compiled)
    for i in range(block.shape[0]):
        total = block.dtype.type(0)
        for f in range(block.shape[1]):
            offset = block[i, f] - origin[f]
            shifted[i, f] = offset
            total += offset * offset
        norms[i] = np.sqrt(np.float64(total))


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _squared_distance(block, i, centers, j):  # pragma: no cover  (compiled)
    total = 0.0
    for f in range(block.shape[1]):
        offset = np.float64(block[i, f]) - centers[j, f]
        total += offset * offset
    return total


# Centres outside, samples inside: neighbours in memory are compared together.
@numba.njit(nogil=True, cache=True)
def _two_smallest(near, squares, smallest, second, places):  # pragma: no cover  (compiled)
    """Find the smallest value of every column, the place of the first one, and the next value."""
    for i in range(near.shape[1]):
        smallest[i] = second[i] = np.inf
        places[i] = 0
    for j in range(near.shape[0]):
        square, place = squares[j], near.dtype.type(j)
        for i in range(near.shape[1]):
            value = near[j, i] + square
            before, runner_up = smallest[i], second[i]
            is_less = value < before
            larger = before if is_less else value
            smallest[i] = value if is_less else before
            second[i] = larger if larger < runner_up else runner_up
            places[i] = place if is_less else places[i]


@numba.njit(nogil=True, cache=True)
def _measure(block, i, near, squares, centers, limit):  # pragma: no cover  (compiled)
    """Return the nearest of the centres that are within the limit, by exact distances."""
    nearest, distance = 0, np.inf
    for j in range(centers.shape[0]):
        if limit < np.inf and not near[j, i] + squares[j] <= limit:
            continue
        measured = _squared_distance(block, i, centers, j)
        if measured < distance:
            nearest, distance = j, measured
    return nearest


@numba.njit(nogil=True, cache=True)
def _assign(
    block, near, norms, weights, centers, squares, slack, reach, labels, distances, counts, sums
):  # pragma: no cover  (compiled)
    n_rows = block.shape[0]
    smallest, second = np.empty(n_rows, dtype=near.dtype), np.empty(n_rows, dtype=near.dtype)
    places = np.empty(n_rows, dtype=near.dtype)
    _two_smallest(near, squares, smallest, second, places)
    for i in range(n_rows):
        nearest = int(places[i])
        extent = norms[i] + reach
        limit = smallest[i] + slack * extent * extent
        if not second[i] > limit:
            nearest = _measure(block, i, near, squares, centers, limit)
        labels[i] = nearest
        distances[i] = _squared_distance(block, i, centers, nearest)
        if sums.size:
            weight = weights[i] if weights.size else 1.0
            counts[nearest] += weight
            for f in range(block.shape[1]):
                sums[nearest, f] += weight * (np.float64(block[i, f]) - centers[nearest, f])
