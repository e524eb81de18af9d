"""Which rows of a block have the smallest keys, without looking at most of them."""

from __future__ import annotations

import math

import numba
import numpy as np

from dask_exa.kernels._hash_numba import below, drawn, tree_seeds, unit

SEGMENT = 2048
"""Row numbers are drawn together in segments of this size, aligned at its multiples."""

_SHORTEST = 256
_FEW = 16


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
    keys = np.empty((n_trees, size))
    rows = np.empty((n_trees, size), dtype=np.int64)
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


def keep_rows(
    kept: tuple[np.ndarray, np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    n_kept: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """See `dask_exa.kernels.keep_rows`."""
    rows, old_keys, old_members = kept
    n_old = rows.shape[0]
    keys = np.empty((old_keys.shape[0], n_kept))
    members = np.empty(keys.shape, dtype=np.int64)
    new = np.empty(_unite(old_keys, old_members, *found, n_old, keys, members), dtype=np.int64)
    used = _in_use(members.ravel(), n_old, new)
    new.sort()
    n_used, taken = _renumber(members.ravel(), used, new)
    united = np.empty((n_used + taken.size, rows.shape[1]), dtype=rows.dtype)
    _copy(rows, used, united)
    return united, keys, members, taken


@numba.njit(nogil=True, cache=True)
def _unite(old_keys, old_members, new_keys, new_rows, counts, n_old, keys, members):
    # pragma: no cover  (compiled)
    """Merge two lists of keys per tree; new rows are numbered behind all old ones, and counted."""
    n_before, n_kept = old_keys.shape[1], keys.shape[1]
    n_new = 0
    for i in range(keys.shape[0]):
        if counts[i] == 0:
            for k in range(n_kept):
                keys[i, k], members[i, k] = old_keys[i, k], old_members[i, k]
            continue
        own_keys, own_rows = new_keys[i, : counts[i]], new_rows[i, : counts[i]]
        _sort(own_keys, own_rows)
        old, new = 0, 0
        for k in range(n_kept):
            is_new = old == n_before
            if not is_new and new < counts[i]:
                is_new = own_keys[new] < old_keys[i, old]
            if is_new:
                keys[i, k], members[i, k] = own_keys[new], n_old + own_rows[new]
                new += 1
            else:
                keys[i, k], members[i, k] = old_keys[i, old], old_members[i, old]
                old += 1
        n_new += new
    return n_new


@numba.njit(nogil=True, cache=True)
def _sort(keys, rows):  # pragma: no cover  (compiled)
    """Sort by key, in place; ties go to the earlier row."""
    if keys.size > _FEW:
        order = np.argsort(keys)
        keys[:], rows[:] = keys[order], rows[order]
    for i in range(1, keys.size):
        key, row = keys[i], rows[i]
        j = i
        while j > 0 and (keys[j - 1] > key or (keys[j - 1] == key and rows[j - 1] > row)):
            keys[j], rows[j] = keys[j - 1], rows[j - 1]
            j -= 1
        keys[j], rows[j] = key, row


@numba.njit(nogil=True, cache=True)
def _in_use(members, n_old, new):  # pragma: no cover  (compiled)
    """Return which old rows are in use, and write to `new` the rows of the block that are."""
    used, n_new = np.zeros(n_old, dtype=np.bool_), 0
    for member in members:
        if member < n_old:
            used[member] = True
        else:
            new[n_new] = member - n_old
            n_new += 1
    return used


@numba.njit(nogil=True, cache=True)
def _renumber(members, used, new):  # pragma: no cover  (compiled)
    """Give the rows in use consecutive numbers, the old before the new.

    `new` is sorted; its distinct rows come back, after the number of old ones.
    """
    place, n_used = np.empty(used.size, dtype=np.int64), 0
    for i in range(used.size):
        place[i] = n_used
        n_used += used[i]
    taken, n_taken = np.empty(new.size, dtype=np.int64), 0
    new_place = np.empty(new[-1] + 1 if new.size else 0, dtype=np.int64)
    for row in new:
        if n_taken == 0 or row != taken[n_taken - 1]:
            new_place[row] = n_used + n_taken
            taken[n_taken] = row
            n_taken += 1
    for i in range(members.size):
        member = members[i]
        members[i] = place[member] if member < used.size else new_place[member - used.size]
    return n_used, taken[:n_taken]


@numba.njit(nogil=True, cache=True)
def _copy(rows, used, to):  # pragma: no cover  (compiled)
    n_copied = 0
    for i in range(rows.shape[0]):
        if used[i]:
            for j in range(rows.shape[1]):  # three times as fast as a slice
                to[n_copied, j] = rows[i, j]
            n_copied += 1
