"""The Bokeh figures of the live page: empty ones, and what fills them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex

from dask_exa.insitu.telemetry import Shown, StepRecord
from dask_exa.report import _live_data, figures, panels

HEIGHT, MIN_WIDTH = 230, 420
FIELD_WIDTH, INNER_WIDTH, FIELD_EDGES = 450, 300, 75
"""Pixels of a picture with its axes and its bar, of the picture alone, and above and below it."""
BORDERS = {"min_border_left": 55, "min_border_right": 95}
"""Of every picture, so that all are of one size whatever their ticks are."""
ALARM = "#b2182b"
FULL = "#e6842a"
"""Where all buffers of a rank are taken."""
IMAGE = ("image", "x", "y", "dw", "dh")


def bokeh() -> Any:
    """Return Bokeh, which is optional as the dashboard of Dask is."""
    try:
        import bokeh.layouts
        import bokeh.models
        import bokeh.plotting
    except ImportError as error:
        raise ImportError("the live page needs Bokeh: pip install 'dask-exa[dashboard]'") from error
    return bokeh


def palette(name: str, number: int = 256, low: float = 0.0, high: float = 1.0) -> list[str]:
    """Return colours from one of matplotlib's maps."""
    return [to_hex(color) for color in mpl.colormaps[name](np.linspace(low, high, number))]


def new_figure(title: str, x: str, y: str, **options: Any) -> Any:
    """Return an empty figure in the style of the page."""
    size = {"sizing_mode": "stretch_width", "height": HEIGHT, "min_width": MIN_WIDTH}
    given = {"tools": "pan,xwheel_zoom,box_zoom,reset,save", **size, **options}
    figure = bokeh().plotting.figure(title=title, x_axis_label=x, y_axis_label=y, **given)
    figure.toolbar.logo, figure.toolbar.autohide = None, True
    figure.outline_line_color = None
    figure.title.text_color, figure.title.text_font_size = figures.INK, "13px"
    for axis in figure.axis:
        axis.axis_label_text_color = axis.major_label_text_color = figures.INK
        axis.axis_line_color = axis.major_tick_line_color = figures.GREY
        axis.minor_tick_line_color, axis.axis_label_text_font_style = None, "normal"
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "12px", "11px"
    figure.xgrid.grid_line_color, figure.ygrid.grid_line_color = None, figures.FAINT
    return figure


def step_figure(steps: Any, title: str, y: str, **options: Any) -> Any:
    """Return an empty figure over the timesteps, of which whole ones have ticks."""
    figure = new_figure(title, "timestep", y, x_range=steps, **options)
    figure.xaxis.ticker = bokeh().models.BasicTicker(min_interval=1)
    figure.xaxis.formatter = bokeh().models.NumeralTickFormatter(format="0")
    return figure


def add_tips(figure: Any, renderers: list[Any], **tips: str) -> None:
    """Show some columns where the pointer is."""
    rows = [(name.replace("_", " "), column) for name, column in tips.items()]
    figure.add_tools(bokeh().models.HoverTool(renderers=renderers, tooltips=rows))


def new_source(name: str, *columns: str) -> Any:
    """Return a data source without rows."""
    return bokeh().models.ColumnDataSource({column: [] for column in columns}, name=name)


