"""The example that users copy: what it finds, where it stops, and the same numbers from files."""

import importlib.util
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dask_exa.datasets import Tokam2D
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import open_stream, replay
from dask_exa.inputs.step_log import read_log
from dask_exa.insitu import Bridge, Stream
from dask_exa.insitu.communicator import run_ranks
from tests.inputs.streams import assert_same_bits
from tests.waiting import wait_until

distributed = pytest.importorskip("distributed")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "tokam2d_mpi.py"
N_RANKS, DEPTH, ALARM = 4, 2, 24


@pytest.fixture(scope="module")
def example():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("tokam2d_mpi", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def out(mpiexec, tmp_path_factory):
    """Folder with what a run on ranks has left."""
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
        said = mpiexec(N_RANKS, EXAMPLE, "--save", "--out", folder, timeout=240)
    assert f"stopped at the alarm of step {ALARM}: density must be positive" in said
    assert "lost: nothing" in said
    return folder


def results(folder):
    """Everything that was learnt, as one data set in memory."""
    basis = xr.open_zarr(folder / "basis.zarr", group="density", chunks=None)
    coefficients = xr.open_zarr(folder / "coefficients.zarr", chunks=None)
    return xr.merge([basis, coefficients.rename(density="coefficients")], compat="equals").load()


@pytest.mark.mpi
@pytest.mark.distributed
@pytest.mark.slow
def test_all_ranks_stop_at_the_alarm_and_nothing_is_lost(out):
    summary = json.loads((out / "summary.json").read_text())
    (alarm,) = summary["alarms"]
    assert alarm["step"] == ALARM
    assert alarm["block"][0] in [[32 * rank, 32 * rank + 31] for rank in range(N_RANKS)]
    assert summary["faults"] == []
    assert summary["steps"]["timestep"] == list(range(ALARM + 1))
    log = read_log(out / "steps.jsonl")
    assert [line["state"] for line in log.values()] == ["learnt"] * (ALARM + 1)

    ranks = json.loads((out / "ranks.json").read_text())
    assert [rank["rank"] for rank in ranks] == [0, 1, 2, 3]
    (last,) = {rank["last_step"] for rank in ranks}
    assert ALARM <= last <= ALARM + DEPTH
    for rank in ranks:
        assert rank["steps_dropped"] == 0
        assert rank["megabytes_put"] == pytest.approx((last + 1) * 2 * 32 * 128 * 8 / 1e6)
    with open_stream(out / "fields.zarr") as stream:
        assert len(stream) == last + 1
    assert (out / "density.png").stat().st_size > 10_000
    assert "Stopped at the alarm of step 24" in (out / "report.html").read_text()


@pytest.mark.mpi
@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.parametrize("is_replayed", [False, True])
def test_files_give_the_bits_of_the_ranks(example, out, is_replayed, tmp_path):
    with open_stream(out / "fields.zarr", chunks={"y": 32}) as stream:
        if is_replayed:
            stream = replay(out / "steps.jsonl", stream)
        result = example.analyse(stream, tmp_path)
    assert result.stopped == json.loads((out / "summary.json").read_text())["stopped"]
    live, later = results(out), results(tmp_path)
    assert live.sizes["timestep"] == ALARM + 1
    xr.testing.assert_identical(live, later)


@pytest.mark.mpi
@pytest.mark.distributed
@pytest.mark.slow
def test_the_basis_is_that_of_the_fields_before_the_fault(out):
    with open_stream(out / "fields.zarr") as stream:
        steps = np.stack([step.density.values.ravel() for step in stream])[:ALARM]
    _, s, rows = np.linalg.svd(steps - steps.mean(axis=0), full_matrices=False)
    live = results(out)
    assert int(live.n_samples_seen) == ALARM
    np.testing.assert_allclose(live["mean"].values.ravel(), steps.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(live.singular_values, s[:8], rtol=1e-8)
    overlap = np.abs(np.sum(live.components.values.reshape(8, -1) * rows[:8], axis=1))
    np.testing.assert_allclose(overlap, 1.0, atol=1e-10)


@pytest.mark.distributed
def test_a_replay_leaves_out_what_was_dropped_and_skipped(tmp_path):
    """Ranks drop step 2, analytics skips step 7, which is not finite; the files have both."""
    n_steps, dropped, broken = 12, 2, 7
    analytics_waits = threading.Event()
    inject = {"timestep": broken, "kind": "nan", "patch": (10, 12, 0, 4)}

    def simulate(comm):
        simulation = Tokam2D.hw((24, 16), 12.0, rk4_steps_per_frame=4, inject=inject, comm=comm)
        frames = []
        with Bridge(
            cluster, comm, simulation.arrays, coords=simulation.coords, depth=1, when_full="drop"
        ) as bridge:
            for step in range(n_steps):
                frames.append(simulation.advance() if step else simulation.fields)
                if step not in (1, dropped):
                    wait_until(lambda: not bridge.held_steps, "the buffers are free")
                elif step == 1:
                    assert analytics_waits.wait(20)
                comm.barrier()
                fields = {name: frames[-1][name].values for name in simulation.arrays}
                assert bridge.put(step, float(frames[-1].time), **fields) == (step != dropped)
                if step == dropped:
                    comm.barrier()
                    is_dropped.set()
        return frames

    def hold(step, run):
        if step.timestep == 0:
            analytics_waits.set()
            assert is_dropped.wait(20)

    is_dropped = threading.Event()
    log, parts = tmp_path / "steps.jsonl", []
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address=None, protocol="tcp://"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        ranks = threading.Thread(target=lambda: parts.extend(run_ranks(3, simulate)), daemon=True)
        ranks.start()
        live = IncrementalPCA(3, sample_dims="time", layout="columns")
        with Stream(client, timeout=20) as stream:
            run = stream.run(live, variables="density", log=log, on_step=hold, progress=False)
        ranks.join(30)
    learnt = [step for step in range(n_steps) if step not in (dropped, broken)]
    assert run.timesteps == learnt
    assert list(run.skipped) == [broken]
    assert stream.n_dropped == 1
    states = {step: line["state"] for step, line in read_log(log).items()}
    assert states == dict.fromkeys(learnt, "learnt") | {dropped: "dropped", broken: "skipped"}

    frames = [xr.concat(rows, "y", data_vars="minimal") for rows in zip(*parts, strict=True)]
    fields = xr.concat(frames, "time", coords="minimal", compat="override")
    fields.to_zarr(tmp_path / "fields.zarr", consolidated=False)
    later = IncrementalPCA(3, sample_dims="time", layout="columns")
    with open_stream(tmp_path / "fields.zarr", chunks={"y": 8}) as files:
        again = replay(log, files).run(later, variables="density", progress=False)
    assert again.timesteps == learnt
    assert_same_bits(live, later)
