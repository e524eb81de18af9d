"""The command line: what it writes, prints, refuses and leaves after Ctrl-C."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

import dask_exa
from dask_exa.apps.doctor import blas_advice
from dask_exa.cli import main
from dask_exa.decomposition import IncrementalPCA
from tests.report.schema import check_against_schema
from tests.test_floors import EXTRAS

RESULTS = ("report.html", "summary.json", "coefficients.zarr", "basis.zarr", "checkpoint.zarr")
COMMAND = [sys.executable, "-c", "from dask_exa.cli import main; main()"]
AVX512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl"}


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def summary_of(folder):
    summary = json.loads((folder / "summary.json").read_text())
    check_against_schema(summary)
    return summary


@pytest.fixture
def source(tmp_path):
    """Path of a small zarr array of rank six."""
    random = np.random.default_rng(0)
    values = random.normal(size=(20, 6)) @ random.normal(size=(6, 48))
    path = tmp_path / "flow.zarr"
    zarr.create_array(path, data=values.reshape(20, 6, 8), dimension_names=["time", "y", "x"])
    return path


def test_help_and_version():
    assert call("--version").output == f"dask-exa, version {dask_exa.__version__}\n"
    for command in ((), ("demo",), ("watch",), ("insitu",), ("doctor",)):
        found = call(*command, "--help")
        assert found.exit_code == 0
        assert "Usage:" in found.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys, dask_exa.cli as cli\n"
        "try: cli.main(['watch', '--help'])\n"
        "except SystemExit: print(*(m for m in sys.modules if '.' not in m))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(found.stdout.splitlines()[-1].split())
    assert not loaded & {"matplotlib", "zarr", "h5py", "distributed", "dask", "numpy", "rich"}


def test_watch_writes_what_it_prints(source, tmp_path):
    out = tmp_path / "out"
    found = call("watch", source, "--out", out, "--components", 4)
    assert found.exit_code == 0
    assert found.stdout.split() == [str(out / name) for name in RESULTS]
    assert "20/20" in found.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULTS)
    summary = summary_of(out)
    assert summary["steps"]["seen"] == 20
    assert summary["fitted"]["flow"]["n_samples_seen"] == 20
    assert not summary["interrupted"]
    assert not summary["alarms"]
    model = IncrementalPCA.load(out / "checkpoint.zarr/estimators/flow")
    assert model.n_samples_seen_ == 20


def test_results_give_the_steps_back(source, tmp_path):
    """The stored coefficients and basis are all that is needed."""
    call("watch", source, "--out", tmp_path / "out", "--components", 6)
    coefficients = xr.open_zarr(tmp_path / "out/coefficients.zarr")
    basis = xr.open_zarr(tmp_path / "out/basis.zarr", group="flow")
    back = basis["mean"] + coefficients.flow @ basis["components"]
    back = back.transpose("timestep", "y", "x")
    np.testing.assert_allclose(back, zarr.open(source)[:], atol=1e-8)
    assert coefficients.timestep.values.tolist() == list(range(20))


@pytest.mark.parametrize("first", [2, 9])
def test_resume_gives_the_same_as_no_stop(source, tmp_path, first):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    call("watch", source, "--out", whole, "--components", 4)
    call("watch", source, "--out", parts, "--components", 4, "--steps", first)
    assert summary_of(parts)["steps"]["seen"] == first
    resumed = call("watch", source, "--out", parts, "--components", 4, "--resume")
    assert resumed.exit_code == 0
    for store, group in (("coefficients.zarr", None), ("basis.zarr", "flow")):
        expected, found = (xr.open_zarr(out / store, group=group) for out in (whole, parts))
        xr.testing.assert_identical(expected, found)
    for name in ("errors", "fitted", "steps"):
        assert summary_of(whole)[name] == summary_of(parts)[name]


def test_resume_needs_a_checkpoint_of_the_same(source, tmp_path):
    out = tmp_path / "out"
    found = call("watch", source, "--out", out, "--resume")
    assert found.exit_code == 1
    assert "has no checkpoint.zarr to resume" in found.stderr
    call("watch", source, "--out", out, "--steps", 10)
    found = call("watch", source, "--out", out, "--resume", "--components", 3)
    assert "the checkpoint is of IncrementalPCA(" in found.stderr
    other = tmp_path / "other.zarr"
    zarr.create_array(other, data=np.ones((3, 2, 2)))
    found = call("watch", other, "--out", out, "--resume")
    assert "has the variables ['flow'], the source ['other']" in found.stderr


PIPELINES = {
    "scikit-learn": "from sklearn.decomposition import IncrementalPCA as P\npipeline = P(4)",
    "ours": "from dask_exa.decomposition import IncrementalPCA as P\npipeline = P(4)",
}


@pytest.mark.parametrize("name", PIPELINES)
def test_watch_takes_a_pipeline(source, tmp_path, name):
    (tmp_path / "pipeline.py").write_text(PIPELINES[name])
    options = ("--pipeline", tmp_path / "pipeline.py", "--out", tmp_path / "out")
    for more in (("--steps", 10), ("--resume",)):
        found = call("watch", source, *options, *more)
        assert found.exit_code == 0, found.stderr
    summary = summary_of(tmp_path / "out")
    assert summary["fitted"]["flow"]["n_samples_seen"] == 20
    assert summary["fitted"]["flow"]["n_components"] == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a file"),
        ("model = 1", "does not define the name 'pipeline'"),
        ("pipeline = 1", "a int without fit, partial_fit, transform"),
    ],
)
def test_wrong_pipeline_is_explained(source, tmp_path, text, message):
    path = tmp_path / "pipeline.py"
    if text is not None:
        path.write_text(text)
    found = call("watch", source, "--pipeline", path, "--out", tmp_path / "out")
    assert found.exit_code == 1
    assert message in found.stderr


def test_errors_are_one_sentence(tmp_path):
    found = call("watch", "nothing.h5", "--out", tmp_path)
    assert found.exit_code == 1
    assert found.stderr.startswith("Error: source='nothing.h5' does not exist")
    assert "Traceback" not in found.stderr
    with_traceback = call("--traceback", "watch", "nothing.h5", "--out", tmp_path)
    assert isinstance(with_traceback.exception, FileNotFoundError)


def test_watch_simulates(tmp_path):
    found = call("watch", "tokam2d-hw", "--steps", 2, "--out", tmp_path / "out")
    assert found.exit_code == 0
    assert summary_of(tmp_path / "out")["steps"]["timestep"] == [1, 2]


@pytest.fixture
def stopped(tmp_path):
    """Return a function that runs a command, sends it a signal and returns how it ended."""
    processes = []

    def run(number, *arguments, after):
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(process)
        end = time.monotonic() + 60
        while not after.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
        return process.returncode, stdout.decode(), stderr.decode()

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_a_checkpoint_and_a_report(stopped, tmp_path, number):
    out = tmp_path / "out"
    options = ("watch", "tokam2d-hw", "--out", out, "--components", 2)
    code, stdout, stderr = stopped(
        number, *options, "--checkpoint-every", 3, after=out / "checkpoint.zarr"
    )
    assert code == 130, stderr
    assert stdout.split() == [str(out / name) for name in RESULTS]
    assert f"{number.name}: finishing this step" in stderr
    summary = summary_of(out)
    assert summary["interrupted"]
    assert (out / "report.html").stat().st_size > 100_000
    n_steps = summary["steps"]["seen"]
    assert n_steps >= 3

    refused = call(*options)
    assert refused.exit_code == 1
    assert "pass --resume to go on" in refused.stderr
    resumed = call(*options, "--resume", "--steps", n_steps + 2)
    assert resumed.exit_code == 0
    assert summary_of(out)["steps"]["timestep"] == list(range(1, n_steps + 3))


@pytest.mark.slow
@pytest.mark.distributed
def test_demo_learns_blocks_while_it_simulates(tmp_path):
    options = ("demo", "--size", 32, "--components", 4, "--out", tmp_path / "out")
    for more in (("--steps", 5), ("--steps", 7, "--resume")):
        found = subprocess.run(
            [*COMMAND, *map(str, options), *map(str, more)], capture_output=True, text=True
        )
        assert found.returncode == 0, found.stderr
        assert "Traceback" not in found.stderr
    summary = summary_of(tmp_path / "out")
    assert summary["steps"]["seen"] == 7
    assert "layout='columns'" in summary["fitted"]["density"]["estimator"]
    components = xr.open_zarr(tmp_path / "out/basis.zarr", group="density")["components"]
    assert components.chunks == ((4,), (16, 16), (16, 16))


@pytest.mark.distributed
def test_watch_splits_fields_over_a_cluster(client, source, tmp_path):
    options = ("watch", source, "--components", 4)
    call(*options, "--out", tmp_path / "here")
    address = client.scheduler.address
    found = call(*options, "--out", tmp_path / "there", "--cluster", address)
    assert found.exit_code == 0, found.stderr
    here, there = (summary_of(tmp_path / place)["fitted"]["flow"] for place in ("here", "there"))
    np.testing.assert_allclose(here["singular_values"], there["singular_values"], rtol=1e-6)


def test_doctor_prints_json():
    findings = json.loads(call("doctor", "--json").stdout)
    assert set(findings) == {
        "system", "blas", "threads", "versions", "extras", "gpus", "self_test", "advice"
    }  # fmt: skip
    assert findings["versions"]["dask-exa"] == dask_exa.__version__
    assert findings["self_test"]["passed"]
    assert findings["self_test"]["gemm_gflops"] > 0
    assert set(findings["extras"]) == set(EXTRAS)
    assert findings["blas"]


def test_doctor_prints_text():
    lines = call("doctor").stdout.splitlines()
    for title in ("System", "Blas", "Threads", "Versions", "Extras", "Gpus", "Self test", "Advice"):
        assert title in lines


@pytest.mark.distributed
def test_doctor_lists_workers(client):
    findings = json.loads(call("doctor", "--json", "--cluster", client.scheduler.address).stdout)
    assert [worker["threads"] for worker in findings["workers"].values()] == [1, 1]


@pytest.mark.parametrize(
    ("api", "architecture", "flags", "core"),
    [
        ("openblas", "Haswell", AVX512, "SKYLAKEX"),
        ("openblas", "Zen", AVX512, "SKYLAKEX"),
        ("openblas", "SkylakeX", AVX512, None),
        ("openblas", "Cooperlake", AVX512, None),
        ("openblas", "Prescott", {"avx2", "fma"}, "HASWELL"),
        ("openblas", "Haswell", {"avx2", "fma"}, None),
        ("openblas", "neoversen1", {"asimd"}, None),
        ("mkl", None, AVX512, None),
    ],
)
def test_doctor_knows_what_openblas_missed(api, architecture, flags, core):
    advice = blas_advice({"internal_api": api, "architecture": architecture}, flags)
    assert (f"OPENBLAS_CORETYPE={core} " in advice) if core else not advice


def test_watch_real_run(shared_data, tmp_path):
    path = shared_data / "tokam2d/hw/simulation_fields.h5"
    assert call("watch", path, "--out", tmp_path / "out").exit_code == 0
    summary = summary_of(tmp_path / "out")
    assert summary["steps"]["seen"] == 35
    shares = summary["fitted"]["density"]["explained_variance_ratio"]
    assert 0.5 < sum(shares) < 0.75
    assert all(error < 1.5 for error in summary["errors"]["density"]["at_the_time"][20:])


def test_watch_real_run_that_diverged(shared_data, tmp_path):
    path = shared_data / "tokam2d/sol_crash/simulation_fields.h5"
    assert call("watch", path, "--out", tmp_path / "out").exit_code == 0
    summary = summary_of(tmp_path / "out")
    assert [alarm["step"] for alarm in summary["alarms"]] == [33, 33]
    assert summary["fitted"]["density"]["n_samples_seen"] == 33
    assert "16384 of 16384 values" in (tmp_path / "out/report.html").read_text()
