"""Jobs of a real SLURM: workers that learn and may be cancelled, and a simulation."""

import collections
import concurrent.futures
import json
import os
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from dask_exa.apps.cluster import connect
from dask_exa.apps.slurm import SlurmJobs, slurm_cluster
from dask_exa.cli import main
from dask_exa.datasets import Tokam2D
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import bring_home
from dask_exa.insitu import Stream
from tests.inputs.streams import make_steps, matrix
from tests.waiting import wait_until

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.distributed,
    # not imported here: that would change the answer to Ctrl-C for all other tests
    pytest.mark.skipif(not find_spec("dask_jobqueue"), reason="dask-jobqueue is not installed"),
]

ROOT = Path(__file__).resolve().parents[2]
N_COMPONENTS = 6


@pytest.fixture(scope="module")
def slurm_settings(slurm, tmp_path_factory):
    """What a user has in Dask's configuration."""
    settings = {
        "jobqueue.slurm.interface": "lo",
        "jobqueue.slurm.memory": "1 GB",
        "jobqueue.slurm.log-directory": str(tmp_path_factory.mktemp("logs")),
        "jobqueue.slurm.scheduler-options": {"dashboard_address": ":0"},
        # time that a lost worker has to come back before its job is replaced
        "distributed.deploy.lost-worker-timeout": "1s",
    }
    with dask.config.set(settings):
        yield


