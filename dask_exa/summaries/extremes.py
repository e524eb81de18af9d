"""A sketch of a distribution that is as sure of its far tail as of its middle, and merges exactly.

Every value has a random key, an exponential variable divided by its weight, as in
`dask_exa.summaries.reservoir`. Of the values above any level x, the m of smallest key are a
sample (weighted, without replacement); the sketch keeps that sample for all x at once::

    a value is kept unless m others both exceed it and have a smaller key

which are m (1 + log(n / m)) of n values, in whatever order they come. What excludes an excluded
value also excludes whatever that one excludes, so that merging is exact, associative and
commutative. Where fewer than m values lie above x, all of them are kept and `survival` is exact;
elsewhere the weight above x is estimated from m of them, whatever x is, to 1 / √m of itself::

    Σ w_i / (1 - exp(-w_i exp(t)))     over the m - 1 of smallest key, t the m-th smallest key

(Horvitz, Thompson). A quantile sketch such as KLL has a given error of the rank instead: in the
tail, which decides on alarms, that is more than the rank itself.

**Forgetting.** Weights that grow with the row number (forward decay) are kept as logarithms, so
that nothing has to be touched when time goes on. The key is then the weight itself: of the values
above x, the m newest are kept. They hold the share ``1 - exp(-λ age)`` of all weight above x, with
the age of the oldest of them. Values that weigh less than a thousandth of the newest are dropped,
which excludes nothing that could still be of use. (Weights of their own besides would have to be
nearly equal for that.)

Keys are a function of the row number and the value: nothing depends on how a stream is cut.

References
----------
E. Cohen, H. Kaplan, "Summarizing data using bottom-k sketches", PODC 2007. D. Papadias, Y. Tao,
G. Fu, B. Seeger, "Progressive skyline computation in database systems", ACM Trans. Database
Systems 30(1), 2005 (the k-skyband). Z. Karnin, K. Lang, E. Liberty, "Optimal quantile
approximation in streams", FOCS 2016 (KLL).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels

_FADED = math.log(1e-3)
_N_ESTIMATES = 48


class Extremes(NamedTuple):
    """Samples of the values above every level."""

    capacity: int
    """m, the values above any level that are kept."""
    decay: float
    """λ, by which the logarithm of the weight grows from a row to the next."""
    position: int
    """Number of the next row of the stream."""
    weight: float
    """Sum of all weights, kept or not, in units of the weight of the row before `position`."""
    values: np.ndarray
    """Shape (n_kept,), float64, decreasing."""
    keys: np.ndarray
    """Shape (n_kept,), float64: logarithms of the random keys, or of the inverse weights."""
    log_weights: np.ndarray
    """Shape (n_kept,), float64; a row of number i and weight w has ``log(w) + λ i``."""
    censored: np.ndarray
    """Shape (n_kept,), bool: values that are only known to be at least as large."""


class Survival(NamedTuple):
    """How much weight lies at or above the kept values."""

    values: np.ndarray
    """Shape (n_kept,), decreasing."""
    above: np.ndarray
    """Weight of all values seen that are at least as large, in units of the newest row's weight."""
    weights: np.ndarray
    """Of the first ones, above which nothing is missing, the weight of each by itself."""
    censored: np.ndarray
    """Which of those are only known to be at least as large."""
    total: float
    """All weight, in the same units."""


def summarize(
    values: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    capacity: int,
    decay: float = 0.0,
    first: int = 0,
    censored: bool = False,
) -> Extremes:
    """Return the sketch of some values.

    Parameters
    ----------
    values : array of shape (n_values,)
        Not NaN, except where the weight is zero.
    sample_weight : array of shape (n_values,), optional
        Numbers of repetitions. Values of weight zero are left out, but count as rows.
    capacity : int
        Values above any level that are kept.
    decay : float, default=0.0
    first : int, default=0
        Number of the first value in its stream.
    censored : bool, default=False
        Whether the values are only known to be at least as large.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.random.default_rng(0).standard_normal(100_000)
    >>> seen = summarize(values, capacity=256)
    >>> bool(seen.values.size < 256 * (1 + np.log(100_000 / 256)) * 1.1)
    True
    >>> bool(np.all(survival(seen).values[:256] == np.sort(values)[:-257:-1]))
    True
    """
    n_values = values.shape[0]
    values = values.astype(np.float64, copy=False)
    log_weights = decay * (first + np.arange(n_values, dtype=np.float64))
    keys = np.zeros(n_values) if decay else np.log(kernels.draw_exponentials(values, first))
    if sample_weight is not None:
        taken = sample_weight > 0
        values, keys = values[taken], keys[taken]
        log_weights = log_weights[taken] + np.log(sample_weight[taken])
    position = first + n_values
    weight = float(np.sum(np.exp(log_weights - decay * (position - 1))))
    keys = keys - log_weights
    flags = np.full(values.shape, censored)
    return _kept(Extremes(capacity, decay, position, weight, values, keys, log_weights, flags))


