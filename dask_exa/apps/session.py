"""Learn a stream step by step and keep what its report, its summary and a resumption need."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import dask
import numpy as np
import xarray as xr
from sklearn.base import clone

from dask_exa.anomaly.alarm import Alarm
from dask_exa.apps.detection import NOTHING, Watcher
from dask_exa.apps.errors import Comparison, compare, compared
from dask_exa.apps.model import SAMPLE_DIM, FieldModel
from dask_exa.compose._steps import unchanged_on_error
from dask_exa.inputs import Stream
from dask_exa.inputs.learners import Learner
from dask_exa.inputs.residence import is_intact, losses
from dask_exa.inputs.showing import Showing
from dask_exa.inputs.step_log import LEARNT, describe, logged
from dask_exa.inputs.step_loop import StepLoop
from dask_exa.inputs.windows import copied
from dask_exa.report import FieldResult, Picture
from dask_exa.report.panels import plane
from dask_exa.report.result import BYTES, SECONDS

_PER_STEP = ("timestep", "time", "score", "limit")
MAX_KEPT = 12
MAX_KEPT_BYTES = 256 << 20
N_PICTURES = 3


class Session:
    """One estimator per variable, and the history of what they learnt.

    Parameters
    ----------
    variables : sequence of str
    estimator : estimator
        Cloned for every variable. A parameter ``sample_dims`` that is None becomes "time".
    detector : FieldDetector, optional
        Looks at every step before it is learnt.

    Attributes
    ----------
    models : dict of str to FieldModel
    history : dict of str to list
        Per step: ``timestep``, ``time``, ``score``, ``limit``, ``seconds_…`` and ``bytes_…``.
    kept : list of (int, xarray.Dataset)
        Position and fields of some steps, evenly spread over those seen, and of the last one.
    watcher : Watcher
        Has all alarms.
    new_alarms : list of Alarm
        Of the last step, about what was in order in the step before it.
    finding : Finding
        Of the last step, with all of its alarms.
    is_learnt : bool
        Whether all variables of the last step were learnt.
    stride : int
        Distance in positions of the steps kept.
    is_lent : bool
        Whether steps are views of the buffers of a simulation, which waits for them; what is kept
        is then copied, on the workers.
    learns_failed : bool
        Whether a variable is learnt in a step where one of its checks fails; not in the step that
        ends a run, as a resumption would begin with what is wrong in it.
    faults : list of str
        Steps that were left out, and why.
    """

    def __init__(self, variables: Any, estimator: Any, detector: Any = None) -> None:
        self._made_of = (tuple(variables), estimator, detector)
        self.watcher = Watcher(None if detector is None else clone(detector))
        self.models = {name: FieldModel(name, _prepared(estimator)) for name in variables}
        names = [f"seconds_{name}" for name in SECONDS] + [f"bytes_{name}" for name in BYTES]
        self.history: dict[str, list[Any]] = {name: [] for name in (*_PER_STEP, *names)}
        self.kept: list[tuple[int, xr.Dataset]] = []
        self.new_alarms: list[Alarm] = []
        self.finding, self.is_learnt = NOTHING, False
        self.stride = 1
        self.is_lent = False
        self.learns_failed = True
        self.faults: list[str] = []

    def anew(self) -> Session:
        """Return a session that has learnt nothing yet."""
        return Session(*self._made_of)

    @property
    def n_steps(self) -> int:
        """Number of steps seen."""
        return len(self.history["timestep"])

    @property
    def learners(self) -> list[Learner]:
        """What the live page gets to know of the models."""
        return [
            Learner(name, model.estimator, "fields" if model.is_labelled else "rows", (name,))
            for name, model in self.models.items()
        ]

    @property
    def time_units(self) -> str:
        """Units of the time of the steps."""
        return str(self.kept[-1][1].time.attrs.get("units", "")) if self.kept else ""

    def absorb(self, step: xr.Dataset, seconds_read: float = 0.0) -> None:
        """Learn one step of all variables.

        Parameters
        ----------
        step : xarray.Dataset
            Lazy variables are read once, into the memory of whoever works on them. Variables that
            come at every second step only are learnt at these.
        seconds_read : float
            What it has taken so far to get the step.
        """
        clock = _Clock()
        if self.is_lent:
            step = copied(step)
        elif dask.is_dask_collection(step):
            step = step.persist()
        sums = _computed({name: compare(step[name]) for name in self.models if name in step})
        broken = [_alarm(step, name, compared(found)) for name, found in sums.items()]
        sound = {n: self.models[n] for n, alarm in zip(sums, broken, strict=True) if not alarm}
        seconds_read += clock.lap()
        alarms, found = self.watcher.look(step, [alarm for alarm in broken if alarm])
        self.new_alarms, self.finding = alarms.new, found._replace(alarms=alarms.all)
        if not self.learns_failed:
            failed = {alarm.variable for alarm in alarms.all if alarm.p_value is None}
            sound = {name: model for name, model in sound.items() if name not in failed}
        self.is_learnt = len(sound) == len(sums)
        seconds_detect = clock.lap()
        looked = {name: model.look(step[name]) for name, model in sound.items()}
        seconds_look = clock.lap()
        for name, model in sound.items():
            model.learn(step[name])
        seconds_fit = clock.lap()
        turned = {name: model.turn() for name, model in sound.items()}
        looked, turned = _computed((looked, turned))  # at once: each costs a cluster a round
        for name, model in self.models.items():
            error = compared(looked[name]).error if name in sound else np.nan
            model.record(error, turned.get(name))
        self._keep(step)
        seconds = {
            "read": seconds_read,
            "fit": seconds_fit,
            "transform": seconds_look + clock.lap(),
            "detect": seconds_detect,
        }
        self._write_history(step, seconds, score=found.score, limit=found.limit)

    @contextlib.contextmanager
    def without_lost(self, step: xr.Dataset) -> Iterator[None]:
        """Leave a step out of which something is lost with a worker while it is absorbed.

        Raises
        ------
        Exception
            The error about it, when a part of what was learnt was lost, too.
        """
        early = {name: model.early for name, model in self.models.items()}
        learners = [model.estimator for model in self.models.values()]
        detector = self.watcher.detector
        try:
            with unchanged_on_error(learners if detector is None else [*learners, detector]):
                yield
        except losses() as error:
            if not is_intact(learners):
                raise
            for name, model in self.models.items():
                model.early = early[name]
            self.new_alarms = []
            reason = f"{type(error).__name__}: {error}"
            self.faults.append(f"step {int(step.timestep)} was lost with a worker ({reason})")

    def results(self) -> dict[str, FieldResult]:
        """Return what was learnt of every variable, with errors and pictures of the steps kept."""
        return {name: self._result(model) for name, model in self.models.items()}

    def _result(self, model: FieldModel) -> FieldResult:
        fields = self._sound_steps(model)
        modes, note = None, ""
        errors: tuple[dict[int, float], dict[int, float]] = ({}, {})
        pictures: list[Picture] = []
        if model.is_ready and fields:
            errors = _late_errors(model, fields)
            pictures = _pictures(model, fields, errors[0])
            components = model.basis(fields[0]).get("components")
            if components is not None:
                modes, note = plane(components, keep=("component",))
                modes = modes.compute()
        return FieldResult(
            name=model.name,
            units=str(fields[0].attrs.get("units", "")) if fields else "",
            estimator=repr(model.estimator),
            fitted=model.fitted(),
            modes=modes,
            coefficients=model.coefficients,
            error_at_the_time=np.asarray(model.errors, dtype=float),
            error_at_the_end=errors[0],
            error_as_stored=errors[1],
            pictures=pictures,
            note=note,
        )

    def _sound_steps(self, model: FieldModel) -> list[xr.DataArray]:
        """Return the fields of the steps kept that were learnt."""
        return [
            step[model.name].assign_coords(place=position)
            for position, step in self.kept
            if np.isfinite(model.coefficients[position]).any()
        ]

    def _write_history(
        self, step: xr.Dataset, seconds: dict[str, float], **detected: float
    ) -> None:
        entry = {
            "timestep": int(step.timestep),
            "time": float(step.time),
            **detected,
            "bytes_data": sum(step[name].nbytes for name in self.models if name in step),
            "bytes_state": sum(model.state_bytes for model in self.models.values()),
            **{f"seconds_{name}": value for name, value in seconds.items()},
        }
        for name, value in entry.items():
            self.history[name].append(value)

    def _keep(self, step: xr.Dataset) -> None:
        """Keep the step; where there are too many, every second of the spread ones goes."""
        if any(name not in step for name in self.models):
            return
        room = int(min(MAX_KEPT, max(N_PICTURES, MAX_KEPT_BYTES // max(step.nbytes, 1))))
        position = self.n_steps
        kept = [pair for pair in self.kept if pair[0] % self.stride == 0]
        while len(kept) >= room:
            self.stride *= 2
            kept = [pair for pair in kept if pair[0] % self.stride == 0]
        self.kept = [*kept, (position, step)]


def follow(
    stream: Stream,
    session: Session,
    *,
    n_steps: int | None = None,
    place: Callable[[xr.Dataset], xr.Dataset] | None = None,
    after_step: Callable[[Session], Any] | None = None,
    log: Any = None,
    stop_on_alarm: bool = False,
    on_fault: str = "abort",
) -> str:
    """Learn the steps of a stream that a session has not seen, until the end or a signal.

    Parameters
    ----------
    stream : Stream
    session : Session
    n_steps : int, optional
        Number of steps to have seen at the end, with those seen before.
    place : callable, optional
        Where a step's arrays go before it is learnt, such as to workers.
    after_step : callable, optional
    log : path-like, optional
        Gets a line of JSON for every step, see `dask_exa.inputs.replay`.
    stop_on_alarm : bool, default=False
        Whether the next alarm about something new ends the run, after its step was seen.
    on_fault : {"skip", "abort"}, default="abort"
        Whether a step of which something was lost with a worker is left out, or raises. It always
        raises where a part of what was learnt was lost.

    Returns
    -------
    str
        What ended the run before the source did: "signal", "stop" (by `Stream.stop`, with its
        reason, which an alarm is too), or nothing.
    """
    session.is_lent = stream.is_live
    session.learns_failed = not stop_on_alarm
    is_safe, page = on_fault == "skip", Showing(stream, session.learners)
    after = session.history["timestep"][-1] if session.n_steps else None
    with (
        logged(stream, log, after),
        StepLoop(stream, start=session.n_steps, n_steps=n_steps, after=after) as loop,
    ):
        for step in loop:
            about, n_before = describe(step), session.n_steps
            with session.without_lost(step) if is_safe else contextlib.nullcontext():
                session.absorb(step if place is None else place(step), loop.seconds_read)
            if session.n_steps > n_before:
                page.note(about["timestep"], [("detector", session.finding)])
                page.show(step, is_learnt=session.is_learnt)
            del step  # a running simulation waits for its buffer
            if stream.log is not None:
                stream.log.write(about, LEARNT if session.n_steps > n_before else "lost")
            if after_step is not None:
                after_step(session)
            if stop_on_alarm and session.new_alarms:
                alarm = session.new_alarms[0]
                stream.stop(f"stopped at the alarm of step {alarm.step}: {alarm.reason}")
        page.tell()
        return loop.ended_by if loop.ended_by in ("signal", "stop") else ""


def _late_errors(model: FieldModel, fields: list[xr.DataArray]) -> tuple[dict, dict]:
    """Return {timestep: error} of fields in the basis now: projected on it, and as stored."""
    sums = [
        (
            compare(field, model.reconstruct(field)),
            compare(field, model.stored(int(field.place), field)),
        )
        for field in fields
    ]
    errors = [(compared(new).error, compared(old).error) for new, old in _computed(sums)]
    steps = [int(field.timestep) for field in fields]
    projected, stored = zip(*errors, strict=True)
    return dict(zip(steps, projected, strict=True)), dict(zip(steps, stored, strict=True))


def _pictures(
    model: FieldModel, fields: list[xr.DataArray], errors: dict[int, float]
) -> list[Picture]:
    """Return the first, a middle and the last field beside their reconstruction."""
    places = np.unique(np.linspace(0, len(fields) - 1, N_PICTURES).round().astype(int))
    pairs = [
        (plane(field)[0], plane(model.reconstruct(field))[0])
        for field in (fields[place] for place in places)
    ]
    return [
        Picture(original, reconstruction, errors[int(original.timestep)])
        for original, reconstruction in _computed(pairs)
    ]


class _Clock:
    def __init__(self) -> None:
        self.start = time.perf_counter()

    def lap(self) -> float:
        before, self.start = self.start, time.perf_counter()
        return self.start - before


def _computed(values: Any) -> Any:
    """Compute all lazy arrays in nested containers, at once."""
    return dask.compute(values)[0]


def _alarm(step: xr.Dataset, name: str, found: Comparison) -> Alarm | None:
    """Return an alarm about a variable that cannot be learnt, or None."""
    if not found.n_not_finite:
        return None
    size = step[name].size
    return Alarm(
        step=int(step.timestep),
        score=found.n_not_finite / size,
        reason=f"{name} has {found.n_not_finite} of {size} values that are not finite; the step "
        "was not learnt.",
        variable=name,
        features=(f"{name}: finite",),
    )


def _prepared(estimator: Any) -> Any:
    estimator = clone(estimator)
    params = estimator.get_params()
    if "sample_dims" in params and params["sample_dims"] is None:
        estimator.set_params(sample_dims=SAMPLE_DIM)
    return estimator
