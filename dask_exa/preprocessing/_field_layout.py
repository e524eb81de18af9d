"""Labelled fields as rows and columns: what belongs where, and the way back."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa._array import namespace
from dask_exa._samples import Samples, as_samples, flat_rows, is_dask, plain_coords
from dask_exa.preprocessing._field_blocks import floating

SAMPLE, FEATURE = "sample", "feature"
_KINDS = {"array": "DataArray", "dataset": "Dataset", "plain": "array without names"}


class Layout(NamedTuple):
    """How fields are laid out in rows and columns: names and sizes, no arrays."""

    kind: str
    """ "array", "dataset" or, for arrays without names, "plain"."""
    sample_dims: tuple[Hashable, ...]
    sample_sizes: tuple[int, ...]
    names: tuple[Hashable, ...]
    """Of the variables, whose features stand side by side."""
    dims: tuple[tuple[Hashable, ...], ...]
    """Dimensions of every variable, in its own order."""
    feature_dims: tuple[tuple[Hashable, ...], ...]
    """Those that are features, in the order of the columns."""
    feature_sizes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    attrs: tuple[dict[Hashable, Any], ...]
    field_attrs: dict[Hashable, Any]
    """Of a Dataset."""

    @property
    def n_samples(self) -> int:
        """Rows of a field of these sizes."""
        return math.prod(self.sample_sizes)

    @property
    def rest(self) -> int:
        """Rows per position along the first sample dimension."""
        return math.prod(self.sample_sizes[1:])

    @property
    def edges(self) -> list[int]:
        """Columns between which variables stand."""
        return np.cumsum([0, *map(math.prod, self.feature_sizes)]).tolist()

    @property
    def all_feature_dims(self) -> dict[Hashable, int]:
        """Size of every feature dimension of any variable."""
        pairs = zip(self.feature_dims, self.feature_sizes, strict=True)
        return {dim: size for dims, sizes in pairs for dim, size in zip(dims, sizes, strict=True)}


class Fields(NamedTuple):
    """Fields as they were passed, read but not computed."""

    layout: Layout
    coords: Mapping[Hashable, xr.DataArray]
    samples: Samples
    """All variables side by side: (n_samples, n_features), with one chunk of features if lazy."""


def read_fields(X: Any, params: Any, known: Layout | None = None) -> Fields:
    """Read a DataArray, a Dataset or an array of any number of axes, which numbers then name.

    Parameters
    ----------
    X : xarray.DataArray, xarray.Dataset or array
    params : FieldStacker
        For `sample_dims`, `feature_dims` and `variables`.
    known : Layout, optional
        Which `X` must have.
    """
    wanted = params.variables
    if known is not None:
        wanted = known.names if isinstance(X, xr.Dataset) and known.kind == "dataset" else None
    parts, kind = _variables(X, wanted)
    if known is not None and kind != known.kind:
        raise ValueError(
            f"X is one {_KINDS[kind]}, the model learnt one {_KINDS[known.kind]}; pass that."
        )
    if known is not None:
        dims = known.sample_dims
        orders = [
            _feature_order(part, dims, order)
            for part, order in zip(parts, known.feature_dims, strict=True)
        ]
    else:
        given = params.sample_dims
        dims = named(parts[0].dims[:1] if given is None else given)
        orders = [_feature_order(part, dims, params.feature_dims) for part in parts]
    layout = lay_out(parts, kind, dims, orders, dict(X.attrs) if kind == "dataset" else {})
    if not layout.n_samples:
        raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
    read = [_samples(part, dims, order) for part, order in zip(parts, orders, strict=True)]
    return Fields(layout, {} if kind == "plain" else X.coords, _side_by_side(read))


def lay_out(
    parts: Sequence[xr.DataArray],
    kind: str,
    dims: tuple[Hashable, ...],
    orders: Sequence[tuple[Hashable, ...]],
    attrs: dict[Hashable, Any],
) -> Layout:
    """Return the layout of variables with these sample and feature dimensions."""
    sizes = [
        tuple(part.sizes[dim] for dim in order) for part, order in zip(parts, orders, strict=True)
    ]
    return Layout(
        kind,
        dims,
        tuple(parts[0].sizes[dim] for dim in dims),
        tuple(part.name for part in parts),
        tuple(part.dims for part in parts),
        tuple(orders),
        tuple(sizes),
        tuple(str(part.dtype) for part in parts),
        tuple(dict(part.attrs) for part in parts),
        attrs,
    )


def check_same(known: Layout, known_coords: Mapping[Hashable, Any], fields: Fields) -> None:
    """Raise ValueError for fields of other features than those that were learnt."""
    check_layout(known, fields.layout, "X")
    check_coords(known, known_coords, plain_coords(fields.coords), "X")


def check_layout(known: Layout, layout: Layout, what: str) -> None:
    """Raise ValueError for other variables, dimensions or sizes than those that were learnt."""
    found, wanted = (
        (part.kind, part.sample_dims, part.names, part.feature_dims, part.feature_sizes)
        for part in (layout, known)
    )
    if found != wanted:
        raise ValueError(
            f"{what} has features {_described(layout)}, the model {_described(known)}; pass "
            "fields of the same variables, dimensions and sizes."
        )


def check_coords(
    known: Layout, known_coords: Mapping[Hashable, Any], coords: Mapping[Hashable, Any], what: str
) -> None:
    """Raise ValueError where features stand at other coordinates than those that were learnt."""
    for name, (dims, values, _) in known_coords.items():
        of_features = dims and {*dims} <= known.all_feature_dims.keys()
        if of_features and name in coords and not _same(coords[name], dims, values):
            raise ValueError(
                f"{what} has other values of the coordinate {name!r} than the model; pass fields "
                "on the same grid, or fit anew."
            )


def _same(coord: Any, dims: tuple[Hashable, ...], wanted: Any) -> bool:
    values, wanted = np.asarray(coord[1]), np.asarray(wanted)
    if {*coord[0]} == {*dims}:
        values = values.transpose([coord[0].index(dim) for dim in dims])
    if values.shape != wanted.shape:
        return False
    if values.dtype.kind == wanted.dtype.kind == "f":
        return np.allclose(values, wanted, rtol=1e-6, atol=0, equal_nan=True)
    return bool(np.all(values == wanted))


def _described(layout: Layout) -> str:
    parts = zip(layout.names, layout.feature_dims, layout.feature_sizes, strict=True)
    shown = [
        f"{'' if name is None else f'{name} '}"
        f"({', '.join(f'{d}: {n}' for d, n in zip(dims, sizes, strict=True))})"
        for name, dims, sizes in parts
    ]
    return f"{', '.join(shown)} of samples along {list(layout.sample_dims)}"


def _variables(X: Any, variables: Any) -> tuple[list[xr.DataArray], str]:
    if isinstance(X, xr.Dataset):
        names = list(X.data_vars) if variables is None else list(named(variables))
        missing = [name for name in names if name not in X.data_vars]
        if missing or not names:
            raise ValueError(
                f"variables={variables!r} but X has the variables {list(X.data_vars)}; name some "
                "that it has."
            )
        return [X[name] for name in names], "dataset"
    if variables is not None:
        raise ValueError(
            f"variables={variables!r} names variables of a Dataset, but X is a "
            f"{type(X).__name__}; pass a Dataset or leave variables=None."
        )
    field, kind = named_field(X)
    return [field], kind


def named_field(X: Any) -> tuple[xr.DataArray, str]:
    """Return a labelled array as it is, another one with numbers for names; and which it is."""
    if isinstance(X, xr.DataArray):
        return X, "array"
    field = xr.DataArray(X, dims=range(X.ndim))
    field.name = None  # else that of a Dask array
    return field, "plain"


def named(dims: Any) -> tuple[Hashable, ...]:
    return (dims,) if isinstance(dims, str | int) else tuple(dims)


def _feature_order(
    part: xr.DataArray, sample_dims: tuple[Hashable, ...], feature_dims: Sequence[Hashable] | None
) -> tuple[Hashable, ...]:
    what = "X" if part.name is None else repr(part.name)
    if missing := [dim for dim in sample_dims if dim not in part.dims]:
        raise ValueError(
            f"sample_dims={list(sample_dims)} but {what} has the dimensions {list(part.dims)} "
            f"without {missing}; name dimensions that every variable has, or leave it out by "
            "variables=[...]."
        )
    found = tuple(dim for dim in part.dims if dim not in sample_dims)
    if feature_dims is None:
        return found
    order = tuple(dim for dim in named(feature_dims) if dim in found)
    if unknown := [dim for dim in found if dim not in order]:
        raise ValueError(
            f"feature_dims={list(named(feature_dims))} but {what} has {unknown} too; name all "
            "dimensions that are no samples, or make them samples."
        )
    return order


def _samples(
    part: xr.DataArray, dims: tuple[Hashable, ...], order: tuple[Hashable, ...]
) -> Samples:
    if order:
        return as_samples(part, dims, order)
    return as_samples(part.expand_dims("single", axis=-1), dims)  # one feature


def _side_by_side(read: Sequence[Samples]) -> Samples:
    if not any(samples.is_lazy for samples in read):
        arrays = [floating(samples.array) for samples in read]
        matrix = arrays[0] if len(arrays) == 1 else namespace(*arrays).concat(arrays, axis=1)
        return Samples(matrix)
    rows = [flat_rows(samples)[0].array if samples.is_lazy else samples.array for samples in read]
    chunks = next(array.chunks[0] for array in rows if is_dask(array))
    rows = [
        array.rechunk({0: chunks})
        if is_dask(array)
        else da.from_array(floating(array), chunks=(chunks, -1))
        for array in rows
    ]
    return Samples(rows[0] if len(rows) == 1 else da.concatenate(rows, axis=1).rechunk({1: -1}))


def stack_feature_coords(
    layout: Layout, coords: Mapping[Hashable, xr.DataArray], columns: Any
) -> dict[Hashable, Any]:
    """Return the coordinates that all variables share, one value per column, and the variable."""
    found: dict[Hashable, Any] = {}
    for name, coord in coords.items():
        if not coord.dims or any({*coord.dims} - {*dims} for dims in layout.feature_dims):
            continue
        parts = []
        for dims, sizes in zip(layout.feature_dims, layout.feature_sizes, strict=True):
            order = [dim for dim in dims if dim in coord.dims]
            ones = [n if dim in order else 1 for dim, n in zip(dims, sizes, strict=True)]
            values = coord.transpose(*order).values.reshape(ones)
            parts.append(np.broadcast_to(values, sizes).reshape(-1))
        found[name] = np.concatenate(parts)
    if layout.kind == "dataset":
        counts = [math.prod(sizes) for sizes in layout.feature_sizes]
        found["variable"] = np.repeat(np.array(layout.names, dtype=str), counts)
    if columns is not None:
        found = {name: values[columns] for name, values in found.items()}
        found[FEATURE] = np.asarray(columns)
    attrs = {name: dict(coords[name].attrs) if name in coords else {} for name in found}
    return {name: ((FEATURE,), values, attrs[name]) for name, values in found.items()}


def feature_names(layout: Layout) -> list[str]:
    """Return the names of all features: variable and position."""
    return [
        f"{'x' if name is None else name}[{','.join(map(str, place))}]"
        for name, sizes in zip(layout.names, layout.feature_sizes, strict=True)
        for place in np.ndindex(*sizes)
    ]
