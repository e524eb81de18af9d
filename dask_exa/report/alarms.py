"""Alarms for people: a line of text for each thing, scores over time, the field with the place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dask_exa.anomaly.alarm import Alarm, Episode
from dask_exa.report import figures, panels
from dask_exa.report.result import AlarmPicture, Detection, RunResult

MAX_ROWS = 6
ALARM_COLOR = "#c0392b"


def describe(episode: Episode) -> str:
    """Write an episode as one line.

    Examples
    --------
    >>> from dask_exa.anomaly.alarm import Alarm, Episode
    >>> from dask_exa.report.alarms import describe
    >>> alarm = Alarm(step=7, score=2.0, reason="density has a jump.", block=((0, 31), (32, 63)))
    >>> print(describe(Episode(alarm, alarm, 9, 3)))
    Steps 7 to 9, block [0:31, 32:63]: density has a jump.
    """
    first = episode.first
    steps = f"Step {first.step}"
    if episode.last_step > first.step:
        steps = f"Steps {first.step} to {episode.last_step}"
    return f"{steps}{describe_block(first)}: {first.reason}"


def describe_block(alarm: Alarm) -> str:
    """Return ", block [0:31, 32:63]", or nothing for an alarm about all of the field."""
    if alarm.block is None:
        return ""
    inside = ", ".join(f"{first}:{last}" for first, last in alarm.block)
    return f", block [{inside}]"


def draw_scores(result: RunResult, detection: Detection) -> Figure:
    """Draw score and limit over time, and above them a row of marks for each thing that alarmed."""
    place = dict(zip(result.timestep.tolist(), result.time, strict=True))
    rows: dict[str, list[float]] = {}
    for alarm in result.alarms:
        rows.setdefault(_subject(alarm), []).append(place.get(alarm.step, np.nan))
    shown = dict(list(rows.items())[:MAX_ROWS])
    has_score = bool(np.isfinite(detection.score).any())
    with figures.new_figure(0.7 + 2.4 * has_score + 0.3 * len(shown) + 0.2) as figure:
        heights = [0.3 * len(shown)] * bool(shown) + [2.4] * has_score
        grid = figure.subplots(
            max(1, len(heights)), 1, squeeze=False, sharex=True, height_ratios=heights or [1]
        ).ravel()
        if shown:
            for i, times in enumerate(shown.values()):
                place_of_row = np.full(len(times), i)
                grid[0].plot(times, place_of_row, "v", ms=6, color=ALARM_COLOR, clip_on=False)
            grid[0].set_yticks(range(len(shown)), list(shown))
            grid[0].set_ylim(len(shown) - 0.5, -0.5)
            grid[0].grid(axis="both")
        if has_score:
            _draw_lines(grid[-1], result, detection)
        limits = [np.min(result.time), np.max(result.time)]
        grid[-1].set_xlim(*(limits if limits[0] < limits[1] else (limits[0] - 1, limits[0] + 1)))
        figures.time_axis(grid[-1], result)
    return figure


def draw_picture(picture: AlarmPicture, time_units: str = "") -> Figure:
    """Draw the field of alarms with their blocks marked."""
    field = picture.field
    with figures.new_figure(0.8 + 4.0 * panels.height_of(field), 6.4) as figure:
        axes = figure.subplots()
        limits, cmap = figures.color_scale(field.values)
        drawn = panels.draw(axes, field, cmap=cmap, limits=limits)
        time = f"{float(field.time):.6g} {panels.mathtext(time_units)}".strip()
        axes.set_title(f"step {picture.alarm.step}, time {time}", loc="left")
        for block in picture.blocks if field.ndim == 2 else ():
            _mark_block(axes, field, block)
        units = str(field.attrs.get("units", ""))
        figures.add_bar(figure, drawn, np.array([axes]), panels.label(field.name, units))
    return figure


def _mark_block(axes: figures.Axes, field: xr.DataArray, block: Mapping[str, Any]) -> None:
    rows, columns = (str(dim) for dim in field.dims)
    if not {rows, columns} <= set(block):
        return
    (bottom, top), (left, right) = block[rows], block[columns]
    for color, width in (("white", 4.0), (ALARM_COLOR, 2.0)):  # seen on any colour of the field
        axes.add_patch(
            Rectangle(
                (left, bottom), right - left, top - bottom, fill=False, ec=color, lw=width, zorder=5
            )
        )


def _draw_lines(axes: figures.Axes, result: RunResult, detection: Detection) -> None:
    axes.plot(result.time, detection.score, lw=1.3, color=figures.COLORS[0], label="score")
    axes.plot(result.time, detection.limit, lw=1.3, ls="--", color=ALARM_COLOR, label="limit")
    with np.errstate(invalid="ignore"):
        above = detection.score > detection.limit
    marks = result.time[above], detection.score[above]
    axes.plot(*marks, "o", ms=5, color=ALARM_COLOR, clip_on=False)
    axes.set(ylabel="anomaly score")
    axes.grid(axis="y")
    figures.legend_above(axes, 2)


def _subject(alarm: Alarm) -> str:
    name = alarm.features[0] if alarm.features else alarm.variable or "step"
    return name if len(name) <= 36 else name[:35] + "…"
