"""Figures of a report: objects of their own, drawn without a display and without pyplot."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from dask_exa.report import panels
from dask_exa.report.result import FieldResult, RunResult

DIVERGING = "RdBu_r"
SEQUENTIAL = "viridis"
MAX_MODES = 8
MAX_LINES = 4
MAX_ERROR = 10.0
"""Above it an error is drawn at the edge: a field near zero would hide all others."""
_WIDTH = 9.6
COLORS = ("#1f5f99", "#d1662b", "#3a8a4f", "#8a4fa3", "#8c6d31", "#4f7f8a")
INK, GREY, FAINT = "#24292f", "#8b949e", "#d7dce1"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def figure_png(figure: Figure, dpi: int = 150) -> bytes:
    """Return a figure as the bytes of a PNG image."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@contextlib.contextmanager
def new_figure(height: float, width: float = _WIDTH) -> Iterator[Figure]:
    """Give an empty figure in the style of the report."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def draw_variance(field: FieldResult) -> Figure:
    """Draw the share of the variance of each component, and of the leading ones together."""
    shares = 100 * np.atleast_1d(field.fitted["explained_variance_ratio"])
    number = np.arange(1, len(shares) + 1)
    with new_figure(2.9) as figure:
        axes = figure.subplots()
        axes.bar(number, shares, width=0.72, color=COLORS[0], label="each component")
        total = np.cumsum(shares)
        axes.plot(number, total, "o-", color=COLORS[1], lw=1.4, ms=4, label="together")
        axes.annotate(
            f"{total[-1]:.4g} %",
            (number[-1], total[-1]),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            color=COLORS[1],
        )
        axes.set(xlabel="component", ylabel="explained variance [%]", ylim=(0, 112))
        axes.set_yticks(range(0, 101, 20))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
        axes.set_xlim(0.4, number[-1] + 0.6)
        axes.grid(axis="y")
        legend_above(axes, 2)
    return figure


def draw_modes(field: FieldResult, modes: xr.DataArray) -> Figure:
    """Draw the leading modes on one colour scale that is symmetric about zero."""
    modes = modes[:MAX_MODES]
    titles = [str(number + 1) for number in range(len(modes))]
    if field.fitted.get("explained_variance_ratio") is not None:
        shares = np.atleast_1d(field.fitted["explained_variance_ratio"])
        titles = [f"{n}: {100 * share:.3g} %" for n, share in zip(titles, shares, strict=False)]
    n_columns = min(4, len(modes))
    n_rows = -(-len(modes) // n_columns)
    limits = panels.symmetric_limits(modes.values)
    height = 0.6 + (0.35 + 1.9 * panels.height_of(modes[0])) * n_rows
    with new_figure(height, 0.9 + 2.2 * n_columns) as figure:
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
        drawn = None
        for axes, mode, title in zip(grid.flat, modes, titles, strict=False):
            drawn = panels.draw(axes, mode, cmap=DIVERGING, limits=limits)
            axes.set_title(title, loc="left")
            axes.label_outer()
        for axes in grid.flat[len(modes) :]:
            axes.set_visible(False)
        add_bar(figure, drawn, grid, "mode (unit norm)")
    return figure


def draw_pictures(field: FieldResult, time_units: str = "") -> Figure:
    """Draw steps beside their reconstruction and the difference, a row each."""
    height = 0.5 + (0.35 + 2.4 * panels.height_of(field.pictures[0].original)) * len(field.pictures)
    with new_figure(height) as figure:
        grid = figure.subplots(len(field.pictures), 3, squeeze=False, sharex=True, sharey=True)
        for row, picture in zip(grid, field.pictures, strict=True):
            original, reconstruction = picture.original, picture.reconstruction
            limits, cmap = color_scale(original.values, reconstruction.values)
            difference = reconstruction - original
            shown = panels.draw(row[0], original, cmap=cmap, limits=limits)
            panels.draw(row[1], reconstruction, cmap=cmap, limits=limits)
            spread = panels.symmetric_limits(difference.values)
            small = panels.draw(row[2], difference, cmap=DIVERGING, limits=spread)
            time = f"{float(original.time):.6g} {panels.mathtext(time_units)}".strip()
            row[0].set_title(f"step {int(original.timestep)}, time {time}", loc="left")
            row[1].set_title("reconstruction", loc="left")
            share = f"{100 * min(picture.error, MAX_ERROR):.3g} %"
            above = "" if picture.error <= MAX_ERROR else "above "
            row[2].set_title(f"difference: {above}{share} (L2)", loc="left")
            for axes in row:
                axes.label_outer()
            name = panels.label(field.name, field.units)
            add_bar(figure, shown, row[:2], name)
            add_bar(figure, small, row[2:], panels.label("difference", field.units))
    return figure


def draw_coefficients(field: FieldResult, result: RunResult) -> Figure:
    """Draw the leading coefficients over time, in the basis at the end."""
    with new_figure(2.6) as figure:
        axes = figure.subplots()
        for i, line in enumerate(field.coefficients.T[:MAX_LINES]):
            axes.plot(result.time, line, lw=1.3, label=f"component {i + 1}")
        axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
        axes.set(ylabel=panels.label("coefficient", field.units))
        axes.grid(axis="y")
        legend_above(axes, MAX_LINES)
        time_axis(axes, result)
    return figure


def draw_errors(result: RunResult) -> Figure:
    """Draw the reconstruction error of each step, then and in the end, for all variables."""
    place = dict(zip(result.timestep.tolist(), result.time, strict=True))
    with new_figure(3.1) as figure:
        axes = figure.subplots()
        for i, field in enumerate(result.fields.values()):
            color = COLORS[i % len(COLORS)]
            early = np.minimum(field.error_at_the_time, MAX_ERROR)
            axes.plot(result.time, early, lw=1.3, color=color, label=field.name)
            for step, error in field.error_at_the_end.items():
                mark = "o" if error <= MAX_ERROR else "^"
                axes.plot(place[step], min(error, MAX_ERROR), mark, ms=4.5, color=color)
        axes.plot([], [], "-", color=GREY, label="when the step came")
        axes.plot([], [], "o", ms=4.5, color=GREY, label="in the final basis")
        axes.set_yscale("log")
        axes.set(ylabel="relative L2 error")
        axes.grid(which="major")
        legend_above(axes, min(2 + len(result.fields), MAX_LINES))
        time_axis(axes, result)
    return figure


def draw_costs(result: RunResult) -> Figure:
    """Draw seconds and bytes per step."""
    with new_figure(3.0) as figure:
        left, right = figure.subplots(1, 2)
        base = np.zeros(result.n_steps)
        for name, seconds in result.seconds.items():
            share = f"{name} ({np.sum(seconds):.3g} s)"
            edges = _step_edges(result.timestep)
            left.stairs(base + seconds, edges, baseline=base, fill=True, label=share)
            base = base + seconds
        left.set(xlabel="step", ylabel="seconds", ylim=(0, _usual_top(base)))
        for name, values in result.bytes.items():
            right.plot(result.timestep, values, lw=1.6, label=name)
        right.set(xlabel="step", ylabel="bytes", yscale="log")
        low, high = panels.value_limits(*result.bytes.values())
        right.set_ylim(10 ** np.floor(np.log10(max(low, 1))), 10 ** np.ceil(np.log10(high) + 0.1))
        right.yaxis.set_major_formatter(EngFormatter("B"))
        right.yaxis.set_minor_formatter(NullFormatter())
        right.grid(axis="y")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            legend_above(axes, 3)
    return figure


def _step_edges(timestep: np.ndarray) -> np.ndarray:
    """Return where the bar of each step begins and ends; steps left out leave no gap."""
    middles = (timestep[1:] + timestep[:-1]) / 2
    return np.concatenate([[timestep[0] - 0.5], middles, [timestep[-1] + 0.5]])


def legend_above(axes: Axes, n_columns: int) -> None:
    """Put the legend above the axes."""
    axes.legend(ncols=n_columns, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)


def _usual_top(seconds: np.ndarray) -> float:
    """Upper limit that a single slow step (the first one compiles) does not set."""
    if not len(seconds):
        return 1.0
    usual = 2.0 * float(np.quantile(seconds, 0.95))
    return min(1.08 * float(seconds.max()), usual) or 1.0


def color_scale(*arrays: np.ndarray) -> tuple[tuple[float, float], str]:
    """Return limits and colours for fields: diverging where they have both signs."""
    low, high = panels.value_limits(*arrays)
    if low < 0 < high and min(-low, high) > 0.05 * max(-low, high):
        return panels.symmetric_limits(low, high), DIVERGING
    return (low, high), SEQUENTIAL


def add_bar(figure: Figure, drawn: Any, axes: np.ndarray, text: str) -> None:
    """Add a colour bar for what was drawn, if it needs one."""
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=axes, label=text, shrink=0.92, pad=0.015, aspect=28)
        bar.outline.set_visible(False)


def time_axis(axes: Axes, result: RunResult) -> None:
    """Label the axis of time."""
    axes.set_xlabel(panels.label("time", result.time_units))
    axes.margins(x=0.01)
