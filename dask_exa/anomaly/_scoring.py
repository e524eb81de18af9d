"""Samples to scores, in the kind of array that comes in."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa import kernels
from dask_exa._array import Array, namespace
from dask_exa._samples import Samples, flatten, is_dask
from dask_exa.kernels import forest as forests
from dask_exa.kernels.forest import Forest


def score(samples: Samples, forest: Forest, scale: float) -> Any:
    """Return ``-2 ** (-mean leaf / scale)`` of samples, shape (sample axes …).

    Parameters
    ----------
    samples : Samples
        Lazy ones give a lazy result with the same chunks of samples.
    forest : Forest
    scale : float
        The mean depth of samples that are like all others; 0 where there was one sample only.
    """
    X, a = samples.array, samples.n_sample_axes
    if not samples.is_lazy:
        return _score_block(X, forest, scale)
    X = X.rechunk(dict.fromkeys(range(a, X.ndim), -1))
    packed = da.from_array(forests.pack(forest), chunks=-1)
    axes = tuple(range(X.ndim))
    return da.blockwise(
        _score_chunk,
        axes[:a],
        X,
        axes,
        packed,
        tuple(range(X.ndim, X.ndim + packed.ndim)),
        concatenate=True,
        scale=scale,
        n_sample_axes=a,
        dtype=np.float64,
        meta=np.empty((0,) * a),
    )


def label(scores: Any, samples: Samples) -> Any:
    """Label one value per sample with the dimensions of the samples."""
    labels = samples.labels
    if labels is None:
        return scores
    if not is_dask(scores):
        scores = scores.reshape(samples.sample_sizes)
    return xr.DataArray(scores, dims=labels.sample_dims, coords=dict(samples.sample_coords or {}))


def verdict(decision: Any) -> Any:
    """Return -1 where a decision is negative, else 1."""
    if is_dask(decision):
        return decision.map_blocks(
            verdict, dtype=np.int64, meta=np.empty((0,) * decision.ndim, int)
        )
    if isinstance(decision, xr.DataArray):
        return decision.copy(data=verdict(decision.data))
    xp = namespace(decision)
    return xp.where(decision < 0, xp.asarray(-1), xp.asarray(1))


def refuse_non_finite(X: Array) -> None:
    """Raise ValueError if samples have NaN or infinity in them."""
    xp = namespace(X)
    if bool(xp.isfinite(xp.sum(X))):  # one bad value shows in the sum
        return
    finite = xp.all(xp.isfinite(X), axis=1)
    if not bool(xp.all(finite)):
        first = int(xp.argmin(xp.astype(finite, xp.uint8)))
        raise ValueError(
            f"X contains NaN or infinity, first in row {first}; drop or fill such samples, or "
            "take nan='score', which lets them pass."
        )


def _score_block(X: Array, forest: Forest, scale: float) -> Array:
    paths = kernels.mean_leaves(X, forest)
    xp = namespace(paths)
    return -(2 ** -(paths / scale if scale else xp.ones_like(paths)))


def _score_chunk(X: Array, packed: np.ndarray, scale: float, n_sample_axes: int) -> Array:
    shape = X.shape[:n_sample_axes]
    return _score_block(flatten(X, n_sample_axes), forests.unpack(packed), scale).reshape(shape)
