"""Walking samples through a forest on the CPU; the twin of `_paths_cupy`.

A block of rows is transposed and walks together: trees outside, levels next, rows inside. On the
upper levels every node is compared with all rows, which the compiler does 8 or 16 at a time; below
them every row looks up its own node.
"""

from __future__ import annotations

import numba
import numpy as np

from dask_exa._threads import map_threads
from dask_exa.kernels.forest import TOP_LEVELS, Forest

_BLOCK = 256
_RANGE = 64 * _BLOCK
_WIDE = 512
_ZERO, _ONE, _TWO, _FOUR = np.uint32(0), np.uint32(1), np.uint32(2), np.uint32(4)


def mean_leaves(X: np.ndarray, forest: Forest) -> np.ndarray:
    """See `dask_exa.kernels.mean_leaves`."""
    columns = np.arange(X.shape[1])
    feature = forest.feature
    if X.shape[1] > _WIDE:
        columns, inverse = np.unique(feature, return_inverse=True)
        feature = inverse.reshape(feature.shape)
    offset = (feature * _BLOCK).astype(np.uint32)
    out = np.empty(X.shape[0])

    def walk(first: int) -> None:
        some = slice(first, first + _RANGE)
        _walk(X[some], columns, offset, *forest[1:], out[some])

    map_threads(walk, range(0, X.shape[0], _RANGE))
    return out


@numba.njit(nogil=True, cache=True)
def _walk(X, columns, offset, threshold, missing_left, leaf, out):
    # pragma: no cover  (compiled)
    n_trees = offset.shape[0]
    block = np.zeros(columns.size * _BLOCK, dtype=np.float32)
    node, below = np.empty(_BLOCK, np.uint32), np.empty(_BLOCK, np.uint32)
    total = np.empty(_BLOCK)
    for start in range(0, X.shape[0], _BLOCK):
        n_rows = min(_BLOCK, X.shape[0] - start)
        is_complete = _transpose(X, start, n_rows, columns, block)
        total[:] = 0.0
        for i in range(n_trees):
            if is_complete:
                _descend(block, offset[i], threshold[i], leaf[i], node, below, total)
            else:
                _descend_missing(
                    block, n_rows, offset[i], threshold[i], missing_left[i], leaf[i], total
                )
        out[start : start + n_rows] = total[:n_rows] / n_trees


@numba.njit(nogil=True, cache=True)
def _transpose(X, start, n_rows, columns, block):  # pragma: no cover  (compiled)
    """Write a block of rows feature by feature, and return whether it has no NaN."""
    n_missing = 0
    for r in range(n_rows):
        for j in range(columns.size):
            value = np.float32(X[start + r, columns[j]])
            block[j * _BLOCK + r] = value
            n_missing += value != value
    return n_missing == 0


# Unsigned indices: for signed ones the compiler adds a test for negative ones to every access.
@numba.njit(nogil=True, cache=True)
def _descend(block, offset, threshold, leaf, node, below, total):  # pragma: no cover  (compiled)
    _descend_two(block, offset, threshold, node)
    for level in range(2, TOP_LEVELS):
        for r in range(_BLOCK):
            below[r] = node[r] << _ONE
        for i in range(1 << level, 2 << level, 4):
            _compare_four(block, offset, threshold, i, node, below)
        node, below = below, node
    n_leaves = np.uint32(leaf.size)
    size = np.uint32(1 << TOP_LEVELS)
    while size < n_leaves:
        for r in range(_BLOCK):
            here = node[r]
            value = block[np.uint32(offset[here] + np.uint32(r))]
            node[r] = np.uint32((here << _ONE) + np.uint32(value > threshold[here]))
        size <<= _ONE
    for r in range(_BLOCK):
        total[r] += leaf[np.uint32(node[r] - n_leaves)]


@numba.njit(nogil=True, cache=True)
def _descend_two(block, offset, threshold, node):  # pragma: no cover  (compiled)
    x_1, x_2, x_3 = np.uint64(offset[1]), np.uint64(offset[2]), np.uint64(offset[3])
    t_1, t_2, t_3 = threshold[1], threshold[2], threshold[3]
    for i in range(_BLOCK):
        r = np.uint64(i)
        right = block[x_1 + r] > t_1
        then_right = (block[x_3 + r] > t_3) if right else (block[x_2 + r] > t_2)
        node[i] = _FOUR + (_TWO if right else _ZERO) + (_ONE if then_right else _ZERO)


@numba.njit(nogil=True, cache=True)
def _compare_four(block, offset, threshold, first, node, below):  # pragma: no cover  (compiled)
    """Send the rows that are in one of four neighbouring nodes on to the level below."""
    n_0, x_0, t_0 = np.uint32(first), np.uint64(offset[first]), threshold[first]
    n_1, x_1, t_1 = np.uint32(first + 1), np.uint64(offset[first + 1]), threshold[first + 1]
    n_2, x_2, t_2 = np.uint32(first + 2), np.uint64(offset[first + 2]), threshold[first + 2]
    n_3, x_3, t_3 = np.uint32(first + 3), np.uint64(offset[first + 3]), threshold[first + 3]
    for i in range(_BLOCK):
        r, here, there = np.uint64(i), node[i], below[i]
        there = there + _ONE if (here == n_0) & (block[x_0 + r] > t_0) else there
        there = there + _ONE if (here == n_1) & (block[x_1 + r] > t_1) else there
        there = there + _ONE if (here == n_2) & (block[x_2 + r] > t_2) else there
        there = there + _ONE if (here == n_3) & (block[x_3 + r] > t_3) else there
        below[i] = there


@numba.njit(nogil=True, cache=True)
def _descend_missing(
    block, n_rows, offset, threshold, missing_left, leaf, total
):  # pragma: no cover  (compiled)
    for r in range(n_rows):
        here = 1
        while here < leaf.size:
            value = block[offset[here] + r]
            right = not missing_left[here] if value != value else value > threshold[here]
            here = 2 * here + right
        total[r] += leaf[here - leaf.size]
