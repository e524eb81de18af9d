"""A simulation on MPI ranks for the tests: rank three, two variables, and faults on request."""

import argparse
import os
import sys
import time

import numpy as np

from dask_exa.insitu import Bridge

N_ROWS, N_COLUMNS = 4, 16


def fields(step, n_rows):
    """Return the whole density and potential of a step."""
    modes = np.random.default_rng(0).normal(size=(3, n_rows, N_COLUMNS))
    density = np.tensordot(np.cos(np.arange(1, 4) * 0.3 * step), modes, 1)
    return {"density": density, "potential": 1 - 2 * density[::-1]}


def say(text):
    """Print a line in one piece, which those of other ranks do not cut."""
    sys.stdout.write(f"{text}\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("n_steps", type=int)
    parser.add_argument("--alone", action="store_true", help="one rank, without MPI")
    parser.add_argument("--fault", choices=["start", "raise", "kill", "nan"], default="")
    parser.add_argument("--at", type=int, default=-1)
    parser.add_argument("--seconds", type=float, default=0.0, help="of a step")
    options = parser.parse_args()
    comm = None
    if not options.alone:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    rank, n_ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if options.fault == "start":
        say("no input file")
        raise SystemExit(4)
    array = {
        "global_shape": (N_ROWS * n_ranks, N_COLUMNS),
        "chunk_shape": (N_ROWS, N_COLUMNS),
        "chunk_position": (rank, 0),
        "dims": ("y", "x"),
    }
    rows = slice(N_ROWS * rank, N_ROWS * (rank + 1))
    with Bridge(comm=comm, arrays={"density": array, "potential": array}) as bridge:
        for step in range(options.n_steps):
            if bridge.should_stop():
                say(f"rank {rank} stops before step {step}: {bridge.stop_reason}")
                break
            time.sleep(options.seconds)
            is_faulty = step == options.at and rank == n_ranks - 1
            if is_faulty and options.fault == "raise":
                raise FloatingPointError("diverged")
            if is_faulty and options.fault == "kill":
                os.kill(os.getpid(), 9)
            values = {
                name: field[rows].copy() for name, field in fields(step, N_ROWS * n_ranks).items()
            }
            if is_faulty and options.fault == "nan":
                values["density"][0, 0] = np.nan
            bridge.put(step, time=0.5 * step, **values)
            say(f"rank {rank} has put step {step}")


if __name__ == "__main__":
    main()
