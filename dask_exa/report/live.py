"""The live page on the Dask dashboard: what is on it, and what changes once a second."""

from __future__ import annotations

import html
from typing import Any

from distributed.metrics import time

from dask_exa.insitu import plugin
from dask_exa.insitu._dashboard import STREAM, page_template
from dask_exa.insitu.telemetry import StepRecord, Telemetry
from dask_exa.report import _live_data, figures, panels
from dask_exa.report._live_plots import (
    ALARM,
    Lines,
    Pictures,
    RankMap,
    add_tips,
    bokeh,
    new_source,
    step_figure,
)

PERIOD = 1000
"""Milliseconds from one update to the next."""
N_ALARMS = 5
WIDTH = 1500
COLOR_OF_STATUS = {
    "waiting": "#8c6d31",
    "running": "#2f7d46",
    "stopped": "#b54708",
    "fault": ALARM,
    "ended": "#57606a",
}


def draw(scheduler: Any, document: Any) -> None:
    """Fill the document of somebody who opens the page, and keep it up to date.

    Parameters
    ----------
    scheduler : distributed.Scheduler
    document : bokeh.document.Document
    """
    context = document.session_context
    (asked,) = context.request.arguments.get(STREAM, [b""])[:1]
    page = LivePage(scheduler.plugins[plugin.NAME], asked.decode())
    page.update()
    document.title = "dask-exa: live"
    document.template = page_template()
    document.add_root(page.root)

    def update() -> None:
        if context.session.connection_count:  # a page that nobody looks at costs nothing
            page.update()

    document.add_periodic_callback(update, PERIOD)


class LivePage:
    """All streams of a scheduler, one of them at a time.

    Parameters
    ----------
    insitu : dask_exa.insitu.plugin.InsituPlugin
    asked : str
        Name of the stream to begin with, where there is one of that name.

    Attributes
    ----------
    root : bokeh.models.Model
    """

    def __init__(self, insitu: Any, asked: str = "") -> None:
        self.insitu, self.asked = insitu, asked
        models = bokeh().models
        self.stream = models.Select(title="Stream", width=180, visible=False, name="stream")
        self.variable = models.Select(title="Field of", width=180, visible=False, name="variable")
        words = {"sizing_mode": "stretch_width"}
        self.header = models.Div(name="header", **words)
        self.news = models.Div(name="news", visible=False, **words)
        self.hint = models.Div(name="hint", **words)
        self.steps = models.DataRange1d(range_padding=0.02)
        self.held, self.waited = (RankMap(self.steps, name) for name in ("held", "waited"))
        self.variance = Lines(
            self.steps, "variance", "Explained variance", "share of variance [%]",
            {"explained_variance": "solid"},
        )  # fmt: skip
        self.scores = Lines(
            self.steps, "scores", "Anomaly score", "score", {"score": "solid", "limit": "dashed"}
        )
        self.pictures = Pictures()
        self._add_rate()
        self._add_alarms()
        self._drawn: dict[str, Any] = {}
        for choice in (self.stream, self.variable):
            choice.on_change("value", lambda attr, old, new: self.update())
        self.root = self._arranged()

    def update(self) -> None:
        """Show what has changed."""
        streams = self.insitu.look()
        names = list(streams)
        if self.stream.options != names:
            self.stream.update(options=names, visible=len(names) > 1)
        if not streams:
            self.header.text = _words("No simulation has opened a stream yet.", size=15)
            return
        if self.stream.value not in streams:
            running = [name for name, found in streams.items() if not found.has_ended]
            first = self.asked if self.asked in names else (running or names)[0]
            self.stream.value = first  # which comes back here
        self._show(streams[self.stream.value])

    def _show(self, found: Telemetry) -> None:
        steps = _live_data.complete_steps(found)
        self.header.text = _header(found, steps, time())
        last = steps[-1].completed if steps else 0.0
        for part in self.parts:
            part.visible = bool(found.steps)
        self.news.text = _news_box(found)
        self.news.visible = bool(self.news.text)
        counts = (found.n_ranks, found.n_complete, found.n_lost, found.n_dropped)
        if self._is_new("steps", (found.name, last, counts)):
            self.rate_source.data = _live_data.rates(steps)
            self.gone_source.data = _live_data.losses(found)
            for each in (self.held, self.waited):
                each.fill(steps, found.n_ranks, found.depth)
        newest = [(one.variable, one.timestep) for one in found.shown[-1:]]
        if self._is_new("shown", (found.name, newest, len(found.shown))):
            self._show_analytics(found)
        self._show_picture(found)

    def _is_new(self, part: str, mark: Any) -> bool:
        """Whether a part of the page has something else to show than it does."""
        before, self._drawn[part] = self._drawn.get(part), mark
        return before is None or before != mark

    def _show_analytics(self, found: Telemetry) -> None:
        shares = _live_data.lines(found.shown, "explained_variance", scale=100.0)
        self.variance.fill("explained_variance", shares)
        low, high = _live_data.share_limits(shares)
        self.variance.figure.y_range.update(start=low, end=high)
        for quantity in ("score", "limit"):
            self.scores.fill(quantity, _live_data.lines(found.shown, quantity))
        marked = _live_data.alarms(found.shown)
        self.scores.figure.y_range.end = 1.05 * _live_data.usual_top(found.shown)
        self.alarm_source.data, self.alarm_item.visible = marked, bool(marked["timestep"])
        self.variance.figure.visible = bool(shares)
        self.scores.figure.visible = any(one.alarms or one.score is not None for one in found.shown)

    def _show_picture(self, found: Telemetry) -> None:
        pictures = {picture.variable: picture for picture in found.pictures}
        names = list(pictures)
        if self.variable.options != names:
            self.variable.update(options=names, visible=len(names) > 1)
        self.hint.visible = not names and not found.has_ended
        for figure in self.pictures.figures:
            figure.visible = bool(names) and figure.visible
        if not names:
            return
        if self.variable.value not in pictures:
            self.variable.value = names[0]
        picture = pictures[self.variable.value]
        if self._is_new("picture", (found.name, picture.variable, picture.timestep)):
            self.pictures.fill(picture)

    def _add_rate(self) -> None:
        self.rate = step_figure(self.steps, "Speed", "steps per second", name="speed")
        self.rate.y_range.start = 0
        self.rate_source = new_source("rate", "timestep", "rate")
        line = self.rate.line(
            "timestep", "rate", source=self.rate_source, line_width=2, color=figures.COLORS[0]
        )
        self.gone_source = new_source("gone", "timestep", "rate", "text")
        marks = self.rate.scatter(
            "timestep", "rate", source=self.gone_source, marker="x", size=9, line_width=2,
            color=ALARM,
        )  # fmt: skip
        add_tips(self.rate, [line], step="@timestep", steps_per_second="@rate{0.00}")
        add_tips(self.rate, [marks], step="@timestep", did_not_come="@text")

    def _add_alarms(self) -> None:
        figure = self.scores.figure
        figure.y_range = bokeh().models.Range1d(0, 1)
        self.alarm_source = new_source("alarms", "timestep", "score", "place", "text")
        marks = figure.scatter(
            "timestep", "place", source=self.alarm_source, marker="inverted_triangle", size=12,
            color=ALARM,
        )  # fmt: skip
        item = bokeh().models.LegendItem(label="alarm", renderers=[marks], visible=False)
        self.scores.legend.items.append(item)
        self.alarm_item = item
        add_tips(figure, [marks], step="@timestep", score="@score", alarm="@text")

    def _arranged(self) -> Any:
        layouts = bokeh().layouts
        wide = {"sizing_mode": "stretch_width"}
        self.hint.text = _words("Fields come with the next step that analytics learns.")
        plots = _wrapping(self.rate, self.variance.figure, self.scores.figure)
        fields = layouts.column(self.variable, self.hint, _wrapping(*self.pictures.figures), **wide)
        ranks = _wrapping(self.held.figure, self.waited.figure)
        self.parts = [plots, fields, ranks]
        for part in self.parts:
            part.visible = False  # before the first step
        return layouts.column(
            layouts.row(self.stream, self.header, **wide),
            self.news,
            *self.parts,
            styles={"max-width": f"{WIDTH}px", "margin": "0 auto"},
            **wide,
        )


