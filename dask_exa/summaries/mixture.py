"""What samples say of a mixture of Gaussians: sufficient statistics that merge.

Given a mixture, every sample belongs to component k with probability r_k (E-step). Learnt are, for
every component, the weight N = Σ r, the mean Σ r x / N and the second central moment
``Σ r (x - mean)(x - mean)ᵀ``; from them follow the parameters of the next mixture (M-step)::

    weight = N / Σ N      mean = mean      covariance = m2 / N + reg_covar

Statistics under the same mixture merge exactly, component by component, by Chan's update (see
`dask_exa.summaries.moments`): batch EM is a reduction a pass. Those of a stream follow stepwise
EM, which mixes what was known, under earlier mixtures, with the statistics of a batch::

    s ← (1 - γ_t) s + γ_t s_batch,      γ_t = (t + 2)^-κ,   κ in (1/2, 1]

References
----------
O. Cappé, E. Moulines, "On-line expectation-maximization algorithm for latent data models",
J. R. Stat. Soc. B 71(3), 2009. R. M. Neal, G. E. Hinton, "A view of the EM algorithm that justifies
incremental, sparse, and other variants", Learning in Graphical Models, 1998.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, as_float64, namespace, to_host
from dask_exa.summaries.affine import (
    Change,
    carry,
    carry_scatter,
    carry_variances,
    mean_stretch,
    move,
)
from dask_exa.summaries.densities import Differences, Expansion, blocks, prepare
from dask_exa.summaries.gaussians import Gaussians, from_covariances
from dask_exa.summaries.moments import checked_weight, refuse_non_finite

_TINY = 10 * float(np.finfo(np.float64).eps)
"""Weight that every component has at least, so that an empty one is no division by zero."""


class Mixture(NamedTuple):
    """Statistics of weighted samples under a mixture; all in host memory, float64."""

    covariance_type: str
    n_samples: int
    """Number of samples seen; never scaled."""
    counts: np.ndarray
    """Weight N of every component, shape (k,)."""
    means: np.ndarray
    """Shape (k, d); of no meaning where a component has no weight."""
    m2: np.ndarray
    """Second central moments: (k, d, d) for full, their sum (d, d) for tied, (k, d) for diag, their
    sum over the features (k,) for spherical."""
    log_likelihood: float
    """Weighted sum of the logarithms of the densities."""

    @property
    def weight(self) -> float:
        """Sum of the sample weights."""
        return float(np.sum(self.counts))


def summarize(X: Array, sample_weight: Array | None, gaussians: Gaussians) -> Mixture:
    """Return what samples say under a mixture: the E-step.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    sample_weight : array of shape (n_samples,), optional
    gaussians : Gaussians

    Raises
    ------
    ValueError
        If samples are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> start = from_covariances("diag", np.full(2, 0.5), np.array([[0.0], [9.0]]), np.ones((2, 1)))
    >>> X = np.array([[-1.0], [1.0], [8.0], [8.0]])
    >>> summarize(X, None, start).means
    array([[0.],
           [8.]])
    """
    if X.shape[0] == 0:
        raise ValueError("X has 0 samples; a summary needs at least one row.")
    xp = namespace(X)
    weight = checked_weight(sample_weight)
    way = prepare(gaussians, X)
    sums: list[Array] = [0.0, 0.0, 0.0]
    total = 0.0
    for rows in blocks(X.shape[0], way.n_rows):
        work, shares = way.evaluate(X[rows, :])
        log_norm = as_float64(kernels.normalize_log(shares))
        if weight is not None:
            shares *= xp.astype(weight[rows], shares.dtype, copy=False)[:, None]
            log_norm = log_norm * weight[rows]
        total += float(xp.sum(log_norm))
        sums = [a + b for a, b in zip(sums, way.sums(work, shares), strict=True)]
    refuse_non_finite(total)
    return _central(gaussians, X.shape[0], way, sums, total)


def attribute(X: Array, shares: Array, covariance_type: str) -> Mixture:
    """Return what samples say whose shares (n_samples, k) in components are given.

    The log-likelihood, which nobody knows, is 0.
    """
    xp = namespace(X)
    counts = to_host(xp.sum(shares, axis=0))
    means = to_host(xp.matrix_transpose(shares) @ as_float64(X))
    means = means / np.maximum(counts, _TINY)[:, None]
    n_components = counts.size
    form = {"full": (n_components, 1, 1), "tied": (1, 1), "diag": (n_components, 1)}
    unit = np.ones(form.get(covariance_type, (n_components,)))
    about = Gaussians(covariance_type, counts, means, unit, unit)
    way = Differences(about, X)
    sums = way.sums(as_float64(X), shares)
    return _central(about, X.shape[0], way, sums, 0.0)


def merge(summaries: Sequence[Mixture]) -> Mixture:
    """Return what all the samples say; component k of one goes with component k of the others."""
    if len(summaries) == 1:
        return summaries[0]
    counts = np.sum([summary.counts for summary in summaries], axis=0)
    some = np.where(counts > 0, counts, 1.0)
    origin = summaries[0].means
    shift = sum(s.counts[:, None] * (s.means - origin) for s in summaries[1:])
    means = origin + shift / some[:, None]
    form = summaries[0].covariance_type
    m2 = sum(s.m2 + between(form, s.counts, s.means - means) for s in summaries)
    return Mixture(
        form,
        sum(summary.n_samples for summary in summaries),
        counts,
        means,
        m2,
        sum(summary.log_likelihood for summary in summaries),
    )


def scale(summary: Mixture, factor: float) -> Mixture:
    """Scale the weight of all that was seen; the mixture that follows stays as it is."""
    return summary._replace(
        counts=summary.counts * factor,
        m2=summary.m2 * factor,
        log_likelihood=summary.log_likelihood * factor,
    )


forget = scale


@carry.register
def carry_mixture(summary: Mixture, change: Change) -> Mixture:
    """Return the same components where their samples are now; see `dask_exa.summaries.affine`.

    Diagonal covariances take features for uncorrelated; a single variance is the mean over all
    directions. The log-likelihood stays that of where the samples were.
    """
    form, m2 = summary.covariance_type, summary.m2
    if form == "spherical":
        m2 = m2 * mean_stretch(change)
    else:
        m2 = carry_variances(m2, change) if form == "diag" else carry_scatter(m2, change)
    return summary._replace(means=move(summary.means, change), m2=m2)


def step(summary: Mixture, batch: Mixture, batch_size: float, exponent: float) -> Mixture:
    """Return what is known after a batch of a stream: a step of stepwise EM.

    Time t counts weight in units of `batch_size`, and a batch of another weight is a part of a step
    or several: with γ as above, what was known keeps the share ``exp(-∫ γ_t dt)``, so that the
    share of a sample in the end does not depend on how the stream is cut into batches.

    Parameters
    ----------
    summary, batch : Mixture
        The weight of the first is the time.
    batch_size : float
        Weight of a step.
    exponent : float in (1/2, 1]
        κ, how fast steps become shorter.
    """
    known, new = summary.weight, batch.weight
    if not (known and new):
        return merge([summary, batch])
    begin, end = known / batch_size + 2, (known + new) / batch_size + 2
    if exponent == 1:
        passed = math.log(end / begin)
    else:
        passed = (end ** (1 - exponent) - begin ** (1 - exponent)) / (1 - exponent)
    kept = math.exp(-passed)
    total = known + new
    old, fresh = total * kept / known, total * -math.expm1(-passed) / new
    return merge([scale(summary, old), scale(batch, fresh)])


def maximize(summary: Mixture, reg_covar: float) -> Gaussians:
    """Return the mixture that the statistics make most likely: the M-step.

    Parameters
    ----------
    summary : Mixture
    reg_covar : float
        Added to all variances.

    Raises
    ------
    ValueError
        If a covariance is singular all the same.
    """
    form, means, m2 = summary.covariance_type, summary.means, summary.m2
    counts = summary.counts + _TINY
    n_features = means.shape[1]
    if form == "full":
        covariances = m2 / counts[:, None, None] + reg_covar * np.eye(n_features)
    elif form == "tied":
        covariances = m2 / np.sum(counts) + reg_covar * np.eye(n_features)
    elif form == "diag":
        covariances = m2 / counts[:, None] + reg_covar
    else:
        covariances = m2 / (counts * n_features) + reg_covar
    return from_covariances(form, counts / np.sum(counts), means, covariances, reg_covar)


def between(covariance_type: str, counts: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return ``N δ δᵀ`` of every component, in the form of the second moments.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}
    counts : array of shape (k,)
    offsets : array of shape (k, d)
    """
    weighted = counts[:, None] * offsets
    if covariance_type == "full":
        return weighted[:, :, None] * offsets[:, None, :]
    if covariance_type == "tied":
        return weighted.T @ offsets
    squares = weighted * offsets
    return squares if covariance_type == "diag" else np.sum(squares, axis=1)


def _central(
    gaussians: Gaussians,
    n_samples: int,
    way: Expansion | Differences,
    sums: Sequence[Array],
    log_likelihood: float,
) -> Mixture:
    """Return statistics about their means from sums about origins that are near them."""
    counts, first, second = map(to_host, sums)
    second = way.second_moments(second)
    form = gaussians.covariance_type
    some = np.where(counts > 0, counts, 1.0)
    offsets = first / some[:, None]
    means = np.where(counts[:, None] > 0, way.origins + offsets, gaussians.means)
    if form == "spherical":
        second = np.sum(second, axis=1)
    m2 = second - between(form, counts, offsets)
    if form in ("diag", "spherical"):
        m2 = np.maximum(m2, 0.0)
    return Mixture(form, n_samples, counts, means, m2, log_likelihood)
