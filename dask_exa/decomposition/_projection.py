"""Samples to coefficients and back, in the kind of array that comes in."""

from __future__ import annotations

import functools
import math
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from scipy import sparse

from dask_exa._array import Array, as_float64, is_host, namespace
from dask_exa._samples import Labels, Samples, is_dask
from dask_exa._threads import map_threads
from dask_exa.reduction._graph import array_of_tasks, scatter
from dask_exa.reduction.samplewise import map_samples
from dask_exa.summaries.affine import Coordinates

_BLOCK_BYTES = 8 << 20
"""Samples are centred in blocks of this size."""
_EMBED_BYTES = 1 << 20
"""Larger arrays are sent to the workers once instead of with the tasks that use them."""


def project(samples: Samples, components: Any, mean: Any, scale: Array | None) -> Any:
    """Return the coefficients of samples, shape (sample axes …, n_components).

    Parameters
    ----------
    samples : Samples
    components, mean : arrays
        In memory as (n_components, n_features) and (n_features,); as Dask arrays with the shape
        of a field instead of n_features.
    scale : array of shape (n_components,), optional
        Divides the coefficients.
    """
    X = samples.array
    if not samples.is_lazy and not is_dask(components):
        scores = _project_here(X, components, mean)
    elif is_dask(components) or math.prod(X.numblocks[samples.n_sample_axes :]) > 1:
        scores = _project_lazy(samples, components, mean)
    else:
        scores = _project_rows(samples, components, mean)
    if scale is None:
        return scores
    floor = np.finfo(np.float64).tiny
    divisor = np.maximum(scale, floor).astype(str(scores.dtype).split(".")[-1])
    if is_dask(scores) or is_host(scores):
        return scores / divisor
    return scores / namespace(scores).asarray(divisor)


def reconstruct(
    scores: Any, components: Any, mean: Any, scale: Array | None, labels: Labels | None
) -> Any:
    """Return the samples that belong to coefficients (…, n_components).

    Parameters
    ----------
    scores : array, Dask array or labelled array
    components, mean : arrays
    scale : array of shape (n_components,), optional
        Multiplies the coefficients.
    labels : Labels, optional
        Of the fields; used where `scores` is labelled too.
    """
    if isinstance(scores, xr.DataArray):
        scores = scores.transpose(..., "component")
        fields = reconstruct(scores.data, components, mean, scale, None)
        dims = scores.dims[:-1]
        coords = {name: c for name, c in scores.coords.items() if "component" not in c.dims}
        if labels is None:
            return xr.DataArray(fields, dims=(*dims, "feature"), coords=coords)
        return labels.wrap(fields, dims, **coords)
    n_components = components.shape[0]
    if scores.shape[-1] != n_components:
        raise ValueError(
            f"X has {scores.shape[-1]} coefficients per sample, the model {n_components} "
            "components; pass what transform returned."
        )
    if scale is not None:
        scores = scores * scale.astype(str(components.dtype).split(".")[-1])
    if is_dask(scores) or is_dask(components):
        return _reconstruct_lazy(scores, components, mean)
    return scores @ components + namespace(components).astype(mean, components.dtype)


def coordinates(model: Any, *, whiten: bool) -> Coordinates | None:
    """Return where `project` puts samples; None for a basis that is split over workers."""
    if is_dask(model.components):
        return None
    xp = namespace(model.components)
    axes = as_float64(model.components)
    scale = np.ones(model.n_components)
    if whiten:
        scale = np.maximum(np.sqrt(model.explained_variance), np.finfo(np.float64).tiny)
    scale = xp.asarray(scale)
    inverse = xp.matrix_transpose(axes * scale[:, None])
    return Coordinates(axes / scale[:, None], inverse, model.mean, xp.zeros_like(scale))


