"""From a sketch of scores to probabilities: ranks in the body, a generalised Pareto tail."""

from __future__ import annotations

import numpy as np

from dask_exa.summaries import extremes, pareto
from dask_exa.summaries.extremes import Extremes

_FEW = 25
"""Excesses that a tail is learnt from where there are too few above the level …"""
_LARGEST_SHARE = 0.25
"""… but never more than this share of all scores."""


class ScoreLaw:
    """How probable a score is, given those seen.

    The probabilities are those of the *next* score, with all that so few scores leave uncertain:
    of n + 1 scores, each is the largest with probability 1 / (n + 1); and the tail is averaged
    over all laws that explain what was seen (`dask_exa.summaries.pareto`).

    Parameters
    ----------
    summary : Extremes
        Large values are the abnormal ones.
    level : float
        Share of the scores below the tail.
    """

    def __init__(self, summary: Extremes, level: float) -> None:
        self._seen = seen = extremes.survival(summary)
        self.start, self.tail = np.inf, None
        self._share = 1.0 / (1.0 + seen.total)
        wanted = max((1 - level) * seen.total, min(float(_FEW), _LARGEST_SHARE * seen.total))
        exact = seen.above[: seen.weights.size]
        place = min(int(np.searchsorted(exact, wanted * (1 - 1e-12))) + 1, exact.size - 1)
        if place < 1 or not np.isfinite(seen.values[place]):
            return
        excesses = seen.values[:place] - seen.values[place]
        above = excesses > 0
        weights, censored = seen.weights[:place][above], seen.censored[:place][above]
        self.start = float(seen.values[place])
        self._share = (1.0 + weights.sum()) / (1.0 + seen.total)
        if weights[~censored].sum() >= pareto.LEAST_EXCESSES:
            self.tail = pareto.fit(excesses[above], weights, censored)

    def p_values(self, values: np.ndarray) -> np.ndarray:
        """Return the probability that the next normal value is at least as large, for each."""
        seen = self._seen
        n_larger = np.searchsorted(-seen.values, -values, side="right")
        above = np.concatenate([[0.0], seen.above])[n_larger]
        p = np.where(n_larger == seen.values.size, 1.0, (1.0 + above) / (1.0 + seen.total))
        if self.tail is not None:
            beyond = values > self.start
            p[beyond] = self._share * self.tail.survival(values[beyond] - self.start)
        return np.where(np.isnan(values) | (values == np.inf), 0.0, p)

    def quantile(self, probability: float) -> float:
        """Return the value that the next one exceeds with this probability.

        Infinite where so few values cannot tell.
        """
        if probability < self._share:
            if self.tail is None:
                return np.inf
            return self.start + self.tail.quantile(probability / self._share)
        seen = self._seen
        p = (1.0 + seen.above) / (1.0 + seen.total)
        place = int(np.searchsorted(p, probability, side="right"))
        return float(seen.values[min(place, seen.values.size - 1)])


class ScoreLaws:
    """The law of some scores for every level that it is asked for."""

    def __init__(self, summary: Extremes) -> None:
        self._summary = summary
        self._laws: dict[float, ScoreLaw] = {}

    def at(self, level: float) -> ScoreLaw:
        """Return the law whose tail starts at a level."""
        if level not in self._laws:
            self._laws[level] = ScoreLaw(self._summary, level)
        return self._laws[level]
