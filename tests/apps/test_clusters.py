"""Which clusters a use case takes, and what it says where there is none."""

import json
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from dask_exa.apps.cluster import connect
from dask_exa.apps.slurm import SlurmJobs, slurm_cluster
from dask_exa.cli import main

distributed = pytest.importorskip("distributed")


@pytest.mark.distributed
@pytest.mark.parametrize("way", ["address", "file", "path", "cluster"])
def test_every_way_to_name_a_cluster(client, tmp_path, way):
    """The file is the one of `dask scheduler --scheduler-file` and `dask-mpi --scheduler-file`."""
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": client.scheduler.address}))
    address = client.scheduler.address
    named = {"address": address, "file": str(file), "path": file, "cluster": client.cluster}[way]
    with connect(named) as connected:
        assert connected.scheduler.address == address
        assert connected.submit(sum, (1, 2)).result() == 3
    assert client.cluster.status is distributed.Status.running


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "is not there"),
        ('{"type": "Schedul', "has no address of a scheduler in it"),
        ("[]", "has no address of a scheduler in it"),
    ],
)
def test_a_scheduler_file_that_does_not_come_is_named(tmp_path, text, fault):
    file = tmp_path / "scheduler.json"
    if text is not None:
        file.write_text(text)
    message = rf"scheduler='.*scheduler\.json' {fault} within timeout=0\.1 s; pass the file"
    with pytest.raises(TimeoutError, match=message), connect(file, timeout=0.1):
        pass


@pytest.mark.distributed
def test_a_scheduler_file_is_waited_for(client, tmp_path):
    file = tmp_path / "scheduler.json"
    later = threading.Timer(
        0.2, file.write_text, [json.dumps({"address": client.scheduler.address})]
    )
    later.start()
    with connect(file) as connected:
        assert connected.scheduler.address == client.scheduler.address
    later.join()


def test_without_dask_jobqueue_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ImportError, match=r"pip install 'dask-exa\[hpc\]'"):
        slurm_cluster(2)
    found = CliRunner().invoke(
        main, ["watch", "x.h5", "--out", str(tmp_path), "--cluster", "slurm"]
    )
    assert found.exit_code == 1
    assert found.stderr == "Error: jobs of SLURM need dask-jobqueue: pip install 'dask-exa[hpc]'\n"


@pytest.mark.distributed
def test_without_slurm_the_error_says_where_to_run(monkeypatch, tmp_path):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no sbatch on the PATH; run this where jobs are"):
        slurm_cluster(2, scheduler_options={"dashboard_address": ":0"})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: slurm_cluster(0), ValueError, "n_jobs=0 must be an int of at least 1"),
        (lambda: connect(SlurmJobs(timeout=0)).__enter__(), ValueError, "timeout=0"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("option", ["--jobs=2", "--partition=debug"])
def test_options_of_jobs_need_slurm(option):
    found = CliRunner().invoke(main, ["doctor", "--cluster", "tcp://127.0.0.1:9", option])
    assert found.exit_code == 2
    assert "--jobs and --partition need --cluster slurm." in found.stderr


def test_dask_jobqueue_leaves_ctrl_c_to_us():
    """In a fresh process, as importing it twice changes nothing."""
    code = (
        "import signal; from dask_exa.apps.slurm import _import_jobqueue; _import_jobqueue(); "
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
