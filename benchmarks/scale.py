"""What thousands of ranks cost the scheduler, and what it gains from one message a node.

Run with: python benchmarks/scale.py [TABLE ...]; --help lists the tables.
The scheduler, the plugin, the analytics client and every message are real; the ranks are not, see
`_simulated_ranks`. One step is one array, with one chunk a rank.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
import psutil
from _simulated_ranks import NAME
from _table import Table, run_tables
from distributed import Client
from scipy.optimize import nnls

from dask_exa.insitu import Stream

PER_NODE = 64
RANKS = (1000, 4000, 10_000)
FAR = 100_000
SCHEDULER = """
import asyncio, sys
from distributed import Scheduler
import distributed.versions
# compares every worker with all before it, at each registration: timed by itself
distributed.versions.error_message = lambda *args, **kwargs: {"warning": "", "error": ""}
async def serve():
    async with Scheduler(port=0, dashboard=False) as scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()
asyncio.run(serve())
"""


SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "DASK_LOGGING__DISTRIBUTED": "error",
    # a busy core answers late
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "null",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "600s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "600s",
}


class Cost(NamedTuple):
    """What one step takes."""

    n_ranks: int
    n_messages: int
    """From ranks to the scheduler."""
    n_bytes: float
    wall: float
    """Seconds of the whole step."""
    scheduler: float
    """Seconds of the scheduler's core."""
    client: float
    """Seconds of the core of analytics."""
    registered: float
    """Seconds in which all ranks became known."""


def measure(n_ranks: int, per_node: int, n_steps: int) -> Cost:
    """Run a stream of simulated ranks, and read its steps."""
    with contextlib.ExitStack() as running:
        scheduler = running.enter_context(_process("-c", SCHEDULER))
        address = scheduler.stdout.readline().strip()
        script = str(Path(__file__).with_name("_simulated_ranks.py"))
        numbers = map(str, (n_ranks, per_node, n_steps))
        ranks = running.enter_context(_process(script, address, *numbers))
        marks = []
        with Client(address) as client, Stream(client, NAME, timeout=600) as stream:
            for _ in stream:
                marks.append((time.perf_counter(), _cpu(scheduler.pid), _cpu(os.getpid())))
        told = ast.literal_eval(ranks.stdout.readlines()[-1])
    # the first steps come before anybody has read
    wall, busy, client_busy = np.diff(np.array(marks)[2:], axis=0).mean(axis=0)
    n_messages = -(-n_ranks // per_node)
    cost = Cost(n_ranks, n_messages, told["n_bytes"], wall, busy, client_busy, told["registered"])
    print(cost, flush=True)
    return cost


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[Any]:
    """Run Python in another process until the block ends."""
    env = {**os.environ, **SETTINGS}
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@functools.cache
def costs(n_steps: int) -> list[Cost]:
    """Measure all numbers of ranks, without and with one message a node."""
    return [measure(n, per_node, n_steps) for n in RANKS for per_node in (1, PER_NODE)]


def steps(repeats: int) -> None:
    """Messages, bytes and seconds of a step."""
    table = Table(f"One step, means of {repeats} steps and more", "ranks", "messages", "kB",
                  "step (s)", "scheduler CPU (s)", "analytics CPU (s)", "at most (steps/s)",
                  "registration (s)")  # fmt: skip
    for cost in costs(_n_steps(repeats)):
        table.row(cost.n_ranks, cost.n_messages, cost.n_bytes / 1e3, cost.wall, cost.scheduler,
                  cost.client, 1 / cost.scheduler, cost.registered)  # fmt: skip
    table.show()


def model(repeats: int) -> None:
    """Seconds of the scheduler as fixed + per message + per chunk, out to 100 000 ranks."""
    found = costs(_n_steps(repeats))
    design = np.array([[1.0, cost.n_messages, cost.n_ranks] for cost in found])
    seconds = np.array([cost.scheduler for cost in found])
    weight = 1 / seconds  # errors are shares
    fit, _ = nnls(design * weight[:, None], seconds * weight)
    off = np.abs(design @ fit / seconds - 1).max()
    fixed, per_message, per_chunk = fit * 1e6
    table = Table(f"Scheduler CPU = {fixed:.0f} us + {per_message:.1f} us x messages + "
                  f"{per_chunk:.1f} us x chunks; within {off:.0%} of what was measured",
                  "ranks", "each for itself (s/step)", f"{PER_NODE} in a message (s/step)",
                  f"{PER_NODE} in a chunk (s/step)", "kB/step", "kB/step in messages of nodes",
                  )  # fmt: skip
    alone, joint = (
        np.mean([c.n_bytes / c.n_ranks for c in found if (c.n_messages == c.n_ranks) == is_alone])
        for is_alone in (True, False)
    )
    for n in (*RANKS, FAR):
        n_nodes = -(-n // PER_NODE)
        predicted = [float(fit @ (1, *counts)) for counts in
                     ((n, n), (n_nodes, n), (n_nodes, n_nodes))]  # fmt: skip
        table.row(n, *predicted, float(alone * n / 1e3), float(joint * n / 1e3))
    table.show()


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _n_steps(repeats: int) -> int:
    return max(8, repeats + 3)


TABLES = {f.__name__: f for f in (steps, model)}

if __name__ == "__main__":
    os.environ.update(SETTINGS)
    dask.config.refresh()
    run_tables(__doc__, TABLES)
