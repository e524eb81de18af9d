"""Clusters that dask-mpi makes of MPI ranks, alone and with a simulation beside them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from dask_exa.apps.cluster import connect
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import bring_home
from dask_exa.insitu import Stream
from tests.inputs.streams import make_steps, matrix

pytest.importorskip("distributed")
pytest.importorskip("dask_mpi")
pytestmark = [pytest.mark.mpi, pytest.mark.slow, pytest.mark.distributed]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ("-m", "tests.insitu.dask_mpi_fit")


def test_ranks_are_scheduler_client_and_workers(mpiexec):
    """The ranks themselves compare with NumPy, to 1e-10."""
    printed = mpiexec(4, *PROGRAM, "fit")
    assert printed.splitlines()[-1] == "learnt on workers of ranks [2, 3]"


def test_a_simulation_has_ranks_of_the_same_job(mpiexec):
    printed = mpiexec(5, *PROGRAM, "stream").splitlines()
    assert sorted(printed) == [
        "learnt 12 steps",
        "rank 3 has put 12 steps",
        "rank 4 has put 12 steps",
    ]


def test_a_simulation_and_this_process_meet_by_the_scheduler_file(mpiexec, tmp_path):
    file = tmp_path / "scheduler.json"
    of_dask = ["-m", "dask_mpi.cli", "--scheduler-file", file, "--local-directory", tmp_path]
    of_dask += ["--worker-class", "distributed.Worker", "--no-dashboard"]
    model = IncrementalPCA(3, sample_dims="time")
    with (
        subprocess.Popen(mpiexec.command(2, *of_dask), cwd=ROOT) as dask_ranks,
        subprocess.Popen(
            mpiexec.command(2, "-m", "tests.insitu.put_steps", file, "file", 12), cwd=ROOT
        ) as simulation,
    ):
        try:
            with connect(file, timeout=60) as client:
                with Stream(client, "file", timeout=60) as stream:
                    stream.run({"density": model}, progress=False)
                components = np.asarray(bring_home(model).components_).reshape(3, -1)
                assert simulation.wait(30) == 0
                client.shutdown()
            assert dask_ranks.wait(30) == 0
        finally:
            simulation.kill()
            dask_ranks.kill()
    memory = IncrementalPCA(3).fit(matrix(make_steps(12)))
    np.testing.assert_allclose(components, memory.components_, atol=1e-10)
