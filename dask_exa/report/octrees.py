"""Pictures of adaptive meshes: a field, and the leaves that it is stored in."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from dask_exa._array import to_host
from dask_exa.inputs.amr import Octree
from dask_exa.report import panels
from dask_exa.report.figures import SEQUENTIAL, add_bar, new_figure

_PIXELS = 768
"""Along the longer side of a picture."""
_DECADES = 1.5
"""Positive fields that span more are drawn on a logarithmic scale."""
_LEAST_PIXELS = 6
"""Leaves that are smaller in the picture have no outline: lines would hide the field."""


def draw_octree(octree: Octree, name: str, *, units: str = "", z: float | None = None) -> Figure:
    """Draw a field of an octree and the outlines of its leaves; of a 3D one, a slice.

    Parameters
    ----------
    octree : Octree
    name : str
        Of the field.
    units : str
    z : float, optional
        Where a 3D tree is cut; by default in the middle, just above the face there.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.inputs.amr import Octree
    >>> from dask_exa.report.octrees import draw_octree
    >>> tree = Octree.from_uniform({"rho": np.ones((8, 8))}).split(2)
    >>> draw_octree(tree, "rho").axes[0].get_title(loc="left")
    'rho, 16 leaves of 2×2 cells, level 2'
    """
    if z is None and octree.ndim == 3:
        finest = octree.root[2] / (1 << octree.lattice.depth)
        z = float(octree.origin[2] + 0.5 * octree.extent[2] + 1e-3 * finest)
    field = _pixels(octree, name, z)
    low, high = panels.value_limits(field.values)
    with new_figure(0.6 + 6.2 * panels.height_of(field), 7.6) as figure:
        axes = figure.subplots()
        drawn = panels.draw(axes, field, cmap=SEQUENTIAL, limits=(low, high))
        if low > 0 and np.log10(high / low) > _DECADES:
            drawn.set_norm(LogNorm(low, high))
        leaves = _outlines(octree, z)
        axes.add_collection(LineCollection(leaves, colors="white", lw=0.6, alpha=0.55))
        axes.set_title(_title(octree, name, z), loc="left")
        add_bar(figure, drawn, np.array([axes]), panels.label(name, units))
    return figure


def _pixels(octree: Octree, name: str, z: float | None) -> xr.DataArray:
    extent = octree.extent[:2]
    counts = np.maximum(1, np.rint(_PIXELS * extent / extent.max())).astype(int)
    x, y = (
        octree.origin[axis] + extent[axis] * (np.arange(counts[axis]) + 0.5) / counts[axis]
        for axis in range(2)
    )
    grid = np.meshgrid(x, y)
    at = np.stack([part.ravel() for part in grid], axis=1)
    if z is not None:
        at = np.column_stack([at, np.full(len(at), z)])
    values = to_host(octree.values(name, at)).reshape(len(y), len(x))
    return xr.DataArray(values, {"y": y, "x": x}, ("y", "x"))


def _outlines(octree: Octree, z: float | None) -> list[np.ndarray]:
    """Return the edges of leaves as closed lines, each (5, 2)."""
    low, size = to_host(octree.position), to_host(octree.size)
    shown = size[:, :2].min(axis=1) >= _LEAST_PIXELS * octree.extent[:2].max() / _PIXELS
    if z is not None:
        shown &= (low[:, 2] <= z) & (z < low[:, 2] + size[:, 2])
    low, high = low[shown, :2], (low + size)[shown, :2]
    (x0, y0), (x1, y1) = low.T, high.T
    return list(np.stack([[x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0]]).transpose(2, 1, 0))


def _title(octree: Octree, name: str, z: float | None) -> str:
    least, most = int(octree.level.min()), int(octree.level.max())
    cells = "" if max(octree.block) == 1 else f" of {'×'.join(map(str, octree.block))} cells"
    levels = f"level {least}" if least == most else f"levels {least} to {most}"
    cut = "" if z is None else f", z = {z:.3g}"
    return f"{name}, {len(octree)} leaves{cells}, {levels}{cut}"
