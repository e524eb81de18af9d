"""What a step costs a cluster: few tasks, and nothing that is left behind."""

import threading

import numpy as np
import pytest

from dask_exa.anomaly import FieldMonitor
from dask_exa.decomposition import IncrementalPCA
from dask_exa.insitu import Bridge, Stream
from dask_exa.insitu.communicator import run_ranks
from tests.inputs.streams import make_steps

distributed = pytest.importorskip("distributed")
N_RANKS, N_STEPS = 3, 40


def simulate(lab, name, steps):
    """Ranks that have two of six rows each and put the steps."""

    def rank_of(comm):
        rank = comm.Get_rank()
        field = {
            "global_shape": (6, 8),
            "chunk_shape": (2, 8),
            "chunk_position": (rank, 0),
            "dims": ("y", "x"),
        }
        with Bridge(lab.cluster, comm, {"density": field}, stream=name, timeout=20) as bridge:
            for step in steps:
                values = np.array(step.density.values[2 * rank : 2 * rank + 2])
                bridge.put(int(step.timestep), density=values)

    ranks = threading.Thread(target=run_ranks, args=(N_RANKS, rank_of), kwargs={"timeout": 60})
    ranks.start()
    return ranks


class Started(distributed.SchedulerPlugin):
    """Keys of tasks that were given to a worker."""

    name = "started"

    def __init__(self):
        self.keys = []

    def transition(self, key, start, finish, *args, **kwargs):
        if finish == "processing":
            self.keys.append(key)


@pytest.mark.parametrize(
    ("kind", "n_tasks"), [("pca", 2 * N_RANKS + 1), ("monitor", N_RANKS)], ids=["pca", "monitor"]
)
def test_tasks_of_a_step_are_few_and_vanish(lab, kind, n_tasks):
    """One task a rank and pass, and one for what all ranks together choose."""
    scheduler, name = lab.cluster.scheduler, f"cost-{kind}"
    started, per_step, n_known = Started(), [], []
    scheduler.add_plugin(started)
    model = IncrementalPCA(3, sample_dims="time") if kind == "pca" else FieldMonitor("finite")

    def look(step, run):
        per_step.append(len(started.keys))
        started.keys.clear()
        n_known.append(len(scheduler.tasks))

    ranks = simulate(lab, name, make_steps(N_STEPS))
    with lab.as_current(), Stream(lab, name, timeout=20) as stream:
        stream.run(model, variables="density", on_step=look, progress=False)
    ranks.join(30)
    scheduler.remove_plugin("started")
    assert (
        sum(per_step[2:]) <= n_tasks * (N_STEPS - 2) + N_RANKS
    )  # some of the step before come late
    assert max(n_known) <= 3 * N_RANKS + 2 * n_tasks + N_RANKS  # depth + 1 steps, and two of tasks
    del model
    left = [key for key in scheduler.tasks if str(key).startswith(f"('{name}")]
    assert left == []
