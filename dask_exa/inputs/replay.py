"""The steps that were learnt in situ, once more, from the files that were written meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from dask_exa._parameters import check_choice
from dask_exa.inputs.step_log import LEARNT, read_log
from dask_exa.inputs.stream import Stream

KEYS = ("timestep", "time")


def replay(log: Any, stream: Stream, *, by: str = "timestep") -> Stream:
    """Return a stream of exactly the steps that a run has learnt.

    Steps that were skipped, lost or dropped in situ are left out, so that the same models, with
    the same window and chunks, end with the same bits.

    Parameters
    ----------
    log : path-like
        What `Stream.run` wrote with ``log=``.
    stream : Stream
        The steps of the same simulation, in its files or computed again; steps of it that are not
        in the log are left out too.
    by : {"timestep", "time"}, default="timestep"
        How a step is found. A file counts its steps from 0, whatever the simulation called them.

    Returns
    -------
    Stream
        Reading it raises ValueError at the end if a step was not found.

    Examples
    --------
    >>> import tempfile
    >>> from dask_exa.decomposition import IncrementalPCA
    >>> from dask_exa.inputs import open_stream, replay
    >>> log = tempfile.mkdtemp() + "/steps.jsonl"
    >>> stream = open_stream("tokam2d-hw", shape=(16, 16), rk4_steps_per_frame=2)
    >>> run = stream.run(
    ...     IncrementalPCA(2), variables="density", n_steps=4, log=log, progress=False
    ... )
    >>> [int(step.timestep) for step in replay(log, stream)]
    [1, 2, 3, 4]
    """
    check_choice("by", by, KEYS)
    wanted = [line[by] for line in read_log(log).values() if line["state"] == LEARNT]
    if not wanted:
        raise ValueError(f"log={os.fspath(log)!r} has no step that was learnt.")

    def read(start: int) -> Iterator[xr.Dataset]:
        left = dict.fromkeys(wanted[start:])
        for step in stream if left else ():
            key = step[by].values
            found = float(key) if np.issubdtype(key.dtype, np.number) else str(key)
            if found in left:
                del left[found]
                yield step
            if not left:
                return
        if left:
            raise ValueError(
                f"the stream of {stream.name} has no step of {by} {next(iter(left))}, which was "
                f"learnt; pass by= with the other one of {KEYS}, or the files of the same run."
            )

    return Stream(
        read,
        name=stream.name,
        sizes=stream.sizes,
        variables=stream.variables,
        n_steps=len(wanted),
    )
