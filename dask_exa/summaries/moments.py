"""Weight, mean and second central moments: the summary under every other one.

Two summaries merge by Chan's update, which never subtracts large numbers from each other::

    δ_i  = mean_i - mean
    mean = Σ w_i mean_i / Σ w_i
    m2   = Σ m2_i + Σ w_i δ_i δ_iᵀ

References
----------
T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing
sample variances", Technical Report STAN-CS-79-773, Stanford University, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, as_float64, is_host, namespace, scratch

_BLOCK_BYTES = 8 << 20
"""Rows are centred in blocks of this size, which stay in the cache until they are multiplied."""


class Moments(NamedTuple):
    """Exact first and second moments of weighted samples, all in float64."""

    n_samples: int
    """Number of samples seen; never scaled by forgetting."""
    weight: float
    """Sum of the sample weights; equals `n_samples` when neither weights nor forgetting are
    used."""
    mean: Array
    """Weighted mean, shape (n_features,)."""
    m2: Array
    """Second central moments Σ w (x - mean)², shape (n_features,), or of all pairs of features,
    Σ w (x - mean)(x - mean)ᵀ, shape (n_features, n_features)."""

    def __reduce__(self) -> tuple[Callable[..., Moments], tuple[Any, ...]]:
        """Travel with half of a scatter matrix, which is symmetric."""
        if self.m2.ndim == 1 or not is_host(self.m2):
            return Moments, tuple(self)
        lower = self.m2[np.tri(self.m2.shape[0], dtype=bool)]
        return _from_lower, (self.n_samples, self.weight, self.mean, lower)

    @property
    def energy(self) -> float:
        """Total second moment, the sum of `m2` over the features."""
        return float(namespace(self.m2).sum(self.variances))

    @property
    def variances(self) -> Array:
        """Second moment of every feature by itself, shape (n_features,)."""
        return self.m2 if self.m2.ndim == 1 else namespace(self.m2).linalg.diagonal(self.m2)


def _from_lower(n_samples: int, weight: float, mean: Array, lower: Array) -> Moments:
    m2 = np.empty((mean.shape[0], mean.shape[0]))
    below = np.tri(mean.shape[0], dtype=bool)
    m2[below] = lower
    m2.T[below] = lower
    return Moments(n_samples, weight, mean, m2)


def summarize(X: Array, sample_weight: Array | None = None, *, pairs: bool = False) -> Moments:
    """Return the moments of the rows of `X`.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        float32 is accumulated in float64.
    sample_weight : array of shape (n_samples,), optional
    pairs : bool, default=False
        Also the products of different features, the scatter matrix.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 1.0], [2.0, 5.0]])
    >>> summarize(X).mean
    array([1., 3.])
    >>> summarize(X, pairs=True).m2
    array([[2., 4.],
           [4., 8.]])
    """
    n_samples, n_features = X.shape
    step = max(256, _BLOCK_BYTES // (8 * n_features))
    sample_weight = checked_weight(sample_weight)
    total = None
    for start in range(0, n_samples, step):
        rows = slice(start, min(start + step, n_samples))
        block = _summarize_block(
            X[rows, :], None if sample_weight is None else sample_weight[rows], pairs
        )
        total = block if total is None else merge([total, block])
    if total is None:
        raise ValueError("X has 0 samples; a summary needs at least one row.")
    return total


def checked_weight(sample_weight: Array | None) -> Array | None:
    """Return weights in float64; raise ValueError where they are negative or not finite."""
    if sample_weight is None:
        return None
    sample_weight = as_float64(sample_weight)
    xp = namespace(sample_weight)
    if not bool(xp.all((sample_weight >= 0) & xp.isfinite(sample_weight))):
        raise ValueError(
            "sample_weight has entries that are negative, NaN or infinite; pass weights >= 0."
        )
    return sample_weight


def refuse_non_finite(energy: float) -> None:
    """Raise ValueError if the second moment of the data shows NaN or infinity in them.

    Every value enters the moments, so that one bad value anywhere shows here: the data need no
    second pass to be checked.
    """
    if not math.isfinite(energy):
        raise ValueError(
            "X contains NaN, infinity or a value too large for float64; mask, fill or drop the "
            "samples that do."
        )


def refuse_non_finite_samples(X: Array) -> None:
    """Raise ValueError for samples with NaN or infinity in them, where no moments are taken."""
    xp = namespace(X)
    refuse_non_finite(float(xp.sum(X, dtype=xp.float64)))


def merge(summaries: Sequence[Moments]) -> Moments:
    """Return the moments of all the samples that the given summaries saw, in the given order."""
    if len(summaries) == 1:
        return summaries[0]
    n_samples = sum(summary.n_samples for summary in summaries)
    # what weighs nothing has no mean
    summaries = [summary for summary in summaries if summary.weight] or summaries[:1]
    xp = namespace(summaries[0].mean)
    weight = sum(summary.weight for summary in summaries)
    origin = summaries[0].mean
    shift = sum((s.mean - origin) * s.weight for s in summaries[1:])
    mean = origin + shift / weight if weight else origin
    m2 = xp.zeros_like(summaries[0].m2)
    for summary in summaries:
        delta = summary.mean - mean
        outer = delta * delta if m2.ndim == 1 else delta[:, None] * delta[None, :]
        m2 = m2 + summary.m2 + summary.weight * outer
    return Moments(n_samples, weight, mean, m2)


def join(summaries: Sequence[Moments], place: Callable[[Sequence[Array]], Array]) -> Moments:
    """Return the moments of all features from those of blocks of features, without pairs.

    Parameters
    ----------
    summaries : sequence of Moments
        Of the same samples.
    place : callable
        Puts what the blocks have, each (n_features of the block,), together.
    """
    mean = place([summary.mean for summary in summaries])
    return summaries[0]._replace(mean=mean, m2=place([summary.m2 for summary in summaries]))


def forget(summary: Moments, factor: float) -> Moments:
    """Scale the weight of all that was seen by `factor`; mean and variance stay as they are."""
    return summary._replace(weight=summary.weight * factor, m2=summary.m2 * factor)


def _summarize_block(X: Array, sample_weight: Array | None, pairs: bool) -> Moments:
    xp = namespace(X)
    n_samples, n_features = X.shape
    rows = scratch("rows", (n_samples, n_features), X)
    weight = float(n_samples)
    if sample_weight is not None:
        weight = float(xp.sum(sample_weight))
    mean, m2 = kernels.center(X, slice(0, n_features), sample_weight, rows)
    refuse_non_finite(float(xp.sum(m2)))
    if pairs:  # BLAS computes half of a product with its own transpose (SYRK)
        m2 = xp.matrix_transpose(rows) @ rows
    return Moments(n_samples, weight, mean, m2)
