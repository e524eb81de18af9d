"""Samples to scores, in the kind of array that comes in."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa._array import Array, namespace
from dask_exa._samples import Samples, flatten, is_dask
from dask_exa.summaries import Reducer, Summary


def score(
    samples: Samples, score_block: Callable[[Array], Array], *, per_feature: bool = False
) -> Any:
    """Return one score per sample, shape (sample axes …), or one per feature of every sample.

    Parameters
    ----------
    samples : Samples
        Lazy ones give a lazy result with the same chunks of samples.
    score_block : callable
        Scores (n_samples,) of samples (n_samples, n_features) in memory. It is in the graph once,
        pickled, and sent to the workers that have samples.
    per_feature : bool, default=False
        Whether it returns scores (n_samples, n_features) instead; lazy ones keep all axes.
    """
    X, a = samples.array, samples.n_sample_axes
    if not samples.is_lazy:
        return score_block(X)
    X = X.rechunk(dict.fromkeys(range(a, X.ndim), -1))
    packed = da.from_array(np.frombuffer(pickle.dumps(score_block), dtype=np.uint8), chunks=-1)
    axes = tuple(range(X.ndim))
    n_out = X.ndim if per_feature else a
    return da.blockwise(
        _score_chunk,
        axes[:n_out],
        X,
        axes,
        packed,
        (X.ndim,),
        concatenate=True,
        n_sample_axes=a,
        n_out=n_out,
        dtype=np.float64,
        meta=np.empty((0,) * n_out),
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


def refusing(reducer: Reducer) -> Reducer:
    """Return a reducer that raises ValueError where samples have NaN or infinity in them."""
    return Reducer(
        functools.partial(_summarize_finite, reducer=reducer),
        reducer.merge,
        functools.partial(_extend_finite, reducer=reducer),
        functools.partial(_located_refusing, reducer=reducer),
    )


def _summarize_finite(X: Array, weight: Array | None, reducer: Reducer) -> Summary:
    refuse_non_finite(X)
    return reducer.summarize(X, weight)


def _extend_finite(summary: Summary, X: Array, weight: Array | None, reducer: Reducer) -> Summary:
    refuse_non_finite(X)
    return reducer.absorb(summary, X, weight)


def _located_refusing(row: int, reducer: Reducer) -> Reducer:
    return refusing(reducer.at(row))


def _score_chunk(X: Array, packed: np.ndarray, n_sample_axes: int, n_out: int) -> Array:
    score_block = pickle.loads(packed.tobytes())
    return score_block(flatten(X, n_sample_axes)).reshape(X.shape[:n_out])
