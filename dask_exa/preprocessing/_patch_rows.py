"""Rows of patches: their coordinates, which samples they are of, and maps of their values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from dask_exa._samples import is_dask, plain_coords
from dask_exa._state import State
from dask_exa.preprocessing import _field_rows as back
from dask_exa.preprocessing import _patch_blocks as blocks
from dask_exa.preprocessing._field_blocks import cast
from dask_exa.preprocessing._field_layout import SAMPLE
from dask_exa.preprocessing._field_rows import Rows
from dask_exa.preprocessing._patch_grid import PatchAxis
from dask_exa.preprocessing._patch_layout import PatchFields

Axes = tuple[PatchAxis, ...]


def row_coords(fields: PatchFields, axes: Axes) -> dict[Any, Any]:
    """Return the coordinates of rows: of their samples, and of the first points of patches."""
    layout = fields.summary.layout
    chunks = fields.array.chunks[0] if is_dask(fields.array) else layout.n_samples
    found: dict[Any, Any] = {}
    for name, (dims, values, attrs) in back.stack_coords(layout, fields.coords, None).items():
        rows = blocks.row_coordinate(values, axes, None, chunks) if dims else values
        found[name] = ((SAMPLE,) if dims else (), rows, attrs)
    dims = layout.feature_dims[0][: len(axes)]
    for name, coord in fields.coords.items():
        if len(coord.dims) == 1 and coord.dims[0] in dims:
            along = dims.index(coord.dims[0])
            rows = blocks.row_coordinate(coord.values, axes, along, chunks)
            found[name] = ((SAMPLE,), rows, coord.attrs)
    return found


def restore_fields(X: Any, state: State, axes: Axes, how: str) -> Any:
    """Return patches, blended, as the kind of field that was learnt."""
    summary = state.summary
    matrix, rows = _placed(X, state, axes)
    n_others = math.prod(summary.other_sizes)
    n_columns = math.prod(summary.sizes) * n_others
    if matrix.ndim != 2 or matrix.shape[1] != n_columns:
        raise ValueError(
            f"X has shape {matrix.shape}, patches have {n_columns} values; pass what transform "
            "returned."
        )
    fields = blocks.blend(matrix, axes, n_others, how, math.prod(rows.sizes[1:]))
    dtype = np.dtype(summary.layout.dtypes[0])
    if dtype.kind == "f" or all(axis.covered().all() for axis in axes):
        fields = cast(fields, str(dtype))
    fields = blocks.split_samples(fields, rows.sizes, summary.other_sizes)
    return back.label_fields([fields], summary.layout.sample_dims, rows, summary.layout)


def restore_values(values: Any, state: State, axes: Axes) -> Any:
    """Return one or several values per patch on the positions of the patches."""
    layout = state.summary.layout
    array, rows = _placed(values, state, axes)
    matrix = array[:, None] if array.ndim == 1 else array
    found = blocks.scatter_rows(matrix, axes, math.prod(rows.sizes[1:]))
    found = blocks.split_samples(found, rows.sizes, array.shape[1:])
    if layout.kind == "plain":
        return found
    dims = layout.feature_dims[0][: len(axes)]
    known = xr.Dataset(coords=rows.coords)
    along = {dim: axis for dim, axis in zip(dims, axes, strict=True) if dim in known.dims}
    known = known.assign_coords({dim: _middles(known[dim], axis) for dim, axis in along.items()})
    coords = plain_coords(known.isel({dim: axis.starts for dim, axis in along.items()}).coords)
    others, name = ("value",) * (array.ndim - 1), None
    if isinstance(values, xr.DataArray):
        others, name = tuple(dim for dim in values.dims if dim != SAMPLE), values.name
    return back.label_field(found, (*layout.sample_dims, *dims, *others), coords, None, name)


def _middles(coord: xr.DataArray, axis: PatchAxis) -> Any:
    """Return for every point the middle of a patch that starts there, so that maps lie right."""
    points = coord.values
    if points.dtype.kind in "iufM":
        points = points + (points[min(axis.size, axis.n_points) - 1] - points[0]) / 2
    return coord.dims, points, coord.attrs


def _placed(X: Any, state: State, axes: Axes) -> tuple[Any, Rows]:
    """Return rows as an array, and which samples they are of."""
    layout, _, coords = back.learnt_last(state)
    is_labelled = isinstance(X, xr.DataArray)
    if is_labelled:
        X = X.transpose(SAMPLE, ...)
    elif not (is_dask(X) or hasattr(X, "__array_namespace__")):
        X = np.asarray(X)
    n_patches, n_rows = blocks.count_patches(axes), X.shape[0]
    n_samples = n_rows // n_patches
    if n_rows % n_patches or not n_rows or (n_samples > 1 and not layout.sample_dims):
        raise ValueError(
            f"X has {n_rows} rows, which is not a multiple of the {n_patches} patches of a "
            "sample, of one sample for fields without sample dimensions; pass all of them, in "
            "the order of transform."
        )
    array = X.data if is_labelled else X
    if not layout.sample_dims:
        return array, Rows((), None, coords)
    if not is_labelled:
        return array, back.plain_rows(n_samples, layout, None, coords)
    step = math.prod(axis.counts[0] for axis in axes)
    firsts = X.isel({SAMPLE: slice(0, n_samples * step, step)})
    return array, back.labelled_rows(firsts, layout, None, coords)
