"""Start a simulation on MPI ranks and learn it while it runs, or run a script that does."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from dask_exa.anomaly.field_detector import FALSE_ALARM_RATE
from dask_exa.apps import outputs
from dask_exa.apps.cluster import connect
from dask_exa.apps.detection import field_detector
from dask_exa.apps.launching import (
    GRACE,
    LoggedProcess,
    ProcessFailedError,
    leaving_on_sigterm,
    rank_command,
)
from dask_exa.apps.run import folder, run
from dask_exa.apps.session import Session
from dask_exa.apps.watch import load_pipeline
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs.interrupt import StopRequest
from dask_exa.inputs.learning import StateLostError
from dask_exa.inputs.residence import losses
from dask_exa.inputs.step_loop import INTERRUPTED
from dask_exa.insitu import Stream, StreamError, StreamTimeoutError
from dask_exa.report import RunResult

LOOK = 2.0
"""Seconds from one look at whether the simulation has ended to the next, until it sends steps."""
PAUSE = 0.2
"""Seconds from one look at processes to the next."""
PATIENCE = 60.0
"""Seconds for analytics to end after a simulation that has failed."""


class Launch(NamedTuple):
    """How a simulation is started.

    Parameters
    ----------
    simulation : str
        A Python script or another program.
    arguments : sequence of str
        For the simulation.
    n_ranks : int
    launcher : str, optional
        See `dask_exa.apps.launching.rank_command`.
    cluster : str, optional
        Address of a Dask scheduler with workers; by default one is started.
    n_workers : int
        Analytics workers of the scheduler that is started.
    interface : str, optional
        Its network interface, where ranks run on other machines.
    is_shown : bool
        Whether output of the ranks is shown; it always goes to ``simulation.log``.
    """

    simulation: str
    arguments: Sequence[str] = ()
    n_ranks: int = 2
    launcher: str | None = None
    cluster: str | None = None
    n_workers: int = 1
    interface: str | None = None
    is_shown: bool = True


class Started(NamedTuple):
    """What `start` gives."""

    client: Any
    simulation: LoggedProcess


@contextlib.contextmanager
def start(launch: Launch, out: Path) -> Iterator[Started]:
    """Start the scheduler and the ranks; at the end of the block they end.

    Raises
    ------
    FileNotFoundError, ValueError
        When the simulation or the launcher is not there.
    ConnectionError
        When the cluster does not answer, or has no workers.
    """
    command = rank_command(launch.simulation, launch.arguments, launch.n_ranks, launch.launcher)
    with (
        leaving_on_sigterm(),
        connect(launch.cluster, n_workers=launch.n_workers, interface=launch.interface) as client,
    ):
        if not client.nthreads():
            raise ConnectionError(
                f"cluster={launch.cluster!r} has no workers; start one: dask worker "
                f"{launch.cluster}"
            )
        if client.dashboard_link:
            print(f"dashboard: {client.dashboard_link}", file=sys.stderr)
        with LoggedProcess(
            "simulation", command, out, _environment(client), is_shown=launch.is_shown
        ) as simulation:
            yield Started(client, simulation)


def _environment(client: Any) -> dict[str, str]:
    return {"DASK_SCHEDULER_ADDRESS": client.scheduler.address}


def insitu(
    launch: Launch,
    out: Any = "out",
    *,
    stream_name: str = "simulation",
    timeout: float = 300.0,
    pipeline: Any = None,
    n_components: int = 8,
    variables: tuple[str, ...] | None = None,
    n_steps: int | None = None,
    checkpoint_every: int = 32,
    resume: bool = False,
    detect: bool = False,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    dt: float | None = None,
    stop_on_alarm: bool = False,
    on_fault: str = "skip",
) -> RunResult:
    """Start a simulation, and learn every variable that it hands over, step by step.

    The ranks hand their steps over with `dask_exa.insitu.Bridge`, which finds the scheduler in
    ``DASK_SCHEDULER_ADDRESS``.

    Parameters
    ----------
    launch : Launch
    out : path-like, default="out"
        Gets what `dask_exa.apps.watch.watch` writes, and ``simulation.log``.
    stream_name : str, default="simulation"
        The bridge's ``stream``.
    timeout : float, default=300
        Seconds to wait for the first step and for every other.
    pipeline, n_components, variables, checkpoint_every, detect, false_alarm_rate, dt
        As of `dask_exa.apps.watch.watch`.
    n_steps : int, optional
        Steps after which the simulation is told to stop; by default it goes to its end.
    resume : bool, default=False
        Go on from the checkpoint in `out`, with a simulation that goes on from one of its own:
        steps that were seen already are not learnt again.
    stop_on_alarm : bool, default=False
        Tell the simulation to stop at the first alarm.
    on_fault : {"skip", "abort"}, default="skip"
        Whether steps that are lost are left out, and what was learnt before a rank died is
        reported; or whether that raises.

    Returns
    -------
    RunResult

    Raises
    ------
    ProcessFailedError
        When the simulation fails. What was learnt until then has been written.
    """
    out = folder(out)
    if not resume:
        outputs.check_finished(out)
    estimator = IncrementalPCA(n_components) if pipeline is None else load_pipeline(pipeline)
    with start(launch, out) as (client, simulation):
        with (
            _explained(simulation),
            _open_stream(client, stream_name, simulation, timeout, on_fault) as stream,
        ):
            names = _chosen(stream, variables)
            detector = field_detector(stream.sizes, false_alarm_rate, dt) if detect else None
            session = Session(names, estimator, detector)
            if resume:
                outputs.load_checkpoint(session, out)

            def place(step: xr.Dataset) -> xr.Dataset:
                return step[[name for name in names if name in step]]

            result = run(
                "insitu",
                stream,
                session,
                out,
                n_steps=n_steps,
                checkpoint_every=checkpoint_every,
                place=place,
                facts=_facts(launch, client),
                stop_on_alarm=stop_on_alarm,
                on_fault=on_fault,
            )
        _wait(simulation, is_patient=not result.interrupted)
        return _with_failure(result, simulation, out)


@contextlib.contextmanager
def _explained(simulation: LoggedProcess) -> Iterator[None]:
    """Tell of a simulation that has failed instead of what its stream has noticed of it."""
    noticed: tuple[type[Exception], ...] = (StreamError, StateLostError, *losses())
    try:
        yield
    except noticed as error:
        simulation.wait(GRACE)
        said = f"{type(error).__name__}: {error}"
        if simulation.failure():
            raise ProcessFailedError(f"{simulation.describe_failure()}\n{said}") from error
        if isinstance(error, StreamTimeoutError):  # which says enough
            raise
        raise ConnectionError(f"the simulation runs, but its stream is lost ({said})") from error


def _open_stream(
    client: Any, name: str, simulation: LoggedProcess, timeout: float, on_fault: str
) -> Stream:
    """Return the stream of a simulation, as soon as it has opened it.

    Raises
    ------
    ProcessFailedError
        When the simulation has ended before that.
    """
    deadline = time.monotonic() + timeout
    while True:
        is_over = not simulation.is_running
        try:
            stream = Stream(client, name, timeout=LOOK, on_fault=on_fault)
        except StreamTimeoutError as error:
            if is_over and simulation.failure():
                raise ProcessFailedError(simulation.describe_failure()) from error
            if is_over:
                raise ProcessFailedError(
                    f"the simulation ended without a stream {name!r}; its ranks have to open one "
                    f"with dask_exa.insitu.Bridge(stream={name!r})."
                ) from error
            if time.monotonic() > deadline:
                raise StreamTimeoutError(
                    f"the simulation has opened no stream {name!r} within timeout={timeout:g} s; "
                    "raise --timeout, or check the bridge's stream=."
                ) from error
            continue
        stream.timeout = timeout
        return stream


def _chosen(stream: Stream, variables: tuple[str, ...] | None) -> tuple[str, ...]:
    names = stream.variables if variables is None else variables
    unknown = [name for name in names if name not in stream.variables]
    if unknown:
        raise ValueError(
            f"variables={unknown} are not in stream {stream.name!r}; it has "
            f"{', '.join(stream.variables)}."
        )
    return names


def _facts(launch: Launch, client: Any) -> dict[str, str]:
    workers = client.nthreads()
    return {
        "simulation": shlex.join([launch.simulation, *launch.arguments]),
        "ranks": str(launch.n_ranks),
        "cluster": f"{len(workers)} workers with {sum(workers.values())} threads, with the ranks'",
    }


def _wait(simulation: LoggedProcess, *, is_patient: bool) -> None:
    """Wait for the end of a simulation, which may have much to write; or end it after a while."""
    if simulation.wait(GRACE) is None and is_patient:
        print("waiting for the simulation to end; Ctrl-C ends it", file=sys.stderr)
        simulation.wait()
    simulation.end()


def _with_failure(result: RunResult, simulation: LoggedProcess, out: Path) -> RunResult:
    """Return the result of a simulation that has ended well; raise after a note of a failure."""
    failure = simulation.failure()
    if not failure or result.interrupted:
        return result
    result = dataclasses.replace(result, faults=[*result.faults, failure])
    outputs.write_report(result, out)
    raise ProcessFailedError(
        f"{simulation.describe_failure()}\nWhat was learnt until then is in "
        f"{result.outputs['report']}."
    )


def run_script(
    launch: Launch,
    analytics: str,
    out: Any = "out",
    *,
    stream_name: str = "simulation",
    on_fault: str = "skip",
) -> bool:
    """Start a simulation, and beside it a script of analytics.

    Both find the scheduler in ``DASK_SCHEDULER_ADDRESS``: ``Bridge()`` and ``distributed.Client()``
    need no address.

    Parameters
    ----------
    launch : Launch
    analytics : str
        A Python script, which reads `dask_exa.insitu.Stream`.
    out : path-like, default="out"
        Gets ``simulation.log`` and ``analytics.log``.
    stream_name : str, default="simulation"
        The bridge's ``stream``.
    on_fault : {"skip", "abort"}, default="skip"
        Whether the simulation goes on, or is told to stop, when the script fails.

    Returns
    -------
    bool
        Whether both were interrupted.

    Raises
    ------
    ProcessFailedError
        When one of them fails.
    """
    if not Path(analytics).is_file():
        raise FileNotFoundError(f"analytics={analytics!r} is not a file; check the path.")
    out = folder(out)
    with start(launch, out) as (client, simulation):
        command, environment = [sys.executable, analytics], _environment(client)
        with (
            LoggedProcess("analytics", command, out, environment) as script,
            StopRequest("stopping analytics, then the simulation") as request,
        ):
            why = _accompany(script, simulation, request, on_fault)
            if simulation.is_running:
                _ask_to_stop(client, stream_name, why)
                simulation.wait(GRACE)
            simulation.end()
        failed = [process for process in (simulation, script) if process.failure()]
        if failed and not request.requested:
            raise ProcessFailedError("\n".join(one.describe_failure() for one in failed))
        return request.requested


def _accompany(
    script: LoggedProcess, simulation: LoggedProcess, request: StopRequest, on_fault: str
) -> str:
    """Wait until analytics has ended and the simulation has, or is to end; return why it is."""
    while script.is_running or simulation.is_running:
        if request.requested:
            script.interrupt()
            script.wait()  # it may have a report to write
            return INTERRUPTED
        if script.failure() and on_fault == "abort":
            return script.failure()
        if simulation.failure() and script.wait(PATIENCE) is None:
            script.end()  # it waits for a simulation that will not come
        (script if script.is_running else simulation).wait(PAUSE)
    return ""


def _ask_to_stop(client: Any, name: str, why: str) -> None:
    """Ask ranks that nobody reads to stop; nothing where they have no stream open."""
    with contextlib.suppress(StreamError), Stream(client, name, timeout=LOOK) as stream:
        stream.stop(why)
