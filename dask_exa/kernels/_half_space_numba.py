"""Half-space trees on the CPU; counting is the twin of `_half_space_cupy`.

Counting walks as scoring does, see `_paths_numba`, on threads over groups of trees: every count
belongs to one thread and grows in the order of the rows.
"""

from __future__ import annotations

import numba
import numpy as np

from dask_exa._threads import available_threads, map_threads
from dask_exa.kernels._hash_numba import below, drawn, tree_seeds, unit
from dask_exa.kernels._paths_numba import (
    BLOCK,
    descend,
    descend_missing,
    make_block,
    transpose,
    used_columns,
)
from dask_exa.kernels.forest import Forest, blank

_STREAM = np.uint64(0x68616C66)
"""Keeps the draws of the cuts apart from all others of the same seed."""

_UNIT_WEIGHTS = np.empty(0)
_MARGIN = 0.15


def grow_half_spaces(
    low: np.ndarray, high: np.ndarray, seed: int, n_trees: int, max_depth: int
) -> Forest:
    """See `dask_exa.kernels.grow_half_spaces`."""
    forest = blank(n_trees, max_depth)
    forest.missing_left[:] = 0
    varying = np.flatnonzero(high > low)
    if varying.size == 0:
        varying, high = np.arange(low.size), low + 1.0
    seeds = tree_seeds(np.uint64(seed), _STREAM, n_trees)
    _grow(seeds, low, high, varying, forest.feature, forest.threshold)
    return forest


def leaf_counts(X: np.ndarray, sample_weight: np.ndarray | None, forest: Forest) -> np.ndarray:
    """See `dask_exa.kernels.leaf_counts`."""
    weight = _UNIT_WEIGHTS if sample_weight is None else sample_weight
    columns, offset = used_columns(forest.feature, X.shape[1])
    n_trees = offset.shape[0]
    counts = np.zeros(offset.shape)
    size = -(-n_trees // min(n_trees, available_threads()))

    def count(first: int) -> None:
        some = slice(first, first + size)
        _count(X, weight, columns, offset[some], forest.threshold[some],
               forest.missing_left[some], counts[some])  # fmt: skip

    map_threads(count, range(0, n_trees, size))
    return counts


def leaf_scores(masses: np.ndarray, max_depth: int, limit: float, in_logarithm: bool) -> np.ndarray:
    """See `dask_exa.kernels.leaf_scores`."""
    scores = np.empty(masses.shape, dtype=np.float32)
    _score(masses, max_depth, limit, in_logarithm, scores)
    return scores


@numba.njit(nogil=True, cache=True)
def _grow(seeds, low, high, varying, feature, threshold):  # pragma: no cover  (compiled)
    for i in range(seeds.size):
        ranges = drawn(seeds[i], 0)
        for node in range(1, feature.shape[1]):
            base = drawn(seeds[i], node)
            j = varying[below(drawn(base, 0), varying.size)]
            s = low[j] + unit(drawn(ranges, j)) * (high[j] - low[j])
            half = max(s - low[j], high[j] - s)
            start, stop = _part(node, j, feature[i], threshold[i], s - half, s + half)
            share = _MARGIN + (1.0 - 2.0 * _MARGIN) * unit(drawn(base, 1))
            feature[i, node] = j
            threshold[i, node] = np.float32(start + share * (stop - start))


@numba.njit(nogil=True, cache=True)
def _part(node, j, feature, threshold, start, stop):  # pragma: no cover  (compiled)
    """Return the part of a work range of feature j that the cuts above a node have left."""
    has_start, has_stop = False, False
    while node > 1:
        is_right, node = node & 1, node >> 1
        if feature[node] != j:
            continue
        if is_right and not has_start:
            start, has_start = np.float64(threshold[node]), True
        elif not is_right and not has_stop:
            stop, has_stop = np.float64(threshold[node]), True
    return start, stop


@numba.njit(nogil=True, cache=True)
def _count(X, weight, columns, offset, threshold, missing_left, counts):
    # pragma: no cover  (compiled)
    n_leaves = np.uint64(offset.shape[1])
    block, node, spare = make_block(columns.size)
    for start in range(0, X.shape[0], BLOCK):
        n_rows = min(BLOCK, X.shape[0] - start)
        is_complete = transpose(X, start, n_rows, columns, block)
        for i in range(offset.shape[0]):
            if is_complete:
                descend(block, offset[i], threshold[i], node, spare)
            else:
                descend_missing(block, offset[i], threshold[i], missing_left[i], node)
            own = counts[i]
            if weight.size:
                for r in range(n_rows):
                    own[np.uint64(node[r]) - n_leaves] += weight[start + r]
            else:
                for r in range(n_rows):
                    own[np.uint64(node[r]) - n_leaves] += 1.0


@numba.njit(nogil=True, cache=True)
def _score(masses, max_depth, limit, in_logarithm, scores):  # pragma: no cover  (compiled)
    n_trees, n_leaves = masses.shape
    mass, worth = np.empty(2 * n_leaves), np.empty(2 * n_leaves)
    is_decided = np.empty(2 * n_leaves, dtype=np.bool_)
    is_decided[0] = False
    for i in range(n_trees):
        mass[n_leaves:] = masses[i]
        for node in range(n_leaves - 1, 0, -1):
            mass[node] = mass[2 * node] + mass[2 * node + 1]
        depth = 0
        for node in range(1, 2 * n_leaves):
            depth += node >> (depth + 1)  # a new level starts at every power of two
            is_decided[node] = is_decided[node >> 1]
            worth[node] = worth[node >> 1]
            if not is_decided[node] and (mass[node] <= limit or depth == max_depth):
                is_decided[node] = True
                m = mass[node]
                worth[node] = np.log2(m + 0.5) + depth if in_logarithm else m * 2.0**depth
        scores[i] = worth[n_leaves:]
