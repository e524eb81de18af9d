"""Functions of samples, block by block, in the kind of array that comes in."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np

from dask_exa._array import Array, to_host
from dask_exa._samples import Samples, flatten
from dask_exa.reduction._graph import array_of_tasks, scatter

PER_FEATURE = "per feature"
"""As `n_outputs` of `map_samples`: as many values as features, in their places."""
_EMBED_BYTES = 1 << 20
"""Larger functions are sent to the workers once instead of with the graph."""


def map_samples(
    function: Callable[[Array], Array],
    samples: Samples,
    n_outputs: int | str | None = None,
    dtype: Any = np.float64,
) -> Any:
    """Apply a function to samples: at once in memory, lazily and chunk by chunk where they are.

    Parameters
    ----------
    function : callable
        Values (n_samples,) or (n_samples, n_outputs) of samples (n_samples, n_features) in
        memory. It is in the graph once, pickled, and sent to the workers that have samples.
    samples : Samples
        Lazy ones give a lazy result with the same chunks of samples: one task a chunk.
    n_outputs : int, PER_FEATURE or None
        Values per sample. None is one, and has no axis.
    dtype : dtype
        Of the values.

    Returns
    -------
    array of shape (sample axes …,), (sample axes …, n_outputs) or, for PER_FEATURE, of the shape
    of ``samples.array``

    Examples
    --------
    >>> import operator
    >>> import dask.array as da
    >>> from dask_exa._samples import as_samples
    >>> X = as_samples(da.arange(6, chunks=2).reshape(3, 2))
    >>> map_samples(operator.itemgetter((slice(None), 1)), X).compute()
    array([1., 3., 5.])
    """
    X, a = samples.array, samples.n_sample_axes
    if not samples.is_lazy:
        return function(X)
    X = X.rechunk(dict.fromkeys(range(a, X.ndim), -1))
    axes = tuple(range(X.ndim))
    per_feature = n_outputs == PER_FEATURE
    sizes = {}
    if not per_feature:
        sizes = {**dict.fromkeys(axes[a:], 1), axes[-1]: int(n_outputs or 1)}
    mapped = da.blockwise(
        _map_chunk,
        axes,
        X,
        axes,
        send_once(pickle.dumps(function)),
        (),
        adjust_chunks=sizes,
        concatenate=True,
        n_sample_axes=a,
        per_feature=per_feature,
        dtype=dtype,
        meta=np.empty((0,) * X.ndim, dtype=dtype),
    )
    # Dask fuses what keeps all of its axes; those that are left over are dropped in the same task
    n_extra = 0 if per_feature else X.ndim - a - (n_outputs is not None)
    return mapped[(*(slice(None),) * a, *(0,) * n_extra)] if n_extra else mapped


def send_once(data: bytes) -> Any:
    """Return bytes as a Dask array of no axes, which every task of a layer may take.

    They are in the graph once. Many of them are no part of it: a worker gets them now, and the
    others from there.
    """
    packed = np.frombuffer(data, dtype=f"V{len(data)}").reshape(())
    if packed.nbytes > _EMBED_BYTES and (sent := scatter(packed)) is not None:
        return array_of_tasks("sent", {(): (_same, (sent,))}, [sent], (), packed.dtype)
    return da.from_array(packed)


def map_features(
    function: Callable[[Array, Array], Array], samples: Samples, values: Array, dtype: Any
) -> Any:
    """Apply a function that treats every feature by itself, where the samples are.

    Parameters
    ----------
    function : callable
        ``function(X, values)`` of samples (n_samples, n_some) and what belongs to their features
        (n_values, n_some), of the shape of the samples. Sent with the tasks: pass a small one.
    samples : Samples
        Lazy ones may be split along samples and features alike; nothing is rechunked.
    values : array of shape (n_values, n_features)
    dtype : dtype
        Of the result.

    Returns
    -------
    array of the shape of ``samples.array``
        Lazy for lazy samples, with the same chunks: one task a chunk.

    Examples
    --------
    >>> import operator
    >>> import dask.array as da
    >>> from dask_exa._samples import as_samples
    >>> X = as_samples(da.ones((2, 3), chunks=(1, 2)))
    >>> map_features(operator.mul, X, np.array([[1.0, 2.0, 3.0]]), float).compute()
    array([[1., 2., 3.],
           [1., 2., 3.]])
    """
    X, a = samples.array, samples.n_sample_axes
    if not samples.is_lazy:
        return function(X, values)
    shape, chunks = X.shape[a:], X.chunks[a:]
    axes = tuple(range(X.ndim))
    return da.blockwise(
        _map_feature_chunk,
        axes,
        X,
        axes,
        da.from_array(_packed(values).reshape(shape), chunks=chunks),
        axes[a:],
        function=function,
        n_sample_axes=a,
        dtype=dtype,
        meta=np.empty((0,) * X.ndim, dtype=dtype),
    )


# Dask fuses a layer with the one before it if all axes of its inputs are in its result. Hence what
# belongs to a feature goes as one item, as does a pickled function.
def _packed(values: Array) -> np.ndarray:
    """Return values (n_values, n_features) as one item per feature, shape (n_features,)."""
    by_feature = np.ascontiguousarray(to_host(values).T, dtype=np.float64)
    return by_feature.view(np.dtype((np.void, 8 * by_feature.shape[1]))).reshape(-1)


def _unpacked(items: np.ndarray) -> np.ndarray:
    by_feature = np.ascontiguousarray(items).reshape((-1, 1)).view(np.float64)
    return np.ascontiguousarray(by_feature.T)


def _map_chunk(X: Array, packed: Any, n_sample_axes: int, per_feature: bool) -> Array:
    values = pickle.loads(packed.tobytes())(flatten(X, n_sample_axes))
    if per_feature:
        return values.reshape(X.shape)
    n_outputs = values.shape[1] if values.ndim > 1 else 1
    ones = (1,) * (X.ndim - n_sample_axes - 1)
    return values.reshape((*X.shape[:n_sample_axes], *ones, n_outputs))


def _same(value: Any) -> Any:
    return value


def _map_feature_chunk(
    X: Array, items: np.ndarray, function: Callable[[Array, Array], Array], n_sample_axes: int
) -> Array:
    return function(flatten(X, n_sample_axes), _unpacked(items)).reshape(X.shape)