def _wrapping(*figures_: Any) -> Any:
    """Return a row that goes on below where the window is too narrow."""
    row = bokeh().layouts.row(*figures_, sizing_mode="stretch_width")
    row.styles = {"flex-wrap": "wrap"}
    return row


def _header(found: Telemetry, steps: list[StepRecord], now: float) -> str:
    """Return what a stream does now, and its numbers."""
    state = _live_data.status(found, now)
    facts = [("", f"{found.n_ranks}", "ranks")]
    if steps:
        units = panels.mathtext(found.time_units, "{}_{}")
        facts += [("step", f"{steps[-1].timestep}", ""), ("time", f"{steps[-1].time:.5g}", units)]
    if not found.has_ended:
        facts.append(("", f"{_live_data.rate_now(steps, now):.3g}", "steps per second"))
    if steps and not found.has_ended:
        facts.append(("last one", f"{max(0.0, now - steps[-1].completed):.0f} s", "ago"))
    facts.append(("", f"{found.n_complete}", "steps complete"))
    for name, number in (("lost", found.n_lost), ("left out", found.n_dropped)):
        if number:
            facts.append(("", f"{number}", name))
    badge = (
        f"<span style='display:inline-block;background:{COLOR_OF_STATUS[state.kind]};color:white;"
        f"padding:3px 12px;border-radius:11px;font-weight:bold'>{html.escape(state.text)}</span>"
    )
    values = "".join(
        f"<span style='display:inline-block;margin-left:20px'>{before} "
        f"<b style='font-size:17px'>{value}</b> {html.escape(after)}</span>"
        for before, value, after in facts
    )
    return _words(f"{badge}{values}", size=13)


def _news_box(found: Telemetry) -> str:
    """Return the last alarms, the newest first, and the last loss; empty without any."""
    marked = _live_data.alarms(found.shown)
    rows = list(zip(marked["timestep"], marked["text"], strict=True))[::-1]
    lines = [f"<b>Step {step}</b>: {html.escape(text)}" for step, text in rows[:N_ALARMS]]
    if len(rows) > N_ALARMS:
        lines.append(f"and {len(rows) - N_ALARMS} steps with alarms before")
    if loss := _live_data.last_loss(found):
        lines.append(f"<b>Last loss</b>: {html.escape(loss)}")
    if not lines:
        return ""
    text = "<br>".join(lines)
    return (
        f"<div style='border-left:5px solid {ALARM};background:{ALARM}18;padding:7px 12px;"
        f"color:{figures.INK};font-size:13px'>{text}</div>"
    )


def _words(text: str, size: int = 12) -> str:
    return f"<div style='color:{figures.INK};font-size:{size}px'>{text}</div>"
