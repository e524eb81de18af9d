"""Principal components as a Gaussian law of the samples: covariance, precision, likelihood."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import sparse

from dask_exa._array import Array, namespace, to_host
from dask_exa._samples import is_dask
from dask_exa._threads import map_threads
from dask_exa.decomposition._model import PCAModel
from dask_exa.summaries import subspace

_BLOCK_BYTES = 8 << 20
"""Samples are centred in blocks of this size."""


class GaussianLaw(NamedTuple):
    """Variances along the components, and one variance for all directions that are left.

    References
    ----------
    C. Bishop, "Pattern Recognition and Machine Learning", 2006, section 12.2.1.
    """

    components: Array
    mean: Array
    variances: np.ndarray
    noise_variance: float

    def covariance(self) -> np.ndarray:
        """Return the covariance of the features."""
        components = to_host(self.components)
        excess = np.maximum(self.variances - self.noise_variance, 0.0)
        covariance = (components.T * excess) @ components
        covariance[np.diag_indices_from(covariance)] += self.noise_variance
        return covariance

    def precision(self) -> np.ndarray:
        """Return the inverse of the covariance, by the matrix inversion lemma."""
        components, noise = to_host(self.components), self.noise_variance
        n_components, n_features = components.shape
        if noise == 0.0 or n_components == n_features:
            return np.linalg.inv(self.covariance())
        shrink = 1 / noise - 1 / np.maximum(self.variances, noise)
        precision = -(components.T * shrink) @ components
        precision[np.diag_indices_from(precision)] += 1 / noise
        return precision

    def log_likelihood(self, X: Array) -> Array:
        """Return the logarithm of the density at samples (n_samples, n_features) in memory."""
        xp = namespace(self.components)
        n_components, n_features = self.components.shape
        n_left = n_features - n_components
        inverse = xp.asarray(1 / self.variances)
        per_residual = 1 / self.noise_variance if n_left else 0.0
        constant = n_features * math.log(2 * math.pi) + float(np.log(self.variances).sum())
        if n_left:
            constant += n_left * math.log(self.noise_variance)
        step = max(1, _BLOCK_BYTES // (8 * n_features))

        def block(start: int) -> Array:
            rows = X[start : min(start + step, X.shape[0]), :]
            rows = rows.toarray() if sparse.issparse(rows) else rows
            inside, residual = subspace.coordinates(rows, self.components, self.mean)
            squares = xp.sum(inside * inside * inverse, axis=1)
            squares = squares + per_residual * xp.sum(residual * residual, axis=1)
            return -0.5 * (constant + squares)

        return xp.concat(map_threads(block, range(0, X.shape[0], step)))


def gaussian_law(model: PCAModel, method: str) -> GaussianLaw:
    """Return the law that principal components stand for, or say why `method` cannot have it."""
    if is_dask(model.components):
        raise TypeError(
            f"{method} needs the components in memory, and they are split over workers; fit with "
            "layout='rows'."
        )
    return GaussianLaw(
        model.components, model.mean, model.explained_variance, float(model.noise_variance)
    )


def check_density(law: GaussianLaw) -> None:
    """Raise where all samples lie in a subspace, which has no density in the others."""
    n_components, n_features = law.components.shape
    rounding = n_features * np.finfo(np.float64).eps * law.variances.max()
    flat = n_components < n_features and law.noise_variance <= rounding
    if flat or law.variances.min() <= rounding:
        raise ValueError(
            f"n_components={n_components} leaves no variance to the rest of the {n_features} "
            "features, so that samples have no likelihood; lower n_components or pass more samples."
        )
