"""Making and undoing cuts of an online tree; the part of `_online_numba` that is rarely run."""

from __future__ import annotations

import math

import numba
import numpy as np

from dask_exa.kernels._hash_numba import below, drawn, unit


@numba.njit(nogil=True, cache=True)
def n_levels(n_places):  # pragma: no cover  (compiled)
    """Return the base-2 logarithm of a power of 2."""
    levels = 0
    while 1 << levels < n_places:
        levels += 1
    return levels


@numba.njit(nogil=True, cache=True)
def leaf_depths(threshold):  # pragma: no cover  (compiled)
    """Return for every place the depth of the leaf that it belongs to."""
    depth = np.zeros(threshold.size, dtype=np.int64)
    levels = n_levels(threshold.size)
    for place in range(threshold.size):
        node = 1
        while node < threshold.size and threshold[node] < np.inf:
            depth[place] += 1
            node = (threshold.size + place) >> (levels - depth[place])
    return depth


@numba.njit(nogil=True, cache=True)
def collapse(node, level, tree):  # pragma: no cover  (compiled)
    """Make an inner node a leaf again, whose box is the union of those below it."""
    n_places = tree.threshold.size
    span = n_places >> level
    first = node * span - n_places
    place = first + (n_places >> tree.depth[first])
    while place < first + span:
        for j in range(tree.low.shape[1]):
            tree.low[first, j] = min(tree.low[first, j], tree.low[place, j])
            tree.high[first, j] = max(tree.high[first, j], tree.high[place, j])
            tree.low[place, j], tree.high[place, j] = np.inf, -np.inf
        place += n_places >> tree.depth[place]
    tree.depth[first : first + span] = level
    width = 1
    while node < n_places:
        tree.feature[node : node + width] = 0
        tree.threshold[node : node + width] = np.inf
        tree.missing_left[node : node + width] = 1
        node, width = 2 * node, 2 * width


@numba.njit(nogil=True, cache=True)
def split(end, deepest, tree, draws):  # pragma: no cover  (compiled)
    """Cut the leaf above a node as if its rows were uniform in its box; return whether it could.

    Of the rows only the numbers and the boxes of both parts matter; these are drawn, not the rows.
    """
    n_places = tree.threshold.size
    place = np.int64(end) * (n_places >> deepest) - n_places
    chosen = _varying_feature(tree.low[place], tree.high[place], drawn(draws, 0))
    if chosen < 0:
        return False
    leaf = np.int64(end) >> (deepest - tree.depth[place])
    n_rows, share = tree.counts[leaf], unit(drawn(draws, 1))
    n_left = 1
    for i in range(n_rows - 2):  # the rows that are neither the first nor the last
        n_left += unit(drawn(draws, i + 4)) <= share
    low, high = np.float64(tree.low[place, chosen]), np.float64(tree.high[place, chosen])
    ends = drawn(draws, 2)
    first, last = _extent(low, high, n_rows, ends)
    cut = first + share * (last - first)
    tree.feature[leaf], tree.threshold[leaf] = chosen, _rounded_down(cut)
    tree.missing_left[leaf] = 2 * n_left >= n_rows
    tree.counts[2 * leaf], tree.counts[2 * leaf + 1] = n_left, n_rows - n_left
    half = (n_places >> tree.depth[place]) // 2
    tree.depth[place : place + 2 * half] += 1
    _part_box(tree.low, tree.high, place, place + half, n_left, n_rows - n_left, drawn(draws, 3))
    tree.low[place, chosen], tree.high[place + half, chosen] = first, last
    left = first + _largest(n_left - 1, drawn(ends, 2)) * (cut - first)
    right = last - _largest(n_rows - n_left - 1, drawn(ends, 3)) * (last - cut)
    tree.high[place, chosen], tree.low[place + half, chosen] = left, right
    return True


@numba.njit(nogil=True, cache=True)
def _varying_feature(low, high, bits):  # pragma: no cover  (compiled)
    """Return one of the features that vary in a box, or -1 if none does."""
    n_varying = 0
    for j in range(low.size):
        n_varying += low[j] < high[j]
    left = below(bits, n_varying)
    for j in range(low.size):
        if low[j] < high[j]:
            if left == 0:
                return j
            left -= 1
    return -1


@numba.njit(nogil=True, cache=True)
def _part_box(low, high, place, other, n_left, n_right, draws):  # pragma: no cover  (compiled)
    """Write the boxes of so many rows that are uniform in the box at `place`."""
    for j in range(low.shape[1]):
        first, last = np.float64(low[place, j]), np.float64(high[place, j])
        if first <= last:
            own = drawn(draws, j)
            low[place, j], high[place, j] = _extent(first, last, n_left, drawn(own, 0))
            low[other, j], high[other, j] = _extent(first, last, n_right, drawn(own, 1))


@numba.njit(nogil=True, cache=True)
def _extent(low, high, count, draws):  # pragma: no cover  (compiled)
    """Return the smallest and the largest of some numbers, uniform between two."""
    smallest = 1 - _largest(count, drawn(draws, 0))
    largest = smallest + (1 - smallest) * _largest(count - 1, drawn(draws, 1))
    return low + smallest * (high - low), low + largest * (high - low)


@numba.njit(nogil=True, cache=True)
def _largest(count, bits):  # pragma: no cover  (compiled)
    """Return the largest of some numbers, uniform between 0 and 1; 0 if there is none."""
    return math.exp(math.log(unit(bits)) / count) if count > 0 else 0.0


@numba.njit(nogil=True, cache=True)
def _rounded_down(value):  # pragma: no cover  (compiled)
    rounded = np.float32(value)
    return np.nextafter(rounded, np.float32(-np.inf)) if rounded > value else rounded
