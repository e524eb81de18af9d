"""Visibilities of a radio interferometer: interference, stations that fail, sources that light up.

From SKA, OSKAR, LOFAR or any Measurement Set.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator

from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.field_detector import Finding
from dask_exa.apps.use_case import Pictures, UseCase
from dask_exa.inputs.stream import Stream
from dask_exa.inputs.visibilities import Screening, dirty_images
from dask_exa.inputs.visibilities.coherence import Source
from dask_exa.inputs.visibilities.votes import tail_of
from dask_exa.report.stations import draw_stations
from dask_exa.report.visibilities import draw_dirty_image, draw_waterfall

_HAS_IMAGES = importlib.util.find_spec("ducc0") is not None
"""Without the extra ``radio``, nobody looks for sources."""
_N_PIXELS = 512
_LEAST_RADIUS = np.radians(1.5)
_MOST_RUNS = 8
"""Runs of channels that have an alarm of their own in one dump."""


def is_interferometer(stream: Stream) -> bool:
    """Whether a stream has visibilities on baselines and frequencies."""
    return "visibility" in stream.variables and {"baseline", "frequency"} <= set(stream.dims)


class VisibilityDetector(BaseEstimator):
    """Alarms about what a `Screening` has found in visibilities.

    One alarm for every run of channels with interference, every faulty station and every source
    that has lit up or faded. The score of a step is the largest of its scores, each relative to
    what makes an alarm of it; its limit is 1.

    Examples
    --------
    >>> from dask_exa.apps.ska import VisibilityDetector
    >>> from dask_exa.datasets import Interferometer
    >>> from dask_exa.inputs.visibilities import Screening, dirty_images
    >>> event = {"timestep": 2, "kind": "carrier", "channels": (4, 6)}
    >>> screening, detector = Screening(transients=False), VisibilityDetector()
    >>> for step in Interferometer(inject=event).run(2):
    ...     for alarm in detector.observe(screening(step)).alarms:
    ...         print(alarm.step, alarm.reason)
    2 Interference in channels 4 to 5, 140.4 to 140.5 MHz.
    """

    def observe(self, step: xr.Dataset) -> Finding:
        """Turn what was found in a represented step into alarms.

        Parameters
        ----------
        step : xarray.Dataset
            What a `Screening` returns.

        Returns
        -------
        Finding
        """
        alarms = [*_of_channels(step), *_of_stations(step), *_of_sources(step)]
        scores = [float(step["channel_power"].max()) / step.attrs["channel_limit"]]
        if np.isfinite(step.attrs["limit"]):
            scores.append(step.attrs["score"] / step.attrs["limit"])
        if not alarms:  # what is above its limit was not confirmed, as in the first dumps
            scores = [min(max(scores), 1.0)]
        scores += [alarm.score for alarm in alarms]
        return Finding(alarms, max(scores), 1.0)

    def __sklearn_tags__(self):
        """Tell scikit-learn that steps are no matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _of_channels(step: xr.Dataset) -> Iterator[Alarm]:
    """Yield an alarm for every run of channels; for all of them, where there are too many."""
    channels = np.flatnonzero(step["interference"].values)
    if not len(channels):
        return
    runs = np.split(channels, np.flatnonzero(np.diff(channels) > 1) + 1)
    if len(runs) > _MOST_RUNS:
        runs = [channels]
    megahertz = step["frequency"].values / 1e6
    for run in runs:
        first, last = int(run[0]), int(run[-1])
        score = float(step["channel_power"].values[run].max())
        where = f"channel {first}, {megahertz[first]:.6g} MHz"
        if last > first:
            where = (
                f"channels {first} to {last}, {megahertz[first]:.6g} to {megahertz[last]:.6g} MHz"
            )
            if len(run) <= last - first:
                where = f"{len(run)} of {where}"
        yield Alarm(
            step=int(step.timestep),
            score=score / step.attrs["channel_limit"],
            reason=f"Interference in {where}.",
            block=((first, last),),
            p_value=tail_of(score),
            features=(f"channel {first}",),
            variable="channel_power",
        )


def _of_stations(step: xr.Dataset) -> Iterator[Alarm]:
    for station in np.flatnonzero(step["faulty"].values):
        power = float(step["station_power"][station])
        change = float(step["station_change"][station])
        is_power = abs(power - 1) > change - 1
        what = "the power that no sky has" if is_power else "the change of its sky"
        level = power if is_power else change
        yield Alarm(
            step=int(step.timestep),
            score=1 + abs(level - 1),
            reason=f"Station {station} is faulty: {what} is {level:.3g} times what is normal.",
            block=((int(station), int(station)),),
            p_value=step.attrs["false_alarm_rate"],
            features=(f"station {station}",),
            variable="station_power",
        )


def _of_sources(step: xr.Dataset) -> Iterator[Alarm]:
    for values in step.attrs["sources"]:
        source = Source(*values)
        east, north = source.angles
        verb = "has lit up" if source.flux > 0 else "has faded"
        yield Alarm(
            step=int(step.timestep),
            score=abs(source.score) / step.attrs["limit"],
            reason=f"A source {verb} {east:+.3f}° east and {north:+.3f}° north of the phase "
            f"centre, by {abs(source.flux):.3g} Jy, {abs(source.score):.3g} times the noise.",
            p_value=tail_of(abs(source.score)),
            features=(f"source at {east:+.2f}°, {north:+.2f}°",),
            variable="sky",
        )


def draw_pictures(step: xr.Dataset, represented: xr.Dataset, alarms: list[Alarm]) -> Pictures:
    """Draw amplitudes and flags up to the step, its stations, and what is new in its sky."""
    pictures = [
        ("Amplitudes and interference", draw_waterfall(*_waterfall(represented))),
        ("Stations", draw_stations(represented)),
    ]
    if _HAS_IMAGES:
        clean = step.sel(frequency=~represented["interference"].values)
        sources = [Source(*values) for values in represented.attrs["sources"]]
        marks = {f"{source.flux:+.2g} Jy": source[:2] for source in sources}
        title = "one dump, without channels with interference"
        if clean.sizes["frequency"]:
            offsets = [np.hypot(*source[:2]) for source in sources]
            width = 2 * max([_LEAST_RADIUS, *(1.2 * offset for offset in offsets)])
            image = dirty_images(clean, _N_PIXELS, width / _N_PIXELS)[0]
            pictures.append(("Dirty image", draw_dirty_image(image, marks, title)))
    return pictures


def _waterfall(represented: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return mean amplitudes and shares of flags, (time, frequency)."""
    time, *rows = (np.array(x) for x in zip(*represented.attrs["waterfall"], strict=True))
    frequency = represented["frequency"].values
    every = -(-len(frequency) // rows[0].shape[1])
    axes = {"time": time, "frequency": frequency[::every]}
    amplitude, flags = (xr.DataArray(row, axes, ("time", "frequency")) for row in rows)
    return amplitude, flags


USE_CASE = UseCase(
    label="visibilities of an interferometer",
    recognise=is_interferometer,
    represent=Screening(transients=_HAS_IMAGES),
    detector=lambda stream: VisibilityDetector(),
    pictures=draw_pictures,
)
