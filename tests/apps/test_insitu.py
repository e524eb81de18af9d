"""`dask-exa insitu`: ranks are started, learnt, stopped, and explained when they fail."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dask_exa.apps import launching
from dask_exa.apps.launching import LoggedProcess, rank_command
from dask_exa.cli import main
from dask_exa.decomposition import IncrementalPCA
from tests.apps.simulation import fields
from tests.report.schema import check_against_schema
from tests.waiting import wait_until

HERE = Path(__file__).parent
SIMULATION = str(HERE / "simulation.py")
ANALYTICS = str(HERE / "analytics.py")
ROOT = HERE.parents[1]
RESULTS = ("report.html", "summary.json", "coefficients.zarr", "basis.zarr", "checkpoint.zarr")
N_ROWS = 8
"""Of two ranks."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Ranks on few cores, which import the package as the tests do."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def call(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(main, ["insitu", *map(str, arguments)])


def summary_of(folder):
    summary = json.loads((folder / "summary.json").read_text())
    check_against_schema(summary)
    return summary


def in_memory(n_steps, name="density"):
    """Return the model that the steps give when they are learnt at once."""
    X = np.stack([fields(step, N_ROWS)[name].ravel() for step in range(n_steps)])
    return IncrementalPCA(3).fit(X)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ranks_are_started_by_mpiexec_or_what_is_asked_for(tmp_path, monkeypatch):
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text("#!/bin/sh\n")
    mpiexec.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = rank_command(SIMULATION, ["--alone", "3"], 4)
    assert found == [
        str(mpiexec), "-n", "4", str(tmp_path / "python"), SIMULATION, "--alone", "3"
    ]  # fmt: skip
    assert rank_command("sh", ["x.yml"], 4, "env RANKS={ranks} A='b c'") == [
        "/usr/bin/env", "RANKS=4", "A=b c", *rank_command("sh", ["x.yml"], 1, "env {ranks}")[2:]
    ]  # fmt: skip


def test_what_cannot_be_started_is_named_with_the_remedy(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"simulation='nothing.py' is not a file"):
        rank_command("nothing.py", [], 2, "env {ranks}")
    with pytest.raises(FileNotFoundError, match="neither a Python script nor a program"):
        rank_command("./gysela", [], 2, "env {ranks}")
    with pytest.raises(ValueError, match=r"write \{ranks\} there, as in 'srun"):
        rank_command(SIMULATION, [], 2, "env -n 2")
    with pytest.raises(FileNotFoundError, match="'nowhere', which is no program on the PATH"):
        rank_command(SIMULATION, [], 2, "nowhere {ranks}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(launching.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no mpiexec .* mpich, load the MPI .*--launcher"):
        rank_command(SIMULATION, [], 2)


def test_process_is_logged_and_its_failure_explained(tmp_path, capfd):
    code = "import sys\nfor i in range(30): print('line', i)\nsys.exit(3)"
    with LoggedProcess("simulation", [sys.executable, "-c", code], tmp_path, {}) as process:
        assert process.wait() == 3
    assert process.failure() == "the simulation ended with exit status 3"
    text = process.describe_failure()
    assert "line 29" in text
    assert "line 9\n" not in text
    assert (tmp_path / "simulation.log").read_text().splitlines() == [
        f"line {i}" for i in range(30)
    ]
    assert "simulation | line 0\n" in capfd.readouterr().err
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    with LoggedProcess("simulation", command, tmp_path, {}) as process:
        process.wait()
    assert process.failure() == "the simulation ended with signal SIGSEGV"


def test_process_ends_with_all_that_it_has_started(tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "GRACE", 0.3)
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],\n"
        "    preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))\n"
        "print(child.pid)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    with LoggedProcess("simulation", command, tmp_path, {}, is_shown=False) as process:
        wait_until(lambda: process.log.read_text().endswith("\n"), "the child has started")
        child = int(process.log.read_text())
        assert process.failure() == ""
    assert not process.is_running
    assert process.failure() == ""  # it was told to end
    wait_until(lambda: not is_alive(child), "the child has ended")


