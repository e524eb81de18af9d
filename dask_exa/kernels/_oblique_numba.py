"""Walking samples through oblique trees on the CPU; the twin of `_oblique_cupy`.

A block of rows is transposed and walks together, as in `_paths_numba`. On the upper levels every
node's cut is computed for all rows, side by side; below them every row looks up its own node.
"""

from __future__ import annotations

import numba
import numpy as np

from dask_exa._threads import map_threads
from dask_exa.kernels._paths_numba import BLOCK, used_columns
from dask_exa.kernels.forest import BOUND, TOP_LEVELS, ObliqueForest

_RANGE = 16 * BLOCK
_LEAST, _MOST = np.float32(-BOUND), np.float32(BOUND)
_ZERO, _ONE = np.uint32(0), np.uint32(1)


def mean_leaves(X: np.ndarray, forest: ObliqueForest) -> np.ndarray:
    """See `dask_exa.kernels.mean_leaves`."""
    columns, offset = used_columns(forest.feature, X.shape[1])
    missing = np.ascontiguousarray(forest.missing[:, columns])
    out = np.empty(X.shape[0])

    def walk(first: int) -> None:
        some = slice(first, first + _RANGE)
        _walk(X[some], columns, offset, forest.normal, forest.threshold, missing, forest.leaf,
              out[some])  # fmt: skip

    map_threads(walk, range(0, X.shape[0], _RANGE))
    return out


@numba.njit(nogil=True, cache=True)
def _walk(X, columns, offset, normal, threshold, missing, leaf, out):
    # pragma: no cover  (compiled)
    n_trees = threshold.shape[0]
    block = np.zeros((2, columns.size * BLOCK), dtype=np.float32)
    node, below = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint32)
    sums, total = np.empty(BLOCK, np.float32), np.empty(BLOCK)
    for start in range(0, X.shape[0], BLOCK):
        n_rows = min(BLOCK, X.shape[0] - start)
        is_complete = _transpose(X, start, n_rows, columns, block[0])
        total[:] = 0.0
        for i in range(n_trees):
            values = block[0]
            if not is_complete:
                values = block[1]
                _fill(block[0], missing[i], values)
            _descend(values, offset[i], normal[i], threshold[i], leaf[i], node, below, sums, total)
        out[start : start + n_rows] = total[:n_rows] / n_trees


@numba.njit(nogil=True, cache=True)
def _transpose(X, start, n_rows, columns, block):  # pragma: no cover  (compiled)
    """Write a block of rows feature by feature, and return whether it has no NaN."""
    n_missing = 0
    for r in range(n_rows):
        for j in range(columns.size):
            value = np.float32(X[start + r, columns[j]])
            block[j * BLOCK + r] = value if value != value else min(max(value, _LEAST), _MOST)
            n_missing += value != value
    return n_missing == 0


@numba.njit(nogil=True, cache=True)
def _fill(block, missing, filled):  # pragma: no cover  (compiled)
    for j in range(missing.size):
        for r in range(j * BLOCK, (j + 1) * BLOCK):
            value = block[r]
            filled[r] = missing[j] if value != value else value


@numba.njit(nogil=True, cache=True)
def _descend(
    block, offset, normal, threshold, leaf, node, below, sums, total
):  # pragma: no cover  (compiled)
    node[:] = _ONE
    n_leaves, n_own = np.uint32(leaf.size), offset.shape[0]
    for level in range(TOP_LEVELS):
        below[:] = node
        for i in range(1 << level, 2 << level):
            _compare(block, offset[i if n_own > 1 else 0], normal[i], threshold[i], i, node, below,
                     sums)  # fmt: skip
        node, below = below, node
    size = np.uint32(1 << TOP_LEVELS)
    while size < n_leaves:
        if n_own > 1:
            _look_up(block, offset, normal, threshold, node, sums)
        else:
            _look_up_shared(block, offset[0], normal, threshold, node, sums)
        size <<= _ONE
    for r in range(BLOCK):
        total[r] += leaf[np.uint32(node[r] - n_leaves)]


@numba.njit(nogil=True, cache=True)
def _compare(
    block, offset, normal, threshold, here, node, below, sums
):  # pragma: no cover  (compiled)
    """Send the rows that are in one node on to the level below."""
    sums[:] = 0.0
    for k in range(offset.size):
        first, factor = np.uint64(offset[k]), normal[k]
        for r in range(BLOCK):
            sums[r] += factor * block[first + np.uint64(r)]
    number, left = np.uint32(here), np.uint32(2 * here)
    for r in range(BLOCK):
        right = left + (_ONE if sums[r] > threshold else _ZERO)
        below[r] = right if node[r] == number else below[r]


@numba.njit(nogil=True, cache=True)
def _look_up(block, offset, normal, threshold, node, sums):  # pragma: no cover  (compiled)
    """Send every row on from its node, whose features are its own."""
    flat_normal, flat_offset = normal.ravel(), offset.ravel()
    n_cut = np.uint32(offset.shape[1])
    sums[:] = 0.0
    for k in range(offset.shape[1]):
        for r in range(BLOCK):
            at = np.uint32(node[r] * n_cut + np.uint32(k))
            sums[r] += flat_normal[at] * block[np.uint32(flat_offset[at] + np.uint32(r))]
    _step(threshold, node, sums)


@numba.njit(nogil=True, cache=True)
def _look_up_shared(block, offset, normal, threshold, node, sums):
    # pragma: no cover  (compiled)
    """Send every row on from its node, where all nodes have the same features."""
    flat_normal, n_cut = normal.ravel(), np.uint32(offset.size)
    sums[:] = 0.0
    for k in range(offset.size):
        first = np.uint32(offset[k])
        for r in range(BLOCK):
            at = np.uint32(node[r] * n_cut + np.uint32(k))
            sums[r] += flat_normal[at] * block[np.uint32(first + np.uint32(r))]
    _step(threshold, node, sums)


@numba.njit(nogil=True, cache=True)
def _step(threshold, node, sums):  # pragma: no cover  (compiled)
    for r in range(BLOCK):
        here = node[r]
        node[r] = np.uint32((here << _ONE) + np.uint32(sums[r] > threshold[here]))
