"""Ranks of MPI for the benchmarks in situ: how they are started, and where they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dask_exa.apps.launching import find_mpiexec

N_RANKS = 4
SCRIPTS = Path(__file__).parent / "_ranks"

# More ranks than cores: who waits in MPI gives its core to the others, for all that is measured.
YIELDING = {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}


class Job:
    """Some ranks that run a script of `SCRIPTS`.

    Parameters
    ----------
    script : str
        Its name.
    *arguments : str or number
        For all ranks.
    n_ranks : int
    """

    def __init__(self, script: str, *arguments: Any, n_ranks: int = N_RANKS) -> None:
        mpiexec = find_mpiexec()
        if mpiexec is None:
            raise RuntimeError("no mpiexec is installed; pip install mpich brings one.")
        command = [mpiexec, "-n", str(n_ranks), sys.executable, str(SCRIPTS / script)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **YIELDING}
        # functions of the benchmark's modules run on the ranks
        environment["PYTHONPATH"] = str(SCRIPTS.parent)
        self._process = subprocess.Popen(
            [*command, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, text=True
        )

    def result(self) -> Any:
        """Wait for the end, and return what rank 0 has printed in JSON as its last line."""
        out, _ = self._process.communicate(timeout=300)
        if self._process.returncode:
            raise RuntimeError(f"the ranks have failed, with status {self._process.returncode}.")
        return json.loads(out.strip().splitlines()[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()  # mpiexec ends its ranks
            self._process.communicate()


@contextmanager
def on_cores(cores: Iterable[int] | None) -> Iterator[None]:
    """Run this thread, and those that it starts meanwhile, on some cores; None: on all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if cores is None else set(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
