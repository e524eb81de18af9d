"""Quantiles of every feature from some of its values, with a stated error of their rank.

The state is values with weights: rows as they came while there are at most `capacity`, and later
fewer values that stand for several. Where there are too many, the lighter ones are **thinned**:
sorted, of every feature by itself, they are replaced by those at equal steps of their weight from
a random start, each of which then weighs one step. This is unbiased, and the rank of nothing
moves by more than the step s. By Hoeffding's inequality, all thinnings together have moved a rank
by more than ε with a probability of at most ::

    2 exp(-2 ε² / Σ s²)

Σ s² is in the state, so that the error of a sketch is known, and not only that of its kind. Which
values are thinned keeps it small: values of weight about 2^h may take up a share of the capacity
that falls by `_DECLINE` from one h to the next lower, and the smallest step that makes enough
room is taken. For unit weights in the given order this is the compactor of Karnin, Lang and
Liberty; here weights are any numbers, which makes `forget` and weighted samples exact up to
thinning. Merging puts values together and thins: associative and commutative up to the error.

The start is a hash of the values, so that results repeat. All features share it, and weights.

References
----------
Z. Karnin, K. Lang, E. Liberty, "Optimal quantile approximation in streams", FOCS 2016.
P. K. Agarwal, G. Cormode, Z. Huang, J. M. Phillips, Z. Wei, K. Yi, "Mergeable summaries", PODS
2012. W. Hoeffding, "Probability inequalities for sums of bounded random variables", J. American
Statistical Association 58, 1963.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, to_host
from dask_exa.summaries import ranges
from dask_exa.summaries.ranges import Ranges
from dask_exa.summaries.reducer import Reducer

_DECLINE = 0.6
_HASHED_ROWS = 256
_FADED = 1e-18
"""Values of a smaller share of all weight are dropped."""


class Sketch(NamedTuple):
    """Values that stand for all that were seen, feature by feature."""

    ranges: Ranges
    """Extremes of what was seen, or since something was forgotten, of what is kept."""
    values: np.ndarray
    """Shape (n_features, n_kept), float32 or float64."""
    weights: np.ndarray
    """Shape (n_kept,), float64: the weight that a value of any feature stands for."""
    squared_steps: float
    """Σ s² over all thinnings; 0 while all that was seen is kept."""

    @property
    def n_samples(self) -> int:
        """Number of samples seen, whatever they weigh."""
        return self.ranges.n_samples

    @property
    def weight(self) -> float:
        """Sum of the sample weights."""
        return self.ranges.weight


def reducer(capacity: int, row: int = 0) -> Reducer:
    """Return the reduction of blocks of samples, the first of which has this number."""
    return Reducer(
        functools.partial(summarize, capacity=capacity, row=row),
        functools.partial(merge, capacity=capacity),
        located=functools.partial(reducer, capacity),
    )


def summarize(
    X: Array, sample_weight: Array | None = None, *, capacity: int, row: int = 0
) -> Sketch:
    """Return the sketch of the rows of `X`.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Of any namespace; the sketch is in host memory.
    sample_weight : array of shape (n_samples,), optional
        Numbers of repetitions, not necessarily whole.
    capacity : int
        Values of a feature that are kept at most.
    row : int, default=0
        Number of the first row; blocks of other numbers are thinned independently.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((100_000, 2))
    >>> sketch = summarize(X, capacity=1000)
    >>> found = quantiles(sketch, np.array([0.25, 0.5]))
    >>> ranks = (X[:, None, :] < found).mean(axis=0)
    >>> bool(np.all(abs(ranks - [[0.25], [0.5]]) < rank_error(sketch)))
    True
    """
    seen = ranges.summarize(X, sample_weight)
    weights = np.ones(X.shape[0])
    if sample_weight is not None:
        weights = to_host(sample_weight).astype(np.float64)
        X, weights = X[sample_weight > 0], weights[weights > 0]
    if weights.size <= capacity or np.any(weights != weights[0]):
        values = np.ascontiguousarray(to_host(X).T)
        return _fit(Sketch(seen, values, weights, 0.0), capacity, row)
    n_kept = int((1 - _DECLINE) * capacity)
    step = weights.size / n_kept
    some = to_host(X[:: max(1, weights.size // _HASHED_ROWS), :])
    bits = _hash(row, some)
    values, squares = kernels.thin_rows(X, n_kept, _unit(bits), bits)
    weight = float(weights[0])
    kept_weights = np.full(n_kept, weight * step)
    return Sketch(seen, values, kept_weights, weight**2 * (squares + step**2))


def merge(summaries: Sequence[Sketch], *, capacity: int) -> Sketch:
    """Return the sketch of all samples that the given ones saw."""
    if len(summaries) == 1:
        return summaries[0]
    united = Sketch(
        ranges.merge([summary.ranges for summary in summaries]),
        np.concatenate([summary.values for summary in summaries], axis=1),
        np.concatenate([summary.weights for summary in summaries]),
        math.fsum(summary.squared_steps for summary in summaries),
    )
    return _fit(united, capacity, row=0)


def join(summaries: Sequence[Sketch], place: Callable[[Sequence[Array]], Array]) -> Sketch:
    """Return the sketch of all features from those of blocks of features.

    Parameters
    ----------
    summaries : sequence of Sketch
        Of the same samples in the same chunks: weights are then the same.
    place : callable
        Puts what the blocks have, each (n_features of the block, …), together.
    """
    return summaries[0]._replace(
        ranges=ranges.join([summary.ranges for summary in summaries], place),
        values=place([summary.values for summary in summaries]),
    )


def forget(summary: Sketch, factor: float) -> Sketch:
    """Scale the weight of all that was seen by `factor`; extremes fade with what is kept."""
    weight = summary.weight * factor
    weights = summary.weights * factor
    lasting = weights > _FADED * weight
    values = summary.values[:, lasting]
    kept = summary.ranges._replace(
        weight=weight,
        minimum=values.min(axis=1, initial=np.inf).astype(np.float64),
        maximum=values.max(axis=1, initial=-np.inf).astype(np.float64),
    )
    return Sketch(kept, values, weights[lasting], summary.squared_steps * factor**2)


def quantiles(summary: Sketch, levels: np.ndarray) -> np.ndarray:
    """Return the quantiles of every feature.

    While all that was seen is kept, these are those of `numpy.percentile`, a weight counting
    repetitions. Later, a value lies in the middle of the weight that it stands for, and quantiles
    are interpolated in between; those at 0 and 1 are the extremes.

    Parameters
    ----------
    summary : Sketch
    levels : array of shape (n_levels,)
        In [0, 1].

    Returns
    -------
    array of shape (n_levels, n_features), float64
    """
    levels = np.asarray(levels, dtype=np.float64)
    order = np.argsort(levels)
    ends = to_host(summary.ranges.minimum), to_host(summary.ranges.maximum)
    found = np.empty((levels.size, summary.values.shape[0]))
    found[order] = kernels.weighted_quantiles(
        summary.values, summary.weights, ends, levels[order], repeated=summary.squared_steps == 0
    )
    return found


def count_repeated(summary: Sketch) -> int:
    """Return the number of samples seen, a weight counting repetitions while all are kept."""
    if summary.squared_steps > 0:
        return summary.n_samples
    return round(float(summary.weights.sum() / min(1.0, summary.weights.min())))


def rank_error(summary: Sketch, probability: float = 0.99) -> float:
    """Return by how much the rank of a quantile is off, as a share of all weight.

    Parameters
    ----------
    summary : Sketch
    probability : float, default=0.99
        With which one quantile of one feature is at most as far off. 0 is returned while all that
        was seen is kept.
    """
    if summary.squared_steps == 0:
        return 0.0
    moved = math.sqrt(summary.squared_steps * math.log(2 / (1 - probability)) / 2)
    return float((moved + summary.weights.max() / 2) / summary.weights.sum())


def _fit(summary: Sketch, capacity: int, row: int) -> Sketch:
    """Return a sketch that keeps no more than `capacity` values."""
    values, weights = summary.values, summary.weights
    if weights.size <= capacity:
        return summary
    chosen, n_kept = _choose(weights, capacity)
    step = float(np.sum(weights[chosen])) / n_kept
    phase = _unit(_hash(row, summary.n_samples, weights, values[:, -1], values[-1, :]))
    thinned = kernels.thin(values[:, chosen], weights[chosen], n_kept, phase)
    return summary._replace(
        values=np.concatenate([values[:, ~chosen], thinned], axis=1),
        weights=np.concatenate([weights[~chosen], np.full(n_kept, step)]),
        squared_steps=summary.squared_steps + step**2,
    )


def _choose(weights: np.ndarray, capacity: int) -> tuple[np.ndarray, int]:
    """Return which values to thin, and how many of them to keep.

    For every h, those lighter than 2^h could be thinned to steps of 2^h or little more; the
    smallest h is taken that leaves at most `capacity` values, and among them no more of about the
    weight 2^h than are due to it.
    """
    _, above = np.frexp(weights)  # 2^(above - 1) <= weight < 2^above
    share = (1 - _DECLINE) * capacity
    first, heaviest = int(above.min()), int(above.max())
    last = max(heaviest, math.ceil(math.log2(weights.sum() / share))) + 1
    h = np.arange(first, last + 1)
    counts = np.bincount(above - first, minlength=h.size + 1)
    lighter = np.cumsum(counts)[:-1]
    total = np.cumsum(np.bincount(above - first, weights, minlength=h.size + 1))[:-1]
    n_kept = np.maximum(1, np.floor(total / 2.0**h * (1 + 1e-12)))
    due = share * _DECLINE ** (np.maximum(heaviest - 1, h) - h)
    enough = weights.size - lighter + n_kept <= capacity
    enough &= (counts[1:] + n_kept <= due) | (n_kept == 1)
    best = int(np.argmax(enough))
    return above <= h[best], int(n_kept[best])


def _hash(*parts: Any) -> int:
    """Return 64 bits that depend on every bit of some numbers and arrays."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return int.from_bytes(digest.digest(), "little")


def _unit(bits: int) -> float:
    return (bits >> 11) / 2**53