def merge(summaries: Sequence[Extremes]) -> Extremes:
    """Return the sketch of all values that the given ones saw."""
    if len(summaries) == 1:
        return summaries[0]
    first = summaries[0]
    position = max(summary.position for summary in summaries)
    weight = math.fsum(
        summary.weight * math.exp(first.decay * (summary.position - position))
        for summary in summaries
    )
    return _kept(
        Extremes(
            first.capacity,
            first.decay,
            position,
            weight,
            np.concatenate([summary.values for summary in summaries]),
            np.concatenate([summary.keys for summary in summaries]),
            np.concatenate([summary.log_weights for summary in summaries]),
            np.concatenate([summary.censored for summary in summaries]),
        )
    )


def forget(summary: Extremes, factor: float) -> Extremes:
    """Scale the weight of all that was seen by `factor`."""
    log_factor = math.log(factor)
    return summary._replace(
        weight=summary.weight * factor,
        keys=summary.keys - log_factor,
        log_weights=summary.log_weights + log_factor,
    )


def survival(summary: Extremes) -> Survival:
    """Return how much weight lies at or above every kept value.

    Examples
    --------
    >>> import numpy as np
    >>> seen = summarize(np.arange(1000.0), capacity=5)
    >>> survival(seen).values[:5], survival(seen).weights, survival(seen).total
    (array([999., 998., 997., 996., 995.]), array([1., 1., 1., 1.]), 1000.0)
    """
    places, limits = kernels.sample_above(summary.keys, summary.capacity)
    n_kept, n_exact = places.size, int(np.count_nonzero(np.isinf(limits)))
    now = summary.decay * (summary.position - 1)
    log_weights, keys = summary.log_weights - now, summary.keys + now
    weights = np.exp(log_weights[:n_exact])
    above = np.cumsum(weights)
    if n_kept > n_exact:
        nodes = np.unique(np.geomspace(n_exact + 1, n_kept, _N_ESTIMATES).astype(int)) - 1
        estimate = _newest if summary.decay else _sampled
        estimates = np.array([estimate(log_weights, keys, i, limits[i] + now) for i in nodes])
        known = np.concatenate([above[-1:], np.maximum.accumulate(estimates)])
        rest = np.arange(n_exact, n_kept)
        logs = np.interp(rest, [n_exact - 1, *nodes], np.log(np.maximum(known, known[0])))
        above = np.concatenate([above, np.minimum(np.exp(logs), summary.weight)])
    return Survival(summary.values, above, weights, summary.censored[:n_exact], summary.weight)


def _sampled(log_weights: np.ndarray, keys: np.ndarray, place: int, limit: float) -> float:
    """Return the weight of all values from the largest to the one at a place, from a sample."""
    sampled = log_weights[: place + 1][keys[: place + 1] < limit]
    return float(np.sum(np.exp(sampled) / -np.expm1(-np.exp(sampled + limit))))


def _newest(log_weights: np.ndarray, keys: np.ndarray, place: int, limit: float) -> float:
    """Return the same from the newest values, which weigh more than ``exp(-limit)``."""
    newest = log_weights[: place + 1][keys[: place + 1] < limit]
    return float(np.sum(np.exp(newest)) / -np.expm1(min(-limit, -1e-12)))


def _kept(summary: Extremes) -> Extremes:
    keys, log_weights = summary.keys, summary.log_weights
    order = np.lexsort((keys, -summary.values))
    if summary.decay > 0 and log_weights.size:
        order = order[log_weights[order] >= log_weights.max() + _FADED]
    places, _ = kernels.sample_above(keys[order], summary.capacity)
    order = order[places]
    return summary._replace(
        values=summary.values[order],
        keys=keys[order],
        log_weights=log_weights[order],
        censored=summary.censored[order],
    )
