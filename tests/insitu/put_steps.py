"""Ranks of an MPI job put steps: python -m tests.insitu.put_steps SCHEDULER STREAM N_STEPS."""

import sys

import numpy as np

from dask_exa.insitu import Bridge
from tests.inputs.streams import SHAPE, make_steps


def put_steps(scheduler, comm, stream, n_steps):
    """Put the steps of `make_steps`, of which every rank has some rows; return how many."""
    rank, n_rows = comm.Get_rank(), SHAPE[0] // comm.Get_size()
    rows = slice(rank * n_rows, (rank + 1) * n_rows)
    density = {
        "global_shape": SHAPE,
        "chunk_shape": (n_rows, SHAPE[1]),
        "chunk_position": (rank, 0),
        "dims": ("y", "x"),
    }
    with Bridge(scheduler, comm, {"density": density}, stream=stream) as bridge:
        for step in make_steps(n_steps):
            if bridge.should_stop():
                break
            values = np.array(step.density.values[rows])
            bridge.put(int(step.timestep), time=float(step.time), density=values)
        return bridge.n_put


if __name__ == "__main__":
    from mpi4py import MPI

    scheduler, stream, n_steps = sys.argv[1:]
    n_put = put_steps(scheduler, MPI.COMM_WORLD, stream, int(n_steps))
    print(f"rank {MPI.COMM_WORLD.Get_rank()} has put {n_put} steps")
