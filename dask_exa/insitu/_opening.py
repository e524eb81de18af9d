"""How the ranks of a simulation open a stream together: all of them, or none with one reason."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np

from dask_exa.insitu._layout import ArrayLayout, Chunk, arrange, read_chunk
from dask_exa.insitu._ranks import Ranks
from dask_exa.insitu.embedded import EmbeddedWorker
from dask_exa.insitu.errors import LayoutError, StreamError, StreamTimeoutError


class Opened(NamedTuple):
    """A stream that is open, seen from one rank."""

    stream_id: str
    worker: EmbeddedWorker
    chunks: dict[str, Chunk]
    """What this rank has of each array."""
    layouts: dict[str, ArrayLayout]


class Terms(NamedTuple):
    """What rank 0 tells the scheduler about a stream."""

    name: str
    depth: int
    timeout: float
    time_to_live: float
    coords: Mapping[str, Any]


class _Rank(NamedTuple):
    """What one rank brings: an address and chunks, or an error."""

    address: str
    chunks: dict[str, Chunk]
    error: str


def scheduler_address(scheduler: Any, timeout: float = 10.0) -> str:
    """Return the address of a scheduler that is given in one of the usual ways.

    Parameters
    ----------
    scheduler : str, path-like, object with ``scheduler_address``, or None
    timeout : float
        Seconds to wait for a scheduler file, which a scheduler of the same job may yet write.

    Raises
    ------
    ValueError
        When it is None and Dask knows of no scheduler, or of another kind.
    StreamTimeoutError
        When a file does not come, or has no address in it.
    """
    if scheduler is None:
        scheduler = dask.config.get("scheduler-address", None)
        if scheduler is None:
            raise ValueError(
                "scheduler=None and Dask is configured with none; pass its address, or set "
                "DASK_SCHEDULER_ADDRESS."
            )
    found = getattr(scheduler, "scheduler_address", None)  # of a cluster
    if found is not None:
        return str(found)
    if not isinstance(scheduler, str | os.PathLike):
        raise ValueError(
            f"scheduler={scheduler!r} is no address; pass a string such as tcp://host:8786, the "
            "path of a scheduler file, or a cluster."
        )
    text = os.fspath(scheduler)
    if "://" in text or not (text.endswith(".json") or Path(text).is_file()):
        return text
    return _read_scheduler_file(Path(text), timeout)


def _read_scheduler_file(path: Path, timeout: float) -> str:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return str(json.loads(path.read_text())["address"])
        except FileNotFoundError:
            fault = "is not there"
        except (ValueError, LookupError, TypeError):  # half written, or another kind of file
            fault = "has no address of a scheduler in it"
        if time.monotonic() > deadline:
            raise StreamTimeoutError(
                f"scheduler={str(path)!r} {fault} within timeout={timeout:g} s; pass the file that "
                "the scheduler was started with as --scheduler-file."
            )
        time.sleep(0.05)


def open_on_ranks(
    ranks: Ranks,
    arrays: Mapping[str, Any],
    terms: Terms,
    start_worker: Callable[[], EmbeddedWorker],
) -> Opened:
    """Start this rank's worker and open the stream, on all ranks or on none.

    Parameters
    ----------
    ranks : Ranks
    arrays : mapping of str to mapping or Chunk
        What this rank declares.
    terms : Terms
    start_worker : callable

    Raises
    ------
    LayoutError, SchedulerLostError
        On the rank whose doing it is.
    StreamError
        On the others, which then know what happened where.
    """
    worker = None
    try:
        chunks = {name: read_chunk(name, given) for name, given in arrays.items()}
        worker = start_worker()
        error: Exception | None = None
    except Exception as caught:  # raised below, when the other ranks know of it
        chunks, error = {}, caught
    try:
        everybody = ranks.gather(_Rank(worker.address if worker else "", chunks, str(error or "")))
        layouts = _agree(ranks.rank, everybody, error)
        assert worker is not None  # else there was an error
        stream_id = _open(ranks, worker, layouts, everybody, terms)
    except BaseException:
        if worker is not None:
            worker.close(move_data=False)
        raise
    return Opened(stream_id, worker, chunks, layouts)


def _agree(rank: int, everybody: list[_Rank], error: Exception | None) -> dict[str, ArrayLayout]:
    """Return the layouts, or raise on every rank: the error itself only where it was made."""
    if error is not None:
        raise error
    failed = [other for other, found in enumerate(everybody) if found.error]
    if failed:
        raise StreamError(f"rank {failed[0]} could not start: {everybody[failed[0]].error}")
    try:
        return arrange([found.chunks for found in everybody])
    except LayoutError as wrong:
        if not wrong.ranks or rank in wrong.ranks:
            raise
        raise StreamError(f"rank {wrong.ranks[0]} could not start: {wrong}") from wrong


def _open(
    ranks: Ranks,
    worker: EmbeddedWorker,
    layouts: dict[str, ArrayLayout],
    everybody: list[_Rank],
    terms: Terms,
) -> str:
    """Open the stream on the scheduler from rank 0, and return its id on all ranks."""
    answer: dict[str, str] = {}
    if ranks.rank == 0:
        try:
            coords = _coordinates(terms.coords, layouts)
            worker.register_plugin()
            answer = worker.ask(
                "exa_open",
                name=terms.name,
                about=pickle.dumps({"layouts": layouts, "coords": coords}),
                workers=[found.address for found in everybody],
                depth=terms.depth,
                timeout=terms.timeout,
                time_to_live=terms.time_to_live,
            )
        except Exception as error:  # the other ranks wait for an answer
            answer = {"error": f"rank 0 could not open stream={terms.name!r}: {error}"}
    answer = ranks.share(answer)
    if "error" in answer:
        raise StreamError(answer["error"])
    return answer["id"]


def _coordinates(
    given: Mapping[str, Any], layouts: Mapping[str, ArrayLayout]
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]:
    """Return coordinates as xarray wants them: dimensions, values, attributes."""
    sizes = {d: n for one in layouts.values() for d, n in zip(one.dims, one.shape, strict=True)}
    found = {}
    for name, values in given.items():
        array = np.asarray(values)
        if array.ndim and array.shape != (sizes.get(name),):
            raise ValueError(
                f"coords has {name!r} of shape {array.shape}, and the arrays have dimensions of "
                f"{sizes}; pass one value for each point of the whole dimension, or a number."
            )
        found[name] = ((name,) * array.ndim, array, dict(getattr(values, "attrs", {})))
    return found
