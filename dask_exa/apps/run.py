"""One run from the first step to its report, as `watch` and `demo` share it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dask_exa.apps import outputs
from dask_exa.apps.progress import RunProgress
from dask_exa.apps.session import Session, follow
from dask_exa.inputs import Stream
from dask_exa.report import RunResult
from dask_exa.report.result import BYTES, SECONDS


def run(
    command: str,
    stream: Stream,
    session: Session,
    out: Path,
    *,
    n_steps: int | None = None,
    checkpoint_every: int = 32,
    place: Callable[[xr.Dataset], xr.Dataset] | None = None,
    facts: dict[str, str] | None = None,
    stop_on_alarm: bool = False,
) -> RunResult:
    """Learn a stream, checkpoint it on the way and write all results.

    Parameters
    ----------
    command : str
        For the report.
    stream : Stream
    session : Session
        New, or brought to its checkpoint.
    out : Path
        Folder of the results.
    n_steps : int, optional
        Steps to have seen at the end; by default all.
    checkpoint_every : int, default=32
        Steps from one checkpoint to the next.
    place : callable, optional
        Takes a step to where it is learnt, see `follow`.
    facts : dict of str to str, optional
        More rows for the report.
    stop_on_alarm : bool, default=False
        Whether the first alarm ends the run.

    Returns
    -------
    RunResult
    """
    started = _now()
    total = stream.n_steps if n_steps is None else n_steps
    with RunProgress(Path(stream.name).name, total) as progress:

        def after_step(session: Session) -> None:
            progress.show(session)
            if session.n_steps % checkpoint_every == 0:
                outputs.save_checkpoint(session, out)

        ended_by = follow(
            stream,
            session,
            n_steps=n_steps,
            place=place,
            after_step=after_step,
            stop_on_alarm=stop_on_alarm,
        )
    interrupted = ended_by == "signal"
    outputs.save_checkpoint(session, out, finished=not interrupted)
    result = RunResult(
        command=command,
        source=stream.name,
        started=started,
        finished=_now(),
        timestep=np.asarray(session.history["timestep"], dtype=int),
        time=np.asarray(session.history["time"], dtype=float),
        time_units=session.time_units,
        seconds={name: np.asarray(session.history[f"seconds_{name}"]) for name in SECONDS},
        bytes={name: np.asarray(session.history[f"bytes_{name}"]) for name in BYTES},
        fields=session.results(),
        alarms=session.watcher.alarms,
        detection=session.watcher.result(session.history),
        stopped=stream.stop_reason or "" if ended_by == "stop" else "",
        interrupted=interrupted,
        outputs=outputs.output_paths(out),
        facts=facts or {},
    )
    outputs.save_results(session, result, out)
    stream.finish()
    return result


def folder(out: Any) -> Path:
    """Return the folder of the results as an absolute path, which workers understand too."""
    return Path(out).expanduser().absolute()


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
