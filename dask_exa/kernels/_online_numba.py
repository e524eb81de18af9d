"""Learning and forgetting rows, one after the other; on the host alone, where the trees live.

The cuts of a tree change with a few rows in a thousand. A run of rows is therefore walked through
the tree together, level by level; then they are counted one by one, and when one of them makes or
undoes a cut, the walk of those behind it is done again.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from dask_exa._threads import available_threads, map_threads
from dask_exa.kernels._hash_numba import drawn, unit
from dask_exa.kernels._online_cut_numba import collapse, leaf_depths, n_levels, split
from dask_exa.kernels.forest import Forest
from dask_exa.kernels.online_forest import Growth, OnlineForest

_RANGE = 4096
"""Rows that all trees learn before any goes on: they stay in the cache that long."""
_STEPS = 64
_NEVER = np.iinfo(np.int64).max
_ONE = np.uint32(1)


class Tree(NamedTuple):
    """One tree of a forest, and what is derived from its cuts."""

    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    counts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    depth: np.ndarray
    """For every place the depth of the leaf that it belongs to."""
    most: np.ndarray
    """For the first place of every leaf the rows at which it may split."""
    least: np.ndarray
    """For every node the rows that keep it cut."""


def learn_rows(
    forest: OnlineForest, rows: np.ndarray, n_known: int, growth: Growth
) -> OnlineForest:
    """See `dask_exa.kernels.learn_rows`."""
    forest = OnlineForest(*map(np.copy, forest))
    n_trees = -(-forest.seed.size // available_threads())
    for start in range(n_known, rows.shape[0], _RANGE):
        first = max(0, start - growth.window_size)
        part = rows[first : start + _RANGE]
        steps = np.repeat(np.arange(start - first, part.shape[0]), 2)
        steps[::2] -= growth.window_size

        def learn(tree: int, part: np.ndarray = part, steps: np.ndarray = steps) -> None:
            some = [field[tree : tree + n_trees] for field in forest]
            _update(part, steps, steps[1], *growth, *some)

        map_threads(learn, range(0, forest.seed.size, n_trees))
        forest.position[:] += steps.size // 2
    return forest


def forget_rows(forest: OnlineForest, rows: np.ndarray, n_old: int, growth: Growth) -> OnlineForest:
    """See `dask_exa.kernels.forget_rows`."""
    forest = OnlineForest(*map(np.copy, forest))
    steps = np.repeat(np.arange(n_old), 2)
    steps[1::2] = -1
    _update(rows, steps, rows.shape[0], *growth, *forest)
    return forest


def read_online(forest: OnlineForest, max_leaf_samples: int) -> tuple[Forest, np.ndarray]:
    """See `dask_exa.kernels.read_online`."""
    leaf = np.empty(forest.threshold.shape, dtype=np.float32)
    even = np.empty(forest.seed.size, dtype=np.float32)
    _read(forest.threshold, forest.counts, max_leaf_samples, leaf, even)
    return Forest(forest.feature, forest.threshold, forest.missing_left, leaf), even


@numba.njit(nogil=True, cache=True)
def _update(
    rows, steps, n_known, window_size, subsample, split_at, tree_above,
    seed, position, feature, threshold, missing_left, counts, low, high,
):  # fmt: skip  # pragma: no cover  (compiled)
    """Let every tree forget and learn in turn the rows whose places are in `steps`.

    Places below zero stand for no row. Row `n_known` has the number that the tree is at.
    """
    growth = Growth(window_size, subsample, split_at, tree_above)
    first_value = np.maximum(steps, 0).astype(np.uint64) * np.uint64(rows.shape[1])
    is_complete = not np.isnan(rows).any()
    end = np.empty(steps.size, dtype=np.uint32)
    for i in range(seed.size):
        most, least = np.empty_like(counts[i, : low.shape[1]]), np.full_like(counts[i], -_NEVER)
        tree = Tree(
            feature[i], threshold[i], missing_left[i], counts[i], low[i], high[i],
            leaf_depths(threshold[i]), most, least,
        )  # fmt: skip
        number = position[i] - n_known
        step, changed = 0, True
        while step < steps.size:
            if changed:
                deepest = _fill_limits(tree, split_at)
            last = min(steps.size, step + _STEPS)
            _walk(rows.reshape(-1), first_value, step, last, tree, deepest, is_complete, end)
            step, changed = _apply(
                rows, steps, step, last, tree, deepest, end, seed[i], number, growth
            )
        for node in range(2, 2 * threshold.shape[1]):
            if threshold[i, node >> 1] == np.inf:
                counts[i, node] = 0


@numba.njit(nogil=True, cache=True)
def _fill_limits(tree, split_at):  # pragma: no cover  (compiled)
    """Write at how many rows the tree changes, and return its depth.

    On that level, the nodes below leaves get the counts of their leaves.
    """
    for level in range(split_at.size):
        for node in range(1 << level, 2 << level):
            tree.least[node] = split_at[level] if tree.threshold[node] < np.inf else -_NEVER
    n_places, deepest = tree.depth.size, tree.depth.max()
    levels, place = n_levels(n_places), 0
    while place < n_places:
        level = tree.depth[place]
        tree.most[place] = split_at[level] if level < split_at.size else _NEVER
        end = n_places + place
        tree.counts[end >> (levels - deepest)] = tree.counts[end >> (levels - level)]
        place += n_places >> level
    return deepest


# Unsigned indices: for signed ones the compiler adds a test for negative ones to every access.
@numba.njit(nogil=True, cache=True)
def _walk(values, first_value, first, last, tree, deepest, is_complete, end):
    # pragma: no cover  (compiled)
    """Write for some steps the node of the deepest level that their rows fall into."""
    feature, threshold, missing_left = tree.feature, tree.threshold, tree.missing_left
    end[first:last] = 1
    for _ in range(deepest):
        if is_complete:
            for i in range(first, last):
                s = np.uint64(i)
                node = end[s]
                value = values[first_value[s] + np.uint64(feature[node])]
                end[s] = (node << _ONE) + np.uint32(value > threshold[node])
            continue
        for i in range(first, last):
            s = np.uint64(i)
            node = end[s]
            value = values[first_value[s] + np.uint64(feature[node])]
            right = (value > threshold[node]) | ((value != value) & (missing_left[node] == 0))
            end[s] = (node << _ONE) + np.uint32(right)


@numba.njit(nogil=True, cache=True)
def _apply(rows, steps, first, last, tree, deepest, end, seed, number, growth):
    # pragma: no cover  (compiled)
    """Forget and learn until a cut is made or undone; return the step after that, and whether."""
    subsample, counts, least, most = growth.subsample, tree.counts, tree.least, tree.most
    low, high, n_places = tree.low, tree.high, np.uint32(tree.low.shape[0])
    below = np.uint32(n_levels(n_places) - deepest)
    for s in range(first, last):
        r, here = steps[s], end[np.uint64(s)]
        if r < 0 or (subsample < 1 and unit(drawn(seed, number + r)) > subsample):
            continue
        if s % 2 == 0:
            thin = False
            for up in range(deepest + 1):
                node = here >> np.uint32(up)
                counts[node] -= 1
                thin |= counts[node] < least[node]
            if thin:
                _collapse_above(here, deepest, tree)
                return s + 1, True
            continue
        for up in range(deepest + 1):
            counts[here >> np.uint32(up)] += 1
        place, row = (here << below) - n_places, np.uint64(r)
        for j in range(low.shape[1]):
            value = rows[row, j]
            low[place, j] = value if value < low[place, j] else low[place, j]
            high[place, j] = value if value > high[place, j] else high[place, j]
        if counts[here] < most[place] or counts[1] <= growth.tree_above[tree.depth[place]]:
            continue
        if split(here, deepest, tree, drawn(seed, number + r)):
            return s + 1, True
    return last, False


@numba.njit(nogil=True, cache=True)
def _collapse_above(end, deepest, tree):  # pragma: no cover  (compiled)
    """Undo the uppermost cut above a node that has too few rows."""
    level, node = 0, np.uint32(1)
    while tree.counts[node] >= tree.least[node]:
        level += 1
        node = end >> np.uint32(deepest - level)
    collapse(np.int64(node), level, tree)


@numba.njit(nogil=True, cache=True)
def _read(threshold, counts, max_leaf_samples, leaf, even):  # pragma: no cover  (compiled)
    n_trees, n_places = threshold.shape
    levels = n_levels(n_places)
    for i in range(n_trees):
        even[i] = np.log2(max(1.0, counts[i, 1] / max_leaf_samples))
        depth = leaf_depths(threshold[i])
        for place in range(n_places):
            n_rows = counts[i, (n_places + place) >> (levels - depth[place])]
            leaf[i, place] = depth[place] + np.log2(max(1.0, n_rows / max_leaf_samples))
