"""Rows back to fields: which samples they are, chunk by chunk where the rows are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa._samples import is_dask, plain_coords
from dask_exa._state import State
from dask_exa.preprocessing._field_blocks import unstack
from dask_exa.preprocessing._field_layout import FEATURE, SAMPLE, Layout
from dask_exa.reduction.pieces import Piece, map_pieces, reshape_blocks

Coord = tuple[tuple[Hashable, ...], Any, dict[Hashable, Any]]


class Rows(NamedTuple):
    """Which samples some rows are."""

    sizes: tuple[int, ...]
    """Of the sample dimensions."""
    places: Any
    """Number of every row among all samples, int array; None where none is left out."""
    coords: Mapping[Hashable, Coord]
    """Coordinates of the samples."""


def plain_rows(
    n_rows: int, layout: Layout, kept: np.ndarray | None, coords: Mapping[Hashable, Coord]
) -> Rows:
    """Return which samples rows without names are: those learnt last, if there are as many.

    Else the first sample dimension has another size.
    """
    if n_rows == (layout.n_samples if kept is None else len(kept)):
        return Rows(layout.sample_sizes, kept, coords)
    first, *others = layout.sample_dims
    if kept is not None or n_rows % layout.rest:
        reason = f"a multiple of the {layout.rest} positions along {others}"
        if kept is not None:
            reason = f"the {len(kept)} that are kept of the samples learnt last"
        raise ValueError(
            f"X has {n_rows} rows, which is not {reason}; pass the labelled array that transform "
            f"returned for other positions along {first!r}."
        )
    sizes = (n_rows // layout.rest, *layout.sample_sizes[1:])
    fixed = {name: coord for name, coord in coords.items() if first not in coord[0]}
    return Rows(sizes, None, fixed)


def labelled_rows(
    X: xr.DataArray, layout: Layout, kept: np.ndarray | None, coords: Mapping[Hashable, Coord]
) -> Rows:
    """Return which samples the rows of a labelled array are, by its coordinates."""
    places = X.coords[SAMPLE].values if SAMPLE in X.coords else None
    if places is None:
        sizes = plain_rows(X.sizes[SAMPLE], layout, None, {}).sizes
        units: Any = slice(None)
        found = _sample_coords(X, layout, sizes, coords)
    else:  # where nothing is left of a position of the first dimension, it is left out
        units, firsts, unit_of = np.unique(
            places // layout.rest, return_index=True, return_inverse=True
        )
        sizes = (len(units), *layout.sample_sizes[1:])
        found = {
            name: ((dim,), X.coords[name].values[firsts], attrs)
            for name, ((dim, *others), _, attrs) in _dimensional(coords).items()
            if name in X.coords and not others and dim == layout.sample_dims[0]
        }
    if _same_places(places, kept) and (places is not None or sizes == layout.sample_sizes):
        known = {name: coords[name] for name in found}
        first = layout.sample_dims[0]
        wanted = {n: c[1][units] if c[0] == (first,) else c[1] for n, c in known.items()}
        if all(np.array_equal(found[name][1], wanted[name]) for name in found):
            return Rows(layout.sample_sizes, kept, coords)
    if places is not None:
        places = unit_of * layout.rest + places % layout.rest
    fixed = {name: coord for name, coord in coords.items() if layout.sample_dims[0] not in coord[0]}
    return Rows(sizes, places, {**fixed, **found})


def _same_places(places: np.ndarray | None, kept: np.ndarray | None) -> bool:
    if places is None or kept is None:
        return places is kept
    return np.array_equal(places, kept)


def _dimensional(coords: Mapping[Hashable, Coord]) -> dict[Hashable, Coord]:
    return {name: coord for name, coord in coords.items() if coord[0]}


def _sample_coords(
    X: xr.DataArray, layout: Layout, sizes: tuple[int, ...], coords: Mapping[Hashable, Coord]
) -> dict[Hashable, Coord]:
    """Return the coordinates of samples that rows, all of them, have with them."""
    found: dict[Hashable, Coord] = {}
    for name, (dims, _, attrs) in _dimensional(coords).items():
        if name not in X.coords or not {*dims} <= {*layout.sample_dims}:
            continue
        values = X.coords[name].data
        if len(dims) == 1:
            axis = layout.sample_dims.index(dims[0])
            step = math.prod(sizes[axis + 1 :])
            values = _here(values[: sizes[axis] * step : step])
        else:
            kept = [dim for dim in layout.sample_dims if dim in dims]
            grid = _here(values).reshape(sizes)
            grid = grid[tuple(slice(None) if dim in dims else 0 for dim in layout.sample_dims)]
            values = grid.transpose([kept.index(dim) for dim in dims])
        found[name] = (dims, values, attrs)
    return found


def _here(values: Any) -> np.ndarray:
    return np.asarray(values.compute() if is_dask(values) else values)


def restore_fields(X: Any, state: State, columns: np.ndarray | None) -> Any:
    """Return rows of features as the kind of field that was learnt."""
    layout, kept, coords = learnt_last(state)
    dims, rows, matrix = layout.sample_dims, None, X
    if isinstance(X, xr.DataArray):
        X = X.transpose(..., FEATURE)
        if X.ndim == 1:
            return restore_fields(X.expand_dims("single"), state, columns).isel(single=0)
        matrix = X.data
        if X.dims == (SAMPLE, FEATURE):
            rows = labelled_rows(X, layout, kept, coords)
        else:
            dims, sizes = X.dims[:-1], X.shape[:-1]
            others = {name: coord for name, coord in X.coords.items() if FEATURE not in coord.dims}
            features = {n: c for n, c in coords.items() if not {*c[0]} & {*layout.sample_dims}}
            rows = Rows(sizes, None, {**features, **plain_coords(others)})
            matrix = _as_matrix(matrix)
    elif not is_dask(X) and not hasattr(X, "__array_namespace__"):
        matrix = np.asarray(X)
    n_columns = layout.edges[-1] if columns is None else len(columns)
    if matrix.ndim != 2 or matrix.shape[1] != n_columns:
        raise ValueError(
            f"X has shape {matrix.shape}, the model {n_columns} columns; pass what transform "
            "returned."
        )
    if rows is None:
        rows = plain_rows(matrix.shape[0], layout, kept, coords)
    arrays = [
        unstack_part(matrix, layout, part, rows, columns) for part in range(len(layout.names))
    ]
    return label_fields(arrays, dims, rows, layout)


def _as_matrix(array: Any) -> Any:
    """Return an array as rows of its last axis."""
    if not is_dask(array):
        return array.reshape((-1, array.shape[-1]))
    array = array.rechunk(dict.fromkeys(range(1, array.ndim), -1))
    rest = math.prod(array.shape[1:-1]) if array.ndim > 1 else 1
    return reshape_blocks(array, (tuple(n * rest for n in array.chunks[0]), array.chunks[-1]))


def restore_samples(values: Any, state: State) -> Any:
    """Return values of rows on the sample dimensions."""
    layout, kept, coords = learnt_last(state)
    name, attrs = None, None
    if isinstance(values, xr.DataArray):
        values = values.transpose(SAMPLE, ...)
        rows = labelled_rows(values, layout, kept, coords)
        others = values.dims[1:]
        of_others = {n: c for n, c in values.coords.items() if c.dims and {*c.dims} <= {*others}}
        rows = rows._replace(coords={**rows.coords, **plain_coords(of_others)})
        name, attrs = values.name, values.attrs
        array = values.data
    else:
        array = values if hasattr(values, "shape") else np.asarray(values)
        others = ("value",) * (array.ndim - 1)
    if not 1 <= array.ndim <= 2:
        raise ValueError(
            f"values has shape {array.shape}; pass one value per row (n_rows,), or several "
            "(n_rows, n_values)."
        )
    if not isinstance(values, xr.DataArray):
        rows = plain_rows(array.shape[0], layout, kept, coords)
    shape = array.shape[1:]
    dtype = np.dtype(str(array.dtype).rpartition(".")[2])
    if rows.places is not None and dtype.kind != "f":
        dtype = np.dtype(np.float64)
    matrix = array[:, None] if array.ndim == 1 else array
    n_values = math.prod(shape)
    field = unstack_values(matrix, rows, (n_values, None), shape, str(dtype))
    if layout.kind == "plain":
        return field
    return label_field(field, (*layout.sample_dims, *others), rows.coords, None, name, attrs)


def learnt_last(state: State) -> tuple[Layout, np.ndarray | None, Mapping[Hashable, Coord]]:
    """Return the layout, the samples that were kept (None for all) and all coordinates."""
    present = state.summary.present
    kept = np.flatnonzero(present) if len(present) else None
    return state.summary.layout, kept, {} if state.labels is None else state.labels.coords


def label_fields(
    arrays: Sequence[Any], dims: tuple[Hashable, ...], rows: Rows, layout: Layout
) -> Any:
    """Return the arrays of all variables, samples first, as the kind of field that was learnt."""
    orders = [
        order if dims == layout.sample_dims else (*dims, *(dim for dim in order if dim in feature))
        for order, feature in zip(layout.dims, layout.feature_dims, strict=True)
    ]
    if layout.kind == "plain":
        axes = [(*dims, *layout.feature_dims[0]).index(dim) for dim in orders[0]]
        return arrays[0] if axes == sorted(axes) else arrays[0].transpose(axes)
    fields = [
        label_field(array, (*dims, *feature), rows.coords, order, name=name, attrs=attrs)
        for array, feature, order, name, attrs in zip(
            arrays, layout.feature_dims, orders, layout.names, layout.attrs, strict=True
        )
    ]
    if layout.kind == "array":
        return fields[0]
    data = dict(zip(layout.names, fields, strict=True))
    return xr.Dataset(data, coords=dict(rows.coords), attrs=layout.field_attrs)


def stack_coords(
    layout: Layout, coords: Mapping[Hashable, xr.DataArray], places: Any, chunks: Any = None
) -> dict[Hashable, Any]:
    """Return the coordinates of samples, one value per row.

    Parameters
    ----------
    layout : Layout
    coords : mapping
        Of the field.
    places : array of int, optional
        Samples that are rows; None for all.
    chunks : tuple of int, optional
        Of rows of lazy data: coordinates of several sample dimensions are lazy too.
    """
    found: dict[Hashable, Any] = {}
    for name, coord in coords.items():
        if not coord.dims:
            found[name] = ((), coord.values, coord.attrs)
        if not coord.dims or not {*coord.dims} <= {*layout.sample_dims}:
            continue
        order = [dim for dim in layout.sample_dims if dim in coord.dims]
        sizes = [coord.sizes.get(dim, 1) for dim in layout.sample_dims]
        values = coord.transpose(*order).values.reshape(sizes)
        values = _row_by_row(values, layout, chunks if places is None else None)
        found[name] = ((SAMPLE,), values if places is None else values[places], coord.attrs)
    if places is not None:
        found[SAMPLE] = ((SAMPLE,), np.asarray(places))
    return found


def _row_by_row(values: np.ndarray, layout: Layout, chunks: Any) -> Any:
    if chunks is None or len(layout.sample_sizes) == 1:
        return np.broadcast_to(values, layout.sample_sizes).reshape(-1)
    blocks: dict[tuple[int, ...], Any] = {}
    edges = (np.cumsum([0, *chunks]) // layout.rest).tolist()
    for i, (start, stop) in enumerate(itertools.pairwise(edges)):
        cut = (slice(start, stop),) if values.shape[0] > 1 else None
        shape = (stop - start, *layout.sample_sizes[1:])
        blocks[(i,)] = ([Piece((0,) * values.ndim, cut)], (shape,))
    return map_pieces(_repeat, da.from_array(values, chunks=-1), blocks, (chunks,), values.dtype)


def _repeat(pieces: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(pieces[0], shape).reshape(-1)


def unstack_part(X: Any, layout: Layout, part: int, rows: Rows, columns: np.ndarray | None) -> Any:
    """Return one variable of rows (n_rows, n_columns) as an array, samples first.

    Parameters
    ----------
    X : array
        Lazy ones give a lazy field, of a chunk per chunk of rows; rows of one position along the
        first sample dimension are brought into one chunk.
    layout : Layout
    part : int
        Number of the variable.
    rows : Rows
    columns : array of int, optional
        Features that the columns are; None for all.
    """
    start, stop = layout.edges[part : part + 2]
    of_part = slice(start, stop)
    if columns is not None:
        first, last = np.searchsorted(columns, [start, stop])
        of_part, columns = slice(first, last), columns[first:last] - start
    shape, dtype = layout.feature_sizes[part], layout.dtypes[part]
    return unstack_values(X[:, of_part], rows, (stop - start, columns), shape, dtype)


def unstack_values(
    X: Any, rows: Rows, columns: tuple[int, Any], shape: tuple[int, ...], dtype: str
) -> Any:
    """Return rows (n_rows, n_columns) as fields of the sample sizes and `shape`."""
    n_units, *others = rows.sizes
    rest = math.prod(others)
    if not is_dask(X):
        places = (n_units * rest, rows.places)
        return unstack([X], places, columns, (*rows.sizes, *shape), dtype)
    last_rows = np.cumsum([n for n in X.chunks[0] if n]) - 1
    last_places = last_rows if rows.places is None else rows.places[last_rows]
    units = np.unique([*(last_places[:-1] // rest + 1), n_units])
    ends = units * rest
    row_ends = ends if rows.places is None else np.searchsorted(rows.places, ends)
    X = X.rechunk({0: tuple(np.diff([0, *row_ends]).tolist()), 1: -1})
    blocks = {}
    for i, (first, last) in enumerate(itertools.pairwise([0, *units.tolist()])):
        here = None
        if rows.places is not None:
            begin, end = np.searchsorted(rows.places, [first * rest, last * rest])
            here = rows.places[begin:end] - first * rest
        block_shape = (last - first, *others, *shape)
        arguments = (((last - first) * rest, here), columns, block_shape, dtype)
        place = (i, *(0 for _ in (*others, *shape)))
        blocks[place] = ([Piece((i, 0))], arguments)
    chunks = (tuple(np.diff([0, *units]).tolist()), *((n,) for n in (*others, *shape)))
    return map_pieces(unstack, X, blocks, chunks, dtype)


def label_field(
    array: Any,
    dims: Sequence[Hashable],
    coords: Mapping[Hashable, Coord],
    order: Sequence[Hashable] | None = None,
    name: Hashable | None = None,
    attrs: Any = None,
) -> xr.DataArray:
    """Label a field with those coordinates that have a place in it, and order its dimensions."""
    fitting = {name: coord for name, coord in coords.items() if {*coord[0]} <= {*dims}}
    field = xr.DataArray(array, dims=tuple(dims), coords=fitting, attrs=attrs)
    field.name = name  # else that of a Dask array
    return field if order is None else field.transpose(*order)
