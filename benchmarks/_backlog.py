"""What ranks hold, and what they send, while analytics is slow."""

from __future__ import annotations

import collections
import time
from typing import Any

import numpy as np
from _mpi import N_RANKS, Job
from _table import Table
from distributed import Client, LocalCluster

from dask_exa.insitu import Stream

MIB, DEPTH = 8, 2


def memory(repeats: int) -> None:
    """Peak memory of ranks that put 500 steps to analytics that takes ten times as long."""
    table = Table(f"Memory of {N_RANKS} ranks, chunks of {MIB} MiB, depth {DEPTH}", "steps",
                  "a step takes analytics (ms)", "ranks waited (s)", "growth of a rank (MiB)",
                  "goal")  # fmt: skip
    seconds, found = _flooded(500, 0.02)
    table.row(found["n_put"], 1e3 * seconds, found["waited"], max(found["grown"]),
              f"<= {(DEPTH + 1) * MIB}")  # fmt: skip
    table.show()


def messages(repeats: int) -> None:
    """Messages from the ranks' workers to the scheduler, by kind, with a mean of every step."""
    counts: collections.Counter[str] = collections.Counter()
    n_steps = 100
    _flooded(n_steps, 0.0, counts)
    table = Table(f"Messages of {N_RANKS} ranks to the scheduler", "message",
                  "a rank and step", "goal")  # fmt: skip
    for name, count in counts.most_common(6):
        goal = "1" if name == "exa-put" else ""
        table.row(name, count / N_RANKS / n_steps, goal)
    table.show()


def _flooded(n_steps: int, pause: float, counts: Any = None) -> tuple[float, Any]:
    """Return the seconds that a step took analytics, and what the ranks have measured."""
    with (
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        Job("flood.py", cluster.scheduler_address, MIB, n_steps, DEPTH) as job,
        Stream(client) as stream,
    ):
        if counts is not None:
            _count(cluster.scheduler, counts)
        started = time.perf_counter()
        for step in stream:
            float(step.field.data[0, 0].compute() if counts is None else np.nan)
            time.sleep(pause)  # analytics that takes its time
            del step
        seconds = (time.perf_counter() - started) / n_steps
        stream.close()
        return seconds, job.result()


def _count(scheduler: Any, counts: Any) -> None:
    """Count what workers send, by the name of the handler."""
    for name, handler in list(scheduler.stream_handlers.items()):

        def counted(*args: Any, name: str = name, handler: Any = handler, **fields: Any) -> Any:
            if "worker" in fields:
                counts[name] += 1
            return handler(*args, **fields)

        scheduler.stream_handlers[name] = counted