class Lines:
    """Quantities of each variable over the timesteps.

    Parameters
    ----------
    steps : bokeh.models.DataRange1d
    name, title, y : str
    dash : mapping of str to str
        Pattern of the line of each quantity.
    """

    def __init__(self, steps: Any, name: str, title: str, y: str, dash: Mapping[str, str]) -> None:
        models = bokeh().models
        self.figure = step_figure(steps, title, y, name=name)
        self.sources, items = {}, []
        for quantity, pattern in dash.items():
            source = new_source(f"{quantity}-lines", "xs", "ys", "color", "name")
            self.sources[quantity] = source
            line = self.figure.multi_line(
                "xs", "ys", color="color", line_width=2, line_dash=pattern, source=source
            )
            items.append(models.LegendItem(label={"field": "name"}, renderers=[line]))
        self.legend = models.Legend(
            items=items, orientation="horizontal", background_fill_alpha=0.0, padding=0, margin=0,
            border_line_color=None, label_text_font_size="11px", glyph_height=12,
        )  # fmt: skip
        self.figure.add_layout(self.legend, "above")  # not over the lines
        self.figure.y_range = models.Range1d(0, 1)

    def fill(self, quantity: str, found: Mapping[str, _live_data.Columns]) -> None:
        """Show the lines of some variables."""
        colors = figures.COLORS
        is_one_of_many = len(self.sources) > 1
        self.sources[quantity].data = {
            "xs": [line["timestep"] for line in found.values()],
            "ys": [line["value"] for line in found.values()],
            "color": [colors[i % len(colors)] for i in range(len(found))],
            "name": [
                f"{name} {quantity}".strip() if is_one_of_many else name or "all variables"
                for name in found
            ],
        }


