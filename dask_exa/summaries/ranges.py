"""The smallest and the largest value of every feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dask_exa._array import Array, as_float64, namespace
from dask_exa.summaries.affine import Change, carry, move
from dask_exa.summaries.moments import checked_weight, refuse_non_finite

_BLOCK_BYTES = 1 << 20
"""Rows are read in blocks of this size: both extremes are then taken from the cache."""
_WIDTH = 64
"""Short rows are read several at a time, side by side: ten times as fast for four features."""


class Ranges(NamedTuple):
    """What the values of every feature lie between."""

    n_samples: int
    """Number of samples seen, whatever they weigh."""
    weight: float
    """Sum of the sample weights."""
    minimum: Array
    """Shape (n_features,), float64; infinite before any sample of positive weight was seen."""
    maximum: Array
    """Shape (n_features,), float64; -infinite as long."""


def summarize(X: Array, sample_weight: Array | None = None) -> Ranges:
    """Return the ranges of the features of `X`.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    sample_weight : array of shape (n_samples,), optional
        Samples of weight zero are left out; otherwise it makes no difference.

    Raises
    ------
    ValueError
        If a sample that weighs anything has a value that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> summarize(np.array([[0.0, 1.0], [2.0, -5.0]])).minimum
    array([ 0., -5.])
    """
    xp = namespace(X)
    n_samples, n_features = X.shape
    if n_samples == 0:
        raise ValueError("X has 0 samples; a summary needs at least one row.")
    weight = float(n_samples)
    sample_weight = checked_weight(sample_weight)
    if sample_weight is not None:
        weight = float(xp.sum(sample_weight))
        X = X[sample_weight > 0]
    minimum = xp.full(n_features, xp.inf, dtype=xp.float64)
    maximum = -minimum
    step = max(1, _BLOCK_BYTES // (8 * n_features))
    for start in range(0, X.shape[0], step):
        low, high = _extremes(X[start : min(start + step, X.shape[0]), :])
        minimum = xp.minimum(minimum, as_float64(low))
        maximum = xp.maximum(maximum, as_float64(high))
    if X.shape[0]:
        refuse_non_finite(float(xp.max(xp.maximum(xp.abs(minimum), xp.abs(maximum)))))
    return Ranges(n_samples, weight, minimum, maximum)


def merge(summaries: Sequence[Ranges]) -> Ranges:
    """Return the ranges of all samples that the given summaries saw."""
    merged = summaries[0]
    xp = namespace(merged.minimum)
    for summary in summaries[1:]:
        merged = Ranges(
            merged.n_samples + summary.n_samples,
            merged.weight + summary.weight,
            xp.minimum(merged.minimum, summary.minimum),
            xp.maximum(merged.maximum, summary.maximum),
        )
    return merged


def join(summaries: Sequence[Ranges], place: Callable[[Sequence[Array]], Array]) -> Ranges:
    """Return the ranges of all features from those of blocks of features.

    Parameters
    ----------
    summaries : sequence of Ranges
        Of the same samples.
    place : callable
        Puts what the blocks have, each (n_features of the block,), together.
    """
    return summaries[0]._replace(
        minimum=place([summary.minimum for summary in summaries]),
        maximum=place([summary.maximum for summary in summaries]),
    )


def _extremes(X: Array) -> tuple[Array, Array]:
    xp = namespace(X)
    n_samples, n_features = X.shape
    together = _WIDTH // n_features
    if together < 2 or n_samples < 2 * together:
        return xp.min(X, axis=0), xp.max(X, axis=0)
    whole = n_samples - n_samples % together
    wide = xp.reshape(X[:whole, :], (whole // together, together * n_features))
    low, high = (xp.reshape(end, (together, n_features)) for end in _extremes(wide))
    rest = X[whole:, :]
    return xp.min(xp.concat([low, rest]), axis=0), xp.max(xp.concat([high, rest]), axis=0)


@carry.register
def carry_ranges(summary: Ranges, change: Change) -> Ranges | None:
    """Return the ranges of scaled features; None where a matrix mixes them."""
    if change.matrix.ndim == 2:
        return None
    first = move(summary.minimum[None, :], change)[0, :]
    second = move(summary.maximum[None, :], change)[0, :]
    xp = namespace(first)
    return summary._replace(minimum=xp.minimum(first, second), maximum=xp.maximum(first, second))
