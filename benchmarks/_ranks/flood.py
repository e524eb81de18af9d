"""Ranks that put steps as fast as they are taken; see `benchmarks/_backlog.py`."""

import json
import resource
import sys

import numpy as np
from mpi4py import MPI

from dask_exa.insitu import Bridge


def peak():
    """Return the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(scheduler, mib, n_steps, depth):
    comm = MPI.COMM_WORLD
    shape = (mib, 1 << 17)
    arrays = {
        "field": {
            "global_shape": (comm.size * mib, shape[1]),
            "chunk_shape": shape,
            "chunk_position": (comm.rank, 0),
        }
    }
    field = np.zeros(shape)
    field += 1.0  # the simulation's own, which is there before anything is counted
    with Bridge(scheduler, comm, arrays, depth=depth) as bridge:
        before = peak()
        for step in range(n_steps):
            bridge.put(step, field=field)
        grown = comm.gather(peak() - before)
        waited = comm.allreduce(bridge.seconds_waited, MPI.MAX)
    if comm.rank == 0:
        print(json.dumps({"grown": grown, "waited": waited, "n_put": bridge.n_put}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
