"""Growing isolation trees; on the host alone, where the samples that they grow from are."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from dask_exa._threads import map_threads
from dask_exa.kernels._hash_numba import below, drawn, tree_seeds, unit
from dask_exa.kernels.forest import Forest, blank

_TREES = 16
_LARGEST = float(np.finfo(np.float32).max)
THIN = 1e-3
"""A part that is thinner than this share of its node counts as if it were this thick."""
_GROWTH = 0x67726F77
"""Keeps the draws of the trees apart from those of the samples they grow from."""


def grow_trees(
    rows: np.ndarray,
    members: np.ndarray,
    trees: np.ndarray,
    seed: int,
    n_features: int,
    max_depth: int,
    with_density: bool,
) -> tuple[Forest, np.ndarray]:
    """See `dask_exa.kernels.grow_trees`."""
    forest, seeds = blank(trees.size, max_depth), growth_seeds(seed, trees)
    fixed = n_features, max_depth
    return grow_groups(_grow, _TREES, rows, members, seeds, fixed, forest, with_density)


def grow_groups(
    kernel: Any,
    size: int,
    rows: np.ndarray,
    members: np.ndarray,
    seeds: np.ndarray,
    fixed: tuple[int, int],
    forest: Any,
    with_density: bool,
) -> tuple[Any, np.ndarray]:
    """Let a compiled kernel fill a blank forest, on threads over groups of trees."""
    density = np.zeros_like(forest.leaf[:, : None if with_density else 0])

    def grow(first: int) -> None:
        some = slice(first, first + size)
        out = [field[some] for field in (*forest, density)]
        kernel(rows, members[some], seeds[some], *fixed, *out)

    map_threads(grow, range(0, seeds.size, size))
    return forest, density


def growth_seeds(seed: int, trees: np.ndarray) -> np.ndarray:
    """Return the seeds of the trees of these numbers."""
    n_trees = int(trees.max(initial=-1)) + 1
    return tree_seeds(np.uint64(seed), np.uint64(_GROWTH), n_trees)[trees]


@numba.njit(nogil=True, cache=True)
def _grow(
    rows, members, seeds, n_features, max_depth, feature, threshold, missing_left, leaf, density
):  # pragma: no cover  (compiled)
    n_kept = members.shape[1]
    some = np.arange(rows.shape[1])
    index, values = np.empty(n_kept, np.int64), np.empty(n_kept, np.float32)
    for i in range(members.shape[0]):
        index[:] = members[i]
        choose_features(seeds[i], some, n_features)
        _grow_tree(
            rows, index, values, seeds[i], some[:n_features], max_depth,
            feature[i], threshold[i], missing_left[i], leaf[i], density[i],
        )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def choose_features(seed, some, n_features):  # pragma: no cover  (compiled)
    """Put the features that a tree may use first."""
    some[:] = np.arange(some.size)
    if n_features < some.size:
        for j in range(n_features):
            other = j + below(drawn(drawn(seed, 0), j), some.size - j)
            some[j], some[other] = some[other], some[j]


@numba.njit(nogil=True, cache=True)
def _grow_tree(
    rows, index, values, seed, some, max_depth, feature, threshold, missing_left, leaf, density
):  # pragma: no cover  (compiled)
    stack = np.empty((max_depth + 2, 4), dtype=np.int64)
    stack[0] = (1, 0, index.size, 0)
    log_density = np.zeros(max_depth + 2)
    height = 1
    while height > 0:
        height -= 1
        node, start, end, depth = stack[height]
        dense, share = log_density[height], 0.5
        middle = start
        if depth < max_depth and end - start > 1:
            middle, feature[node], threshold[node], missing_left[node], share = _split(
                rows, index, values, start, end, drawn(seed, node), some
            )
        if middle == start:
            fill_leaves(node, end - start, depth, dense, leaf, density)
        else:
            stack[height] = (2 * node + 1, middle, end, depth + 1)
            stack[height + 1] = (2 * node, start, middle, depth + 1)
            if density.size > 0:
                count = end - start
                log_density[height] = dense + math.log((end - middle) / count / (1 - share))
                log_density[height + 1] = dense + math.log((middle - start) / count / share)
            height += 2


@numba.njit(nogil=True, cache=True)
def fill_leaves(node, count, depth, dense, leaf, density):  # pragma: no cover  (compiled)
    """End a branch: all leaves below a node are worth the same."""
    low = high = node
    while low < leaf.size:
        low, high = 2 * low, 2 * high + 1
    some = slice(low - leaf.size, high + 1 - leaf.size)
    leaf[some] = depth + _mean_path(count)
    if density.size > 0:
        density[some] = dense


@numba.njit(nogil=True, cache=True)
def _split(rows, index, values, start, end, base, some):  # pragma: no cover  (compiled)
    """Cut some rows in two at random; the place of the cut is `start` where nothing varies."""
    left = some.size
    draws = 0
    while left > 0:
        j = below(drawn(base, draws), left)
        left -= 1
        chosen = some[j]
        some[j], some[left] = some[left], some[j]
        low, high, n_missing = _range(rows, index, values, start, end, chosen)
        if n_missing == end - start or (low == high and n_missing == 0):
            draws += 1
            continue
        cut = _between(low, high, unit(drawn(base, draws + 1)))
        to_left = drawn(base, draws + 2) >> np.uint64(63) != 0
        draws += 3
        middle = _part(index, values, start, end, cut, to_left)
        if middle in (start, end):
            continue
        if n_missing == 0:
            to_left = middle - start > end - middle
        share = (cut - low) / (high - low) if low < high else 0.5
        return middle, np.uint32(chosen), cut, np.uint8(to_left), min(max(share, THIN), 1 - THIN)
    return start, np.uint32(0), np.float32(np.inf), np.uint8(1), 0.5


@numba.njit(nogil=True, cache=True)
def _range(rows, index, values, start, end, chosen):  # pragma: no cover  (compiled)
    """Read a feature and return its smallest and largest value, and how many are missing."""
    low, high, n_missing = _LARGEST, -_LARGEST, 0
    for i in range(start, end):
        value = rows[index[i], chosen]
        values[i] = value
        if value != value:
            n_missing += 1
        else:
            low, high = min(low, value), max(high, value)
    return max(low, -_LARGEST), min(high, _LARGEST), n_missing


@numba.njit(nogil=True, cache=True)
def _between(low, high, share):  # pragma: no cover  (compiled)
    """Return a float32 in [low, high), or `low`: a draw in float64, rounded down."""
    exact = low + share * (high - low)
    cut = np.float32(exact)
    if cut > exact:
        cut = np.nextafter(cut, np.float32(-np.inf))
    return cut if low <= cut < high else np.float32(low)


@numba.njit(nogil=True, cache=True)
def _part(index, values, start, end, cut, to_left):  # pragma: no cover  (compiled)
    low, high = start, end
    while low < high:
        value = values[low]
        if value <= cut or (to_left and value != value):
            low += 1
        else:
            high -= 1
            index[low], index[high] = index[high], index[low]
            values[low], values[high] = values[high], value
    return low


@numba.njit(nogil=True, cache=True)
def _mean_path(count):  # pragma: no cover  (compiled)
    """Return the mean length of a path that isolates one of `count` samples."""
    if count <= 2:
        return max(0.0, count - 1.0)
    return 2 * (math.log(count - 1.0) + np.euler_gamma) - 2 * (count - 1.0) / count
