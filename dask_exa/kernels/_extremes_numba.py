"""Random keys, one sweep over keys of sorted values, one sweep over scores in time."""

from __future__ import annotations

import heapq
import math

import numba
import numpy as np

from dask_exa.kernels._hash_numba import drawn, unit

_SEED = np.uint64(0x7461696C)


def draw_exponentials(values: np.ndarray, first: int) -> np.ndarray:
    """See `dask_exa.kernels.draw_exponentials`."""
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    return _draw_exponentials(bits, np.uint64(first))


@numba.njit(nogil=True, cache=True)
def _draw_exponentials(bits, first):  # pragma: no cover  (compiled)
    drawn_values = np.empty(bits.size)
    for i in range(bits.size):
        base = drawn(_SEED, first + np.uint64(i))
        drawn_values[i] = -math.log(unit(drawn(base, bits[i])))
    return drawn_values


@numba.njit(nogil=True, cache=True)
def sample_above(keys, capacity):  # pragma: no cover  (compiled)
    """See `dask_exa.kernels.sample_above`."""
    places = np.empty(keys.size, dtype=np.int64)
    limits = np.empty(keys.size)
    n_kept = 0
    smallest = [0.0 for _ in range(0)]  # negated, so that the largest key is on top
    for i in range(keys.size):
        if len(smallest) < capacity:
            heapq.heappush(smallest, -keys[i])
        elif keys[i] < -smallest[0]:
            heapq.heapreplace(smallest, -keys[i])
        else:
            continue
        places[n_kept] = i
        limits[n_kept] = -smallest[0] if len(smallest) == capacity else np.inf
        n_kept += 1
    return places[:n_kept].copy(), limits[:n_kept].copy()


@numba.njit(nogil=True, cache=True)
def moving_mean(scores, recent, depth, limit):  # pragma: no cover  (compiled)
    """See `dask_exa.kernels.moving_mean`."""
    n_recent = recent.shape[0]
    known = np.concatenate((recent, scores))
    means = np.full(scores.shape, np.nan)
    for i in range(n_recent, known.shape[0]):
        for j in range(known.shape[1]):
            total, n_known = 0.0, 0
            for k in range(max(i - depth, 0), i):
                if not np.isnan(known[k, j]):
                    total += known[k, j]
                    n_known += 1
            if n_known == 0:
                continue
            mean = total / n_known
            if i >= depth:
                means[i - n_recent, j] = mean
            if np.isnan(known[i, j]) or (i >= depth and known[i, j] - mean > limit):
                known[i, j] = mean
    return means, known[max(known.shape[0] - depth, 0) :].copy()
