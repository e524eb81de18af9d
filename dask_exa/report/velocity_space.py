"""Pictures of a plasma in phase space: a slice of its distribution function, its invariants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from dask_exa.inputs.velocity_space.mesh import PhaseSpace
from dask_exa.report import panels
from dask_exa.report.figures import (
    COLORS,
    DIVERGING,
    FAINT,
    GREY,
    SEQUENTIAL,
    add_bar,
    legend_above,
    new_figure,
)

_DECADES = 3
"""Of the scale of the deviation, on either side of zero."""


def draw_velocity_space(f: xr.DataArray, *, mesh: PhaseSpace | None = None) -> Figure:
    """Draw a slice of a distribution function, how it differs along space, and f over velocity.

    Parameters
    ----------
    f : xarray.DataArray
        On positions and velocities. The slice has the longest dimension of space and the longest
        component of velocity, through the middle of all others.
    mesh : PhaseSpace, optional
        Default: `PhaseSpace.of(f)`.

    Returns
    -------
    matplotlib.figure.Figure
        The slice; its deviation from the mean along space, on a logarithmic scale of both signs;
        and mean, least and largest values at every velocity.

    Examples
    --------
    >>> from dask_exa.datasets import Vlasov
    >>> from dask_exa.report.velocity_space import draw_velocity_space
    >>> figure = draw_velocity_space(Vlasov.two_stream().advance().f)
    >>> [axes.get_title(loc="left") for axes in figure.axes[:3]]
    ['f', 'f less its mean along x', 'along x']
    """
    mesh = PhaseSpace.of(f) if mesh is None else mesh
    section, note = _section(f, mesh)
    velocity, position = (str(dim) for dim in section.dims)
    mean = section.mean(position)
    deviation = section - mean
    with new_figure(3.7) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.75))
        limits = panels.value_limits(section.values)
        drawn = panels.draw(left, section, cmap=SEQUENTIAL, limits=limits)
        add_bar(figure, drawn, np.array([left]), "f")
        left.set_title("f", loc="left")
        low, high = panels.symmetric_limits(deviation.values)
        drawn = panels.draw(middle, deviation, cmap=DIVERGING, limits=(low, high))
        if drawn is not None:
            smallest = high * 10.0**-_DECADES
            drawn.set_norm(SymLogNorm(smallest, linscale=0.8, vmin=low, vmax=high))
        add_bar(figure, drawn, np.array([middle]), "deviation")
        middle.set_title(f"f less its mean along {position}", loc="left")
        _draw_profile(right, section, velocity, position)
        if note:
            figure.supxlabel(note, fontsize=8.5, color=GREY)
    return figure


def _section(f: xr.DataArray, mesh: PhaseSpace) -> tuple[xr.DataArray, str]:
    """Return the slice (velocity, position), in memory, and where it lies."""
    sizes = mesh.sizes
    position = max(mesh.space, key=lambda dim: sizes[dim])
    velocity = max(mesh.components or mesh.velocity, key=lambda dim: sizes[dim])
    at = {dim: sizes[dim] // 2 for dim in mesh.dims if dim not in (position, velocity)}
    if "mu" in at:
        at["mu"] = 0  # where most of the particles are
    shown = [
        f"{dim} = {float(f[dim][place]):.3g}" if dim in f.coords else f"{dim} {place}"
        for dim, place in at.items()
    ]
    section = f.isel(at).transpose(velocity, position)
    strides = {
        dim: slice(None, None, -(-section.sizes[dim] // panels.MAX_PIXELS)) for dim in section.dims
    }
    note = f"Shown: {', '.join(shown)}." if shown else ""
    return section.isel(strides).reset_coords(drop=True).astype(float).compute(), note


def _draw_profile(axes: Any, section: xr.DataArray, velocity: str, position: str) -> None:
    """Draw f over velocity: mean along space, between least and largest values."""
    has_points = velocity in section.coords
    points = section[velocity].values if has_points else np.arange(section.sizes[velocity])
    mean = section.mean(position).values
    top = panels.value_limits(section.values)[1]
    top = top if top > 0 else 1.0  # nothing can be drawn on this axis then
    floor = 1e-6 * top
    least, most = (
        np.clip(getattr(section, name)(position).values, floor, None) for name in ("min", "max")
    )
    axes.fill_betweenx(points, least, most, color=COLORS[0], alpha=0.22, lw=0, label="range")
    axes.plot(np.clip(mean, floor, None), points, color=COLORS[0], lw=1.6, label="mean")
    axes.set(xscale="log", xlim=(floor, 3 * top), xlabel="f", ylim=(points[0], points[-1]))
    axes.grid(axis="x")
    axes.set_title(f"along {position}", loc="left")
    axes.tick_params(labelleft=False)
    axes.legend(loc="center left")


def draw_invariants(
    history: Sequence[Mapping[str, float]], limits: Mapping[str, float], names: Mapping[str, str]
) -> Figure:
    """Draw what a plasma must keep, over time, as shares of the limits.

    Parameters
    ----------
    history : sequence of mapping of str to float
        A row for every step: ``time``, and numbers that must stay small.
    limits : mapping of str to float
        Of each: what is drawn at 1.
    names : mapping of str to str
        What to call each.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from dask_exa.report.velocity_space import draw_invariants
    >>> rows = [{"time": t, "drift": 1e-5 * t} for t in range(5)]
    >>> figure = draw_invariants(rows, {"drift": 1e-3}, {"drift": "drift of particles"})
    >>> figure.axes[0].get_legend().get_texts()[0].get_text()
    'drift of particles, now 4e-05 of 0.001'
    """
    times = np.array([row["time"] for row in history], dtype=float)
    with new_figure(2.9) as figure:
        axes = figure.subplots()
        for number, (name, limit) in enumerate(limits.items()):
            values = np.array([row[name] for row in history], dtype=float)
            shown = np.clip(values / limit, 1e-6, 1e6)
            label = f"{names[name]}, now {values[-1]:.2g} of {limit:.2g}"
            mark = "o" if len(times) == 1 else None
            axes.plot(times, shown, lw=1.6, color=COLORS[number], label=label, marker=mark)
        axes.axhspan(1, 1e7, color=FAINT, zorder=0, lw=0)
        axes.axhline(1, color=GREY, lw=1, ls="--")
        largest = max(np.nanmax(line.get_ydata(), initial=0.0) for line in axes.lines)
        axes.set(yscale="log", ylim=(1e-6, 10 * max(largest, 1.0)), ylabel="share of the limit")
        axes.set_xlabel("time")
        axes.margins(x=0.01)
        legend_above(axes, 2)
    return figure
