"""Checkpoints of a run over a stream: its models, and how far it has come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zarr

from dask_exa._replacing import Replacing, find_folder
from dask_exa.anomaly.alarm import Alarm
from dask_exa.inputs.learners import Learner
from dask_exa.inputs.model_store import load_model, save_model
from dask_exa.inputs.residence import estimators_of

_MARK = "dask_exa_stream_run"
_FORMAT = 1
_RUN = "run.json"


@dataclass
class Run:
    """What a run over a stream has done.

    Attributes
    ----------
    timesteps : list of int
        Steps that were learnt, in order, with those before a resumption.
    skipped : dict of int to str
        Steps that were left out or lost, and why.
    alarms : list of Alarm
    stop_reason : str or None
        What ended the run before the source or ``n_steps`` did: what `Stream.stop` was told, or
        "signal".
    seconds : float
        Of this call.
    position : int
        Steps gone through in the stream, up to the last one that was learnt or left out.
    last : int or None
        The timestep there.
    observed : int
        Steps gone through by the models that observe; more than `position` within a window.
    """

    timesteps: list[int] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    stop_reason: str | None = None
    seconds: float = 0.0
    position: int = 0
    last: int | None = None
    observed: int = 0

    @property
    def n_steps(self) -> int:
        """Number of steps that were learnt."""
        return len(self.timesteps)

    def __repr__(self) -> str:
        parts = [f"{self.n_steps} steps learnt"]
        parts += [f"{len(self.skipped)} left out"] if self.skipped else []
        parts += [f"{len(self.alarms)} alarms"] if self.alarms else []
        parts += [f"stopped: {self.stop_reason}"] if self.stop_reason is not None else []
        return f"<Run: {', '.join(parts)} in {self.seconds:.3g} s>"


def save_run(run: Run, learners: Sequence[Learner], window: int, path: Path) -> None:
    """Write a checkpoint, which takes the place of the earlier one when it is complete.

    Raises
    ------
    FileExistsError
        If `path` is there and is no checkpoint of a run.
    """
    if path.exists() and not _is_run(path):
        raise FileExistsError(
            f"checkpoint={str(path)!r} exists and is not of a run over a stream; choose another."
        )
    with Replacing(path) as folder:
        zarr.open_group(folder, mode="w", zarr_format=3, attributes={_MARK: _FORMAT})
        written = {**vars(run), "alarms": [alarm.as_dict() for alarm in run.alarms]}
        models = {"models": _names(learners), "window": window}
        (folder / _RUN).write_text(json.dumps({**written, **models}, default=_plain))
        for number, learner in enumerate(learners):
            save_model(learner.model, _model_folder(folder, number))


def load_run(learners: Sequence[Learner], window: int, path: Path) -> Run | None:
    """Bring models to where a checkpoint has them, and return how far the run had come.

    Returns
    -------
    Run or None
        None if there is no checkpoint; the models are then as they were.

    Raises
    ------
    FileExistsError
        If `path` is something else.
    ValueError
        If the checkpoint is of other models, of other parameters or of another window.
    """
    folder = find_folder(path, _is_run)
    if folder is None:
        if path.exists():
            raise FileExistsError(
                f"checkpoint={str(path)!r} exists and is not of a run over a stream; choose "
                "another."
            )
        return None
    stored = json.loads((folder / _RUN).read_text())
    _check(stored, learners, window, path)
    for number, learner in enumerate(learners):
        load_model(learner.model, _model_folder(folder, number))
    return Run(
        **{
            **stored,
            "alarms": [_alarm(entry) for entry in stored["alarms"]],
            "skipped": {int(step): why for step, why in stored["skipped"].items()},
            "stop_reason": None,
        }
    )


def _check(stored: dict[str, Any], learners: Sequence[Learner], window: int, path: Path) -> None:
    """Raise ValueError if a checkpoint is not of these models; take that out of what is stored."""
    asked = {"models": _names(learners), "window": window}
    for what, expected in asked.items():
        found = stored.pop(what)
        if found != json.loads(json.dumps(expected)):
            raise ValueError(
                f"checkpoint={str(path)!r} has {what}={found}, but {what}={expected} is asked for; "
                "pass the same ones, another checkpoint, or resume=False to begin anew."
            )


def _names(learners: Sequence[Learner]) -> list[list[Any]]:
    return [
        [one.name, list(one.variables), repr(one.model), *map(_class, estimators_of(one.model))]
        for one in learners
    ]


def _class(estimator: Any) -> str:
    return f"{type(estimator).__module__}.{type(estimator).__qualname__}"


def _model_folder(folder: Path, number: int) -> Path:
    return folder / f"model-{number:03d}"


def _alarm(entry: dict[str, Any]) -> Alarm:
    block = entry["block"]
    block = None if block is None else tuple((first, last) for first, last in block)
    return Alarm(**{**entry, "block": block, "features": tuple(entry["features"])})


def _plain(number: Any) -> Any:
    """Return a number of NumPy as one of JSON."""
    return number.item()


def _is_run(path: Path) -> bool:
    metadata = path / "zarr.json"
    return metadata.is_file() and _MARK in json.loads(metadata.read_text()).get("attributes", {})
