"""Learn the steps of a file or a simulation while they come, and report."""

from __future__ import annotations

import contextlib
import runpy
from pathlib import Path
from typing import Any

from dask_exa.anomaly.field_detector import FALSE_ALARM_RATE
from dask_exa.apps import outputs
from dask_exa.apps.cluster import column_chunks, connect
from dask_exa.apps.detection import field_detector
from dask_exa.apps.run import folder, run
from dask_exa.apps.session import Session
from dask_exa.apps.use_case import Album
from dask_exa.apps.use_cases import find_use_case
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import Stream, open_stream
from dask_exa.inputs.represented import RepresentedStream
from dask_exa.report import RunResult

METHODS = ("fit", "partial_fit", "transform", "inverse_transform")


def watch(
    source: str,
    out: Any = "out",
    *,
    pipeline: Any = None,
    n_components: int = 8,
    variables: tuple[str, ...] | None = None,
    n_steps: int | None = None,
    checkpoint_every: int = 32,
    resume: bool = False,
    cluster: Any = None,
    detect: bool = False,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    dt: float | None = None,
    stop_on_alarm: bool = False,
) -> RunResult:
    """Learn every variable of a stream, step by step, and write results into a folder.

    Every variable has an estimator of its own: variables have units of their own, and a basis of
    each needs no scales between them.

    Data of a code that has a use case (see `dask_exa.apps.use_cases`) are represented by fields of
    one shape first; of these, variables with no more values than components are looked at by the
    detector, and not learnt.

    Parameters
    ----------
    source : str
        See `dask_exa.inputs.open_stream`.
    out : path-like, default="out"
        Gets report.html, summary.json, coefficients.zarr, basis.zarr and checkpoint.zarr.
    pipeline : path-like, optional
        A Python file that defines ``pipeline``, an estimator with partial_fit, transform and
        inverse_transform. Default: IncrementalPCA.
    n_components : int, default=8
        Of the default estimator.
    variables : tuple of str, optional
        To learn; of a use case, detector and pictures get all that it makes.
    n_steps : int, optional
        Steps to have seen at the end; by default all that come.
    checkpoint_every : int, default=32
    resume : bool, default=False
        Go on from the checkpoint in `out`, with the same results as without the stop.
    cluster : str, path-like, Dask cluster or SlurmJobs, optional
        See `dask_exa.apps.cluster.connect`. Fields are then split over its workers, each of which
        keeps its part of the basis.
    detect : bool, default=False
        Look for anomalies too, see `dask_exa.anomaly.FieldDetector`.
    false_alarm_rate : float, default=0.001
        Share of normal steps that may raise an alarm by their score.
    dt : float, optional
        Time step of the solver in the units of time, which some checks need; by default what the
        source says.
    stop_on_alarm : bool, default=False
        End the run at the first alarm.

    Returns
    -------
    RunResult

    Raises
    ------
    FileExistsError
        When `out` has the checkpoint of a stopped run and `resume` is False.
    """
    out = folder(out)
    if not resume:
        outputs.check_finished(out)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(cluster)) if cluster else None
        n_threads = 0 if client is None else sum(client.nthreads().values())
        stream, album = _open(source, variables, n_threads)
        stack.enter_context(stream)
        estimator = IncrementalPCA(n_components) if pipeline is None else load_pipeline(pipeline)
        detector = None
        if detect and album is not None:
            detector = album.use_case.detector(stream)
        elif detect:
            detector = field_detector(stream.sizes, false_alarm_rate, dt)
        learnt = stream.variables if album is None else _learnt(album, variables, n_components)
        session = Session(learnt, estimator, detector)
        if resume:
            outputs.load_checkpoint(session, out)
        return run(
            "watch",
            stream,
            session,
            out,
            n_steps=n_steps,
            checkpoint_every=checkpoint_every,
            stop_on_alarm=stop_on_alarm,
            album=album,
        )


def _open(
    source: str, variables: tuple[str, ...] | None, n_threads: int
) -> tuple[Stream, Album | None]:
    """Return the stream of fields to learn, and what draws it where it has a use case.

    Plain fields come in chunks for the threads of a cluster; without one they stay in memory.
    """
    try:
        stream = open_stream(source)
    except ValueError:  # there are files that only open with some of their variables
        if variables is None:
            raise
        stream = open_stream(source, variables=variables)
    use_case = find_use_case(stream)
    if use_case is not None:
        fields = RepresentedStream(stream, use_case.represent)
        return fields, Album(use_case, fields)
    if variables is None and not n_threads:
        return stream, None
    stream.close()
    if not n_threads:
        return open_stream(source, variables=variables), None
    with open_stream(source, variables=variables) as whole:
        chunks = column_chunks(whole.sizes, n_threads)
    return open_stream(source, chunks, variables=variables), None


def _learnt(album: Album, variables: tuple[str, ...] | None, n_components: int) -> tuple[str, ...]:
    """Return the represented variables to learn; detector and pictures get all of them."""
    n_values = album.stream.n_values
    chosen = tuple(n_values) if variables is None else variables
    unknown = [name for name in chosen if name not in n_values]
    if unknown:
        raise ValueError(
            f"variables={unknown} are not made of {album.stream.name!r}; it has "
            f"{', '.join(n_values)}."
        )
    learnt = tuple(name for name in chosen if n_values[name] > n_components)
    if not learnt:
        raise ValueError(
            f"variables={list(chosen)} of {album.stream.name!r} have no more values than "
            f"components={n_components}; name one that has, or lower the number of components."
        )
    return learnt


def load_pipeline(path: Any) -> Any:
    """Run a Python file and return the ``pipeline`` that it defines.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it defines no estimator that can learn a stream and give it back.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"pipeline={str(path)!r} is not a file; check the path.")
    pipeline = runpy.run_path(str(path)).get("pipeline")
    if pipeline is None:
        raise ValueError(f"pipeline={str(path)!r} does not define the name 'pipeline'; add it.")
    missing = [name for name in METHODS if not hasattr(pipeline, name)]
    if missing:
        raise ValueError(
            f"pipeline={str(path)!r} defines a {type(pipeline).__name__} without "
            f"{', '.join(missing)}; use an estimator that has {', '.join(METHODS)}."
        )
    return pipeline
