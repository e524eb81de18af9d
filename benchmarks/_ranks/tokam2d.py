"""Ranks that compute Tokam2D, with or without a bridge; see `benchmarks/_slowdown.py`."""

import contextlib
import json
import os
import sys
import time

from mpi4py import MPI

from dask_exa.datasets import Tokam2D
from dask_exa.insitu import Bridge

PLASMA = {"shape": (256, 256), "length": 256.0}
N_WARM = 3


def main(scheduler, n_frames, n_rk4_steps, rank_cores, worker_cores):
    comm = MPI.COMM_WORLD
    simulation = Tokam2D.sol(**PLASMA, rk4_steps_per_frame=n_rk4_steps, comm=comm)
    os.sched_setaffinity(0, worker_cores)  # of the threads that a bridge starts, too
    with contextlib.ExitStack() as stack:
        bridge = None
        if scheduler:
            bridge = stack.enter_context(
                Bridge(scheduler, comm, simulation.arrays, coords=simulation.coords)
            )
        os.sched_setaffinity(0, rank_cores)
        for frame in range(N_WARM + n_frames):
            if frame == N_WARM:
                comm.Barrier()
                started = time.perf_counter()
            fields = simulation.advance()
            if bridge is not None and not bridge.should_stop():
                arrays = {name: fields[name].values for name in simulation.arrays}
                bridge.put(frame, time=float(fields.time), **arrays)
        comm.Barrier()
        seconds = time.perf_counter() - started
        waited = comm.allreduce(bridge.seconds_waited if bridge else 0.0, MPI.MAX)
    if comm.rank == 0:
        print(json.dumps({"frame": 1e3 * seconds / n_frames, "waited": waited}))


if __name__ == "__main__":
    main(sys.argv[1], *map(json.loads, sys.argv[2:]))
