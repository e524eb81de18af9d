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
from dask_exa.apps.use_case import Album
from dask_exa.inputs import Stream
from dask_exa.inputs.learning import StateLostError
from dask_exa.inputs.residence import losses
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
    log: Any = None,
    facts: dict[str, str] | None = None,
    stop_on_alarm: bool = False,
    on_fault: str = "abort",
    album: Album | None = None,
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
        Steps to have seen at the end; by default all. A running simulation then stops.
    checkpoint_every : int, default=32
        Steps from one checkpoint to the next.
    place : callable, optional
        Takes a step to where it is learnt, see `follow`.
    log : path-like, optional
        Gets a line of JSON for every step, see `dask_exa.inputs.replay`.
    facts : dict of str to str, optional
        More rows for the report.
    stop_on_alarm : bool, default=False
        Whether the first alarm ends the run.
    on_fault : {"skip", "abort"}, default="abort"
        What to do about what is lost with a worker: leave the step out, or raise. Where what was
        learnt is lost, "skip" ends the run with what the last checkpoint has.
    album : Album, optional
        Draws the steps of a use case.

    Returns
    -------
    RunResult

    Raises
    ------
    StateLostError
        When what was learnt was lost, and there is no checkpoint of this run.
    """
    started = _now()
    total = stream.n_steps if n_steps is None else n_steps
    n_saved, ended_by = session.n_steps, ""  # a resumed run begins with its checkpoint

    def after_step(session: Session) -> None:
        nonlocal n_saved
        progress.show(session)
        if album is not None:
            album.look(session)
        if session.n_steps >= n_saved + checkpoint_every:
            outputs.save_checkpoint(session, out)
            n_saved = session.n_steps

    try:
        with RunProgress(Path(stream.name).name, total) as progress:
            progress.note(f"live page: {stream.live_page}" if stream.live_page else "")
            ended_by = follow(
                stream,
                session,
                n_steps=n_steps,
                place=place,
                after_step=after_step,
                log=log,
                stop_on_alarm=stop_on_alarm,
                on_fault=on_fault,
            )
        if stream.is_live and session.n_steps == n_steps:
            stream.stop(f"{n_steps} steps have been seen")
        interrupted = ended_by == "signal"
        outputs.save_checkpoint(session, out, finished=not interrupted)
        fields = session.results()
    except losses() as error:
        if on_fault == "abort":
            raise
        session = _from_checkpoint(session, out, n_saved, error)
        interrupted, fields = ended_by == "signal", session.results()
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
        fields=fields,
        alarms=session.watcher.alarms,
        detection=session.watcher.result(session.history),
        stopped=stream.stop_reason or "" if ended_by == "stop" else "",
        interrupted=interrupted,
        faults=[*stream.faults, *session.faults],
        outputs=outputs.output_paths(out),
        facts=facts or {},
        figures=[] if album is None else album.finish(session),
    )
    outputs.save_results(session, result, out)
    stream.finish()
    return result


def _from_checkpoint(session: Session, out: Path, n_saved: int, error: Exception) -> Session:
    """Return the session as it was when it was saved last, with a note of what was lost since."""
    if not n_saved:
        raise StateLostError(
            f"what was learnt in {session.n_steps} steps was lost with a worker, and there is no "
            f"checkpoint of it in out={str(out)!r}; lower checkpoint_every."
        ) from error
    before = session.anew()
    outputs.load_checkpoint(before, out)
    before.faults = [
        *session.faults,
        f"a worker was lost that held a part of what was learnt; the results are those of the "
        f"checkpoint after step {before.history['timestep'][-1]} ({type(error).__name__}: {error})",
    ]
    return before


def folder(out: Any) -> Path:
    """Return the folder of the results as an absolute path, which workers understand too."""
    return Path(out).expanduser().absolute()


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