def test_options_after_the_simulation_are_its_own(tmp_path):
    found = call("--out", tmp_path, "--rank", 2, SIMULATION)
    assert found.exit_code == 2
    assert "No such option" in found.stderr
    found = call("--out", tmp_path, "--launcher", "nowhere {ranks}", SIMULATION, "--out", "there")
    assert found.exit_code == 1
    assert found.stderr.startswith("Error: launcher='nowhere {ranks}' starts with 'nowhere'")


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.distributed
def test_ranks_are_learnt_as_a_whole_and_reported(tmp_path):
    out = tmp_path / "out"
    found = call("--ranks", 2, "--components", 3, "--out", out, SIMULATION, 12)
    assert found.exit_code == 0, found.output
    assert found.stdout.split() == [str(out / name) for name in RESULTS]
    summary = summary_of(out)
    assert summary["command"] == "insitu"
    assert summary["steps"]["timestep"] == list(range(12))
    assert summary["steps"]["time"] == [0.5 * step for step in range(12)]
    assert summary["faults"] == []
    for name in ("density", "potential"):
        expected = in_memory(12, name).singular_values_
        np.testing.assert_allclose(summary["fitted"][name]["singular_values"], expected, rtol=1e-6)
    log = (out / "simulation.log").read_text().splitlines()
    for rank in range(2):
        lines = [line for line in log if line.startswith(f"rank {rank} ")]
        assert lines == [f"rank {rank} has put step {step}" for step in range(12)]
    page = (out / "report.html").read_text()
    assert "simulation.py 12" in page


@pytest.mark.mpi
@pytest.mark.slow
def test_alarm_stops_all_ranks_at_one_step(client, tmp_path):
    address = client.scheduler.address
    found = call(
        "--cluster", address, "--out", tmp_path, "--stop-on-alarm", "--variable", "density",
        "--quiet", SIMULATION, 500, "--fault", "nan", "--at", 5,
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert "has put step" not in found.stderr
    summary = summary_of(tmp_path)
    assert summary["steps"]["timestep"] == list(range(6))
    assert list(summary["fitted"]) == ["density"]
    assert summary["stopped"].startswith("stopped at the alarm of step 5: density has 1 of 128")
    log = (tmp_path / "simulation.log").read_text()
    ends = {line.split(": ")[0].split()[-1] for line in log.splitlines() if "stops before" in line}
    assert len(ends) == 1
    assert int(ends.pop()) <= 5 + 2 + 2  # the depth of the bridge, and the one being computed
    assert log.count("stopped at the alarm of step 5") == 2


@pytest.mark.mpi
@pytest.mark.slow
def test_rank_that_raises_is_explained_and_the_steps_before_it_are_there(client, tmp_path):
    address = client.scheduler.address
    found = call(
        "--cluster", address, "--out", tmp_path, "--components", 3,
        SIMULATION, 50, "--fault", "raise", "--at", 6,
    )  # fmt: skip
    assert found.exit_code == 1
    assert "Error: the simulation ended with exit status 1. The last lines of" in found.stderr
    assert "FloatingPointError: diverged" in found.stderr
    summary = summary_of(tmp_path)
    assert summary["steps"]["timestep"] == list(range(6))
    expected = in_memory(6).singular_values_
    np.testing.assert_allclose(summary["fitted"]["density"]["singular_values"], expected, rtol=1e-6)
    assert "rank 1 raised FloatingPointError: diverged" in summary["faults"]
    assert summary["faults"][-1] == "the simulation ended with exit status 1"
    assert "What was lost" in (tmp_path / "report.html").read_text()


@pytest.mark.mpi
@pytest.mark.slow
def test_rank_that_is_killed_leaves_the_results_of_the_checkpoint(client, tmp_path):
    address = client.scheduler.address
    options = ("--cluster", address, "--components", 3, "--checkpoint-every", 4)
    killed = (SIMULATION, 50, "--fault", "kill", "--at", 6, "--seconds", 0.2)
    found = call(*options, "--out", tmp_path, *killed)
    assert found.exit_code == 1
    assert "Error: the simulation ended with exit status" in found.stderr
    summary = summary_of(tmp_path)
    n_seen = summary["steps"]["seen"]
    assert n_seen in (4, 6)  # 6 when all of them were learnt before the rank died
    expected = in_memory(n_seen).singular_values_
    np.testing.assert_allclose(summary["fitted"]["density"]["singular_values"], expected, rtol=1e-6)
    assert any("the results are those of the checkpoint after step" in f for f in summary["faults"])
    refused = call(*options, "--out", tmp_path, SIMULATION, 12)
    assert "pass --resume to go on" in refused.stderr
    resumed = call(*options, "--out", tmp_path, "--resume", SIMULATION, 12)
    assert resumed.exit_code == 0, resumed.output
    summary = summary_of(tmp_path)
    assert summary["steps"]["timestep"] == list(range(12))
    expected = in_memory(12).singular_values_
    np.testing.assert_allclose(summary["fitted"]["density"]["singular_values"], expected, rtol=1e-6)


@pytest.fixture
def started():
    """Return a function that starts the command in a process of its own, without MPI."""
    processes = []

    def start(out, *arguments):
        command = [sys.executable, "-c", "from dask_exa.cli import main; main()", "insitu"]
        options = ["--launcher", "env RANKS={ranks}", "--out", out, "--components", 2]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [*command, *map(str, [*options, *arguments])], text=True, **pipes
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.distributed
@pytest.mark.slow
def test_ctrl_c_stops_the_ranks_and_leaves_a_report(started, tmp_path):
    process = started(tmp_path, SIMULATION, 100_000, "--alone", "--seconds", 0.02)
    log = tmp_path / "simulation.log"
    wait_until(lambda: log.exists() and "has put step 9\n" in log.read_text(), "it runs")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout.split() == [str(tmp_path / name) for name in RESULTS]
    summary = summary_of(tmp_path)
    assert summary["interrupted"]
    assert summary["steps"]["seen"] >= 1
    assert "analytics was interrupted" in log.read_text()


@pytest.mark.distributed
@pytest.mark.slow
def test_sigterm_before_the_first_step_leaves_nothing_behind(started, tmp_path):
    process = started(tmp_path, "sh", "-c", "echo $$; exec sleep 1000")
    log = tmp_path / "simulation.log"
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "it runs")
    simulation = int(log.read_text())
    assert is_alive(simulation)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not is_alive(simulation)


