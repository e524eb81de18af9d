"""An input as the batches that a pipeline learns one after the other, and what belongs to them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import dask
import xarray as xr

from dask_exa._samples import is_dask
from dask_exa.compose._routing import Routed
from dask_exa.reduction import groups


class Batch(NamedTuple):
    """Samples that are learnt together, and held by the workers meanwhile."""

    X: Any
    y: Any
    routed: Routed


def batches(
    X: Any, y: Any, routed: Routed, sample_dims: Any, batch_size: int | None
) -> Iterator[Batch]:
    """Yield groups of neighbouring chunks of lazy samples; others at once.

    Parameters
    ----------
    X : array, Dask array, labelled array or data frame
    y : array of shape (n_samples,) or None
    routed : Routed
        Arguments with a row for every sample are cut as the samples are.
    sample_dims : hashable or sequence of hashable, optional
        Of a labelled array; the first of them is cut.
    batch_size : int, optional
        Most samples of a batch of several chunks.
    """
    axis = _sample_axis(X, sample_dims)
    if axis is None or math.isnan(X.shape[axis]):
        yield Batch(groups.held(X), groups.held(y), _mapped(routed, groups.held))
        return
    n_rows, n_samples = X.shape[axis], _n_samples(X, sample_dims)
    per_row = n_samples // n_rows if n_rows else 1
    most = None if batch_size is None else max(1, batch_size // per_row)
    row_bytes = X.dtype.itemsize * X.size / max(n_rows, 1)
    for rows in groups.group_rows(X.chunks[axis], row_bytes, most):
        samples = slice(rows.start * per_row, rows.stop * per_row)

        def cut(values: Any, samples: slice = samples) -> Any:
            shape = getattr(values, "shape", None)
            whole = not shape or shape[0] != n_samples or samples == slice(0, n_samples)
            return groups.held(values if whole else values[samples])

        piece = X if rows == slice(0, n_rows) else X[(*(slice(None),) * axis, rows)]
        yield Batch(groups.held(piece), cut(y), _mapped(routed, cut))


def _sample_axis(X: Any, sample_dims: Any) -> int | None:
    """Return the axis along which samples are cut into groups of chunks, if they are lazy."""
    if is_dask(X) and X.ndim > 1:
        return 0
    if not isinstance(X, xr.DataArray) or not dask.is_dask_collection(X):
        return None
    dims = _present(X, sample_dims)
    return X.dims.index(dims[0]) if dims else None


def _n_samples(X: Any, sample_dims: Any) -> int:
    if is_dask(X):
        return X.shape[0]
    return math.prod(X.sizes[dim] for dim in _present(X, sample_dims))


def _present(X: Any, sample_dims: Any) -> list[Any]:
    if sample_dims is None:
        return list(X.dims[:1])
    named = [sample_dims] if isinstance(sample_dims, str) else list(sample_dims)
    return [dim for dim in named if dim in X.dims]


def _mapped(routed: Routed, function: Any) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        name: {
            method: {key: function(value) for key, value in dict(arguments).items()}
            for method, arguments in dict(methods).items()
        }
        for name, methods in routed.items()
    }
