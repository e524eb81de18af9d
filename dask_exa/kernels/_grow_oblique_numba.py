"""Growing isolation trees that cut obliquely; on the host alone, as `_grow_numba`."""

from __future__ import annotations

import math

import numba
import numpy as np

from dask_exa.kernels._grow_numba import (
    THIN,
    choose_features,
    fill_leaves,
    grow_groups,
    growth_seeds,
)
from dask_exa.kernels._hash_numba import below, drawn, unit
from dask_exa.kernels.forest import BOUND, ObliqueForest, blank_oblique

_TREES = 4
_DRAWS = 4
"""Random numbers of every feature of a cut: which one, its normal (2), its intercept."""


def grow_trees(
    rows: np.ndarray,
    members: np.ndarray,
    trees: np.ndarray,
    seed: int,
    n_features: int,
    n_cut: int,
    max_depth: int,
    with_density: bool,
) -> tuple[ObliqueForest, np.ndarray]:
    """See `dask_exa.kernels.grow_oblique_trees`."""
    shared = n_cut == n_features
    forest = blank_oblique(trees.size, max_depth, rows.shape[1], n_cut, shared=shared)
    seeds, fixed = growth_seeds(seed, trees), (n_features, max_depth)
    return grow_groups(_grow, _TREES, rows, members, seeds, fixed, forest, with_density)


@numba.njit(nogil=True, cache=True)
def _grow(
    rows, members, seeds, n_features, max_depth, feature, normal, threshold, missing, leaf, density
):  # pragma: no cover  (compiled)
    n_kept = members.shape[1]
    some = np.arange(rows.shape[1])
    own = np.empty((n_features, n_kept), np.float32)
    for i in range(members.shape[0]):
        choose_features(seeds[i], some, n_features)
        used = np.sort(some[:n_features])
        _read(rows, members[i], used, own, missing[i])
        if feature.shape[1] == 1:
            feature[i, 0] = used
        _grow_tree(
            own, used, seeds[i], max_depth,
            feature[i], normal[i], threshold[i], leaf[i], density[i],
        )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _read(rows, members, used, own, missing):  # pragma: no cover  (compiled)
    """Copy the values that a tree uses, with the mean of the finite ones in the place of NaN."""
    for q in range(used.size):
        total, n_finite = 0.0, 0
        for i in range(members.size):
            value = rows[members[i], used[q]]
            if abs(value) <= BOUND:
                total += value
                n_finite += 1
        mean = np.float32(total / max(n_finite, 1))
        missing[used[q]] = mean
        for i in range(members.size):
            value = rows[members[i], used[q]]
            own[q, i] = mean if value != value else min(max(value, -BOUND), BOUND)


@numba.njit(nogil=True, cache=True)
def _grow_tree(
    own, used, seed, max_depth, feature, normal, threshold, leaf, density
):  # pragma: no cover  (compiled)
    n_used, n_kept = own.shape
    low, high, spread = np.empty(n_used), np.empty(n_used), np.empty(n_used)
    place, sums = np.empty(n_used, np.int64), np.empty(n_kept, np.float32)
    stack = np.empty((max_depth + 2, 4), dtype=np.int64)
    stack[0] = (1, 0, n_kept, 0)
    log_density = np.zeros(max_depth + 2)
    height = 1
    while height > 0:
        height -= 1
        node, start, end, depth = stack[height]
        dense = log_density[height]
        n_varying = 0
        if depth < max_depth and end - start > 1:
            n_varying = _measure(own, start, end, low, high, spread, place)
        if n_varying == 0:
            fill_leaves(node, end - start, depth, dense, leaf, density)
            continue
        on = 0 if feature.shape[0] == 1 else node
        threshold[node], share = _draw_cut(
            drawn(seed, node), used, n_varying, low, high, spread, place, feature[on], normal[node]
        )
        _project(own, used, start, end, feature[on], normal[node], sums)
        middle = _part(own, start, end, threshold[node], sums)
        stack[height] = (2 * node + 1, middle, end, depth + 1)
        stack[height + 1] = (2 * node, start, middle, depth + 1)
        if density.size > 0:
            log_density[height] = dense + _denser(end - middle, end - start, 1 - share)
            log_density[height + 1] = dense + _denser(middle - start, end - start, share)
        height += 2