@pytest.mark.distributed
@pytest.mark.slow
def test_simulation_that_fails_before_its_first_step(client, tmp_path):
    common = (
        "--cluster", client.scheduler.address, "--launcher", "env RANKS={ranks}", "--out", tmp_path
    )  # fmt: skip
    found = call(*common, SIMULATION, 3, "--alone", "--fault", "start")
    assert found.exit_code == 1
    assert "the simulation ended with exit status 4. The last lines of" in found.stderr
    assert "\n  no input file" in found.stderr
    found = call(*common, "true")
    assert found.exit_code == 1
    assert "the simulation ended without a stream 'simulation'; its ranks have to" in found.stderr
    found = call(*common, "--variable", "flux", SIMULATION, 3, "--alone")
    assert "variables=['flux'] are not in stream 'simulation'; it has density" in found.stderr


@pytest.mark.distributed
@pytest.mark.slow
def test_script_of_analytics_runs_beside_the_simulation(client, tmp_path, monkeypatch):
    common = (
        "--cluster", client.scheduler.address, "--launcher", "env RANKS={ranks}",
        "--analytics", ANALYTICS,
    )  # fmt: skip
    found = call(*common, "--out", tmp_path / "good", SIMULATION, 10, "--alone")
    assert found.exit_code == 0, found.output
    log = (tmp_path / "good/analytics.log").read_text()
    assert log == "learnt 10 steps, n_samples_seen 10\n"
    monkeypatch.setenv("TEST_FAILS_AT", "3")
    found = call(
        *common, "--on-fault", "abort", "--out", tmp_path / "bad",
        SIMULATION, 100_000, "--alone", "--seconds", 0.02,
    )  # fmt: skip
    assert found.exit_code == 1
    assert "Error: the analytics ended with exit status 1. The last lines of" in found.stderr
    assert "ArithmeticError: no idea what this is" in found.stderr
    assert "the analytics ended with exit status 1" in (tmp_path / "bad/simulation.log").read_text()
