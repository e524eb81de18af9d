"""A vote of the whole array on interference: sums over baselines, which ranks can add up.

The noise of a baseline says nothing about that of another one, but interference reaches all of an
array at once. The powers of residuals, each in units of its variance and capped, are therefore
added up over baselines for every channel: what is half of the noise in a visibility is eleven
standard deviations in the sum over the 500 baselines of 32 stations.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from dask_exa._array import to_host
from dask_exa.kernels.visibilities import Residuals

CAP = 8.0
"""Largest vote: with it, a baseline that has gone wrong counts no more than strong noise."""


class Votes(NamedTuple):
    """Sums of the votes of one dump, or of a part of its baselines or channels.

    Examples
    --------
    Two ranks with baselines of their own:

    >>> import numpy as np
    >>> a, b = (Votes(np.ones((3, 4)), np.ones((2, 2))) for _ in range(2))
    >>> a.merge(b).channels[0]
    array([2., 2., 2., 2.])
    """

    channels: np.ndarray
    """(3, n_channels): for every channel, sums over baselines of weight × vote, of weight and of
    squared weight."""
    stations: np.ndarray
    """(2, n_stations): for every station, sums over its baselines and over channels of weight ×
    vote and of weight."""

    @classmethod
    def of(cls, residuals: Residuals) -> Votes:
        """Return the votes among what a kernel has found."""
        return cls(to_host(residuals.channels), to_host(residuals.stations))

    def merge(self, *others: Votes) -> Votes:
        """Return the votes of all baselines, given those of several parts of them."""
        return Votes(*(sum(parts[1:], parts[0]) for parts in zip(self, *others, strict=True)))

    def beside(self, *others: Votes) -> Votes:
        """Return the votes of all channels, given those of several ranges of them, in order."""
        blocks = (self, *others)
        channels = np.concatenate([votes.channels for votes in blocks], axis=1)
        return Votes(channels, np.sum([votes.stations for votes in blocks], axis=0))


def vote_law(cap: float = CAP) -> tuple[float, float]:
    """Return mean and variance of a vote about noise, whose power is exponentially distributed."""
    tail = math.exp(-cap)
    mean = 1 - tail
    return mean, 2 * (1 - tail * (1 + cap)) - mean**2


def standard_scores(sums: np.ndarray, cap: float = CAP) -> np.ndarray:
    """Return by how many standard deviations of noise the votes differ from those about noise.

    Parameters
    ----------
    sums : array of shape (3, n)
        `Votes.channels`.
    cap : float
        Of the votes.

    Returns
    -------
    array of shape (n,)
        Zero where nobody has voted.
    """
    mean, variance = vote_law(cap)
    votes, weight, squares = sums
    deviation = np.sqrt(np.maximum(variance * squares, np.finfo(float).tiny))
    return np.where(weight > 0, (votes - mean * weight) / deviation, 0.0)


@functools.cache
def quantile_of(false_alarm_rate: float) -> float:
    """Return the number of standard deviations that noise exceeds at a rate, on one side."""
    return float(norm.isf(false_alarm_rate))


def middle(values: np.ndarray) -> float:
    """Return the median, the upper one of two; for few values, ten times as fast as NumPy's."""
    half = len(values) // 2
    return float(np.partition(values, half)[half])


def tail_of(n_deviations: float) -> float:
    """Return the rate at which noise exceeds a number of standard deviations; 0 is never."""
    return float(norm.sf(n_deviations))


def outlying_channels(votes: Votes, n_deviations: float) -> np.ndarray:
    """Return the channels that differ from most others, whatever these have in common.

    Before any sky is subtracted, this tells where not to look for it.

    Parameters
    ----------
    votes : Votes
    n_deviations : float
        Relative to the spread of the channels, robustly estimated.

    Returns
    -------
    array of shape (n_channels,), bool
    """
    votes_sum, weight, squares = votes.channels
    present = weight > 0
    if not present.any():
        return ~present
    mean = votes_sum / np.where(present, weight, 1)
    center = np.median(mean[present])
    spread = 1.4826 * np.median(np.abs(mean[present] - center))
    noise = np.sqrt(vote_law()[1] * np.median(squares[present] / weight[present] ** 2))
    return ~present | (mean > center + n_deviations * max(spread, noise))
