"""A low-dimensional model of samples with a few of the samples themselves, and its limits.

With λ the eigenvalues of the covariance, the first k of them kept, a sample x of mean μ has

    t  = P (x - μ)                         coordinates in the subspace
    T² = Σ t_i² / λ_i                      Hotelling: how far it is within
    Q  = |x - μ - Pᵀ t|²                   squared prediction error: how far it is from it

whose limits follow from the moments ``θ_j = Σ_{i>k} λ_i^j`` of the other eigenvalues (Jackson and
Mudholkar) and from an F distribution.

References
----------
J. E. Jackson, G. S. Mudholkar, "Control procedures for residuals associated with principal
component analysis", Technometrics 21(3), 1979. H. H. Yue, S. J. Qin, "Reconstruction-based fault
identification using a combined index", Ind. Eng. Chem. Res. 40(20), 2001. G. E. P. Box, "Some
theorems on quadratic forms", Ann. Math. Statist. 25, 1954.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from dask_exa._array import Array, namespace, to_host
from dask_exa.summaries import moments, reservoir, svd
from dask_exa.summaries.affine import Change, carry
from dask_exa.summaries.moments import Moments
from dask_exa.summaries.reservoir import Reservoir
from dask_exa.summaries.svd import SVDSummary


class SubspaceSummary(NamedTuple):
    """All samples as a scatter matrix or a truncated basis, and some of them as they are."""

    basis: Moments | SVDSummary
    kept: Reservoir

    @property
    def moments(self) -> Moments:
        """Exact weight, mean and second moments."""
        return self.basis.moments if isinstance(self.basis, SVDSummary) else self.basis


class Limits(NamedTuple):
    """What normal samples stay below."""

    spe: float
    t2: float
    combined: float
    """Of ``Q / spe + T² / t2``."""


def forget(summary: SubspaceSummary, factor: float) -> SubspaceSummary:
    """Scale the weight of all that was seen by `factor`."""
    algebra: Any = svd if isinstance(summary.basis, SVDSummary) else moments
    return SubspaceSummary(
        algebra.forget(summary.basis, factor), reservoir.forget(summary.kept, factor)
    )


@carry.register
def carry_subspace(summary: SubspaceSummary, change: Change) -> SubspaceSummary:
    """Return basis and samples where these are now; see `dask_exa.summaries.affine`."""
    return SubspaceSummary(carry(summary.basis, change), carry(summary.kept, change))


def residual_moments(
    basis: Moments | SVDSummary,
    components: Array,
    squared: np.ndarray,
    rank: int,
    freedom: float,
) -> np.ndarray:
    """Return θ_1, θ_2, θ_3 of the eigenvalues that are left out.

    Those that the truncation of a low-rank basis has dropped are taken to be equal to each other.

    Parameters
    ----------
    basis : Moments or SVDSummary
    components : array of shape (n_components, n_features)
        Axes that are kept.
    squared : array of shape (n_components,)
        Their squared singular values, the eigenvalues times `freedom`.
    rank : int
        Most eigenvalues that can differ from 0.
    freedom : float
        Samples, less one.

    Examples
    --------
    >>> import numpy as np
    >>> scale = np.array([8.0, 4.0, 2.0, 1.0])
    >>> scatter = moments.Moments(100, 100.0, np.zeros(4), np.diag(99 * scale))
    >>> residual_moments(scatter, np.eye(4)[:2], 99 * scale[:2], 4, 99.0)
    array([3., 5., 9.])
    """
    if isinstance(basis, SVDSummary):
        xp = namespace(basis.rows)
        rows = xp.astype(basis.rows, xp.float64)
        gram = to_host(rows @ xp.matrix_transpose(rows))
        values = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)
        n_dropped = max(rank - values.size, 1)
        each = max(basis.moments.energy - float(values.sum()), 0.0) / n_dropped
        known = values[squared.size :]
        sums = [np.sum(known**j) + n_dropped * each**j for j in (1, 2, 3)]
    else:
        kept = to_host(components).astype(np.float64)
        left = to_host(basis.m2) - (kept.T * squared) @ kept
        sums = [np.trace(left), np.sum(left**2), np.sum((left @ left) * left)]
    # what rounding errors of the largest eigenvalue leave is nothing
    if sums[0] <= rank * np.finfo(np.float64).eps * squared.max(initial=0.0):
        return np.zeros(3)
    return np.array(sums) / freedom ** np.arange(1, 4)


def limits(theta: np.ndarray, n_components: int, weight: float, confidence: float) -> Limits:
    """Return what a share `confidence` of normal samples stays below.

    Parameters
    ----------
    theta : array of shape (3,)
        See `residual_moments`.
    n_components : int
    weight : float
        Samples that the model has learnt.
    confidence : float
    """
    k, n = n_components, weight
    spe = spe_limit(theta, confidence)
    if n > k:
        t2 = k * (n * n - 1) / (n * (n - k)) * stats.f.isf(1 - confidence, k, n - k)
    else:
        t2 = stats.chi2.isf(1 - confidence, k)
    if spe == 0.0:
        return Limits(spe, t2, 1.0)
    # of a weighted sum of squares, by its first two moments (Box)
    first = k / t2 + theta[0] / spe
    second = k / t2**2 + theta[1] / spe**2
    combined = second / first * stats.chi2.isf(1 - confidence, first * first / second)
    return Limits(float(spe), float(t2), float(combined))


def spe_limit(theta: np.ndarray, confidence: float) -> float:
    """Return the limit of the squared prediction error by Jackson and Mudholkar.

    By Box's where their power is not positive; 0 where nothing is left out.
    """
    if theta[0] <= 0 or theta[1] <= 0:
        return 0.0
    power = 1 - 2 * theta[0] * theta[2] / (3 * theta[1] ** 2)
    if power > 0.05:
        normal = stats.norm.isf(1 - confidence)
        base = (
            normal * np.sqrt(2 * theta[1] * power**2) / theta[0]
            + 1
            + theta[1] * power * (power - 1) / theta[0] ** 2
        )
        if base > 0:
            return float(theta[0] * base ** (1 / power))
    scale = theta[1] / theta[0]
    return float(scale * stats.chi2.isf(1 - confidence, theta[0] / scale))


def merged_kept(summaries: Sequence[SubspaceSummary]) -> Reservoir:
    """Return the sample of all samples that the given summaries saw."""
    return reservoir.merge([summary.kept for summary in summaries])


def coordinates(X: Array, components: Array, mean: Array) -> tuple[Array, Array]:
    """Return the coordinates (n, n_components) and the residuals (n, n_features) of samples."""
    xp = namespace(X)
    # centred before it is multiplied: the mean may be much larger than the differences
    centred = xp.astype(X, xp.float64) - mean
    inside = centred @ xp.matrix_transpose(components)
    return inside, centred - inside @ components
