"""Densities of a mixture at samples, and the sums over samples that make its next parameters.

With r_ik the share of component k in sample i, learning needs ``Σ r``, ``Σ r (x - o)`` and
``Σ r (x - o)(x - o)ᵀ`` (or its diagonal) about an origin o that is near the samples of the
component, so that nothing large is subtracted in the end. There are two ways:

- **Differences**: every component about its own mean. Always right; as many passes over a block
  of samples as there are components.
- **Expansion**: about one origin for all, ``|x - μ|² = |x|² - 2 x·μ + |μ|²``, with all products of
  two features for full covariances: two products of matrices for all components together. It loses
  the digits of (distance of the means from the origin / standard deviation)², and is taken where
  that leaves enough: more than half of them in float64; in float32, which the samples then stay
  in, four.

Whatever is summed over blocks is summed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, as_float64, device, is_host, namespace
from dask_exa.summaries.gaussians import Gaussians

_MAX_SPREAD = {"float32": 1e3, "float64": 1e8}
"""Squared distance of a mean from the common origin, in variances, up to which to expand."""
_MAX_PAIRED = 128
"""Features up to which to expand full covariances: the products of a block stay in the cache."""
_MIN_PAIRED = 4
"""Components from which on that is less work."""
_BLOCK_BYTES = 1 << 20
"""What is computed of a block of samples stays in the cache."""
_DEVICE_BLOCK_BYTES = 256 << 20
_MIN_ROWS = 128


def log_density(X: Array, gaussians: Gaussians) -> Array:
    """Return the logarithm of the density of a mixture at every sample, in the dtype of `X`.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.summaries.gaussians import from_covariances
    >>> normal = from_covariances("diag", np.ones(1), np.zeros((1, 1)), np.ones((1, 1)))
    >>> log_density(np.array([[0.0], [1.0]]), normal)
    array([-0.91893853, -1.41893853])
    """
    return _map_blocks(X, gaussians, kernels.normalize_log)


def memberships(X: Array, gaussians: Gaussians) -> Array:
    """Return the probability of every component given the sample, (n_samples, n_components)."""
    return _map_blocks(X, gaussians, _shares)


def most_likely(X: Array, gaussians: Gaussians) -> Array:
    """Return the number of the component that a sample most likely is of, int32."""
    return _map_blocks(X, gaussians, _argmax, cast=False)


def prepare(gaussians: Gaussians, like: Array) -> Expansion | Differences:
    """Return the way to evaluate a mixture at samples that are like the given ones."""
    k, d = gaussians.means.shape
    if gaussians.covariance_type != "full" or (d <= _MAX_PAIRED and k >= _MIN_PAIRED):
        spread = _spread(gaussians)
        for dtype in (str(like.dtype).rpartition(".")[2], "float64"):
            if spread <= _MAX_SPREAD[dtype]:
                return Expansion(gaussians, like, dtype)
    return Differences(gaussians, like)


class Expansion:
    """All components at once, about a common origin."""

    def __init__(self, gaussians: Gaussians, like: Array, dtype: str) -> None:
        xp = namespace(like)
        there: dict[str, Any] = {"dtype": getattr(xp, dtype), "device": device(like)}
        n_components, n_features = gaussians.means.shape
        self.tied = gaussians.covariance_type == "tied"
        self.pairs = gaussians.covariance_type == "full"
        self.n_features = n_features
        # rounded as it will be subtracted, so that offsets of means and samples are from one point
        origin = gaussians.means.mean(axis=0).astype(dtype)
        self.origins = origin.astype(np.float64)[None, :]
        offsets = gaussians.means - self.origins
        factors = gaussians.precisions_cholesky
        if self.tied:
            self.whiten = xp.asarray(factors, **there)
            slopes = offsets @ factors
            coefficients = slopes.T
            constants = gaussians.constants - 0.5 * np.sum(slopes**2, axis=1)
        elif self.pairs:
            precisions = gaussians.precisions
            slopes = np.einsum("kij,kj->ki", precisions, offsets)
            constants = gaussians.constants - 0.5 * np.sum(slopes * offsets, axis=1)
            i, j = np.triu_indices(n_features)
            products = np.where(i == j, -0.5, -1.0) * precisions[:, i, j]
            coefficients = np.vstack([slopes.T, products.T, constants[None, :]])
        else:
            shape = (n_components, n_features)
            precisions = np.broadcast_to(factors.reshape(n_components, -1) ** 2, shape)
            constants = gaussians.constants - 0.5 * np.sum(precisions * offsets**2, axis=1)
            coefficients = np.vstack(
                [(precisions * offsets).T, -0.5 * precisions.T, constants[None, :]]
            )
        self.origin = xp.asarray(origin, **there)
        self.coefficients = xp.asarray(np.ascontiguousarray(coefficients), **there)
        self.constants = xp.asarray(constants, **there)
        itemsize = 4 if dtype == "float32" else 8
        width = self.coefficients.shape[0]
        self.n_rows = _rows_of_a_block(like, itemsize * (width + n_features + n_components))
        n_rows = min(self.n_rows, like.shape[0])
        self._work = xp.empty((0 if self.tied else n_rows, width), **there)
        self._joint = xp.empty((n_rows, n_components), **there)

    def evaluate(self, X: Array) -> tuple[Array, Array]:
        """Return what `sums` needs of a block of samples, and ``log(weight density)``."""
        xp = namespace(X)
        joint = self._joint[: X.shape[0], :]
        if not self.tied:
            work = self._work[: X.shape[0], :]
            kernels.quadratic_features(X, self.origin, work, pairs=self.pairs)
            return work, _product(work, self.coefficients, joint)
        work = xp.astype(X, self.origin.dtype, copy=False) - self.origin
        white = work @ self.whiten
        joint = _product(white, self.coefficients, joint)
        joint += self.constants
        joint -= (0.5 * xp.sum(white * white, axis=1))[:, None]
        return work, joint

    def sums(self, work: Array, shares: Array) -> tuple[Array, Array, Array]:
        """Return Σ r, Σ r (x - o) and the second moments about o of a block, in float64."""
        xp = namespace(work)
        sums = as_float64(xp.matrix_transpose(shares) @ work)
        if not self.tied:
            d = self.n_features
            return sums[:, -1], sums[:, :d], sums[:, d:-1]
        counts = xp.sum(shares, axis=0, dtype=xp.float64)
        rows = work * xp.sqrt(xp.sum(shares, axis=1))[:, None]
        return counts, sums, as_float64(xp.matrix_transpose(rows) @ rows)

    def second_moments(self, second: np.ndarray) -> np.ndarray:
        """Return summed second moments in the form of the covariances; diagonals stay."""
        if not self.pairs:
            return second
        i, j = np.triu_indices(self.n_features)
        moments = np.empty((second.shape[0], self.n_features, self.n_features))
        moments[:, i, j] = moments[:, j, i] = second
        return moments


class Differences:
    """One component after the other, about its own mean, in float64."""

    def __init__(self, gaussians: Gaussians, like: Array) -> None:
        xp = namespace(like)
        there: dict[str, Any] = {"dtype": xp.float64, "device": device(like)}
        n_components, n_features = gaussians.means.shape
        self.covariance_type = gaussians.covariance_type
        self.origins = gaussians.means
        factors = gaussians.precisions_cholesky
        if self.covariance_type == "tied":
            factors = np.broadcast_to(factors, (n_components, n_features, n_features))
        self.means = xp.asarray(gaussians.means, **there)
        self.factors = xp.asarray(np.ascontiguousarray(factors), **there)
        self.constants = [float(constant) for constant in gaussians.constants]
        self.n_rows = _rows_of_a_block(like, 8 * (3 * n_features + n_components))

    def evaluate(self, X: Array) -> tuple[Array, Array]:
        """Return what `sums` needs of a block of samples, and ``log(weight density)``."""
        X = as_float64(X)
        xp = namespace(X)
        joint = xp.empty((X.shape[0], len(self.constants)), dtype=xp.float64, device=device(X))
        for k, constant in enumerate(self.constants):
            offsets, factor = X - self.means[k, :], self.factors[k, ...]
            white = offsets @ factor if factor.ndim == 2 else offsets * factor
            joint[:, k] = constant - 0.5 * xp.sum(white * white, axis=1)
        return X, joint

    def sums(self, work: Array, shares: Array) -> tuple[Array, Array, Array]:
        """Return Σ r, Σ r (x - μ) and the second moments about μ of a block, in float64."""
        xp = namespace(work)
        counts = xp.sum(shares, axis=0)
        first, second = [], []
        for k in range(len(self.constants)):
            root = xp.sqrt(shares[:, k])
            rows = (work - self.means[k, :]) * root[:, None]
            first.append(root @ rows)
            if self.covariance_type in ("full", "tied"):  # BLAS computes half of it (SYRK)
                second.append(xp.matrix_transpose(rows) @ rows)
            else:
                second.append(xp.sum(rows * rows, axis=0))
        if self.covariance_type == "tied":
            return counts, xp.stack(first), sum(second[1:], second[0])
        return counts, xp.stack(first), xp.stack(second)

    def second_moments(self, second: np.ndarray) -> np.ndarray:
        """Return summed second moments, which have the form of the covariances."""
        return second


def blocks(n_samples: int, step: int) -> Iterator[slice]:
    """Yield the slices of the blocks of some samples."""
    for start in range(0, n_samples, step):
        yield slice(start, min(start + step, n_samples))


def _map_blocks(
    X: Array, gaussians: Gaussians, read: Callable[[Array], Array], *, cast: bool = True
) -> Array:
    xp = namespace(X)
    way = prepare(gaussians, X)
    parts = [
        xp.asarray(read(way.evaluate(X[rows, :])[1]), copy=True)
        for rows in blocks(X.shape[0], way.n_rows)
    ]
    values = parts[0] if len(parts) == 1 else xp.concat(parts)
    return xp.astype(values, X.dtype, copy=False) if cast else values


def _shares(joint: Array) -> Array:
    kernels.normalize_log(joint)
    return joint


def _argmax(joint: Array) -> Array:
    xp = namespace(joint)
    return xp.astype(xp.argmax(joint, axis=1), xp.int32)


def _spread(gaussians: Gaussians) -> float:
    """Return the largest square of an offset in variances, at most."""
    offsets = gaussians.means - gaussians.means.mean(axis=0)
    factors = gaussians.precisions_cholesky
    if gaussians.covariance_type == "full":  # samples of narrow clusters are far off, too
        sizes = np.abs(factors)
        largest = sizes.sum(axis=1).max(axis=1) * sizes.sum(axis=2).max(axis=1)
        extent = np.trace(gaussians.covariances, axis1=1, axis2=2)
        return float(np.max((np.sum(offsets**2, axis=1) + extent) * largest))
    if gaussians.covariance_type == "tied":
        return float(np.max((offsets @ factors) ** 2))
    return float(np.max((offsets * factors.reshape(offsets.shape[0], -1)) ** 2))


def _rows_of_a_block(like: Array, row_bytes: int) -> int:
    n_bytes = _BLOCK_BYTES if is_host(like) else _DEVICE_BLOCK_BYTES
    return max(_MIN_ROWS, n_bytes // row_bytes)


def _product(rows: Array, small: Array, out: Array) -> Array:
    if not is_host(rows):
        return rows @ small
    return np.matmul(rows, small, out=out)
