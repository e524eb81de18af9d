"""Nearest centres: which twin finds them, and which sums what each attracts."""

from __future__ import annotations

from typing import NamedTuple

from dask_exa._array import Array, as_float64, namespace

_BLOCK_BYTES = 8 << 20
"""Distances are computed for blocks of samples of this size, never for all at once."""


class Attracted(NamedTuple):
    """What the samples say that are nearest to every centre."""

    counts: Array
    """Sum of their weights, shape (n_clusters,), float64."""
    sums: Array
    """Weighted sum of their distances from the centre, Σ w (x - centre), shape (n_clusters,
    n_features), float64. Zero-centred, it loses no digits where centres are far from zero."""
    inertia: float
    """Weighted sum of their squared distances from the centre."""


def nearest_centers(X: Array, centers: Array) -> tuple[Array, Array]:
    """Return for every sample which centre is nearest, and its squared distance.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
        Finite.
    centers : array of shape (n_clusters, n_features)
        Compared in the dtype of `X`. Of several equally near ones, the first.

    Returns
    -------
    labels : array of shape (n_samples,), int32
    squared_distances : array of shape (n_samples,), float64
        Of the difference itself, not of a difference of squares.

    Examples
    --------
    >>> import numpy as np
    >>> nearest_centers(np.array([[0.0], [5.0]]), np.array([[1.0], [4.0]]))
    (array([0, 1], dtype=int32), array([1., 1.]))
    """
    return _nearest_centers(X, centers)


def sum_nearest(
    X: Array, centers: Array, sample_weight: Array | None = None
) -> tuple[Array, Attracted]:
    """Find the nearest centre of every sample and sum what each attracts, in one pass.

    Parameters
    ----------
    X, centers
        As for `nearest_centers`.
    sample_weight : array of shape (n_samples,), float64, optional

    Returns
    -------
    labels : array of shape (n_samples,), int32
    attracted : Attracted
    """
    return _sum_nearest(X, centers, sample_weight)


def _nearest_centers(X: Array, centers: Array) -> tuple[Array, Array]:
    xp = namespace(X)
    centers = xp.astype(centers, X.dtype, copy=False)
    norms = xp.sum(centers * centers, axis=1)
    step = max(1, _BLOCK_BYTES // (8 * centers.shape[0]))
    labels, distances = [], []
    for start in range(0, X.shape[0], step):
        rows = X[start : min(start + step, X.shape[0]), :]
        near = norms[None, :] - 2 * (rows @ xp.matrix_transpose(centers))
        nearest = xp.astype(xp.argmin(near, axis=1), xp.int32)
        offsets = as_float64(rows - xp.take(centers, nearest, axis=0))
        labels.append(nearest)
        distances.append(xp.sum(offsets * offsets, axis=1))
    return xp.concat(labels), xp.concat(distances)


def _sum_nearest(X: Array, centers: Array, sample_weight: Array | None) -> tuple[Array, Attracted]:
    xp = namespace(X)
    labels, distances = _nearest_centers(X, centers)
    centers = xp.astype(centers, X.dtype, copy=False)
    offsets = as_float64(X - xp.take(centers, labels, axis=0))
    if sample_weight is None:
        sample_weight = xp.ones(X.shape[0], dtype=xp.float64)
    clusters = xp.arange(centers.shape[0], dtype=labels.dtype)
    member = xp.astype(labels[None, :] == clusters[:, None], xp.float64) * sample_weight[None, :]
    inertia = float(xp.sum(distances * sample_weight))
    return labels, Attracted(xp.sum(member, axis=1), member @ offsets, inertia)
