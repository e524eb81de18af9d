"""Sweeps over sorted values; NumPy's sort is faster than any that Numba compiles."""

from __future__ import annotations

import math

import numba
import numpy as np

from dask_exa._threads import map_threads
from dask_exa.kernels._hash_numba import drawn

_BLOCK = 1 << 17
"""Values that a thread sorts at a time."""
_PIECE = 256
"""Rows that are halved together: NumPy sorts so many ten times as fast as 2000."""
_COLUMNS = 16


def thin_rows(X: np.ndarray, n_kept: int, phase: float, coins: int) -> tuple[np.ndarray, float]:
    """See `dask_exa.kernels.thin_rows`."""
    n_rows, n_features = X.shape
    step = n_rows / n_kept
    n_halvings = max(0, int(math.log2(min(step / 4, _PIECE / 4 * step**2 / n_rows))))
    n_whole = 0
    if n_halvings:
        n_whole = n_rows - n_rows % (_PIECE << n_halvings - 1)
    n_halved = n_whole >> n_halvings
    values = np.empty((n_features, n_halved + n_rows - n_whole), dtype=X.dtype)
    values[:, n_halved:] = X[n_whole:].T

    def halve_columns(first: int) -> None:
        columns = slice(first, first + _COLUMNS)
        _halve(X[:n_whole, columns], n_halvings, np.uint64(coins), values[columns, :n_halved])

    map_threads(halve_columns, range(0, n_features, _COLUMNS))
    weights = np.ones(values.shape[1])
    weights[:n_halved] = 2**n_halvings
    squares = sum(n_whole / (_PIECE << h) * 4 ** (h + 1) for h in range(n_halvings))
    return thin(values, weights, n_kept, phase), float(squares)


