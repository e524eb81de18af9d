"""Parameters of a mixture of Gaussians, with four forms of covariances.

A covariance C is used through the Cholesky factor of its inverse, an upper triangular P with
``P Pᵀ = C⁻¹``: of a difference x - μ, ``y = (x - μ) P`` has the squared Mahalanobis distance |y|²
and ``log det P = Σ log P_jj`` is that of the density. Forms, by `covariance_type`, for k
components and d features:

- ``full``: (k, d, d), each component its own;
- ``tied``: (d, d), one for all;
- ``diag``: (k, d), the variance of every feature, P its inverse square root;
- ``spherical``: (k,), one variance for all features, P its inverse square root.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dtrtri

TYPES = ("full", "tied", "diag", "spherical")


class Gaussians(NamedTuple):
    """A mixture as it is evaluated; all arrays in host memory, float64."""

    covariance_type: str
    weights: np.ndarray
    """Shape (k,), adding up to 1."""
    means: np.ndarray
    """Shape (k, d)."""
    covariances: np.ndarray
    precisions_cholesky: np.ndarray

    @property
    def precisions(self) -> np.ndarray:
        """Inverses of the covariances."""
        factor = self.precisions_cholesky
        if self.covariance_type in ("full", "tied"):
            return factor @ np.swapaxes(factor, -1, -2)
        return factor**2

    @property
    def constants(self) -> np.ndarray:
        """Logarithm of weight times density at the mean of every component, shape (k,)."""
        n_features = self.means.shape[1]
        with np.errstate(divide="ignore"):  # a component of weight 0 is nowhere likely
            log_weights = np.log(self.weights)
        return log_weights + self.log_determinants - 0.5 * n_features * math.log(2 * math.pi)

    @property
    def log_determinants(self) -> np.ndarray:
        """``log det P`` of every component, shape (k,)."""
        factor = self.precisions_cholesky
        n_components, n_features = self.means.shape
        if self.covariance_type in ("full", "tied"):
            diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
            return np.broadcast_to(np.sum(np.log(diagonal), axis=-1), (n_components,))
        if self.covariance_type == "diag":
            return np.sum(np.log(factor), axis=1)
        return n_features * np.log(factor)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters, for information criteria."""
        k, d = self.means.shape
        pairs = d * (d + 1) // 2
        covariances = {"full": k * pairs, "tied": pairs, "diag": k * d, "spherical": k}
        return covariances[self.covariance_type] + k * d + k - 1


def from_covariances(
    covariance_type: str,
    weights: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    reg_covar: float = 0.0,
) -> Gaussians:
    """Return the mixture of the given covariances.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}
    weights : array of shape (k,)
    means : array of shape (k, d)
    covariances : array
        As the module says.
    reg_covar : float, default=0.0
        Named in the error; it is in the covariances already.

    Raises
    ------
    ValueError
        If a covariance is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> weights, means = np.array([0.5, 0.5]), np.zeros((2, 3))
    >>> from_covariances("spherical", weights, means, np.array([4.0, 1.0])).precisions_cholesky
    array([0.5, 1. ])
    """
    if covariance_type in ("diag", "spherical"):
        bad = ~(covariances > 0).reshape(covariances.shape[0], -1).all(axis=1)
        if bad.any():
            raise ValueError(_collapsed(int(np.argmax(bad)), covariance_type, reg_covar))
        factors = 1 / np.sqrt(covariances)
        return Gaussians(covariance_type, weights, means, covariances, factors)
    stack = covariances if covariances.ndim == 3 else covariances[None]
    factors = np.stack(
        [_inverse_root(c, i, covariance_type, reg_covar) for i, c in enumerate(stack)]
    ).reshape(covariances.shape)
    return Gaussians(covariance_type, weights, means, covariances, factors)


def from_precisions(
    covariance_type: str, weights: np.ndarray, means: np.ndarray, precisions: np.ndarray
) -> Gaussians:
    """Return the mixture of the given inverse covariances; see `from_covariances`."""
    if covariance_type in ("full", "tied"):
        return from_covariances(covariance_type, weights, means, np.linalg.inv(precisions))
    return from_covariances(covariance_type, weights, means, 1 / precisions)


def _inverse_root(covariance: np.ndarray, i: int, form: str, reg_covar: float) -> np.ndarray:
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise ValueError(_collapsed(i, form, reg_covar)) from error
    # LAPACK itself: a solver that starts threads costs more than matrices of this size
    inverse, _ = dtrtri(lower, lower=1)
    return np.ascontiguousarray(inverse.T)


def _collapsed(i: int, form: str, reg_covar: float) -> str:
    whose = "all components" if form == "tied" else f"component {i}"
    return (
        f"the {form} covariance of {whose} is singular with reg_covar={reg_covar}: its samples are "
        "too few, equal to each other or linearly dependent; raise reg_covar, lower n_components, "
        "or scale the features."
    )
