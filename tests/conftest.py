"""Fixtures and marks that every test shares."""

import contextlib
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import dask
import hypothesis
import pytest

from dask_exa.apps.launching import find_mpiexec

# The first call of a Numba kernel compiles it, which is not a test that has become slow.
hypothesis.settings.register_profile("dask_exa", deadline=None)
hypothesis.settings.load_profile("dask_exa")

ROOT = Path(__file__).resolve().parents[1]

# A test that asks for the fixture gets the mark.
MARK_OF_FIXTURE = {"client": "distributed", "shared_data": "data", "slurm": "slurm"}
CANNOT_RUN = 77  # the exit code with which ci/slurm.sh says why


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real simulation outputs, which are not part of the repository."""
    named = os.environ.get("DASK_EXA_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        where = f"DASK_EXA_TEST_DATA={named}" if named else "../shared/data (DASK_EXA_TEST_DATA)"
        pytest.skip(f"needs real simulation outputs: {where} is not a folder")
    return folder


@pytest.fixture(scope="session")
def client():
    """Client of the one cluster of the test run: two worker processes of one thread each.

    It is the current client in the tests that ask for it, and in no others.
    """
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as session_client,
    ):
        yield session_client


@pytest.fixture(scope="session")
def mpiexec():
    """Function that runs Python on MPI ranks, from the root of the repository.

    ``mpiexec(4, "script.py", "--option")`` returns what all ranks have printed. A rank that fails,
    or 60 seconds, fail the test. ``mpiexec.command(4, "script.py")`` is what would be run.
    """

    def command(n_ranks, *arguments):
        return [find_mpiexec(), "-n", str(n_ranks), sys.executable, *map(str, arguments)]

    def run(n_ranks, *arguments, timeout=60):
        done = subprocess.run(
            command(n_ranks, *arguments),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    run.command = command
    return run


@pytest.fixture(scope="session")
def slurm():
    """A SLURM of four nodes with two cores each on this machine, whose commands work in the tests.

    ci/slurm.sh starts it, and installs it first where it has to.
    """
    script = ROOT / "ci/slurm.sh"
    folder = tempfile.mkdtemp(prefix="dask-exa-slurm-")
    os.chmod(folder, 0o755)  # munged runs as a user of its own
    started = subprocess.run([script, "start", folder], capture_output=True, text=True, check=False)
    if started.returncode == CANNOT_RUN:
        pytest.skip(started.stderr.splitlines()[-1])
    assert started.returncode == 0, started.stderr
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
            yield
    finally:
        subprocess.run([script, "stop", folder], check=True)
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _current_client(request):
    with contextlib.ExitStack() as stack:
        # clients that are closed in another order than they came leave the name of one behind
        stack.enter_context(dask.config.set(scheduler=None))
        if "client" in request.fixturenames:
            stack.enter_context(request.getfixturevalue("client").as_current())
        yield


@functools.cache
def _missing(mark):
    """Return why tests with this mark cannot run here, or None."""
    if mark == "gpu":
        if importlib.util.find_spec("cupy") is None:
            return "needs CuPy: pip install 'dask-exa[gpu]'"
        import cupy

        try:
            cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            return f"needs a GPU: {error}"
    if mark == "mpi":
        if importlib.util.find_spec("mpi4py") is None:
            return "needs mpi4py: pip install 'dask-exa[mpi]'"
        if find_mpiexec() is None:
            return "needs mpiexec beside Python or on the PATH: pip install mpich"
    if mark == "slurm" and os.geteuid() != 0:
        return "needs root, to start a SLURM on this machine"
    if mark == "slurm" and not (shutil.which("sbatch") or shutil.which("apt-get")):
        return "needs SLURM, or apt-get to install it"
    return None


def _turn(item):
    """Return when to run a test: fast ones first, then worker processes, then slow ones."""
    if item.get_closest_marker("slow"):
        return 2
    return 1 if item.get_closest_marker("distributed") else 0


@pytest.hookimpl(tryfirst=True)  # before -m selects by the marks given here
def pytest_collection_modifyitems(items):
    for item in items:
        for fixture, mark in MARK_OF_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
        for mark in ("gpu", "mpi", "slurm"):
            if item.get_closest_marker(mark) and (reason := _missing(mark)):
                item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=_turn)