def _halve(X: np.ndarray, n_halvings: int, coins: np.uint64, halved: np.ndarray) -> None:
    """Halve the rows of `X` that many times and write what is left, (n_features, n_left)."""
    n_features = X.shape[1]
    together = _PIECE << max(n_halvings - 1, 0)
    together *= max(1, _BLOCK // (together * n_features))
    for first in range(0, X.shape[0], together):
        part = np.ascontiguousarray(X[first : first + together].T)
        for h in range(n_halvings):
            part = part.reshape((n_features, -1, _PIECE))
            part.sort(axis=2)
            half = np.empty((n_features, part.shape[1], _PIECE // 2), dtype=X.dtype)
            _halve_sorted(part, coins, (h << 48) + first // (_PIECE << h), half)
            part = half
        part = part.reshape((n_features, -1))
        at = first >> n_halvings
        halved[:, at : at + part.shape[1]] = part


@numba.njit(nogil=True, cache=True)
def _halve_sorted(pieces, coins, first, halves):  # pragma: no cover  (compiled)
    for f in range(halves.shape[0]):
        for b in range(halves.shape[1]):
            coin = np.int64(drawn(coins, first + b) >> np.uint64(63))
            for j in range(halves.shape[2]):
                halves[f, b, j] = pieces[f, b, 2 * j + coin]


def thin(values: np.ndarray, weights: np.ndarray, n_kept: int, phase: float) -> np.ndarray:
    """See `dask_exa.kernels.thin`."""
    kept = np.empty((values.shape[0], n_kept), dtype=values.dtype)
    step = weights.sum() / n_kept
    equal = bool(np.all(weights == weights[0]))
    places = ((phase + np.arange(n_kept)) * (weights.size / n_kept)).astype(np.int64)
    places = np.minimum(places, weights.size - 1)

    def thin_block(features: slice) -> None:
        block = values[features]
        if equal:
            kept[features] = np.sort(block, axis=1)[:, places]
        else:
            _thin(block, np.argsort(block, axis=1), weights, step, phase, kept[features])

    map_threads(thin_block, _feature_blocks(values))
    return kept


def _feature_blocks(values: np.ndarray) -> list[slice]:
    size = max(1, _BLOCK // values.shape[1])
    return [slice(first, first + size) for first in range(0, values.shape[0], size)]


@numba.njit(nogil=True, cache=True)
def _thin(values, order, weights, step, phase, kept):  # pragma: no cover  (compiled)
    n_kept = kept.shape[1]
    for f in range(kept.shape[0]):
        total, j = 0.0, 0
        for place in order[f]:
            total += weights[place]
            while j < n_kept and (phase + j) * step < total:
                kept[f, j] = values[f, place]
                j += 1
        for rest in range(j, n_kept):  # the total is a sum in another order
            kept[f, rest] = values[f, order[f, -1]]


def weighted_quantiles(
    values: np.ndarray,
    weights: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    levels: np.ndarray,
    *,
    repeated: bool,
) -> np.ndarray:
    """See `dask_exa.kernels.weighted_quantiles`."""
    quantiles = np.empty((levels.size, values.shape[0]))
    unit, total = min(1.0, weights.min()), weights.sum()

    def read_block(features: slice) -> None:
        block, found = values[features], quantiles[:, features]
        order = np.argsort(block, axis=1)
        if repeated:
            _quantiles_of_repeated(block, order, weights, unit, levels * (total - unit), found)
        else:
            low, high = (end[features] for end in ends)
            _quantiles_of_thinned(block, order, weights, low, high, total, levels * total, found)

    map_threads(read_block, _feature_blocks(values))
    return quantiles


# Value i, repeated w times, is at the places from start to start + w - 1; between the last one of
# a value and the first of the next, which are one unit apart, quantiles are interpolated.
@numba.njit(nogil=True, cache=True)
def _quantiles_of_repeated(values, order, weights, unit, positions, quantiles):
    # pragma: no cover  (compiled)
    for f in range(values.shape[0]):
        i, start = 0, 0.0
        low = value = np.float64(values[f, order[f, 0]])
        for level in range(positions.size):
            position = positions[level]
            while position > start + weights[order[f, i]] - unit and i < order.shape[1] - 1:
                start += weights[order[f, i]]
                i += 1
                low, value = value, np.float64(values[f, order[f, i]])
            share = min(1.0, (position - start + unit) / unit)
            quantiles[level, f] = value if share == 1 else min(value, low + share * (value - low))


@numba.njit(nogil=True, cache=True)
def _quantiles_of_thinned(values, order, weights, lowest, highest, total, positions, quantiles):
    # pragma: no cover  (compiled)
    n_values = order.shape[1]
    for f in range(values.shape[0]):
        i, start = 0, 0.0
        before, low = 0.0, lowest[f]
        middle, value = weights[order[f, 0]] / 2, np.float64(values[f, order[f, 0]])
        for level in range(positions.size):
            position = positions[level]
            while position > middle and i < n_values:
                start += weights[order[f, i]]
                i += 1
                before, low = middle, value
                middle, value = total, highest[f]
                if i < n_values:
                    middle = start + weights[order[f, i]] / 2
                    value = np.float64(values[f, order[f, i]])
            share = (position - before) / (middle - before) if middle > before else 1.0
            # rounding would take it beyond the value that the next interval begins with
            quantiles[level, f] = min(value, low + min(share, 1.0) * (value - low))


def quantile_ranks(X: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.quantile_ranks`."""
    ranks = np.empty(X.shape)
    _quantile_ranks(X, quantiles, ranks)
    return ranks


@numba.njit(nogil=True, cache=True)
def _quantile_ranks(X, quantiles, ranks):  # pragma: no cover  (compiled)
    last = quantiles.shape[1] - 1
    for f in range(X.shape[1]):
        known = quantiles[f]
        for i in range(X.shape[0]):
            x = np.float64(X[i, f])
            if np.isnan(x):
                ranks[i, f] = x
            elif x <= known[0]:
                ranks[i, f] = 0.0
            elif x >= known[last]:
                ranks[i, f] = min(last, 1)
            else:
                above = np.searchsorted(known, x, side="right")
                place = above - 1.0
                if known[above - 1] == x:
                    place = (place + np.searchsorted(known, x)) / 2
                else:
                    place += (x - known[above - 1]) / (known[above] - known[above - 1])
                ranks[i, f] = place / last