@numba.njit(nogil=True, cache=True)
def _measure(own, start, end, low, high, spread, place):  # pragma: no cover  (compiled)
    """Measure every feature in a node, and list the places of those that vary."""
    n_varying = 0
    for q in range(own.shape[0]):
        values = own[q, start:end]
        least, most, total = values[0], values[0], 0.0
        for value in values:
            least, most = min(least, value), max(most, value)
            total += value
        if least == most:
            continue
        mean, square = total / values.size, 0.0
        for value in values:
            square += (value - mean) ** 2
        low[q], high[q], spread[q] = least, most, math.sqrt(square / values.size)
        place[n_varying] = q
        n_varying += 1
    return n_varying


@numba.njit(nogil=True, cache=True)
def _draw_cut(
    base, used, n_varying, low, high, spread, place, feature, normal
):  # pragma: no cover  (compiled)
    """Draw a normal and a point of the box; return the threshold and where in the box it is."""
    n_cut = min(normal.size, n_varying)
    is_shared = normal.size == used.size
    exact, points = np.zeros(normal.size), np.zeros(normal.size)
    largest = 1e-300
    for k in range(n_cut):
        other = k + below(drawn(base, _DRAWS * k), n_varying - k)
        place[k], place[other] = place[other], place[k]
        q = place[k]
        slot = q if is_shared else k
        feature[slot] = used[q]
        exact[slot] = _gaussian(drawn(base, _DRAWS * k + 1), drawn(base, _DRAWS * k + 2))
        exact[slot] /= spread[q]
        points[slot] = low[q] + unit(drawn(base, _DRAWS * k + 3)) * (high[q] - low[q])
        largest = max(largest, abs(exact[slot]))
    cut, least, most = 0.0, 0.0, 0.0
    for k in range(n_cut):
        q = place[k]
        slot = q if is_shared else k
        normal[slot] = exact[slot] / largest
        cut += normal[slot] * points[slot]
        ends = normal[slot] * low[q], normal[slot] * high[q]
        least, most = least + min(ends), most + max(ends)
    share = (cut - least) / (most - least) if least < most else 0.5
    return np.float32(cut), min(max(share, THIN), 1 - THIN)


@numba.njit(nogil=True, cache=True)
def _gaussian(first, second):  # pragma: no cover  (compiled)
    """Return a normal variable (Box and Muller)."""
    return math.sqrt(-2 * math.log(unit(first))) * math.cos(2 * math.pi * unit(second))


@numba.njit(nogil=True, cache=True)
def _project(own, used, start, end, feature, normal, sums):  # pragma: no cover  (compiled)
    sums[start:end] = 0.0
    for k in range(normal.size):
        if normal[k] != 0:
            values = own[np.searchsorted(used, np.int64(feature[k]))]
            for i in range(start, end):
                sums[i] += normal[k] * values[i]


@numba.njit(nogil=True, cache=True)
def _part(own, start, end, cut, sums):  # pragma: no cover  (compiled)
    low, high = start, end
    while low < high:
        if sums[low] <= cut:
            low += 1
            continue
        high -= 1
        sums[low], sums[high] = sums[high], sums[low]
        for q in range(own.shape[0]):
            own[q, low], own[q, high] = own[q, high], own[q, low]
    return low


@numba.njit(nogil=True, cache=True)
def _denser(part, count, share):  # pragma: no cover  (compiled)
    """Return how much denser a part is than its node; no row at all counts as half a one."""
    return math.log(max(part, 0.5) / count / share)
