"""Nearest centres: which twin finds them, and which sums what each attracts."""

from __future__ import annotations

from typing import NamedTuple

from dask_exa._array import Array, as_float64, is_cupy, is_host, namespace

_BLOCK_BYTES = 8 << 20
"""Distances are computed for blocks of samples, of about this size, never for all at once."""


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
        Distances of samples that are not finite are NaN or infinite.
    centers : array of shape (n_clusters, n_features)
        Of several equally near ones, the first is taken. The twins compare exact distances, in
        float64; other namespaces those that a product in the dtype of `X` gives.

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
    if is_host(X):
        from dask_exa.kernels._distances_numba import nearest_centers as twin
    elif is_cupy(X):
        from dask_exa.kernels._distances_cupy import nearest_centers as twin
    else:
        twin = _nearest_centers
    return twin(X, centers)


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
    if is_host(X):
        from dask_exa.kernels._distances_numba import sum_nearest as twin
    elif is_cupy(X):
        from dask_exa.kernels._distances_cupy import sum_nearest as twin
    else:
        twin = _sum_nearest
    labels, counts, sums, inertia = twin(X, centers, sample_weight)
    return labels, Attracted(counts, sums, inertia)


def _nearest_centers(X: Array, centers: Array) -> tuple[Array, Array]:
    xp = namespace(X)
    found = [_search(X[rows, :], centers) for rows in _blocks(X, centers)]
    labels, distances = zip(*((labels, squares) for labels, _, squares in found), strict=True)
    return xp.concat(labels), xp.concat(distances)


def _sum_nearest(
    X: Array, centers: Array, sample_weight: Array | None
) -> tuple[Array, Array, Array, float]:
    xp = namespace(X)
    clusters = xp.arange(centers.shape[0], dtype=xp.int32)
    counts = xp.zeros(centers.shape[0], dtype=xp.float64)
    sums = xp.zeros(centers.shape, dtype=xp.float64)
    found, inertia = [], 0.0
    for rows in _blocks(X, centers):
        labels, offsets, squares = _search(X[rows, :], centers)
        member = xp.astype(labels[None, :] == clusters[:, None], xp.float64)
        if sample_weight is not None:
            member = member * sample_weight[rows][None, :]
            squares = squares * sample_weight[rows]
        found.append(labels)
        counts, sums = counts + xp.sum(member, axis=1), sums + member @ offsets
        inertia += float(xp.sum(squares))
    return xp.concat(found), counts, sums, inertia


def _blocks(X: Array, centers: Array) -> list[slice]:
    step = max(1, _BLOCK_BYTES // (8 * max(centers.shape)))
    starts = range(0, X.shape[0], step)
    return [slice(start, min(start + step, X.shape[0])) for start in starts]


def _search(X: Array, centers: Array) -> tuple[Array, Array, Array]:
    """Return the nearest centre of every sample, the offset from it and its square."""
    xp = namespace(X)
    centers = as_float64(centers)
    origin = xp.astype(xp.mean(centers, axis=0), X.dtype)  # what all share would cost digits
    shifted = xp.astype(centers - as_float64(origin), X.dtype)
    near = xp.sum(shifted * shifted, axis=1)[None, :]
    near = near - 2 * ((X - origin) @ xp.matrix_transpose(shifted))
    labels = xp.astype(xp.argmin(near, axis=1), xp.int32)
    offsets = as_float64(X) - xp.take(centers, labels, axis=0)
    return labels, offsets, xp.sum(offsets * offsets, axis=1)
