"""Chunks that workers hold for a while, a group of neighbours at a time.

What several passes need is made once: its chunks stay where they are made until nobody refers to
them any more.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import dask
from dask.base import get_scheduler
from distributed.system import MEMORY_LIMIT

MEMORY_SHARE = 0.2
"""Of the workers' memory for one group; what steps make of it takes as much again."""


def held(X: Any) -> Any:
    """Start to make the chunks of lazy data, once, and keep them where they are made.

    Parameters
    ----------
    X : Dask collection, or anything else, which comes back as it is
    """
    return X.persist() if dask.is_dask_collection(X) else X


def group_rows(
    sizes: Sequence[int], row_bytes: float, batch_size: int | None = None
) -> list[slice]:
    """Put neighbouring chunks together, as many as are to be held at a time.

    Parameters
    ----------
    sizes : sequence of int
        Rows of every chunk along the first axis.
    row_bytes : float
        Bytes of a row in all chunks along the other axes.
    batch_size : int, optional
        Most rows of a group; by default as many as fit into a fifth of the workers' memory. A
        group has one chunk at least.

    Returns
    -------
    list of slice
        Rows of every group.

    Examples
    --------
    >>> group_rows((3, 3, 3, 2), 8.0, batch_size=6)
    [slice(0, 6, None), slice(6, 11, None)]
    """
    most = batch_size or MEMORY_SHARE * workers_memory() / max(row_bytes, 1.0)
    edges = [0]
    for start, stop in itertools.pairwise(itertools.accumulate(sizes, initial=0)):
        if stop - edges[-1] > most and start > edges[-1]:
            edges.append(start)
    return [slice(*pair) for pair in itertools.pairwise([*edges, sum(sizes)])]


def workers_memory() -> float:
    """Return the bytes of memory that the workers have together, or this process."""
    client = getattr(get_scheduler(), "__self__", None)
    if client is None or not hasattr(client, "scheduler_info"):
        return float(MEMORY_LIMIT)
    known = [worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()]
    limits = [limit or MEMORY_LIMIT / len(known) for limit in known]
    # the scheduler may tell of a few of many workers only
    return len(client.nthreads()) * sum(limits) / len(limits) if limits else float(MEMORY_LIMIT)