@pytest.fixture(scope="module")
def jobs(slurm_settings, tmp_path_factory):
    """Client of a cluster of two jobs, whose scheduler file is its attribute `scheduler_file`."""
    file = tmp_path_factory.mktemp("cluster") / "scheduler.json"
    with (
        slurm_cluster(2, partition="debug", scheduler_file=file) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.scheduler_file = file
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Path of an HDF5 file of 2D turbulence: of the real code, or of the built-in one."""
    named = os.environ.get("DASK_EXA_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    path = folder / "tokam2d/sol/simulation_fields.h5"
    if path.is_file():
        return path
    path = tmp_path_factory.mktemp("fields") / "simulation_fields.h5"
    simulation = Tokam2D.sol(shape=(32, 32), length=32.0, rk4_steps_per_frame=20)
    density = np.stack([step.density.values for step in simulation.run(64)])
    with h5py.File(path, "w") as file:
        file["density"] = density
    return path


def squeue(*options):
    command = ["squeue", "--noheader", "--format=%A", *options]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


class Gate:
    """A field as a Dask array of eight chunks; every process stops before it reads a third one.

    Parameters
    ----------
    path : Path
    layout : {"rows", "columns"}
        Along what the chunks lie.
    folder : Path
        Where processes leave notes of what they read, and find the gate open.
    """

    def __init__(self, path, layout, folder):
        with h5py.File(path) as file:
            density = file["density"][()]
        n_steps, width = len(density), density.shape[1] // 32
        self.folder = folder
        self.values = density[:, ::width, ::width].reshape(n_steps, -1).astype(float)

        def read(chunk, block_info=None):
            # pickled as it is: workers have no tests to import
            process, block = os.getpid(), block_info[0]["chunk-location"]
            if len(list(folder.glob(f"read-{process}-*"))) == 2:
                (folder / f"waits-{process}").touch()
                deadline = time.monotonic() + 120
                while not (folder / "open").exists():
                    if time.monotonic() > deadline:
                        raise TimeoutError("the gate did not open")
                    threading.Event().wait(0.02)
            (rows, columns) = block_info[0]["array-location"]
            with h5py.File(path) as file:
                density = file["density"][slice(*rows), ::width, ::width].astype(float)
            (folder / f"read-{process}-{block[0]}-{block[1]}").touch()
            return density.reshape(len(density), -1)[:, slice(*columns)]

        n_features = self.values.shape[1]
        chunks = (n_steps // 8, n_features) if layout == "rows" else (n_steps, n_features // 8)
        places = da.zeros(self.values.shape, chunks=chunks, dtype=bool)
        self.array = places.map_blocks(read, dtype=float, meta=np.empty((0, 0)))

    def open(self):
        """Let all processes go on."""
        (self.folder / "open").touch()

    def waiting(self):
        """Return the processes that have come to the gate."""
        return {int(note.name.partition("-")[2]) for note in self.folder.glob("waits-*")}

    def blocks_by_process(self):
        """Return the chunks that each process has read."""
        read = collections.defaultdict(set)
        for note in self.folder.glob("read-*"):
            _, process, block = note.name.split("-", 2)
            read[int(process)].add(block)
        return read


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_a_fit_survives_a_cancelled_job(jobs, fields, layout, tmp_path):
    gate = Gate(fields, layout, tmp_path)
    job_of = dict(jobs.run(lambda: (os.getpid(), os.environ["SLURM_JOB_ID"])).values())
    model = IncrementalPCA(N_COMPONENTS, layout=layout)

    def fit():
        with jobs.as_current():
            return model.fit(gate.array)

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        fitting = executor.submit(fit)
        wait_until(lambda: gate.waiting() >= set(job_of), "both workers are amid the fit")
        victim = min(job_of)
        before = squeue("--states=RUNNING")
        assert before == set(job_of.values())
        subprocess.run(["scancel", job_of[victim]], check=True)
        wait_until(lambda: len(squeue("--states=RUNNING") - before) == 1, "the job is replaced")
        assert not fitting.done()
        gate.open()
        fitting.result(60)
    jobs.wait_for_workers(2, timeout=60)
    assert job_of[victim] not in squeue("--states=RUNNING")

    read = gate.blocks_by_process()
    assert len(read[victim]) == 2  # what it had learnt was lost with it
    others = set().union(*(blocks for process, blocks in read.items() if process != victim))
    assert read[victim] <= others
    assert len(others) == gate.array.npartitions

    X = gate.values
    with jobs.as_current():
        components, mean = map(np.asarray, (model.components_, model.mean_))
    assert model.n_samples_seen_ == len(X)
    _, s, Vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(model.singular_values_, s[:N_COMPONENTS], rtol=1e-10)
    np.testing.assert_allclose(mean, X.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(np.abs(components @ Vt[:N_COMPONENTS].T), np.eye(6), atol=1e-10)
    memory = IncrementalPCA(N_COMPONENTS).fit(X)
    np.testing.assert_allclose(components, memory.components_, atol=1e-10)


@pytest.mark.mpi
@pytest.mark.parametrize("launcher", ["srun", "mpiexec"])
def test_a_simulation_that_is_a_job_puts_steps(jobs, mpiexec, launcher):
    """What it has learnt stays on the workers when the job of the simulation has ended."""
    n_steps = 12
    command = mpiexec.command(
        2, "-m", "tests.insitu.put_steps", jobs.scheduler_file, launcher, n_steps
    )
    if launcher == "srun":
        command = ["srun", "--nodes=1", "--ntasks=2", "--mpi=pmi2", *command[3:]]
    else:
        command = ["salloc", "--quiet", "--nodes=2", "--ntasks=2", *command]
    simulation = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    model = IncrementalPCA(3, sample_dims="time")
    try:
        with jobs.as_current(), Stream(jobs, launcher, timeout=60) as stream:
            run = stream.run({"density": model}, progress=False)
        simulation.wait(60)
    finally:
        simulation.terminate()  # which ends the job too
        printed = simulation.communicate(timeout=60)[0]
        print(printed)
    assert simulation.returncode == 0
    assert all(f"rank {rank} has put {n_steps} steps" in printed for rank in range(2))
    steps = make_steps(n_steps)
    assert run.timesteps == [int(step.timestep) for step in steps]
    assert (stream.faults, stream.n_dropped) == ([], 0)
    memory = IncrementalPCA(3).fit(matrix(steps))
    with jobs.as_current():
        components = np.asarray(bring_home(model).components_)
    np.testing.assert_allclose(model.singular_values_, memory.singular_values_, rtol=1e-10)
    np.testing.assert_allclose(components.reshape(3, -1), memory.components_, atol=1e-10)


def test_watch_on_jobs_learns_what_it_learns_here(slurm_settings, fields, tmp_path):
    def singular_values(*options):
        out = tmp_path / str(len(options))
        command = ["watch", fields, "--variable", "density", "--steps", 4, "--components", 2]
        command += ["--out", out, *options]
        found = CliRunner().invoke(main, list(map(str, command)))
        assert found.exit_code == 0, found.output
        return json.loads((out / "summary.json").read_text())["fitted"]["density"][
            "singular_values"
        ]

    before = squeue("--states=RUNNING")
    there = singular_values("--cluster", "slurm", "--jobs", 1, "--partition", "debug")
    assert squeue("--states=RUNNING") == before  # the job has ended with the command
    np.testing.assert_allclose(there, singular_values(), rtol=1e-6)


def test_what_slurm_refuses_is_said_in_its_words(slurm_settings):
    message = r"SLURM refuses such jobs: .*invalid partition.*nonsense"
    with pytest.raises(ValueError, match=message):
        slurm_cluster(1, partition="nonsense")


def test_jobs_that_do_not_come_are_given_up(slurm_settings):
    before = squeue("--states=RUNNING")
    with (
        pytest.raises(
            TimeoutError, match=r"1 jobs of SLURM did not all come within timeout=0\.2 s"
        ),
        connect(SlurmJobs(1, "debug", timeout=0.2)),
    ):
        pass
    wait_until(lambda: squeue("--states=PENDING,RUNNING") == before, "the job is cancelled")
