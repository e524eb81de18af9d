"""What a run does for the data of one code, beyond what it does for any field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import xarray as xr
from matplotlib.figure import Figure

from dask_exa.anomaly.alarm import Alarm
from dask_exa.apps.session import Session
from dask_exa.inputs.represented import RepresentedStream
from dask_exa.inputs.stream import Stream

Pictures = list[tuple[str, Figure]]
"""Title and figure of each."""


class UseCase(NamedTuple):
    """From the data of one code to fields, alarms and pictures."""

    label: str
    """For the report: "an AMR run of Dyablo"."""
    recognise: Callable[[Stream], bool]
    """Whether a stream has such data. Never raises."""
    represent: Callable[[xr.Dataset], xr.Dataset]
    """A step of the source as fields that are learnt, see `RepresentedStream`."""
    detector: Callable[[Stream], Any]
    """Makes what looks for anomalies in the represented steps: a `FieldDetector`, or like it."""
    pictures: Callable[[xr.Dataset, xr.Dataset, list[Alarm]], Pictures]
    """Draws a step of the source, given it as represented, too, and its alarms."""


class Album:
    """The pictures of a run: of the step of its first alarm, and of its last step.

    Parameters
    ----------
    use_case : UseCase
    stream : RepresentedStream
    """

    def __init__(self, use_case: UseCase, stream: RepresentedStream) -> None:
        self.use_case, self.stream = use_case, stream
        self._at_alarm: Pictures = []

    def look(self, session: Session) -> None:
        """Draw the step that a session has just seen, if it has the first alarm."""
        if session.new_alarms and not self._at_alarm:
            self._at_alarm = self._draw(session)

    def finish(self, session: Session) -> Pictures:
        """Return all pictures of the run."""
        is_alarm_last = bool(self._at_alarm) and bool(session.new_alarms)
        return self._at_alarm + ([] if is_alarm_last else self._draw(session))

    def _draw(self, session: Session) -> Pictures:
        if self.stream.original is None or not session.kept:
            return []
        represented = session.kept[-1][1]
        step = f"step {int(represented.timestep)}"
        drawn = self.use_case.pictures(self.stream.original, represented, session.finding.alarms)
        return [(f"{title}, {step}", figure) for title, figure in drawn]
