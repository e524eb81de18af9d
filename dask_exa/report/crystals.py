"""Pictures of a crystal under load: stress and imbalance with the grains, stress over strain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from dask_exa.report import panels
from dask_exa.report.figures import COLORS, GREY, INK, SEQUENTIAL, add_bar, new_figure

_BALANCED = 1e-2
"""Imbalance below which nobody worries: the top of the scale is never lower."""
_DECADES = 5


def draw_crystal(
    stress: xr.DataArray, imbalance: xr.DataArray, grain: xr.DataArray | None = None
) -> Figure:
    """Draw the von Mises stress beside the imbalance of forces, with the edges of the grains.

    Parameters
    ----------
    stress, imbalance : xarray.DataArray
        On the cells of a grid of two or three dimensions: the plane through the middle is shown.
    grain : xarray.DataArray of int, optional
        Number of the grain, or of the phase, of every cell.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from dask_exa.datasets import Crystal
    >>> from dask_exa.inputs.tensors import force_imbalance, von_mises
    >>> from dask_exa.report.crystals import draw_crystal
    >>> step = Crystal(shape=(9, 9), n_grains=3).advance()
    >>> figure = draw_crystal(von_mises(step.stress), force_imbalance(step.stress), step.grain)
    >>> figure.axes[0].get_title(loc="left")
    'von Mises stress'
    """
    stress, imbalance = stress.compute(), imbalance.compute()
    shown, note = _plane(stress)
    balance, _ = _plane(imbalance)
    size = float(np.sqrt(np.mean(imbalance.values**2)))
    height = 0.9 + 4.0 * panels.height_of(shown)
    with new_figure(height) as figure:
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        limits = panels.value_limits(shown.values)
        drawn = panels.draw(left, shown, cmap=SEQUENTIAL, limits=limits)
        left.set_title("von Mises stress", loc="left")
        add_bar(
            figure, drawn, np.array([left]), panels.label("stress", stress.attrs.get("units", ""))
        )
        drawn = panels.draw(right, balance, cmap="magma", limits=(0.0, 1.0))
        highest = max(panels.value_limits(balance.values)[1], _BALANCED)
        drawn.set_norm(LogNorm(highest / 10**_DECADES, highest, clip=True))
        right.set_title(f"imbalance of forces: {size:.2g} of the gradient", loc="left")
        add_bar(figure, drawn, np.array([right]), "|div| by rms gradient")
        for axes, color in ((left, "white"), (right, GREY)):
            if grain is not None:
                _draw_edges(axes, grain, shown, color)
            axes.label_outer()
        if note:
            figure.supxlabel(note, fontsize=8, color=GREY)
    return figure


def _plane(field: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Return the plane through the middle, x across and y up, and a note on where it is."""
    shown, note = panels.plane(field)
    return shown.transpose(*reversed(shown.dims)), note


def _draw_edges(axes: Any, grain: xr.DataArray, shown: xr.DataArray, color: str) -> None:
    """Draw a line between neighbouring cells of different grains."""
    values = _plane(grain)[0].values
    left, right, bottom, top = _extent(shown)
    x = np.linspace(left, right, values.shape[1] + 1)
    y = np.linspace(bottom, top, values.shape[0] + 1)
    rows, columns = np.nonzero(values[:, 1:] != values[:, :-1])
    upright = [((x[c + 1], x[c + 1]), (y[r], y[r + 1])) for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(values[1:] != values[:-1])
    level = [((x[c], x[c + 1]), (y[r + 1], y[r + 1])) for r, c in zip(rows, columns, strict=True)]
    gap = (np.nan, np.nan)
    for lines in (upright, level):
        if lines:
            along = np.concatenate([[*line[0], gap[0]] for line in lines])
            up = np.concatenate([[*line[1], gap[1]] for line in lines])
            axes.plot(along, up, color=color, lw=0.9, scalex=False, scaley=False)


def _extent(shown: xr.DataArray) -> tuple[float, float, float, float]:
    rows, columns = shown.dims
    ends = [panels.extent_of(shown, dim, 0, shown.sizes[dim] - 1) for dim in (columns, rows)]
    return (*ends[0], *ends[1])


def draw_stress_strain(curve: Sequence[tuple[float, float]], units: str = "") -> Figure:
    """Draw the mean stress over the mean strain of all steps so far, the last one marked.

    Parameters
    ----------
    curve : sequence of (float, float)
        Strain and stress of every step.
    units : str
        Of the stress.

    Returns
    -------
    matplotlib.figure.Figure
    """
    strain, stress = np.asarray(curve, dtype=float).reshape(-1, 2).T
    with new_figure(3.2, 5.4) as figure:
        axes = figure.subplots()
        axes.plot(100 * strain, stress, "o-", color=COLORS[0], lw=1.3, ms=2.5)
        axes.plot(100 * strain[-1:], stress[-1:], "o", color=COLORS[1], ms=7, label="this step")
        axes.axhline(0, color=INK, lw=0.6, zorder=0)
        axes.set(xlabel="equivalent mean strain [%]")
        axes.set_ylabel(panels.label("equivalent mean stress", units))
        axes.grid()
        axes.legend(loc="lower right")
    return figure
