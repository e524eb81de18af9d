"""How much longer a simulation takes with analytics beside it."""

from __future__ import annotations

import json
import os
import statistics
from typing import Any

from _mpi import N_RANKS, Job, on_cores
from _table import Table
from distributed import Client, LocalCluster

from dask_exa.anomaly import FieldMonitor
from dask_exa.decomposition import IncrementalPCA
from dask_exa.insitu import Stream

N_RK4_STEPS = 640
"""Of a run, in frames of 64 as in the reference run, or of fewer."""


def slowdown(repeats: int) -> None:
    """Tokam2D alone, and with a PCA and a monitor that learn every frame of both fields."""
    cores = sorted(os.sched_getaffinity(0))
    table = Table(f"Tokam2D, 256², {N_RANKS} ranks, medians of {repeats} runs in turn",
                  "analytics", "RK4 steps a frame", "alone (ms a frame)", "with analytics",
                  "slow-down", "of all runs", "ranks waited (s)", "goal")  # fmt: skip
    cases = [("no core of its own", 64, cores, cores, "")]
    if len(cores) > 1:
        own = cores[:-1], cores[-1:]
        cases = [
            ("a core of its own", 64, *own, "<= 5 %"),
            ("a core of its own", 16, *own, ""),
            *cases,
        ]
    for name, n_steps, ranks, analytics, goal in cases:
        pairs = [(_alone(n_steps, ranks), _learnt(n_steps, ranks, analytics))
                 for _ in range(repeats)]  # fmt: skip
        alone = statistics.median(one["frame"] for one, _ in pairs)
        learnt = statistics.median(other["frame"] for _, other in pairs)
        shares = sorted(100 * (other["frame"] / one["frame"] - 1) for one, other in pairs)
        waited = statistics.median(other["waited"] for _, other in pairs)
        table.row(name, n_steps, alone, learnt, f"{statistics.median(shares):.1f} %",
                  f"{shares[0]:.1f} to {shares[-1]:.1f} %", waited, goal)  # fmt: skip
    table.show()


def _job(scheduler: str, n_steps: int, ranks: list[int], analytics: list[int]) -> Job:
    arguments = N_RK4_STEPS // n_steps, n_steps, json.dumps(ranks), json.dumps(analytics)
    return Job("tokam2d.py", scheduler, *arguments)


def _alone(n_steps: int, ranks: list[int]) -> Any:
    with _job("", n_steps, ranks, ranks) as job:
        return job.result()


def _learnt(n_steps: int, ranks: list[int], analytics: list[int]) -> Any:
    """Return what the ranks have measured while every frame was learnt and observed."""
    with (
        on_cores(analytics),
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        Client(cluster) as client,
        _job(cluster.scheduler_address, n_steps, ranks, analytics) as job,
        Stream(client) as stream,
    ):
        models = {name: IncrementalPCA(8, sample_dims="time") for name in stream.variables}
        stream.run(models, detector=FieldMonitor(), progress=False)
        stream.close()
        return job.result()
