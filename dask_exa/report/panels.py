"""One labelled field in one pair of axes: which part of it, with which coordinates and units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from dask_exa._planes import plane_indexers

MAX_PIXELS = 400
"""Along one side of a picture."""

_GREEK = {
    "rho": "ρ",
    "Omega": "Ω",
    "omega": "ω",
    "mu": "μ",
    "phi": "φ",
    "theta": "θ",
    "lambda": "λ",
    "sigma": "σ",
}
_SYMBOL = re.compile(r"([A-Za-z]+)_([A-Za-z0-9]+)")


def mathtext(units: str, form: str = "{}$_{{{}}}$") -> str:
    """Write units with Greek letters and subscripts.

    Parameters
    ----------
    units : str
        Such as "rho_s".
    form : str
        How a letter and its subscript are written; by default for matplotlib.

    Examples
    --------
    >>> from dask_exa.report.panels import mathtext
    >>> mathtext("1/Omega_ci"), mathtext("1/Omega_ci", "{}<sub>{}</sub>")
    ('1/Ω$_{ci}$', '1/Ω<sub>ci</sub>')
    """
    return _SYMBOL.sub(lambda m: form.format(_GREEK.get(m[1], m[1]), m[2]), units)


def label(name: Any, units: str) -> str:
    """Name an axis or a colour bar: "x [ρₛ]"."""
    return f"{name} [{mathtext(units)}]" if units else str(name)


def plane(
    field: xr.DataArray,
    *,
    keep: tuple[str, ...] = (),
    through: Mapping[str, int] = MappingProxyType({}),
) -> tuple[xr.DataArray, str]:
    """Return the part of a field that fits into a picture, and a note on what was left out.

    Parameters
    ----------
    field : xarray.DataArray
        Of any number of dimensions; may be lazy, and then stays so.
    keep : tuple of str
        Leading dimensions that are not part of the picture, such as ``component``.
    through : dict of str to int
        Index along dimensions where the plane is to lie; by default the middle.

    Returns
    -------
    xarray.DataArray
        (*keep, up to two dimensions): the two longest, through the middle of the others, with
        every so many points where there are more than `MAX_PIXELS`.
    str

    Examples
    --------
    >>> import xarray as xr
    >>> from dask_exa.report.panels import plane
    >>> part, note = plane(xr.DataArray(np.zeros((3, 800, 8)), dims=("z", "y", "x")))
    >>> dict(part.sizes), note
    ({'y': 400, 'x': 8}, 'Shown: the plane z = 1.')
    """
    indexers = plane_indexers(field, MAX_PIXELS, keep=keep, through=through)
    cut = {dim: at for dim, at in indexers.items() if not isinstance(at, slice)}
    note = ""
    if cut:
        shown = ", ".join(f"{dim} = {_place(field, dim, at)}" for dim, at in cut.items())
        note = f"Shown: the plane {shown}."
    return field.isel(indexers), note


def _place(field: xr.DataArray, dim: Any, position: int) -> str:
    return f"{field[dim].values[position]:g}" if dim in field.coords else str(position)


def extent_of(field: xr.DataArray, dim: Any, first: int, last: int) -> tuple[float, float]:
    """Return where a range of indices begins and ends on the axis of a picture of a field.

    Examples
    --------
    >>> import xarray as xr
    >>> from dask_exa.report.panels import extent_of
    >>> extent_of(xr.DataArray(np.zeros(4), {"x": [0.0, 2.0, 4.0, 6.0]}, "x"), "x", 1, 2)
    (1.0, 5.0)
    """
    positions = _positions(field, dim)
    if dim not in field.coords or field[dim].dtype.kind not in "iuf":
        positions = positions / -(-field.sizes[dim] // MAX_PIXELS)
    low, high = _outer(positions)
    return (
        float(positions[first] + low - positions[0]),
        float(positions[last] + high - positions[-1]),
    )


def draw(axes: Any, field: xr.DataArray, *, cmap: str, limits: tuple[float, float]) -> Any:
    """Draw a field of two dimensions as a picture, of one as a line.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    field : xarray.DataArray
        Of one or two dimensions.
    cmap : str
    limits : tuple of float
        Of the colour scale, or of the line's axis.

    Returns
    -------
    matplotlib.cm.ScalarMappable or None
        What a colour bar needs; None for a line.
    """
    if field.ndim == 1:
        (dim,) = field.dims
        axes.plot(_positions(field, dim), field.values, lw=1.2)
        axes.set(ylim=limits, xlabel=_axis_label(field, dim))
        return None
    rows, columns = field.dims
    y, x = _positions(field, rows), _positions(field, columns)
    axes.set(xlabel=_axis_label(field, columns), ylabel=_axis_label(field, rows))
    scale = {"cmap": cmap, "vmin": limits[0], "vmax": limits[1], "rasterized": True}
    for axis, dim in ((axes.xaxis, columns), (axes.yaxis, rows)):
        axis.set_major_locator(MaxNLocator(nbins=4, integer=dim not in field.coords))
    if _is_to_scale(field):
        axes.set_aspect("equal")
    if _is_even(x) and _is_even(y):
        edges = (*_outer(x), *_outer(y))
        aspect = axes.get_aspect()
        return axes.imshow(
            field.values, origin="lower", extent=edges, aspect=aspect, interpolation="none", **scale
        )
    return axes.pcolormesh(x, y, field.values, shading="nearest", **scale)


def height_of(field: xr.DataArray) -> float:
    """Return the height of a picture of a field by its width, between 0.4 and 1.6; of a line 1."""
    if field.ndim < 2 or not _is_to_scale(field):
        return 1.0
    rows, columns = (_span(_positions(field, dim)) for dim in field.dims)
    return min(max(rows / columns, 0.4), 1.6)


def symmetric_limits(*arrays: Any) -> tuple[float, float]:
    """Return (-m, m) with the largest absolute value m that is finite, or (-1, 1)."""
    low, high = value_limits(*arrays)
    largest = max(abs(low), abs(high)) or 1.0
    return -largest, largest


def value_limits(*arrays: Any) -> tuple[float, float]:
    """Return the smallest and largest finite values, a little apart at least."""
    values = np.concatenate([np.ravel(np.asarray(array, dtype=float)) for array in arrays])
    values = values[np.isfinite(values)]
    if not values.size:
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        margin = 0.5 * abs(low) or 1.0
        return low - margin, high + margin
    return low, high


def _is_to_scale(field: xr.DataArray) -> bool:
    """Whether both axes are drawn on one scale: the same units, and not too far from a square."""
    rows, columns = field.dims
    ratio = _span(_positions(field, rows)) / _span(_positions(field, columns))
    return _units(field, rows) == _units(field, columns) and 0.25 < ratio < 4


def _units(field: xr.DataArray, dim: Any) -> str:
    return str(field[dim].attrs.get("units", "")) if dim in field.coords else ""


def _axis_label(field: xr.DataArray, dim: Any) -> str:
    return label(dim, _units(field, dim))


def _positions(field: xr.DataArray, dim: Any) -> np.ndarray:
    if dim in field.coords and field[dim].dtype.kind in "iuf":
        return np.asarray(field[dim].values, dtype=float)
    return np.arange(field.sizes[dim], dtype=float)


def _is_even(positions: np.ndarray) -> bool:
    steps = np.diff(positions)
    return len(steps) == 0 or (steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3))


def _outer(positions: np.ndarray) -> tuple[float, float]:
    half = 0.5 * (positions[1] - positions[0]) if len(positions) > 1 else 0.5
    return positions[0] - half, positions[-1] + half


def _span(positions: np.ndarray) -> float:
    return float(abs(positions[-1] - positions[0])) or 1.0