def _project_here(X: Array, components: Array, mean: Array) -> Array:
    xp = namespace(components)
    axes = xp.matrix_transpose(components)
    if sparse.issparse(X):
        return X @ axes - xp.astype(mean, components.dtype) @ axes
    n_samples, n_features = X.shape
    step = max(1, _BLOCK_BYTES // (8 * n_features))
    starts = range(0, n_samples, step)

    def project_block(start: int) -> Array:
        # Centred before it is multiplied: the mean may be much larger than the differences.
        centred = X[start : min(start + step, n_samples), :] - mean
        return xp.astype(centred, components.dtype, copy=False) @ axes

    return xp.concat(map_threads(project_block, starts))


def _project_rows(samples: Samples, components: Any, mean: Any) -> Any:
    """Project samples whose features are in one chunk: one task a chunk, to the last."""
    n_components = components.shape[0]
    function = functools.partial(
        _project_flat, components=components.reshape((n_components, -1)), mean=mean.reshape(-1)
    )
    return map_samples(function, samples, n_components, components.dtype)


def _project_flat(X: Array, components: Array, mean: Array) -> Array:
    return _project_block(X, components, mean)[:, 0, :]


def _project_lazy(samples: Samples, components: Any, mean: Any) -> Any:
    a = samples.n_sample_axes
    X = samples.array
    if not is_dask(X):
        X = da.from_array(X.reshape((-1, *components.shape[1:])), chunks=-1)
        a = 1
    shape, chunks = X.shape[a:], X.chunks[a:]
    components = _blocks(components, (components.shape[0], *shape), (-1, *chunks))
    mean = _blocks(mean, shape, chunks)
    sample_index = tuple(range(a))
    features = tuple(range(a, X.ndim))
    out = (*sample_index, *features, X.ndim)
    partial = da.blockwise(
        _project_block,
        out,
        X,
        (*sample_index, *features),
        components,
        (X.ndim, *features),
        mean,
        features,
        adjust_chunks=dict.fromkeys(features, 1),
        dtype=components.dtype,
        meta=np.empty((0,) * len(out), dtype=components.dtype),
    )
    return partial.sum(axis=features)


def _project_block(X: Array, components: Array, mean: Array) -> Array:
    n_features = mean.size
    n_samples = X.shape[: X.ndim - mean.ndim]
    centred = (X - mean).reshape((-1, n_features)).astype(components.dtype)
    scores = centred @ components.reshape((-1, n_features)).T
    return scores.reshape((*n_samples, *(1 for _ in mean.shape), components.shape[0]))


def _reconstruct_lazy(scores: Any, components: Any, mean: Any) -> Any:
    if not is_dask(scores):
        scores = da.from_array(scores, chunks=-1)
    scores = scores.rechunk({-1: -1})
    if not is_dask(components):
        components = _blocks(components, components.shape, (-1,) * components.ndim)
        mean = _blocks(mean, mean.shape, (-1,) * mean.ndim)
    samples = tuple(range(scores.ndim - 1))
    features = tuple(range(scores.ndim, scores.ndim + mean.ndim))
    k = scores.ndim - 1
    dtype = components.dtype
    return da.blockwise(
        _reconstruct_block,
        (*samples, *features),
        scores,
        (*samples, k),
        components,
        (k, *features),
        mean,
        features,
        concatenate=True,
        dtype=dtype,
        meta=np.empty((0,) * (len(samples) + len(features)), dtype=dtype),
    )


def _reconstruct_block(scores: Array, components: Array, mean: Array) -> Array:
    k = components.shape[0]
    fields = scores.reshape((-1, k)) @ components.reshape((k, -1)) + mean.reshape(-1)
    return fields.reshape((*scores.shape[:-1], *mean.shape)).astype(components.dtype)


def _blocks(array: Any, shape: tuple[int, ...], chunks: Any) -> Any:
    """Return an array as a Dask array of the given chunks, without a large graph."""
    if is_dask(array):
        return array
    array = array.reshape(shape)
    if array.nbytes > _EMBED_BYTES and (future := scatter(array)) is not None:
        whole = tuple((size,) for size in shape)
        tasks = {(0,) * len(shape): (_same, (future,))}
        return array_of_tasks("scattered", tasks, [future], whole, array.dtype).rechunk(chunks)
    return da.from_array(array, chunks=chunks)


def _same(value: Any) -> Any:
    return value
