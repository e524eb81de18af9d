"""What a run leaves behind for its report: plain records, filled by the apps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from dask_exa.anomaly.alarm import Alarm

SECONDS = ("read", "fit", "transform", "detect")
BYTES = ("data", "state")


@dataclass(frozen=True)
class Picture:
    """One step of one variable beside what the basis makes of it.

    Parameters
    ----------
    original, reconstruction : xarray.DataArray
        Of one or two dimensions, in host memory.
    error : float
        Relative L2 error of the whole field, ``|x - x'| / |x|``, not only of the part shown.
    """

    original: xr.DataArray
    reconstruction: xr.DataArray
    error: float


@dataclass(frozen=True)
class FieldResult:
    """What was learnt of one variable.

    Parameters
    ----------
    name : str
    units : str
    estimator : str
        With its parameters.
    fitted : dict
        Fitted quantities by name without the underscore: ``n_components``,
        ``explained_variance_ratio``, … as numbers and arrays. Empty when nothing was fitted.
    modes : xarray.DataArray or None
        (component, …) leading modes in host memory, of one or two dimensions each.
    coefficients : ndarray of shape (n_steps, n_components)
        In the basis at the end; NaN where a step was not used.
    error_at_the_time : ndarray of shape (n_steps,)
        Relative L2 error of each step in the basis of the steps before it; NaN where there was
        none yet.
    error_at_the_end : dict of int to float
        Timestep to the relative L2 error in the basis at the end, for the steps that were kept.
    error_as_stored : dict of int to float
        The same of what the stored coefficients give: they were made when the step came and
        turned with the basis since, so they miss what the basis learnt later.
    pictures : list of Picture
        Of the first, a middle and the last step kept.
    note : str
        What the pictures show of a field with more than two dimensions.
    """

    name: str
    units: str
    estimator: str
    fitted: dict[str, Any]
    modes: xr.DataArray | None
    coefficients: np.ndarray
    error_at_the_time: np.ndarray
    error_at_the_end: dict[int, float]
    error_as_stored: dict[int, float]
    pictures: list[Picture]
    note: str = ""


@dataclass(frozen=True)
class AlarmPicture:
    """The field that alarms of one step were about.

    Parameters
    ----------
    alarm : Alarm
        The first of them.
    field : xarray.DataArray
        Of one or two dimensions, in host memory.
    blocks : list of dict of str to tuple of float
        Where the blocks of the alarms begin and end on the axes of the picture.
    note : str
        What the picture shows of a field with more than two dimensions.
    """

    alarm: Alarm
    field: xr.DataArray
    blocks: list[dict[str, tuple[float, float]]]
    note: str = ""


@dataclass(frozen=True)
class Detection:
    """What a detector said of every step.

    Parameters
    ----------
    detector : str
        With its parameters.
    score : ndarray of shape (n_steps,)
        Of the most abnormal part of each step, the larger the more abnormal; NaN before the
        detector had learnt enough.
    limit : ndarray of shape (n_steps,)
        Score above which there was an alarm; NaN before it was known.
    pictures : list of AlarmPicture
        Of the first alarms about different things.
    """

    detector: str
    score: np.ndarray
    limit: np.ndarray
    pictures: list[AlarmPicture]


@dataclass(frozen=True)
class RunResult:
    """One run over a stream.

    Parameters
    ----------
    command : str
        "watch", "demo" or "insitu".
    source : str
    started, finished : str
        ISO 8601, with the time zone.
    timestep : ndarray of shape (n_steps,), int
    time : ndarray of shape (n_steps,)
    time_units : str
    seconds : dict of str to ndarray of shape (n_steps,)
        By what they went into, see `SECONDS`.
    bytes : dict of str to ndarray of shape (n_steps,)
        See `BYTES`.
    fields : dict of str to FieldResult
    alarms : list of Alarm
        By increasing step.
    detection : Detection, optional
        None where nobody looked for anomalies.
    stopped : str
        Why the run ended early on its own account, empty where it did not.
    interrupted : bool
    faults : list of str
        What was lost, and why: steps, ranks, the simulation.
    outputs : dict of str to str
        Files and folders of the run by what they hold; ``checkpoint`` resumes it.
    facts : dict of str to str
        More rows for the table of facts.
    figures : list of (str, Figure)
        Pictures of a use case, each with its title.
    """

    command: str
    source: str
    started: str
    finished: str
    timestep: np.ndarray
    time: np.ndarray
    time_units: str
    seconds: dict[str, np.ndarray]
    bytes: dict[str, np.ndarray]
    fields: dict[str, FieldResult]
    alarms: list[Alarm] = field(default_factory=list)
    detection: Detection | None = None
    stopped: str = ""
    interrupted: bool = False
    faults: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    figures: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def n_steps(self) -> int:
        """Number of steps seen."""
        return len(self.timestep)
