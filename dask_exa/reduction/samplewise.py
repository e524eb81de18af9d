"""Functions of samples, block by block, in the kind of array that comes in."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np

from dask_exa._array import Array
from dask_exa._samples import Samples, flatten

PER_FEATURE = "per feature"
"""As `n_outputs` of `map_samples`: as many values as features, in their places."""


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
    packed = da.from_array(np.frombuffer(pickle.dumps(function), dtype=np.uint8), chunks=-1)
    axes = tuple(range(X.ndim))
    byte_axis, output_axis = X.ndim, X.ndim + 1
    out: tuple[int, ...] = axes[:a]
    new_axes = {}
    if n_outputs == PER_FEATURE:
        out = axes
    elif n_outputs is not None:
        out, new_axes = (*out, output_axis), {output_axis: int(n_outputs)}
    return da.blockwise(
        _map_chunk,
        out,
        X,
        axes,
        packed,
        (byte_axis,),
        concatenate=True,
        new_axes=new_axes,
        n_sample_axes=a,
        per_feature=n_outputs == PER_FEATURE,
        dtype=dtype,
        meta=np.empty((0,) * len(out), dtype=dtype),
    )


def _map_chunk(X: Array, packed: np.ndarray, n_sample_axes: int, per_feature: bool) -> Array:
    function = pickle.loads(packed.tobytes())
    values = function(flatten(X, n_sample_axes))
    shape = X.shape if per_feature else (*X.shape[:n_sample_axes], *values.shape[1:])
    return values.reshape(shape)
