"""The plane of a field that people look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import xarray as xr


def plane_indexers(
    field: xr.DataArray,
    most: int,
    *,
    keep: Sequence[str] = (),
    through: Mapping[str, int] = MappingProxyType({}),
) -> dict[Any, Any]:
    """Return what takes the plane of the two longest dimensions out of a field, with ``isel``.

    Parameters
    ----------
    field : xarray.DataArray
        Of any number of dimensions.
    most : int
        Points along each dimension; of more, every so many are taken.
    keep : sequence of str
        Dimensions that are no part of the picture, and stay whole.
    through : mapping of str to int
        Index along dimensions where the plane is to lie; by default the middle.

    Returns
    -------
    dict
        An index for each dimension that goes, a slice for the two that stay.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> field = xr.DataArray(np.zeros((3, 800, 8)), dims=("z", "y", "x"))
    >>> plane_indexers(field, 400)
    {'z': 1, 'y': slice(None, None, 2), 'x': slice(None, None, 1)}
    """
    dims = [dim for dim in field.dims if dim not in keep]
    longest = sorted(dims, key=lambda dim: field.sizes[dim], reverse=True)[:2]
    return {
        dim: slice(None, None, -(-field.sizes[dim] // most))
        if dim in longest
        else through.get(str(dim), field.sizes[dim] // 2)
        for dim in dims
    }
