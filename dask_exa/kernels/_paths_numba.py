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

BLOCK = 256
"""Rows that walk together."""

_RANGE = 64 * BLOCK
_WIDE = 512
_ZERO, _ONE, _TWO, _FOUR = np.uint32(0), np.uint32(1), np.uint32(2), np.uint32(4)


def mean_leaves(X: np.ndarray, forest: Forest) -> np.ndarray:
    """See `dask_exa.kernels.mean_leaves`."""
    columns, offset = used_columns(forest.feature, X.shape[1])
    out = np.empty(X.shape[0])

    def walk(first: int) -> None:
        some = slice(first, first + _RANGE)
        _walk(X[some], columns, offset, *forest[1:], out[some])

    map_threads(walk, range(0, X.shape[0], _RANGE))
    return out


def used_columns(feature: np.ndarray, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns that a block holds, and where in it every node finds its own."""
    columns = np.arange(n_features)
    if n_features > _WIDE:
        columns, inverse = np.unique(feature, return_inverse=True)
        feature = inverse.reshape(feature.shape)
    return columns, (feature * BLOCK).astype(np.uint32)


@numba.njit(nogil=True, cache=True)
def _walk(X, columns, offset, threshold, missing_left, leaf, out):
    # pragma: no cover  (compiled)
    n_trees = offset.shape[0]
    block, node, below = make_block(columns.size)
    total = np.empty(BLOCK)
    for start in range(0, X.shape[0], BLOCK):
        n_rows = min(BLOCK, X.shape[0] - start)
        is_complete = transpose(X, start, n_rows, columns, block)
        total[:] = 0.0
        if is_complete:
            for i in range(n_trees):
                _descend_adding(block, offset[i], threshold[i], leaf[i], node, below, total)
        else:
            for i in range(n_trees):
                descend_missing(block, offset[i], threshold[i], missing_left[i], node)
                _add(leaf[i], node, total)
        out[start : start + n_rows] = total[:n_rows] / n_trees


@numba.njit(nogil=True, cache=True)
def make_block(n_columns):  # pragma: no cover  (compiled)
    """Return room for a block of rows and for two nodes of each, aligned to cache lines."""
    room = np.zeros((n_columns + 2) * BLOCK + 16, dtype=np.float32)
    start = (64 - room.ctypes.data % 64) % 64 // room.itemsize
    end = start + n_columns * BLOCK
    nodes = room[end : end + 2 * BLOCK].view(np.uint32)
    return room[start:end], nodes[:BLOCK], nodes[BLOCK:]


@numba.njit(nogil=True, cache=True)
def transpose(X, start, n_rows, columns, block):  # pragma: no cover  (compiled)
    """Write a block of rows feature by feature, and return whether it has no NaN."""
    for r in range(n_rows):
        row = X[start + r]
        for j in range(columns.size):
            block[np.uint64(j * BLOCK + r)] = np.float32(row[columns[j]])
    n_missing = 0
    for value in block:
        n_missing += value != value
    return n_missing == 0


# Unsigned indices: for signed ones the compiler adds a test for negative ones to every access.
@numba.njit(nogil=True, cache=True)
def descend(block, offset, threshold, node, below):  # pragma: no cover  (compiled)
    """Write to `node` in which leaf every row of a block ends, counted in heap order."""
    _descend_to(threshold.size, block, offset, threshold, node, below)


@numba.njit(nogil=True, cache=True)
def _descend_to(end, block, offset, threshold, node, below):  # pragma: no cover  (compiled)
    """Go down to the level whose first node is `end`."""
    _descend_two(block, offset, threshold, node)
    for level in range(2, TOP_LEVELS):
        for r in range(BLOCK):
            below[r] = node[r] << _ONE
        for i in range(1 << level, 2 << level, 4):
            _compare_four(block, offset, threshold, i, node, below)
        node, below = below, node
    first = 1 << TOP_LEVELS
    while first < end:
        for i in range(BLOCK):
            here = np.uint64(node[i])
            value = block[np.uint64(offset[here]) + np.uint64(i)]
            node[i] = np.uint32((here << np.uint64(1)) + np.uint64(value > threshold[here]))
        first *= 2


@numba.njit(nogil=True, cache=True)
def _descend_adding(block, offset, threshold, leaf, node, below, total):
    # pragma: no cover  (compiled)
    """Add to `total` what the leaves are worth in which the rows of a block end."""
    n_leaves = np.uint64(leaf.size)
    if n_leaves == 1 << TOP_LEVELS:
        descend(block, offset, threshold, node, below)
        _add(leaf, node, total)
        return
    _descend_to(leaf.size // 2, block, offset, threshold, node, below)
    for i in range(BLOCK):  # the last level and the leaf in one go: 6 % of the whole walk
        here = np.uint64(node[i])
        value = block[np.uint64(offset[here]) + np.uint64(i)]
        right = np.uint64(value > threshold[here])
        total[i] += leaf[(here << np.uint64(1)) + right - n_leaves]


@numba.njit(nogil=True, cache=True)
def _add(leaf, node, total):  # pragma: no cover  (compiled)
    n_leaves = np.uint32(leaf.size)
    for r in range(BLOCK):
        total[r] += leaf[np.uint32(node[r] - n_leaves)]


@numba.njit(nogil=True, cache=True)
def _descend_two(block, offset, threshold, node):  # pragma: no cover  (compiled)
    x_1, x_2, x_3 = np.uint64(offset[1]), np.uint64(offset[2]), np.uint64(offset[3])
    t_1, t_2, t_3 = threshold[1], threshold[2], threshold[3]
    for i in range(BLOCK):
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
    for i in range(BLOCK):
        r, here, there = np.uint64(i), node[i], below[i]
        there = there + _ONE if (here == n_0) & (block[x_0 + r] > t_0) else there
        there = there + _ONE if (here == n_1) & (block[x_1 + r] > t_1) else there
        there = there + _ONE if (here == n_2) & (block[x_2 + r] > t_2) else there
        there = there + _ONE if (here == n_3) & (block[x_3 + r] > t_3) else there
        below[i] = there


@numba.njit(nogil=True, cache=True)
def descend_missing(block, offset, threshold, missing_left, node):  # pragma: no cover  (compiled)
    """Do the same for a block with NaN."""
    for r in range(BLOCK):
        here = 1
        while here < threshold.size:
            value = block[offset[here] + r]
            right = not missing_left[here] if value != value else value > threshold[here]
            here = 2 * here + right
        node[r] = here
