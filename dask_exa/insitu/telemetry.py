"""What is shown of a stream while it runs: bounded histories, and nothing that acts."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dask_exa.inputs.showing import MAX_POINTS
from dask_exa.insitu._events import Step

MAX_KEPT = 512


class StepRecord(NamedTuple):
    """One step as the scheduler saw it."""

    timestep: int
    time: float
    """Of the simulation."""
    completed: float
    """Seconds on the scheduler's clock."""
    waited: np.ndarray
    """Seconds for which each rank waited for a buffer."""
    held: np.ndarray
    """Buffers taken on each rank."""
    state: str
    """complete, lost or dropped."""
    reason: str = ""
    """Why it is not complete."""


class Shown(NamedTuple):
    """What analytics shows of one variable at one step."""

    variable: str
    timestep: int
    explained_variance: Any = None
    """Share of the variance that the components explain: of each, or of all together."""
    score: float | None = None
    limit: float | None = None
    alarms: tuple[str, ...] = ()
    field: Any = None
    """(n_rows, n_columns) of numbers, with `reconstruction` of the same shape."""
    reconstruction: Any = None
    dims: tuple[str, str] = ("y", "x")
    """Names of the rows and the columns of `field`, with their units where they have some."""
    extent: tuple[float, float, float, float] | None = None
    """Left, right, bottom and top of `field`; None for numbers of points."""
    units: str = ""
    """Of `field`."""
    note: str = ""
    """Such as where the plane that is shown lies in its field."""


class Telemetry(NamedTuple):
    """All that is shown of one stream."""

    name: str
    n_ranks: int
    depth: int
    steps: tuple[StepRecord, ...]
    shown: tuple[Shown, ...]
    n_complete: int
    n_lost: int
    n_dropped: int
    reader: str
    stopped: str
    fault: str
    has_ended: bool = False
    n_held: int = 0
    """Complete steps that analytics has not released."""
    is_read: bool = True
    """Whether analytics reads, or may still come."""
    time_units: str = ""
    pictures: tuple[Shown, ...] = ()
    """The last one of each variable that has a field; those of `shown` are without."""


class Log:
    """The last steps of a stream, and what was last shown of them.

    What is kept is bounded: `MAX_KEPT` steps with a few bytes per rank, and as many things shown,
    of which the last ones of each variable have their fields.
    """

    def __init__(self) -> None:
        self.steps: dict[int, StepRecord] = {}
        self.shown: collections.deque[Shown] = collections.deque(maxlen=MAX_KEPT)
        self._pictures: dict[str, Shown] = {}

    def completed(self, step: Step, now: float) -> None:
        """Take down a step that is complete."""
        puts = [step.puts[rank] for rank in sorted(step.puts)]
        waited = np.array([put.waited for put in puts], dtype=np.float32)
        held = np.array([put.held for put in puts], dtype=np.uint16)
        self._keep(StepRecord(step.step, step.time, now, waited, held, "complete"))

    def hear(self, news: Mapping[str, Any], now: float) -> None:
        """Take down steps that were lost or dropped."""
        if news["what"] not in ("lost", "dropped"):
            return
        known = self.steps.get(news["step"])  # complete, and lost with a worker after that
        time = float("nan") if known is None else known.time
        nobody = np.zeros(0)
        reason = news.get("reason", "")
        self._keep(StepRecord(news["step"], time, now, nobody, nobody, news["what"], reason))

    def show(self, shown: Shown) -> None:
        """Keep what analytics shows."""
        self.shown.append(shown._replace(field=None, reconstruction=None))
        if shown.field is not None:
            self._pictures[shown.variable] = shown

    def telemetry(self, **about: Any) -> Telemetry:
        """Return the histories with the other fields of `Telemetry`."""
        steps = tuple(self.steps.values())
        pictures = tuple(self._pictures.values())
        return Telemetry(steps=steps, shown=tuple(self.shown), pictures=pictures, **about)

    def _keep(self, record: StepRecord) -> None:
        self.steps[record.timestep] = record
        while len(self.steps) > MAX_KEPT:
            del self.steps[next(iter(self.steps))]


def thinned(field: Any, most: int = MAX_POINTS) -> Any:
    """Return every so many points of a field, so that it can be shown.

    Parameters
    ----------
    field : array of shape (n_rows, n_columns)
        NumPy, Dask or xarray, and stays so.
    most : int, default=128
        Points along each axis.

    Raises
    ------
    ValueError
        When the field has another number of axes.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.insitu.telemetry import thinned
    >>> thinned(np.zeros((300, 128))).shape
    (100, 128)
    """
    if field.ndim != 2:
        raise ValueError(
            f"field has {field.ndim} axes; pass one of its planes, such as field.isel(z=0)."
        )
    row, column = (-(-length // most) for length in field.shape)
    return field[::row, ::column]
