"""What a detector says of the steps of a session, and the pictures of its first alarms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.field_detector import FALSE_ALARM_RATE, FieldDetector, Finding
from dask_exa.anomaly.field_monitor import FieldMonitor
from dask_exa.report import AlarmPicture, Detection
from dask_exa.report.panels import extent_of, plane

MAX_PICTURES = 3
N_BLOCKS = 16
MIN_SIDE = 16
NOTHING = Finding([], np.nan, np.nan)


def field_detector(
    sizes: Mapping[str, int],
    false_alarm_rate: float = FALSE_ALARM_RATE,
    dt: float | None = None,
) -> FieldDetector:
    """Return the detector of a run, which looks at every field in some 16 blocks.

    Parameters
    ----------
    sizes : mapping of str to int
        Dimensions of a step.
    false_alarm_rate : float
    dt : float, optional
        Time step of the solver; by default what the steps say.
    """
    monitor = FieldMonitor(blocks=block_sizes(sizes), dt=dt)
    return FieldDetector(monitor, false_alarm_rate=false_alarm_rate)


def block_sizes(sizes: Mapping[str, int]) -> dict[str, int] | None:
    """Return the sizes of blocks of a field in memory: few short sides, none of them too short.

    Examples
    --------
    >>> block_sizes({"y": 128, "x": 128, "component": 3})
    {'y': 32, 'x': 32}
    >>> block_sizes({"y": 20, "x": 1000})
    {'x': 63}
    >>> block_sizes({"z": 11, "y": 13, "x": 15})
    """
    long = {dim: size for dim, size in sizes.items() if size >= 2 * MIN_SIDE}
    if not long:
        return None
    n_parts = max(2, round(N_BLOCKS ** (1 / len(long))))
    return {dim: max(MIN_SIDE, -(-size // n_parts)) for dim, size in long.items()}


class Alarms(NamedTuple):
    """Alarms of one step."""

    all: list[Alarm]
    new: list[Alarm]
    """Those about what there was no alarm in the step before."""


class Watcher:
    """A detector, or none, beside the models of a session.

    Parameters
    ----------
    detector : FieldDetector, optional

    Attributes
    ----------
    alarms : list of Alarm
        Of all steps.
    pictures : list of AlarmPicture
        Of the first alarms about different things.
    """

    def __init__(self, detector: Any = None) -> None:
        self.detector = detector
        self.alarms: list[Alarm] = []
        self.pictures: list[AlarmPicture] = []
        self._before: set[Any] = set()

    def look(self, step: xr.Dataset, broken: Collection[Alarm]) -> tuple[Alarms, Finding]:
        """Return the alarms of a step, and what the detector found.

        Parameters
        ----------
        step : xarray.Dataset
        broken : collection of Alarm
            About variables of the step that cannot be learnt; the detector's own alarms about
            these would say the same again.
        """
        found = NOTHING if self.detector is None else self.detector.observe(step)
        told = {alarm.variable for alarm in broken}
        alarms = [*broken, *(alarm for alarm in found.alarms if alarm.variable not in told)]
        new = [alarm for alarm in alarms if alarm.subject not in self._before]
        self._before = {alarm.subject for alarm in alarms}
        self.alarms.extend(alarms)
        if self.detector is not None:
            self._draw(step, alarms, new)
        return Alarms(alarms, new), found

    def _draw(self, step: xr.Dataset, alarms: list[Alarm], new: list[Alarm]) -> None:
        """Keep a picture of every variable with a new alarm, while there is room."""
        for name in dict.fromkeys(_variable(step, alarm) for alarm in new):
            if len(self.pictures) < MAX_PICTURES:
                about = [alarm for alarm in alarms if _variable(step, alarm) == name]
                self.pictures.append(_picture(step[name], about))

    def result(self, history: dict[str, list[Any]]) -> Detection | None:
        """Return what the report shows, given the history of a session."""
        if self.detector is None:
            return None
        return Detection(
            repr(self.detector),
            np.asarray(history["score"], dtype=float),
            np.asarray(history["limit"], dtype=float),
            self.pictures,
        )


def _variable(step: xr.Dataset, alarm: Alarm) -> str:
    """Return the variable that an alarm is about, or the first one where it is about several."""
    names = [str(name) for name in step.data_vars]
    return alarm.variable if alarm.variable in names else names[0]


def _picture(field: xr.DataArray, alarms: list[Alarm]) -> AlarmPicture:
    """Return the picture of a field, through the block of its first alarm, in host memory."""
    dims = [str(dim) for dim in field.dims]
    bounds = [dict(zip(dims, alarm.block or (), strict=False)) for alarm in alarms]
    through = {dim: sum(pair) // 2 for dim, pair in bounds[0].items()}
    shown, note = plane(field, through=through)
    cut = {dim: at for dim, at in through.items() if dim not in shown.dims}
    blocks = [
        {dim: extent_of(field, dim, *pair) for dim, pair in block.items() if dim in shown.dims}
        for block in bounds
        if block and all(block[dim][0] <= at <= block[dim][1] for dim, at in cut.items())
    ]
    return AlarmPicture(alarms[0], shown.compute(), blocks, note)
