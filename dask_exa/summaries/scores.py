"""All that a threshold knows of the scores it has seen: how many, and a sketch of their tail."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, to_host
from dask_exa.summaries import extremes
from dask_exa.summaries.extremes import Extremes
from dask_exa.summaries.reducer import Reducer


class Scores(NamedTuple):
    """Scores of one or more series, turned so that abnormal ones are large."""

    n_samples: int
    """Rows seen: steps of all series together."""
    n_scores: int
    """Scores learnt: those that are numbers."""
    n_alarms: int
    """Of those, alarms, of which only is known that they were beyond the threshold."""
    extremes: Extremes
    recent: np.ndarray
    """The last scores of every series, shape (n_recent, n_series), where scores are measured
    from the mean of those before them."""


class Recording(NamedTuple):
    """How scores are learnt."""

    sign: float
    """1 where large scores are abnormal, -1 where small ones are."""
    capacity: int
    """See `dask_exa.summaries.extremes`."""
    decay: float = 0.0
    """By which the logarithm of the weight grows from a score to the next."""
    depth: int = 0
    """Rows whose mean is taken off the next one; 0 for none."""
    first: int = 0
    """Number of the first row of the next block."""

    def at(self, row: int) -> Recording:
        """Return the recording of a block that starts that many rows later."""
        return self._replace(first=self.first + row)


def reducer(recording: Recording) -> Reducer:
    """Return the reduction of blocks of scores.

    With a moving mean, blocks have to be folded in their order: a block by itself does not know
    what its first scores are to be measured from, and leaves them out.
    """
    return Reducer(
        functools.partial(_summarize, recording=recording),
        merge,
        functools.partial(extend, recording=recording),
        functools.partial(_located, recording=recording),
    )


def extend(
    summary: Scores | None, X: Array, sample_weight: Array | None, recording: Recording
) -> Scores:
    """Return what is known, or nothing yet, and what the next block of scores says.

    Parameters
    ----------
    summary : Scores or None
    X : array of shape (n_samples, n_series)
        What is NaN or infinitely abnormal is not learnt; it counts as a row.
    sample_weight : array of shape (n_samples,), optional
        Numbers of repetitions.
    recording : Recording

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[0.1], [np.nan], [0.7], [0.2]])
    >>> seen = extend(None, scores, None, Recording(sign=1.0, capacity=100))
    >>> seen.n_samples, seen.n_scores, seen.extremes.values
    (4, 3, array([0.7, 0.2, 0.1]))
    """
    n_series = X.shape[1]
    recent = np.empty((0, n_series)) if summary is None else summary.recent
    values, recent = turned(X, recent, recording.sign, recording.depth)
    values = values.reshape(-1)
    weight = None if sample_weight is None else np.repeat(to_host(sample_weight), n_series)
    usable = values < np.inf  # NaN is not
    if not usable.all():
        weight = usable * (1.0 if weight is None else weight)
    block = Scores(
        X.shape[0],
        int(np.count_nonzero(usable if weight is None else weight)),
        0,
        extremes.summarize(
            values,
            weight,
            capacity=recording.capacity,
            decay=recording.decay,
            first=recording.first * n_series,
        ),
        recent,
    )
    return block if summary is None else merge([summary, block])._replace(recent=recent)


def turned(
    X: Array, recent: np.ndarray, sign: float, depth: int, limit: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores so that abnormal ones are large, in the same shape, and the last ones.

    With a `depth`, what is returned is how far they are from the mean of that many before them;
    NaN where there are not as many. What is farther than `limit` does not enter the means.
    """
    values = sign * to_host(X).astype(np.float64)
    if depth:
        known = np.where(np.isfinite(values), values, np.nan)
        means, recent = kernels.moving_mean(known, recent, depth, limit)
        values -= means
    return values, recent


def recent_means(summary: Scores, depth: int) -> np.ndarray:
    """Return what the next scores are measured from, shape (n_series,); NaN if not known yet."""
    nothing = np.full((1, summary.recent.shape[1]), np.nan)
    return kernels.moving_mean(nothing, summary.recent, depth, np.inf)[0][0]


def merge(summaries: Sequence[Scores]) -> Scores:
    """Return what several summaries say together; recent are the scores of the longest stream."""
    if len(summaries) == 1:
        return summaries[0]
    n_series = {summary.recent.shape[1] for summary in summaries}
    if len(n_series) > 1:
        raise ValueError(
            f"cannot merge scores of {sorted(n_series)} series; learn scores of as many series."
        )
    longest = max(summaries, key=lambda summary: summary.extremes.position)
    return Scores(
        sum(summary.n_samples for summary in summaries),
        sum(summary.n_scores for summary in summaries),
        sum(summary.n_alarms for summary in summaries),
        extremes.merge([summary.extremes for summary in summaries]),
        longest.recent,
    )


def with_alarms(summary: Scores, n_alarms: int, threshold: float, rate: float) -> Scores:
    """Return the summary with alarms that were not learnt counted as what normal scores do.

    If no alarm was, the tail would end at the threshold, which would come down and cause more of
    them. A share `rate` of normal scores are alarms; as many are learnt, give or take a standard
    deviation, as scores of which only is known that they were beyond the threshold.

    Parameters
    ----------
    summary : Scores
    n_alarms : int
        Since the last call.
    threshold : float
        That they were beyond.
    rate : float
        The false-alarm rate.
    """
    expected = rate * summary.n_scores
    n_taken = min(n_alarms, int(expected + expected**0.5 + 1) - summary.n_alarms)
    if n_taken <= 0:
        return summary
    known = summary.extremes
    beyond = extremes.summarize(
        np.full(n_taken, threshold),
        capacity=known.capacity,
        decay=known.decay,
        first=known.position - n_taken,
        censored=True,
    )
    return summary._replace(
        n_scores=summary.n_scores + n_taken,
        n_alarms=summary.n_alarms + n_taken,
        extremes=extremes.merge([known, beyond]),
    )


def forget(summary: Scores, factor: float) -> Scores:
    """Scale the weight of all that was seen by `factor`."""
    return summary._replace(extremes=extremes.forget(summary.extremes, factor))


def _summarize(X: Array, sample_weight: Array | None, recording: Recording) -> Scores:
    return extend(None, X, sample_weight, recording)


def _located(row: int, recording: Recording) -> Reducer:
    return reducer(recording.at(row))
