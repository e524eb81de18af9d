"""Which rows of a block have the smallest keys, without looking at most of them."""

from __future__ import annotations

import math

import numba
import numpy as np

from dask_exa.kernels._hash_numba import below, drawn, tree_seeds, unit

SEGMENT = 2048
"""Row numbers are drawn together in segments of this size, aligned at its multiples."""

_SHORTEST = 256


def draw_keys(
    sampling: tuple[int, int, int],
    first: int,
    n_rows: int,
    log_weight: np.ndarray,
    decay: float,
    capacity: int,
    limits: np.ndarray,
    guess: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `dask_exa.kernels.draw_keys`."""
    seed, stream, n_trees = sampling
    size = max(1, min(capacity, n_rows))
    keys = np.full((n_trees, size), np.inf)
    rows = np.full((n_trees, size), -1)
    counts = np.zeros(n_trees, dtype=np.int64)
    seeds = tree_seeds(np.uint64(seed), np.uint64(stream), n_trees)
    _draw(seeds, first, n_rows, log_weight, decay, limits, guess, keys, rows, counts)
    return keys, rows, counts


@numba.njit(nogil=True, cache=True)
def _draw(seeds, first, n_rows, log_weight, decay, limits, guess, keys, rows, counts):
    # pragma: no cover  (compiled)
    heaviest, n_positive = 0.0, n_rows
    if log_weight.size:
        heaviest, n_positive = -np.inf, 0
        for i in range(n_rows):
            heaviest = max(heaviest, log_weight[i])
            n_positive += log_weight[i] > -np.inf
    needed = min(keys.shape[1], n_positive)
    order = np.arange(SEGMENT)
    swapped = np.empty(SEGMENT, dtype=np.int64)
    for i in range(seeds.size):
        limit = min(limits[i], guess)
        while True:
            counts[i] = _draw_tree(
                seeds[i], first, n_rows, log_weight, heaviest, decay, limit, keys[i], rows[i],
                order, swapped,
            )  # fmt: skip
            if counts[i] >= needed or limit >= limits[i]:
                break
            limit = min(limits[i], limit + 1.5) if limit < guess + 60 else limits[i]


@numba.njit(nogil=True, cache=True)
def _draw_tree(
    seed, first, n_rows, log_weight, heaviest, decay, limit, keys, rows, order, swapped
):  # pragma: no cover  (compiled)
    count, start = 0, first
    while start < first + n_rows:
        low, high = _segment(start)
        last = min(high, first + n_rows) - 1
        scale = heaviest + decay * last
        bound = math.exp(min(limit + scale, 700.0))
        base = drawn(seed, low)
        exponential, j = 0.0, 0
        while j < high - low:
            left = high - low - j
            exponential -= math.log(unit(drawn(base, 2 * j))) / left
            if exponential > bound:
                break
            other = j + below(drawn(base, 2 * j + 1), left)
            place = order[other]
            order[other], order[j] = order[j], place
            swapped[j] = other
            j += 1
            row = low + place
            if row < start or row > last:
                continue
            key = math.log(exponential) - decay * row
            if log_weight.size:
                key -= log_weight[row - first]
            if key < limit:
                count = _keep(key, row - first, keys, rows, count)
                if count == keys.size:
                    limit = min(limit, keys[0])
                    bound = math.exp(min(limit + scale, 700.0))
        for i in range(j):
            order[i] = i
            order[swapped[i]] = swapped[i]
        start = last + 1
    return count


@numba.njit(nogil=True, cache=True)
def _segment(row):  # pragma: no cover  (compiled)
    """Return the range of row numbers that are drawn together with this one.

    The first ones are shorter: a stream of single rows would draw a whole segment for each.
    """
    if row >= SEGMENT:
        low = row - row % SEGMENT
        return low, low + SEGMENT
    high = _SHORTEST
    while high <= row:
        high *= 2
    return (high // 2 if high > _SHORTEST else 0), high


@numba.njit(nogil=True, cache=True)
def _keep(key, row, keys, rows, count):  # pragma: no cover  (compiled)
    """Put a row on the heap whose top has the largest key, if need be instead of that one."""
    if count < keys.size:
        i = count
        while i > 0 and keys[(i - 1) // 2] < key:
            keys[i], rows[i] = keys[(i - 1) // 2], rows[(i - 1) // 2]
            i = (i - 1) // 2
        count += 1
    else:
        i = 0
        while 2 * i + 1 < count:
            child = 2 * i + 1
            if child + 1 < count and keys[child + 1] > keys[child]:
                child += 1
            if keys[child] <= key:
                break
            keys[i], rows[i] = keys[child], rows[child]
            i = child
    keys[i], rows[i] = key, row
    return count
