"""What happens to one model and one chunk, and how the answers of all become one array."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa._array import Array
from dask_exa._samples import Samples, flatten
from dask_exa.base import MergeableEstimator
from dask_exa.reduction import blocks
from dask_exa.reduction._errors import naming

TIME_NAMES = ("time", "timestep")


def block_axes(samples: Samples, block_dims: Any) -> tuple[int, ...]:
    """Return the axes whose chunks tell blocks apart.

    Parameters
    ----------
    samples : Samples
    block_dims : hashable, sequence of hashable, or None
        None takes all but time; arrays without names have none.
    """
    labels = samples.labels
    if labels is None:
        if block_dims is not None:
            raise ValueError(
                f"block_dims={block_dims!r} but X has no names of dimensions; pass an "
                "xarray.DataArray, or leave block_dims out."
            )
        return tuple(range(max(samples.array.ndim, 2) if samples.is_lazy else 2))
    dims = (*labels.sample_dims, *labels.feature_dims)
    if block_dims is None:
        chosen = [dim for dim in dims if dim not in TIME_NAMES]
    elif isinstance(block_dims, str) or not isinstance(block_dims, Sequence):
        chosen = [block_dims]
    else:
        chosen = list(block_dims)
    if unknown := [dim for dim in chosen if dim not in dims]:
        raise ValueError(
            f"block_dims={block_dims!r} names {unknown} but X has the dimensions {list(dims)}; "
            "name dimensions that X has."
        )
    return tuple(axis for axis, dim in enumerate(dims) if dim in chosen)


def as_lazy(samples: Samples) -> Any:
    """Return samples as a Dask array; those in memory in one chunk."""
    if samples.is_lazy:
        return samples.array
    X = samples.array
    if samples.labels is not None:
        X = X.reshape((*samples.sample_sizes, *samples.labels.feature_sizes))
    return da.from_array(X, chunks=-1)


def learn(place: tuple[int, ...], model: Any, chunk: Array, n_sample_axes: int, method: str) -> Any:
    """Return a model that has learnt one more chunk; the given one stays as it was."""
    X = flatten(chunk, n_sample_axes)
    if X.shape[0] == 0:
        return model
    # our states never change, others' are changed in place
    model = copy.copy(model) if isinstance(model, MergeableEstimator) else copy.deepcopy(model)
    with naming(f"block {place}"):
        return getattr(model, method)(X)


def merge_models(*models: Any) -> Any:
    """Return a new model of those of one block."""
    return merge_list(models)


def merge_list(models: Sequence[Any]) -> Any:
    """Return a new model of several."""
    return copy.copy(models[0]).merge(*models[1:])


def apply(
    X: Any, n_sample_axes: int, block_axes: Sequence[int], models: Sequence[Any], method: str
) -> Any:
    """Return what a method of the models says of every sample, lazily.

    Parameters
    ----------
    X : dask.array.Array
        Sample axes first, then feature axes.
    n_sample_axes : int
    block_axes : sequence of int
    models : sequence of handles
    method : str
        Returns one number per sample.

    Returns
    -------
    dask.array.Array
        With the sample axes and those feature axes that are split into blocks.
    """
    whole = {i: -1 for i in range(n_sample_axes, X.ndim) if i not in block_axes}
    X = X.rechunk(whole) if whole else X
    axes = tuple(range(X.ndim))
    split = split_features(X, n_sample_axes, block_axes)
    out = (*axes[:n_sample_axes], *split)
    named = tuple(axis for axis in block_axes if axis in out)
    grid = blocks.array_of_values(models, tuple(X.chunks[axis] for axis in named))
    dtype = np.int64 if method == "predict" else np.float64
    return da.blockwise(
        _apply_block,
        out,
        X,
        axes,
        grid,
        named,
        adjust_chunks=dict.fromkeys(split, 1),
        concatenate=True,
        method=method,
        n_sample_axes=n_sample_axes,
        n_split=len(split),
        dtype=dtype,
        meta=np.empty((0,) * len(out), dtype=dtype),
    )


def split_features(X: Any, n_sample_axes: int, block_axes: Sequence[int]) -> tuple[int, ...]:
    """Return the feature axes that are split into several blocks."""
    return tuple(i for i in block_axes if i >= n_sample_axes and X.numblocks[i] > 1)


def label(answer: Any, X: Any, samples: Samples, block_axes: Sequence[int]) -> Any:
    """Label what `apply` returned with the dimensions of the samples and of the blocks."""
    labels = samples.labels
    if labels is None:
        return answer
    a = len(labels.sample_dims)
    split = split_features(X, a, block_axes)
    dims = (*labels.sample_dims, *(labels.feature_dims[axis - a] for axis in split))
    return xr.DataArray(answer, dims=dims, coords=dict(samples.sample_coords or {}))


def _apply_block(
    chunk: Array, model: Any, method: str, n_sample_axes: int, n_split: int
) -> np.ndarray:
    shape = chunk.shape[:n_sample_axes]
    X = flatten(chunk, n_sample_axes)
    answer = getattr(model, method)(X) if X.shape[0] else np.empty(0)
    return np.asarray(answer).reshape((*shape, *(1,) * n_split))
