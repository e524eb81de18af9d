"""From the names and coordinates of a field to the box that is transformed, and its bins."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from dask_exa._samples import Labels, Samples, is_dask
from dask_exa.summaries.spectrum import Box, Spectrum, binned_modes, shell_edges, spaced_edges

PART = "complex part"
"""Dimension of the real and imaginary part of complex samples."""
_SAME_STEP = 1e-5
"""Relative difference of distances below which grids are the same."""
_UNEVEN = 1e-3
"""Of a step: what points may be off a uniform grid."""


def as_parts(X: Any) -> Any:
    """Return labelled complex data as real ones with one more dimension of two parts, last."""
    dtype = str(getattr(X, "dtype", ""))
    if not dtype.endswith(("complex64", "complex128")):
        return X
    if not isinstance(X, xr.DataArray):
        raise ValueError(
            f"Complex data not supported in arrays without names: X has dtype {dtype}; pass an "
            "xarray.DataArray."
        )
    real = np.empty(0, dtype=X.dtype).real.dtype
    data = X.data
    if is_dask(data):
        data = data.map_blocks(
            _parts, real, new_axis=data.ndim, chunks=(*data.chunks, (2,)), dtype=real
        )
    else:
        data = _parts(data, real)
    return xr.DataArray(data, dims=(*X.dims, PART), coords=X.coords, name=X.name, attrs=X.attrs)


def feature_axes(samples: Samples) -> tuple[tuple[Hashable, ...], tuple[int, ...], bool]:
    """Return names and sizes of the feature axes, and whether the samples are complex."""
    labels = samples.labels
    if labels is None:
        sizes = samples.array.shape[samples.n_sample_axes :]
        return tuple(range(len(sizes))), sizes, False
    dims, sizes = labels.feature_dims, labels.feature_sizes
    is_complex = PART in dims
    return (dims[:-1], sizes[:-1], True) if is_complex else (dims, sizes, False)


def find_box(
    samples: Samples, dims: Any, direction: Hashable | None
) -> tuple[tuple[int, ...], tuple[int, ...], Box]:
    """Return sizes of the feature axes, those that are transformed, and the box that they make."""
    names, sizes, is_complex = feature_axes(samples)
    chosen = _chosen(dims, names)
    if direction is not None and direction not in chosen:
        raise ValueError(
            f"direction={direction!r} is not one of the dimensions that are transformed, "
            f"{list(chosen)}; name one of them."
        )
    axes = tuple(names.index(dim) for dim in chosen)
    coords = {} if samples.labels is None else samples.labels.coords
    steps = tuple(_step(coords, dim) for dim in chosen)
    shape = tuple(int(sizes[axis]) for axis in axes)
    place = None if direction is None else chosen.index(direction)
    return tuple(int(size) for size in sizes), axes, Box(shape, steps, place, is_complex)


def choose_edges(box: Box, bins: Any, spacing: str) -> tuple[float, ...]:
    """Return the edges of the bins that the parameters ask for."""
    if bins is None and spacing == "linear":
        return shell_edges(box)
    if bins is None or isinstance(bins, int | np.integer):
        return spaced_edges(box, None if bins is None else int(bins), log=spacing == "log")
    return tuple(float(edge) for edge in bins)


def label_powers(labels: Labels, axes: tuple[int, ...], wavenumbers: np.ndarray) -> Labels:
    """Return the labels of powers: the dimensions that are not transformed, and the wavenumber."""
    kept = [
        (dim, size)
        for i, (dim, size) in enumerate(zip(labels.feature_dims, labels.feature_sizes, strict=True))
        if i not in axes and dim != PART
    ]
    dims = tuple(dim for dim, _ in kept)
    coords = {name: coord for name, coord in labels.coords.items() if {*_dims_of(coord)} <= {*dims}}
    coords["wavenumber"] = (("wavenumber",), wavenumbers, {})
    sizes = (*(size for _, size in kept), len(wavenumbers))
    return labels._replace(feature_dims=(*dims, "wavenumber"), feature_sizes=sizes, coords=coords)


def check_same(
    known: Spectrum,
    sizes: tuple[int, ...],
    box: Box,
    what: str,
    edges: tuple[float, ...] | None = None,
) -> None:
    """Raise ValueError for fields of another box, or for other bins."""
    same_box = sizes == known.sizes and box.is_complex == known.box.is_complex
    if not (same_box and np.allclose(box.steps, known.box.steps, rtol=_SAME_STEP, atol=0)):
        raise ValueError(
            f"{what} has fields of {_described(sizes, box)}, the model "
            f"{_described(known.sizes, known.box)}; pass fields on the same grid, or fit anew."
        )
    if edges is not None and not (
        len(edges) == len(known.edges) and np.allclose(edges, known.edges, rtol=_SAME_STEP)
    ):
        raise ValueError(
            f"{what} has {len(edges) - 1} bins with edges other than the {len(known.edges) - 1} of "
            "the model; set bins and spacing back, or fit anew."
        )


def _described(sizes: tuple[int, ...], box: Box) -> str:
    steps = ", ".join(f"{step:.6g}" for step in box.steps)
    kind = "complex" if box.is_complex else "real"
    return f"{'×'.join(map(str, sizes))} {kind} points at distances {steps}"


def check_bins(bins: Any, spectrum: Spectrum) -> None:
    """Raise ValueError for bins without a mode."""
    modes = binned_modes(spectrum)
    if not len(modes.counts):
        raise ValueError(
            "include_mean=False leaves nothing of fields of 1 point (n_features = 1); pass fields "
            "of more points, or include_mean=True."
        )
    empty = np.flatnonzero(modes.counts == 0)
    if len(empty):
        low, high = modes.limits[empty[0]]
        raise ValueError(
            f"bins={bins!r} have one, from {low:.6g} to {high:.6g}, that no wavenumber of X is "
            "in; pass wider bins, or their number."
        )


def _parts(block: Any, real: Any) -> Any:
    return np.ascontiguousarray(block).view(real).reshape((*block.shape, 2))


def _chosen(dims: Any, found: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    if dims is None:
        return found
    chosen = (dims,) if isinstance(dims, str) else tuple(dims)
    unknown = [dim for dim in chosen if dim not in found]
    if unknown or not chosen or len({*chosen}) < len(chosen):
        raise ValueError(
            f"dims={dims!r} must be different ones of the feature dimensions of X, {list(found)}; "
            "arrays without names have numbers."
        )
    return tuple(dim for dim in found if dim in chosen)


def _step(coords: Any, dim: Hashable) -> float:
    """Return the distance of neighbouring points; 1 without a coordinate of numbers."""
    if dim not in coords:
        return 1.0
    coord = coords[dim]
    values = np.asarray(coord[1] if isinstance(coord, tuple) else coord.values)
    if values.dtype.kind in "mM":
        values = (values - values[0]) / np.timedelta64(1, "s")
    if values.dtype.kind not in "iuf" or len(values) < 2:
        return 1.0
    rounding = np.finfo(values.dtype).eps if values.dtype.kind == "f" else 0.0
    values = values.astype(np.float64)
    step = (values[-1] - values[0]) / (len(values) - 1)
    even = values[0] + step * np.arange(len(values))
    allowed = _UNEVEN * abs(step) + 4 * rounding * np.abs(values).max()
    if not (step != 0 and np.abs(values - even).max() <= allowed):
        steps = np.diff(values)
        raise ValueError(
            f"the coordinate {dim!r} of X has steps from {steps.min():.6g} to {steps.max():.6g}; "
            "a spectrum needs equal ones: interpolate to a uniform grid, or leave the dimension "
            "out of dims."
        )
    return abs(float(step))


def _dims_of(coord: Any) -> tuple[Hashable, ...]:
    return coord[0] if isinstance(coord, tuple) else coord.dims
