"""Samples of any field, on an adaptive mesh, a regular grid or scattered points."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from dask_exa._samples import is_dask
from dask_exa.inputs.amr.drawing import AXES, draw_points
from dask_exa.inputs.amr.octree import Octree
from dask_exa.inputs.amr.points import PointCloud


def sample(source: Any, n: int, weights: Any = "mixture", **options: Any) -> xr.Dataset:
    """Draw points from fields, with values, gradients and importance weights.

    Points are drawn with a density that may follow the gradients, so that shocks get many of
    them; the weight of each is the volume that it then stands for. ``(weight * field).sum()`` is
    an unbiased estimate of the integral of any field over the domain, and that divided by the
    ``volume`` of the data set of its mean, however the points were drawn. There is one point in
    each of `n` strata of equal chance, along the Morton curve, which makes the errors smaller
    than those of independent points.

    Parameters
    ----------
    source : Octree, PointCloud, xarray.Dataset or xarray.DataArray
        A labelled field is a regular grid of two or three dimensions, with evenly spaced
        coordinates or none. A step of a reader with coordinates ``position`` and ``size`` is a
        mesh.
    n : int
        Number of points.
    weights : {"volume", "mixture", "gradient"}, mapping or callable, default="mixture"
        Density of the points: the same everywhere, proportional to gradients, or half of either.
        "gradient" too spreads a tenth by volume: without, flat regions are missed and the mass
        with them. A mapping has the shares of "volume" and "gradient". A callable gets the
        `Octree` or `PointCloud` and returns a positive density for every cell.
    by : str or sequence of str, optional
        Fields whose gradients count, each in units of its own integral; by default all.
    names : sequence of str, optional
        Fields to return, by default all.
    random_state : int, RandomState or None, optional
        The same number gives the same points, on any number of threads.

    Returns
    -------
    xarray.Dataset
        Of every field ``f``: ``f`` (sample), linear in each cell with slopes limited so that
        positive fields stay so; ``gradient_f`` (sample, axis), that of the cell. Coordinates
        ``position`` (sample, axis) and ``weight`` (sample).

    Notes
    -----
    With volume V_c of cell c and density q_c, the cell is drawn with probability
    p_c = q_c V_c / Σ q V, and the weight of a point in it is V_c / (n p_c).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from dask_exa.inputs.amr import sample
    >>> x = (np.arange(64) + 0.5) / 64
    >>> front = xr.DataArray(np.tanh((x - 0.5) / 0.02) + 0 * x[:, None], {"y": x, "x": x})
    >>> points = sample(front.to_dataset(name="rho"), 4000, "gradient", random_state=0)
    >>> near = abs(points.position.sel(axis="x") - 0.5) < 0.05
    >>> print(f"{float(near.mean()):.1f} of the points, {float(points.weight[near].sum()):.1f} of "
    ...       f"the volume; mean {abs(float((points.weight * points.rho).sum())):.2f}")
    0.9 of the points, 0.1 of the volume; mean 0.00
    """
    return draw_points(_as_source(source), n, weights, **options)


def _as_source(source: Any) -> Any:
    if isinstance(source, Octree | PointCloud):
        return source
    if isinstance(source, xr.DataArray):
        source = source.to_dataset(name=source.name or "field")
    if not isinstance(source, xr.Dataset):
        raise TypeError(
            f"source is a {type(source).__name__}; pass an Octree, a PointCloud, or an "
            "xarray.Dataset on a regular grid."
        )
    if "position" in source.coords and "size" in source.coords:
        return Octree.from_patches(source)
    return _grid(source)


def _grid(fields: xr.Dataset) -> Octree:
    dims = {field.dims for field in fields.data_vars.values()}
    if len(dims) != 1 or len(next(iter(dims))) not in (2, 3):
        raise ValueError(
            f"source has fields on {sorted(map(str, dims))}; pass fields on the same two or three "
            "dimensions."
        )
    (shared,) = dims
    origin, extent = zip(*(_edges(fields, dim) for dim in shared[::-1]), strict=True)
    if any(is_dask(field.data) for field in fields.data_vars.values()):
        fields = fields.compute()
    arrays = {str(name): field.data for name, field in fields.data_vars.items()}
    return Octree.from_uniform(arrays, origin=origin, extent=extent)


def _edges(fields: xr.Dataset, dim: Any) -> tuple[float, float]:
    n = fields.sizes[dim]
    if dim not in fields.coords:
        return 0.0, float(n)
    at = np.asarray(fields[dim].values, dtype=float)
    step = (at[-1] - at[0]) / (n - 1) if n > 1 else 1.0
    if not step > 0 or not np.allclose(np.diff(at), step, rtol=1e-3, atol=0):
        raise ValueError(
            f"coordinate {dim!r} is not evenly spaced and rising; pass a PointCloud, or an Octree "
            f"of cells ({', '.join(AXES[: len(fields.dims)])})."
        )
    return float(at[0] - 0.5 * step), float(n * step)