class RankMap:
    """A quantity of each rank, or group of ranks, over the last steps.

    Parameters
    ----------
    steps : bokeh.models.DataRange1d
    quantity : {"held", "waited"}
    """

    def __init__(self, steps: Any, quantity: str) -> None:
        models = bokeh().models
        self.quantity = quantity
        ranks = models.DataRange1d(range_padding=0)
        self.figure = step_figure(steps, "", "rank", y_range=ranks, name=quantity)
        self.figure.ygrid.grid_line_color = None
        self.figure.yaxis.ticker = models.BasicTicker(min_interval=1)
        self.mapper = models.LinearColorMapper(palette=palette("YlOrRd"), low=0, high=1)
        self.source = new_source(f"{quantity}-ranks", *IMAGE)
        drawn = self.figure.image(*IMAGE, color_mapper=self.mapper, source=self.source)
        add_tips(self.figure, [drawn], timestep="$x{0}", rank="$y{0}", **{quantity: "@image"})
        self.bar = add_bar(self.figure, self.mapper)

    def fill(self, steps: Sequence[StepRecord], n_ranks: int, depth: int) -> None:
        """Show the last steps of a stream."""
        image = _live_data.rank_map(steps, self.quantity, n_ranks)
        left, width = _live_data.map_extent(steps)
        n_shared = _live_data.group_size(n_ranks)
        height = n_shared * image.shape[0]  # the last group may have fewer ranks
        shared = f"; the largest of each {n_shared} ranks" if n_shared > 1 else ""
        if self.quantity == "held":
            self._scale_counts(depth)
            self.figure.title.text = f"Buffers taken, of {depth + 1} on each rank{shared}"
        else:
            image = 1000 * image
            self._scale_waits(float(np.quantile(image, 0.98)))
            self.figure.title.text = _title_of_waits(steps, shared)
        if not steps:
            self.source.data = {name: [] for name in IMAGE}
            return
        self.source.data = {
            "image": [image], "x": [left], "y": [-0.5], "dw": [width], "dh": [height]
        }  # fmt: skip

    def _scale_counts(self, depth: int) -> None:
        """Give every number of buffers its colour; one of its own where none is left."""
        if self.mapper.high == depth + 1.5:
            return
        colors = palette("Blues", depth + 1, 0.08, 0.72)
        self.mapper.update(palette=[*colors, FULL], low=-0.5, high=depth + 1.5)
        step = max(1, (depth + 1) // 8)
        self.bar.ticker = bokeh().models.FixedTicker(ticks=list(range(0, depth + 2, step)))

    def _scale_waits(self, longest: float) -> None:
        top = 10.0 ** np.ceil(np.log10(max(longest, 1.0)))  # rests while waits change a little
        self.mapper.high = next(high for high in (top / 5, top / 2, top) if high >= longest)


def _title_of_waits(steps: Sequence[StepRecord], shared: str) -> str:
    title = "Waits for a buffer [ms]"
    if not steps:
        return title
    waits = 1e3 * np.mean([step.waited for step in steps], axis=0)
    slowest = int(np.argmax(waits))
    if waits[slowest] < 0.01:
        return f"{title}: none{shared}"
    most = f", {waits[slowest]:.3g} on rank {slowest}" if len(waits) > 1 else ""
    return f"{title}: {waits.mean():.3g} a step{most}{shared}"


def add_bar(figure: Any, mapper: Any) -> Any:
    """Put a colour bar beside a figure."""
    bar = bokeh().models.ColorBar(
        color_mapper=mapper, width=10, padding=4, background_fill_color=None,
        major_label_text_color=figures.INK, bar_line_color=None,
        major_tick_line_color=figures.INK,
    )  # fmt: skip
    figure.add_layout(bar, "right")
    return bar


class Pictures:
    """The last field of a variable, its reconstruction, and the difference."""

    def __init__(self) -> None:
        models = bokeh().models
        self.scale, self.spread = (
            models.LinearColorMapper(palette=["#888888"], low=0, high=1) for _ in range(2)
        )
        self.spread.palette = palette(figures.DIVERGING)
        ranges = {name: models.DataRange1d(range_padding=0) for name in ("x_range", "y_range")}
        self.figures, self.sources, self._colors = [], [], ""
        for name, mapper in (
            ("field", self.scale), ("reconstruction", self.scale), ("difference", self.spread)
        ):  # fmt: skip
            figure = new_figure(name, "x", "y", name=name, sizing_mode="fixed", **ranges, **BORDERS)
            figure.ygrid.grid_line_color = None
            source = new_source(f"{name}-picture", *IMAGE)
            drawn = figure.image(*IMAGE, color_mapper=mapper, source=source)
            add_tips(figure, [drawn], x="$x", y="$y", value="@image")
            add_bar(figure, mapper)
            self.figures.append(figure)
            self.sources.append(source)

    def fill(self, picture: Shown) -> None:
        """Show a field on one colour scale with its reconstruction."""
        field = np.asarray(picture.field, dtype=np.float32)
        n_rows, n_columns = field.shape
        left, right, bottom, top = picture.extent or (-0.5, n_columns - 0.5, -0.5, n_rows - 0.5)
        shown = [field]
        if picture.reconstruction is not None:
            other = np.asarray(picture.reconstruction, dtype=np.float32)
            shown += [other, other - field]
            low, high = panels.symmetric_limits(shown[2])
            self.spread.update(low=low, high=high)
        limits, name = figures.color_scale(*shown[:2])
        if name != self._colors:
            self._colors, self.scale.palette = name, palette(name)
        self.scale.update(low=limits[0], high=limits[1])
        place = {"x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom]}
        empty: dict[str, list[Any]] = {key: [] for key in IMAGE}
        ratio = min(max((top - bottom) / (right - left), 0.4), 1.6)
        for i, (figure, source) in enumerate(zip(self.figures, self.sources, strict=True)):
            source.data = {"image": [shown[i]], **place} if i < len(shown) else empty
            figure.visible = i < len(shown)
            figure.update(width=FIELD_WIDTH, height=round(ratio * INNER_WIDTH) + FIELD_EDGES)
        self._label(picture)

    def _label(self, picture: Shown) -> None:
        note = f" ({picture.note})" if picture.note else ""
        error = _live_data.relative_error(picture)
        units = panels.mathtext(picture.units, "{}_{}")
        name = f"{picture.variable or 'field'}{units and f' [{units}]'}"
        titles = (
            f"{name}, step {picture.timestep}{note}",
            "reconstruction",
            f"difference: {100 * error:.3g} % (L2)",
        )
        y, x = (panels.mathtext(dim, "{}_{}") for dim in picture.dims)
        for figure, title in zip(self.figures, titles, strict=True):
            figure.title.text = title
            figure.yaxis.axis_label, figure.xaxis.axis_label = y, x
