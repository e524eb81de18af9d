"""How far a field is from another: sums over blocks, made where the blocks are."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import xarray as xr


class Comparison(NamedTuple):
    """Sums over a field."""

    n_not_finite: int
    norm: float
    """Sum of squares."""
    residual: float
    """Sum of the squared differences to the other field; NaN where there was none."""

    @property
    def error(self) -> float:
        """Relative L2 error; NaN where there was nothing to compare with."""
        if self.norm == 0 and not math.isnan(self.residual):
            return math.inf if self.residual > 0 else 0.0
        return math.sqrt(self.residual / self.norm) if self.norm else math.nan


def compare(field: xr.DataArray, other: xr.DataArray | None = None) -> Any:
    """Return an array of sums that `Comparison` is made of by `compared`.

    Parameters
    ----------
    field : xarray.DataArray
    other : xarray.DataArray, optional
        Of the same shape; chunked in the same way if lazy.

    Returns
    -------
    array of shape (…, 3)
        A row per block; lazy for lazy fields.
    """
    arrays = [array.data for array in (field, other) if array is not None]
    lazy = [array for array in arrays if dask.is_dask_collection(array)]
    if not lazy:
        return _sums(*arrays)
    chunks = lazy[0].chunks
    arrays = [
        x.rechunk(chunks) if dask.is_dask_collection(x) else da.from_array(x, chunks=chunks)
        for x in arrays
    ]
    rows = (*((1,) * len(sizes) for sizes in chunks), (3,))
    meta = np.empty((0,) * len(rows))
    return da.map_blocks(_sums, *arrays, chunks=rows, new_axis=len(chunks), meta=meta)


def compared(sums: Any) -> Comparison:
    """Return the comparison that computed sums stand for.

    Examples
    --------
    >>> import xarray as xr
    >>> from dask_exa.apps.errors import compare, compared
    >>> compared(compare(xr.DataArray([3.0, 4.0]), xr.DataArray([3.0, 4.5]))).error
    0.1
    """
    n_not_finite, norm, residual = np.reshape(sums, (-1, 3)).sum(axis=0).tolist()
    return Comparison(int(n_not_finite), norm, residual)


def _sums(field: Any, other: Any = None) -> np.ndarray:
    """Return what `Comparison` names, of one block, in float64."""
    field = np.asarray(field)
    values = field.astype(np.promote_types(field.dtype, np.float64))
    found = [np.sum(~np.isfinite(values)), np.sum(np.abs(values) ** 2), math.nan]
    if other is not None:
        found[2] = np.sum(np.abs(values - np.asarray(other)) ** 2)
    return np.array(found, dtype=float).reshape((1,) * field.ndim + (3,))
