"""Ranks that dask-mpi makes scheduler, client and workers of, and ranks that simulate beside them.

``python -m tests.insitu.dask_mpi_fit fit`` on three ranks or more, where rank 1 learns an array;
``… stream`` on five: three for Dask, two that put steps.
"""

import sys

import dask
import dask_mpi
import numpy as np
import xarray as xr
from distributed import Client
from mpi4py import MPI

from dask_exa.apps.cluster import Scatter
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import bring_home
from dask_exa.insitu import Stream
from tests.inputs.streams import make_steps, matrix
from tests.insitu.put_steps import put_steps

N_FOR_DASK, N_STEPS = 3, 12
OPTIONS = {"dashboard": False, "memory_limit": 0}


def check(model, X):
    """Compare with the singular value decomposition that NumPy gives."""
    k = model.n_components
    _, s, Vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    components = np.asarray(bring_home(model).components_).reshape(k, -1)
    np.testing.assert_allclose(model.singular_values_, s[:k], rtol=1e-10)
    np.testing.assert_allclose(np.abs(components @ Vt[:k].T), np.eye(k), atol=1e-10)


def rank_here():
    """Return the rank of this process; a communicator itself cannot be sent to a worker."""
    return MPI.COMM_WORLD.Get_rank()


def fit():
    """Learn an array whose features are split over the workers."""
    dask_mpi.initialize(**OPTIONS)  # from here on, this is rank 1
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 64)) * 0.8 ** np.arange(64)
    with Client() as client:
        client.wait_for_workers(MPI.COMM_WORLD.Get_size() - 2, timeout=30)
        data = xr.Dataset({"field": (("time", "x"), X)})
        columns = Scatter(client, {"time": 60, "x": 16})(data).field.data
        model = IncrementalPCA(6, layout="columns").fit(columns)
        check(model, X)
        ranks = client.run(rank_here).values()
    print(f"learnt on workers of ranks {sorted(ranks)}")


def stream():
    """Learn the steps of ranks of the same job, which have a communicator of their own."""
    world = MPI.COMM_WORLD
    is_dask = world.Get_rank() < N_FOR_DASK
    part = world.Split(is_dask, world.Get_rank())
    if not is_dask:
        address = world.recv(source=1)
        n_put = put_steps(address, part, "ranks", N_STEPS)
        print(f"rank {world.Get_rank()} has put {n_put} steps")
        return
    dask_mpi.initialize(comm=part, **OPTIONS)
    for rank in range(N_FOR_DASK, world.Get_size()):
        world.send(dask.config.get("scheduler-address"), dest=rank)
    model = IncrementalPCA(3, sample_dims="time")
    with Client() as client, Stream(client, "ranks", timeout=30) as steps:
        run = steps.run({"density": model}, progress=False)
        assert run.timesteps == [int(step.timestep) for step in make_steps(N_STEPS)]
        check(model, matrix(make_steps(N_STEPS)))
    print(f"learnt {len(run.timesteps)} steps")


if __name__ == "__main__":
    {"fit": fit, "stream": stream}[sys.argv[1]]()
