"""From the names of a field to the axes that patches are cut along."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dask_exa._parameters import check_choice, check_count
from dask_exa._samples import is_dask, plain_coords
from dask_exa.preprocessing._field_blocks import floating
from dask_exa.preprocessing._field_layout import (
    Layout,
    check_coords,
    check_layout,
    lay_out,
    named,
    named_field,
)
from dask_exa.preprocessing._patch_grid import PatchAxis
from dask_exa.reduction.pieces import reshape_blocks

Dims = tuple[Hashable, ...]


class PatchSummary(NamedTuple):
    """The layout of fields, and of patches in them; no values."""

    n_samples: int
    layout: Layout
    """Sizes of the samples are those of the field learnt last."""
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    tiles: tuple[tuple[int, ...], ...]
    """Chunks of the field learnt first along the dimensions of patches: what orders the rows."""

    @property
    def present(self) -> np.ndarray:
        """No sample is left out."""
        return np.ones(0, bool)

    @property
    def other_sizes(self) -> tuple[int, ...]:
        """Points along the dimensions that every patch has whole."""
        return self.layout.feature_sizes[0][len(self.sizes) :]

    def axes(self, padding: str) -> tuple[PatchAxis, ...]:
        """Return the axes that patches are cut along."""
        points = self.layout.feature_sizes[0]
        parts = zip(points, self.sizes, self.strides, self.tiles, strict=False)
        return tuple(PatchAxis(n, size, stride, padding, t) for n, size, stride, t in parts)


class PatchFields(NamedTuple):
    """Fields as they were passed, read but not computed."""

    summary: PatchSummary
    coords: Mapping[Hashable, xr.DataArray]
    array: Any
    """Shape (n_samples, *patch axes, n_others); lazy ones are chunked as the tiles are."""


def read_field(X: Any, params: Any, known: PatchSummary | None) -> PatchFields:
    """Read a DataArray or an array of any number of axes, which numbers then name.

    Parameters
    ----------
    X : xarray.DataArray or array
    params : PatchExtractor
    known : PatchSummary, optional
    """
    if isinstance(X, xr.Dataset):
        raise TypeError(
            f"X is an xarray.Dataset of {list(X.data_vars)}; pass one variable, or "
            "X.to_dataarray() to make the variables one more dimension."
        )
    field, kind = named_field(X if hasattr(X, "shape") else np.asarray(X))
    if known is None:
        samples, patched, sizes, strides = _resolve(field.dims, params)
        others = tuple(dim for dim in field.dims if dim not in (*samples, *patched))
    else:
        samples, order = known.layout.sample_dims, known.layout.feature_dims[0]
        sizes, strides = known.sizes, known.strides
        patched, others = order[: len(sizes)], order[len(sizes) :]
        if {*samples, *order} != {*field.dims}:
            raise ValueError(
                f"X has the dimensions {list(field.dims)}, the model {known.layout.dims[0]}; pass "
                "fields of the same dimensions."
            )
    order = (*patched, *others)
    layout = lay_out([field], kind, samples, [order], {})
    if not math.prod(field.shape):
        raise ValueError(f"X has no values in its shape {field.shape}; pass one sample or more.")
    if known is not None:
        check_layout(known.layout, layout, "X")
    _check_sizes(sizes, layout)
    array = _matrix(field.transpose(*samples, *order).data, layout, len(sizes))
    tiles = known.tiles if known else _tiles(array, len(sizes))
    if is_dask(array):
        array = array.rechunk({i + 1: tile for i, tile in enumerate(tiles)})
    summary = PatchSummary(layout.n_samples, layout, sizes, strides, tiles)
    return PatchFields(summary, {} if kind == "plain" else field.coords, array)


def check_mergeable(
    known: PatchSummary, known_coords: Any, other: PatchSummary, coords: Any
) -> None:
    """Raise ValueError for models of other fields or another order of the patches."""
    what = "a model to merge"
    check_layout(known.layout, other.layout, what)
    check_coords(known.layout, known_coords, coords, what)
    if other.tiles != known.tiles:
        raise ValueError(
            f"{what} has patches in the order of the chunks {other.tiles}, this one in that of "
            f"{known.tiles}; fit both on fields of the same chunks."
        )


def check_known(known: PatchSummary, known_coords: Any, fields: PatchFields) -> None:
    """Raise ValueError for fields at other coordinates than those that were learnt."""
    check_coords(known.layout, known_coords, plain_coords(fields.coords), "X")


def check_parameters(params: Any) -> None:
    """Raise for parameters that make no sense whatever the field."""
    check_choice("padding", params.padding, ("none", "wrap", "reflect"))
    check_choice("blend", params.blend, ("hann", "linear", "mean"))


def _resolve(dims: Dims, params: Any) -> tuple[Dims, Dims, tuple[int, ...], tuple[int, ...]]:
    """Return the dimensions of samples and of patches, and sizes and strides of these."""
    size, samples = params.patch_size, params.sample_dims
    if isinstance(size, Mapping):
        patched = tuple(dim for dim in dims if dim in size)
        if unknown := [dim for dim in size if dim not in dims]:
            raise ValueError(
                f"patch_size={size!r} names {unknown}, but X has the dimensions {list(dims)}; name "
                "dimensions that it has."
            )
        found = tuple(d for d in dims if d not in patched) if samples is None else named(samples)
    else:
        found = dims[:1] if samples is None else named(samples)
        rest = tuple(dim for dim in dims if dim not in found)
        patched = rest[: len(size)] if isinstance(size, tuple | list) else rest
    if missing := [dim for dim in found if dim not in dims or dim in patched]:
        raise ValueError(
            f"sample_dims={samples!r} has {missing}, but X has the dimensions {list(dims)}, "
            f"{list(patched)} of which are cut into patches; name others of them."
        )
    sizes = _per_dim("patch_size", size, patched, None)
    strides = _per_dim("stride", params.stride, patched, [max(1, n // 2) for n in sizes])
    return found, patched, sizes, strides


def _per_dim(name: str, value: Any, dims: Dims, default: Any) -> tuple[int, ...]:
    given = value
    if value is None and default is not None:
        given = default
    if isinstance(given, Mapping):
        given = [
            given.get(dim, d) for dim, d in zip(dims, default or (0,) * len(dims), strict=True)
        ]
    elif not isinstance(given, tuple | list):
        given = [given] * len(dims)
    if not dims or len(given) != len(dims):
        raise ValueError(
            f"{name}={value!r} is not for the {len(dims)} dimensions {list(dims)} that are left of "
            "X; pass one number for each, or a dictionary by dimension."
        )
    for number in given:
        check_count(name, number)
    return tuple(int(number) for number in given)


def _check_sizes(sizes: tuple[int, ...], layout: Layout) -> None:
    for dim, n, size in zip(layout.feature_dims[0], layout.feature_sizes[0], sizes, strict=False):
        if size > n:
            raise ValueError(
                f"patch_size={size} is more than the {n} points of X along {dim!r}; pass smaller "
                "patches or larger fields."
            )


def _matrix(data: Any, layout: Layout, n_patched: int) -> Any:
    """Return data (samples …, patch axes …, others …) with one axis of samples and of others."""
    n_sample_axes = len(layout.sample_dims)
    sizes = layout.feature_sizes[0]
    shape = (layout.n_samples, *sizes[:n_patched], math.prod(sizes[n_patched:]))
    if not is_dask(data):
        return floating(data).reshape(shape)
    if data.dtype.kind not in "buif":
        raise ValueError(f"X has dtype {data.dtype}; pass real numbers.")
    whole = [*range(1, n_sample_axes), *range(n_sample_axes + n_patched, data.ndim)]
    data = data.rechunk(dict.fromkeys(whole, -1))
    samples = tuple(n * layout.rest for n in data.chunks[0]) if n_sample_axes else (1,)
    patched = data.chunks[n_sample_axes : n_sample_axes + n_patched]
    data = reshape_blocks(data, (samples, *patched, (shape[-1],)))
    return data if data.dtype in (np.float32, np.float64) else data.astype(np.float64)


def _tiles(array: Any, n_patched: int) -> tuple[tuple[int, ...], ...]:
    if is_dask(array):
        return tuple(tuple(int(n) for n in sizes) for sizes in array.chunks[1 : n_patched + 1])
    return tuple((int(n),) for n in array.shape[1 : n_patched + 1])
