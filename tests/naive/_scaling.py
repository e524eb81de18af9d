"""Quantiles and scalers by their definitions: every sample written out, one feature at a time."""

import numpy as np

from tests.naive._isolation import drawn


def repeated_quantiles(values, times, levels):
    """Return quantiles of values that are written out as often as they are there."""
    return np.percentile(np.repeat(values, times), 100 * np.asarray(levels))


def thinned_values(values, weights, n_kept, phase):
    """Return the values at equal steps of the weight, looked for one by one from the smallest."""
    step = sum(weights) / n_kept
    pairs = sorted(zip(values, weights, strict=True))
    kept = []
    for j in range(n_kept):
        left = (phase + j) * step
        for value, weight in pairs:  # noqa: B007  (used after the loop)
            if left < weight:
                break
            left -= weight
        kept.append(value)
    return np.array(kept)


def thinned_quantiles(values, weights, ends, levels):
    """Return quantiles between values that lie in the middle of the weight they stand for."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    places = [0.0, *(reached - weights[order] / 2), reached[-1]]
    return np.interp(levels * reached[-1], places, [ends[0], *values[order], ends[1]])


def halved(blocks, base, first):
    """Return the values of sorted blocks (n_blocks, n_values) that a coin per block keeps."""
    coins = [drawn(base, first + b) >> 63 for b in range(len(blocks))]
    return np.array([block[coin::2] for block, coin in zip(blocks, coins, strict=True)])


def quantile_rank(x, quantiles):
    """Return the rank of a value, the mean of interpolating up and down; 0 or 1 at the ends."""
    ranks = np.linspace(0, 1, len(quantiles))
    if x == quantiles[0]:
        return 0.0
    if x == quantiles[-1]:
        return 1.0
    up = np.interp(x, quantiles, ranks)
    down = -np.interp(-x, -quantiles[::-1], -ranks[::-1])
    return (up + down) / 2


def rank_errors(quantiles, levels, values, weights=None):
    """Return how far levels are outside of the ranks that quantiles of one feature have.

    A value that is there several times has all ranks from that of those below it to that of those
    up to it.
    """
    order = np.argsort(values)
    weights = np.ones(len(values)) if weights is None else weights
    reached = np.r_[0, np.cumsum(weights[order])] / weights.sum()
    below = reached[np.searchsorted(values[order], quantiles, side="left")]
    up_to = reached[np.searchsorted(values[order], quantiles, side="right")]
    return np.maximum(0, np.maximum(below - levels, levels - up_to))
