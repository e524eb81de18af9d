"""Ranks that hand chunks to our bridge and to DEISA's in turn; see `benchmarks/_put.py`."""

import json
import os
import statistics
import sys
import time
from functools import partial

import numpy as np
from mpi4py import MPI

from dask_exa.insitu import Bridge

MIB = 1 << 20


def median_ms(seconds):
    return 1e3 * statistics.median(seconds)


class Clock:
    """Times of what all ranks do between two barriers."""

    def __init__(self, comm):
        self.comm = comm

    def time(self, function):
        """Return the seconds of the slowest rank in a call, and to the end of the barrier."""
        self.comm.Barrier()
        start = time.perf_counter()
        function()
        own = time.perf_counter() - start
        self.comm.Barrier()
        both = time.perf_counter() - start
        return self.comm.allreduce(own, MPI.MAX), both


def main(ours, theirs, mode, n_rounds):
    comm = MPI.COMM_WORLD
    rank, n_ranks, clock = comm.rank, comm.size, Clock(comm)
    sizes = {"small": 1, "large": 64}
    n_steps = {"small": 20, "large": 4}
    shapes = {name: (size, MIB // 8) for name, size in sizes.items()}
    arrays = {
        name: {
            "global_shape": (n_ranks * shape[0], shape[1]),
            "chunk_shape": shape,
            "chunk_position": (rank, 0),
        }
        for name, shape in shapes.items()
    }
    bridge = Bridge(ours, comm, arrays, mode=mode)
    os.environ["DEISA_DASK_SCHEDULER_ADDRESS"] = theirs
    import deisa.dask

    peer = deisa.dask.Bridge(comm, arrays)
    fields = {name: np.full(shape, float(rank)) for name, shape in shapes.items()}
    found, addresses, step, sent = {}, [], 0, 0
    for name in sizes:
        pause = 0.01 if name == "small" else 0.2  # in the place of a time step that is computed
        rows = []
        for n in range(n_rounds + 1):
            put, send, alone = [], [], []
            for _ in range(n_steps[name]):
                if mode == "handover":  # the simulation computes into a buffer of the bridge
                    given = bridge.buffer(name)
                    given[...] = step
                else:
                    given = fields[name]
                time.sleep(pause)
                alone.append(clock.time(lambda: None)[1])
                put.append(clock.time(partial(bridge.put, step, **{name: given})))
                address = given.__array_interface__["data"][0]
                addresses.append(comm.gather(address))
                step += 1
                del given
            settle(bridge, comm)
            for _ in range(n_steps[name]):
                time.sleep(pause)
                sent += 1
                send.append(clock.time(partial(peer.send, name, fields[name], sent)))
            time.sleep(pause)
            comm.Barrier()
            if n > 0:  # the first round warms up
                rows.append(
                    {
                        "barrier": median_ms(alone),
                        "put": median_ms([own for own, _ in put]),
                        "put + barrier": median_ms([both for _, both in put]),
                        "deisa": median_ms([own for own, _ in send]),
                        "deisa + barrier": median_ms([both for _, both in send]),
                    }
                )
        copy = copies(fields[name], clock)
        found[name] = {"rounds": rows, "copy": copy}
    peer.close(sent)
    bridge.close()
    if rank == 0:
        print(json.dumps({"found": found, "addresses": addresses}))


def settle(bridge, comm):
    """Wait until analytics has released all steps."""
    while comm.allreduce(len(bridge.held_steps)):
        time.sleep(0.01)


def copies(field, clock):
    """Return the milliseconds of one copy of a chunk on every rank at a time."""
    target = np.empty_like(field)
    np.copyto(target, field)
    return median_ms([clock.time(lambda: np.copyto(target, field))[0] for _ in range(5)])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
