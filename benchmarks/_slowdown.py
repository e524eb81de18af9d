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

N_FRAMES = 30


def slowdown(repeats: int) -> None:
    """Tokam2D alone, and with a PCA and a monitor that learn every frame of both fields."""
    cores = sorted(os.sched_getaffinity(0))
    table = Table(f"Tokam2D, 256², {N_RANKS} ranks, 16 RK4 steps a frame, medians of {repeats} "
                  "runs in turn", "analytics", "alone (ms a frame)", "with analytics",
                  "slow-down", "ranks waited (s)", "goal")  # fmt: skip
    cases = [("no core of its own", cores, cores, "")]
    if len(cores) > 1:
        cases.insert(0, ("a core of its own", cores[:-1], cores[-1:], "<= 5 %"))
    for name, ranks, analytics, goal in cases:
        pairs = [(_alone(ranks), _learnt(ranks, analytics)) for _ in range(repeats)]
        alone = statistics.median(one["frame"] for one, _ in pairs)
        learnt = statistics.median(other["frame"] for _, other in pairs)
        share = statistics.median(other["frame"] / one["frame"] - 1 for one, other in pairs)
        waited = statistics.median(other["waited"] for _, other in pairs)
        table.row(name, alone, learnt, f"{100 * share:.1f} %", waited, goal)
    table.show()


def _alone(ranks: list[int]) -> Any:
    with Job("tokam2d.py", "", N_FRAMES, json.dumps(ranks), json.dumps(ranks)) as job:
        return job.result()


def _learnt(ranks: list[int], analytics: list[int]) -> Any:
    """Return what the ranks have measured while every frame was learnt and observed."""
    places = json.dumps(ranks), json.dumps(analytics)
    with (
        on_cores(analytics),
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        Client(cluster) as client,
        Job("tokam2d.py", cluster.scheduler_address, N_FRAMES, *places) as job,
        Stream(client) as stream,
    ):
        models = {name: IncrementalPCA(8, sample_dims="time") for name in stream.variables}
        stream.run(models, detector=FieldMonitor(), progress=False)
        stream.close()
        return job.result()
