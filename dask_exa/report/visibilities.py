"""Pictures of visibilities: waterfall with flags, dirty image with sources, uv coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from scipy.constants import speed_of_light

from dask_exa.report import panels
from dask_exa.report.figures import COLORS, FAINT, GREY, INK, SEQUENTIAL, add_bar, new_figure

_FLAG_COLOR = "#d62839"
_SKY = "magma"
_MAX_POINTS = 60_000
_SPREADS = 10.0
"""Up to which the colours of a waterfall go, in standard deviations above the median that outliers
do not change: one carrier must not make all else black."""


def draw_waterfall(amplitude: xr.DataArray, flags: xr.DataArray | None = None) -> Figure:
    """Draw amplitudes over time and frequency, and beside them what is flagged.

    Parameters
    ----------
    amplitude : xarray.DataArray of shape (time, frequency)
        Such as the mean of `abs(visibility)` over baselines, with its coordinates in s and Hz.
        NaN is drawn white.
    flags : xarray.DataArray of shape (time, frequency), optional
        bool, or shares between 0 and 1, such as the mean of flags over baselines.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.report.visibilities import draw_waterfall
    >>> window = next(open_stream("interferometer").windows(6))
    >>> figure = draw_waterfall(abs(window.visibility).mean("baseline"))
    >>> figure.axes[0].get_xlabel()
    'frequency [MHz]'
    """
    amplitude = amplitude.transpose("time", "frequency").compute()
    values = _reduced(amplitude.values.astype(np.float64))
    extent = _waterfall_extent(amplitude)
    low, high = _robust_limits(values)
    how: Any = {"origin": "lower", "aspect": "auto", "extent": extent, "interpolation": "nearest"}
    with new_figure(3.6) as figure:
        n_columns = 1 if flags is None else 2
        axes = figure.subplots(1, n_columns, sharex=True, sharey=True, squeeze=False)[0]
        drawn = axes[0].imshow(values, cmap=SEQUENTIAL, vmin=low, vmax=high, **how)
        axes[0].set_title("amplitude", loc="left")
        axes[0].set_ylabel("time [s]")
        name = panels.label("amplitude", amplitude.attrs.get("units", "Jy"))
        add_bar(figure, drawn, axes[:1], name)
        if flags is not None:
            flags = flags.transpose("time", "frequency").compute()
            share = _reduced(flags.values.astype(np.float64))
            axes[1].imshow(values, cmap="Greys", vmin=low, vmax=high, **how)
            shown = np.ma.masked_less_equal(share, 0)
            axes[1].imshow(
                shown,
                cmap=ListedColormap([_FLAG_COLOR]),
                alpha=np.clip(0.25 + 0.75 * share, 0, 1),
                **how,
            )
            axes[1].set_title(f"flagged: {100 * float(flags.mean()):.3g} %", loc="left")
        for ax in axes:
            ax.set_xlabel("frequency [MHz]")
    return figure


def draw_dirty_image(
    image: xr.DataArray, sources: Mapping[str, Sequence[float]] | None = None, title: str = ""
) -> Figure:
    """Draw an image of the sky as one sees it, east to the left, with sources marked.

    Parameters
    ----------
    image : xarray.DataArray of shape (m, l)
        As of `dask_exa.inputs.visibilities.dirty_images`: direction cosines in radians.
    sources : mapping of str to (l, m), optional
        Places to mark, with their names.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When the image has other dimensions.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from dask_exa.report.visibilities import draw_dirty_image
    >>> axis = np.linspace(-0.01, 0.01, 32)
    >>> image = xr.DataArray(np.zeros((32, 32)), {"m": axis, "l": axis}, ("m", "l"))
    >>> draw_dirty_image(image, {"transient": (0.002, 0.001)}).axes[0].texts[0].get_text()
    'transient'
    """
    if set(image.dims) != {"m", "l"}:
        raise ValueError(f"image has the dimensions {image.dims}; pass one image, (m, l).")
    image = image.transpose("m", "l").compute()
    east, north = (np.degrees(image[name].values) for name in ("l", "m"))
    half = np.abs(np.diff(east[:2]))[0] / 2
    extent = (east[0] - half, east[-1] + half, north[0] - half, north[-1] + half)
    finite = image.values[np.isfinite(image.values)]
    low, high = (np.percentile(finite, 0.5), finite.max()) if len(finite) else (0.0, 1.0)
    with new_figure(5.2, 6.4) as figure:
        axes = figure.subplots()
        drawn = axes.imshow(
            image.values,
            cmap=_SKY,
            origin="lower",
            extent=extent,
            vmin=low,
            vmax=max(high, low),
            interpolation="nearest",
        )
        axes.invert_xaxis()
        axes.set(xlabel="east l [deg]", ylabel="north m [deg]")
        axes.set_title(title, loc="left")
        for number, (name, direction) in enumerate((sources or {}).items()):
            place = (float(np.degrees(direction[0])), float(np.degrees(direction[1])))
            color = COLORS[(number + 1) % len(COLORS)]
            axes.plot(*place, "o", ms=15, mfc="none", mec="white", mew=2.6)
            axes.plot(*place, "o", ms=15, mfc="none", mec=color, mew=1.4)
            is_right = place[0] < east.mean()
            axes.annotate(
                name,
                place,
                xytext=(-11 if is_right else 11, 9),
                textcoords="offset points",
                ha="right" if is_right else "left",
                color="white",
                bbox={"boxstyle": "round,pad=0.2", "fc": INK, "ec": "none", "alpha": 0.6},
            )
        units = image.attrs.get("units", "Jy/beam")
        add_bar(figure, drawn, np.array([axes]), panels.label("brightness", units))
    return figure


def draw_uv_coverage(data: xr.Dataset) -> Figure:
    """Draw where visibilities lie in the uv plane, and how long the baselines are.

    Parameters
    ----------
    data : xarray.Dataset
        A step of a stream, or a window of several: ``uvw`` in m and ``frequency``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    uvw = np.asarray(data["uvw"].values, dtype=np.float64).reshape(-1, 3)
    middle = float(np.mean(data["frequency"].values)) / speed_of_light
    plane = uvw[:, :2] * middle
    every = -(-len(plane) // _MAX_POINTS)
    shown = plane[::every]
    length = np.linalg.norm(plane, axis=1)
    with new_figure(4.2) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        size = float(np.clip(4e4 / max(len(shown), 1), 1, 14))
        for sign, color in ((1, COLORS[0]), (-1, COLORS[1])):
            left.scatter(*(sign * shown.T), s=size, lw=0, color=color)
        limit = 1.05 * float(np.abs(plane).max(initial=0)) or 1.0
        left.set(xlim=(limit, -limit), ylim=(-limit, limit), aspect="equal")
        left.set(xlabel="u [wavelengths]", ylabel="v [wavelengths]")
        left.set_title(f"coverage at {middle * speed_of_light / 1e6:.4g} MHz", loc="left")
        for which in (left.xaxis, left.yaxis):
            which.set_major_formatter(EngFormatter(sep=""))
        left.axhline(0, color=FAINT, lw=0.7, zorder=0)
        left.axvline(0, color=FAINT, lw=0.7, zorder=0)
        positive = length[length > 0]
        if len(positive):
            edges = np.geomspace(positive.min(), positive.max() * 1.0001, 31)
            right.hist(positive, edges, color=COLORS[0])
            right.set_xscale("log")
        right.set(xlabel="length of the baseline [wavelengths]", ylabel="visibilities a channel")
        right.axvline(float(np.median(length)), color=GREY, lw=1.0)
        right.set_title(f"median {np.median(length):.3g}", loc="left")
    return figure


def _reduced(values: np.ndarray) -> np.ndarray:
    """Return means of as many values as there are to a pixel; NaN does not count."""
    for axis in (0, 1):
        every = -(-values.shape[axis] // panels.MAX_PIXELS)
        if every > 1:
            starts = np.arange(0, values.shape[axis], every)
            is_there = np.isfinite(values)
            count = np.add.reduceat(is_there.astype(np.float64), starts, axis=axis)
            total = np.add.reduceat(np.where(is_there, values, 0), starts, axis=axis)
            values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return values


def _robust_limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    median = np.median(finite)
    spread = 1.4826 * np.median(np.abs(finite - median))
    return float(finite.min()), float(min(finite.max(), median + _SPREADS * spread))


def _waterfall_extent(amplitude: xr.DataArray) -> tuple[float, float, float, float]:
    """Return the edges of the picture: MHz to the right, seconds since the first dump upwards."""
    time = amplitude["time"].values.astype(np.float64)
    frequency = amplitude["frequency"].values / 1e6
    edges = []
    for positions in (frequency, time - time[0]):
        half = abs(positions[1] - positions[0]) / 2 if len(positions) > 1 else 0.5
        edges += [float(positions[0] - half), float(positions[-1] + half)]
    return edges[0], edges[1], edges[2], edges[3]
