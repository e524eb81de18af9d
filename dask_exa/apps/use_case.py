"""What a run does for the data of one code, beyond what it does for any field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import xarray as xr
from matplotlib.figure import Figure

from dask_exa.anomaly.alarm import Alarm
from dask_exa.apps.detection import MAX_PICTURES
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
    """The pictures of a run: of steps with a first alarm about a variable, and of the last step.

    Parameters
    ----------
    use_case : UseCase
    stream : RepresentedStream
    """

    def __init__(self, use_case: UseCase, stream: RepresentedStream) -> None:
        self.use_case, self.stream = use_case, stream
        self._drawn: dict[int, Pictures] = {}
        self._told: set[str] = set()

    def look(self, session: Session) -> None:
        """Draw the step that a session has just seen, if it has an alarm of a new kind."""
        kinds = {alarm.variable for alarm in session.new_alarms} - self._told
        if kinds and len(self._drawn) < MAX_PICTURES:
            self._told |= kinds
            self._draw(session)

    def finish(self, session: Session) -> Pictures:
        """Return all pictures of the run."""
        self._draw(session)
        return [picture for pictures in self._drawn.values() for picture in pictures]

    def _draw(self, session: Session) -> None:
        step = session.history["timestep"][-1] if session.n_steps else None
        if self.stream.original is None or step is None or step in self._drawn:
            return
        represented = session.kept[-1][1]
        drawn = self.use_case.pictures(self.stream.original, represented, session.finding.alarms)
        self._drawn[step] = [(f"{title}, step {step}", figure) for title, figure in drawn]
