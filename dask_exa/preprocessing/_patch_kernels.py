"""The numeric part of patches: cut from a region, and added up in one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dask_exa._array import Array, is_host, namespace
from dask_exa._threads import map_threads

_BLOCK_BYTES = 1 << 20
"""Patches are blended in blocks of samples of this size, which stay in the cache."""


def cut_region(
    pieces: Sequence[Array],
    places: Sequence[tuple[slice, ...]],
    region: tuple[int, ...],
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
) -> Array:
    """Return the patches of a region that pieces make, one a row."""
    X = pieces[0]
    xp = namespace(X)
    n_samples, n_others, n_axes = X.shape[0], X.shape[-1], len(sizes)
    if len(pieces) > 1:
        X = xp.empty((n_samples, *region, n_others), dtype=X.dtype)
        for piece, place in zip(pieces, places, strict=True):
            X[(slice(None), *place, slice(None))] = piece
    axes = tuple(range(1, n_axes + 1))
    if is_host(X):
        windows = np.lib.stride_tricks.sliding_window_view(X, sizes, axes)
        windows = windows[(slice(None), *(slice(None, None, stride) for stride in strides))]
        # (samples, positions …, others, points …)
        windows = np.moveaxis(windows, n_axes + 1, -1)
    else:
        windows = _gather(X, region, sizes, strides)
    return xp.reshape(windows, (-1, math.prod(sizes) * n_others))


def _gather(
    X: Array, region: tuple[int, ...], sizes: tuple[int, ...], strides: tuple[int, ...]
) -> Array:
    """Return (samples, positions …, points …, others) without a view of strides."""
    xp = namespace(X)
    counts = []
    for axis, (n, size, stride) in enumerate(zip(region, sizes, strides, strict=True)):
        starts = np.arange(0, n - size + 1, stride)
        counts.append(len(starts))
        at = xp.asarray((starts[:, None] + np.arange(size)).ravel())
        X = xp.take(X, at, axis=axis + 1)
    pairs = [n for pair in zip(counts, sizes, strict=True) for n in pair]
    X = xp.reshape(X, (X.shape[0], *pairs, X.shape[-1]))
    order = (0, *range(1, X.ndim - 1, 2), *range(2, X.ndim - 1, 2), X.ndim - 1)
    return xp.permute_dims(X, order)


def blend_region(
    pieces: Sequence[Array],
    counts: tuple[int, ...],
    weights: Sequence[np.ndarray],
    strides: tuple[int, ...],
    n_others: int,
) -> Array:
    """Return the weighted sum of the patches of a tile in its region, axis by axis."""
    (rows,) = pieces
    xp = namespace(rows)
    n_patches = math.prod(counts)
    sizes = tuple(weight.shape[1] for weight in weights)
    step = n_patches * max(1, _BLOCK_BYTES // (8 * n_patches * rows.shape[1]))

    def blend_samples(start: int) -> Array:
        X = rows[start : min(start + step, rows.shape[0]), :]
        X = xp.reshape(X, (-1, *counts, *sizes, n_others))
        for i in reversed(range(len(counts))):  # (samples, positions ≤ i, points ≤ i, regions > i)
            X = xp.moveaxis(X, 1 + i, 2 * i + 1)
            X = _blend_axis(X, 2 * i + 1, xp.asarray(weights[i]), strides[i])
        return X

    parts = map_threads(blend_samples, range(0, rows.shape[0], step))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def _blend_axis(X: Array, axis: int, weight: Array, stride: int) -> Array:
    """Return (…, region, …) of (…, positions, points, …): the positions are along `axis`.

    A patch is cut into as many parts as strides fit in it; the region is made of such parts too.
    """
    xp = namespace(X)
    n_patches, size = weight.shape
    before, after = X.shape[:axis], X.shape[axis + 2 :]
    n_parts = -(-size // stride)
    region = xp.zeros((*before, n_patches - 1 + n_parts, stride, *after), dtype=xp.float64)
    lead, trail = (slice(None),) * axis, (slice(None),) * len(after)
    weight = xp.reshape(weight, (n_patches, size, *(1 for _ in after)))
    for part in range(n_parts):
        points = slice(part * stride, min((part + 1) * stride, size))
        weighted = X[(*lead, slice(None), points, *trail)] * weight[(slice(None), points, *trail)]
        places = (slice(part, part + n_patches), slice(0, points.stop - points.start))
        region[(*lead, *places, *trail)] += weighted
    region = xp.reshape(region, (*before, (n_patches - 1 + n_parts) * stride, *after))
    return region[(*lead, slice(0, (n_patches - 1) * stride + size), *trail)]


def add_regions(
    pieces: Sequence[Array],
    places: Sequence[tuple[slice, ...]],
    shape: tuple[int, ...],
    covered: Sequence[np.ndarray],
) -> Array:
    """Return a chunk of a field: the sum of the pieces of regions, NaN where there is no patch."""
    if not pieces:
        return np.full(shape, np.nan)
    fields = namespace(pieces[0]).zeros(shape, dtype=pieces[0].dtype)
    for piece, place in zip(pieces, places, strict=True):
        fields[(slice(None), *place, slice(None))] += piece
    return with_gaps(fields, covered)


def with_gaps(fields: Array, covered: Sequence[np.ndarray]) -> Array:
    """Return fields with NaN where no patch is."""
    for axis, points in enumerate(covered):
        if not points.all():
            xp = namespace(fields)
            shape = tuple(-1 if i == axis + 1 else 1 for i in range(fields.ndim))
            fields = xp.where(xp.reshape(xp.asarray(points), shape), fields, xp.nan)
    return fields
