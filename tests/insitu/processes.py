"""Ranks and analytics as processes of their own, for tests that kill and pause them.

    python -m tests.insitu.processes simulate SCHEDULER FOLDER '{"rank": 0, ...}'
    python -m tests.insitu.processes analyse SCHEDULER FOLDER '{"stream": ...}'

They say what they have to say in files in FOLDER. Ranks also agree through files, as an mpiexec
ends all ranks when one is killed.
"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs.step_log import read_log
from dask_exa.insitu import Bridge, Stream
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
N_RANKS, N_ROWS, N_COLUMNS = 3, 2, 8


def field(step):
    """Return what all ranks together put at a step: three modes, which a model learns exactly."""
    modes = np.random.default_rng(0).normal(size=(3, N_RANKS * N_ROWS * N_COLUMNS))
    values = np.random.default_rng(step + 1).normal(size=3) @ modes
    return values.reshape(N_RANKS * N_ROWS, N_COLUMNS)


def model(layout="columns"):
    return IncrementalPCA(3, sample_dims="time", layout=layout)


class Files:
    """What `Bridge` needs of a communicator, between processes of which some may be killed."""

    def __init__(self, folder, rank):
        self.folder, self.rank, self._n_gathered, self._n_reduced = folder, rank, 0, 0
        self._mine = self._path(rank).open("ab", buffering=0)

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return N_RANKS

    def allgather(self, value):
        self._n_gathered += 1
        say(self.folder, f"gather-{self._n_gathered}-{self.rank}", pickle.dumps(value).hex())
        names = [f"gather-{self._n_gathered}-{rank}" for rank in range(N_RANKS)]
        return [pickle.loads(bytes.fromhex(hear(self.folder, name))) for name in names]

    def bcast(self, value, root):
        return self.allgather(value)[root]

    def Iallreduce(self, mine, total):
        self._mine.write(mine.tobytes())
        self._n_reduced += 1
        return Reduction([self._path(rank) for rank in range(N_RANKS)], self._n_reduced, total)

    def _path(self, rank):
        return self.folder / f"reduce-{rank}.int64"


class Reduction(NamedTuple):
    """A sum over ranks that is under way."""

    paths: list
    number: int
    total: np.ndarray

    def Test(self):
        if any(not path.exists() or path.stat().st_size < 8 * self.number for path in self.paths):
            return False
        at = 8 * (self.number - 1)
        self.total[0] = sum(np.fromfile(path, np.int64, 1, offset=at)[0] for path in self.paths)
        return True


def simulate(scheduler, folder, rank, stream="simulation", n_steps=None, asks=True, **options):
    """Put steps until asked to stop; say how it ended."""
    comm, step, started = Files(folder, rank), -1, time.monotonic()
    declared = {
        "global_shape": (N_RANKS * N_ROWS, N_COLUMNS),
        "chunk_shape": (N_ROWS, N_COLUMNS),
        "chunk_position": (rank, 0),
        "dims": ("y", "x"),
    }
    say(folder, f"rank-{rank}-pid", os.getpid())
    rows = slice(rank * N_ROWS, (rank + 1) * N_ROWS)
    told = {"rank": rank, "error": "", "reason": ""}
    try:
        with Bridge(scheduler, comm, {"density": declared}, stream=stream, **options) as bridge:
            while step + 1 != n_steps and not (asks and bridge.should_stop()):
                step += 1
                bridge.put(step, density=field(step)[rows])
            told["reason"] = bridge.stop_reason
            told |= {"n_put": bridge.n_put, "n_dropped": bridge.n_dropped}
    except Exception as error:
        told["error"] = f"{type(error).__name__}: {error}"
    told |= {"last": step, "seconds": time.monotonic() - started, "at": time.time()}
    say(folder, f"rank-{rank}", told)


def analyse(scheduler, folder, stream="simulation", n_steps=None, timeout=20.0, **options):
    """Learn a stream with checkpoints and a log, and say what was learnt."""
    from distributed import Client

    say(folder, "analytics-pid", os.getpid())
    learner = model()
    with Client(scheduler) as client, Stream(client, stream, timeout=timeout) as live:
        run = live.run(
            learner,
            n_steps=n_steps,
            checkpoint=folder / "run.zarr",
            log=folder / "steps.jsonl",
            progress=False,
            **options,
        )
        live.stop("analytics has seen enough")
        told = {"timesteps": run.timesteps, "skipped": {**run.skipped}, "faults": live.faults}
        values = np.asarray(learner.singular_values_).tolist()
    say(folder, "analytics", {**told, "n_dropped": live.n_dropped, "singular_values": values})


def say(folder, name, what):
    """Write a file at once, so that nobody reads half of it."""
    partial = folder / f"{name}.partial"
    partial.write_text(json.dumps(what))
    partial.rename(folder / f"{name}.json")


def hear(folder, name, timeout=30):
    """Return what a process has said, as soon as it has."""
    path = folder / f"{name}.json"
    wait_until(path.exists, f"{name} is written", timeout)
    return json.loads(path.read_text())


def learnt(folder):
    """Return the steps that the log of analytics has as learnt."""
    path = folder / "steps.jsonl"
    lines = read_log(path) if path.exists() else {}
    return [step for step, line in lines.items() if line["state"] == "learnt"]


@contextlib.contextmanager
def process(command, folder, name):
    """Run a command in the background; it is killed at the end if it has not ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / f"{name}.out").open("w") as output:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()


@contextlib.contextmanager
def ranks(scheduler, folder, **options):
    """Run `simulate` on all ranks."""
    with contextlib.ExitStack() as stack:
        for rank in range(N_RANKS):
            arguments = ["simulate", scheduler, str(folder), json.dumps({"rank": rank, **options})]
            command = [sys.executable, "-m", __name__, *arguments]
            stack.enter_context(process(command, folder, f"rank-{rank}"))
        yield


def analytics(scheduler, folder, **options):
    """Run `analyse`."""
    arguments = ["analyse", scheduler, str(folder), json.dumps(options)]
    return process([sys.executable, "-m", __name__, *arguments], folder, "analytics")


if __name__ == "__main__":
    role, address, where, given = sys.argv[1:]
    {"simulate": simulate, "analyse": analyse}[role](address, Path(where), **json.loads(given))
