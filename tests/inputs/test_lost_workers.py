"""Workers that die while a stream is learnt: what they held is read again, or counted as lost."""

import os
import signal

import numpy as np
import pytest

from dask_exa._checkpoint import CheckpointReplacedError
from dask_exa.apps.cluster import Scatter
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import StateLostError, bring_home, replay
from dask_exa.inputs.residence import is_away, is_intact
from tests.inputs.streams import assert_same_bits, make_steps, stream_of

pytestmark = pytest.mark.distributed
QUIET = {"progress": False}
N_STEPS = 12


@pytest.fixture
def cluster():
    """Client of a cluster whose workers may die; it starts others in their place."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as workers,
        Client(workers) as client,
    ):
        yield client


def columns():
    return IncrementalPCA(3, sample_dims="time", layout="columns")


def scattered(client, steps, *, is_live):
    """Return a stream whose chunks lie on workers and cannot be made again."""
    stream = stream_of(steps)
    stream.is_live = is_live

    def read(start=0):
        for step in steps[start:]:
            # the workers of the moment, as those that died are replaced
            client.wait_for_workers(2, timeout=30)
            yield Scatter(client, {"y": 3, "x": 4})(step)

    stream.read = read
    stream.__class__ = type("Scattered", (type(stream),), {"__iter__": lambda self: self.read()})
    return stream


def kill_a_holder(client, model):
    """Kill a worker with a slab of the basis, and wait until the scheduler knows."""
    from distributed import wait

    handles = list(model._state.summary.slabs)
    wait(handles)
    ((victim, *_), *_) = client.who_has(handles).values()
    pid = client.run(os.getpid, workers=[victim])[victim]
    os.kill(pid, signal.SIGKILL)
    assert not is_intact(model)  # which the scheduler answers when it knows


def killer(client, model, at):
    """Return a callback that kills a worker once, after a step."""
    left = [at]

    def on_step(step, run):
        if left and int(step.timestep) == left[0]:
            left.clear()
            kill_a_holder(client, model)

    return on_step


def test_source_that_can_be_read_again_loses_nothing(cluster, tmp_path):
    steps, model, alone = make_steps(N_STEPS), columns(), columns()
    options = {"checkpoint": tmp_path / "run.zarr", "checkpoint_every": 4}
    stream = scattered(cluster, steps, is_live=False)
    run = stream.run(model, on_step=killer(cluster, model, 16), **options, **QUIET)
    scattered(cluster, steps, is_live=False).run(alone, **QUIET)
    assert run.timesteps == list(range(10, 10 + N_STEPS))
    assert run.skipped == {}
    assert_same_bits(model, alone)


def test_running_simulation_goes_back_to_the_checkpoint_and_counts(cluster, tmp_path):
    steps, model, alone = make_steps(N_STEPS), columns(), columns()
    log = tmp_path / "steps.jsonl"
    options = {"checkpoint": tmp_path / "run.zarr", "checkpoint_every": 4, "log": log}
    stream = scattered(cluster, steps, is_live=True)
    run = stream.run(model, on_step=killer(cluster, model, 15), **options, **QUIET)
    # 10 to 13 are in the checkpoint; 14 and 15 went with the worker, 16 came when it was gone
    assert run.timesteps == [10, 11, 12, 13, *range(17, 10 + N_STEPS)]
    assert list(run.skipped) == [14, 15, 16]
    assert all("lost with a worker (Future" in why for why in run.skipped.values())
    assert not is_away(model)
    replayed = replay(log, scattered(cluster, steps, is_live=False))
    assert replayed.run(alone, **QUIET).timesteps == run.timesteps
    assert_same_bits(model, alone)


def test_state_without_a_checkpoint_is_gone(cluster):
    model = columns()
    stream = scattered(cluster, make_steps(N_STEPS), is_live=True)
    with pytest.raises(StateLostError, match=r"learnt in 4 steps .* no checkpoint of it; pass ch"):
        stream.run(model, on_step=killer(cluster, model, 13), **QUIET)


def test_abort_raises_and_keeps_the_last_checkpoint(cluster, tmp_path):
    from distributed.client import FutureCancelledError

    steps, model, again = make_steps(N_STEPS), columns(), columns()
    options = {"checkpoint": tmp_path / "run.zarr", "checkpoint_every": 2}
    stream = scattered(cluster, steps, is_live=False)
    on_step = killer(cluster, model, 14)
    with pytest.raises(FutureCancelledError) as raised:
        stream.run(model, on_step=on_step, on_fault="abort", **options, **QUIET)
    assert "The checkpoint before it could not be written" in raised.value.__notes__[0]
    run = scattered(cluster, steps, is_live=False).run(again, n_steps=4, **options, **QUIET)
    assert run.timesteps == [10, 11, 12, 13]


def test_model_that_is_home_outlives_its_cluster():
    from distributed import Client, LocalCluster

    steps, model = make_steps(6), columns()
    setting = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(processes=False, **setting) as workers, Client(workers) as client:
        stream = scattered(client, steps, is_live=False)
        stream.run(model, **QUIET)
        before = model.components_.compute()
        assert is_away(model)
        stays = sorted(client.nthreads())[-1:]
        bring_home([model], stays)
        places = client.who_has(list(model._state.summary.slabs)).values()
        assert {place for held in places for place in held if len(held) == 1} <= {*stays}
        assert is_intact(model)
        bring_home({"density": model})
        assert not is_away(model)
    np.testing.assert_array_equal(model.components_.compute(), before)
    more = make_steps(8, seed=0)[6:]
    for step in more:
        model.partial_fit(step.density.chunk({"y": 3, "x": 4}))
    alone = columns()
    for step in [*steps, *more]:
        alone.partial_fit(step.density.chunk({"y": 3, "x": 4}))
    assert_same_bits(model, alone)


def test_basis_loaded_from_a_replaced_checkpoint_is_not_read_again(cluster, tmp_path):
    steps, path = make_steps(6), tmp_path / "state"
    model = columns()
    place = Scatter(cluster, {"y": 3, "x": 4})
    model.partial_fit(place(steps[0]).density)
    model.save(path)
    loaded = IncrementalPCA.load(path)
    assert is_intact(loaded)
    model.partial_fit(place(steps[1]).density)
    model.save(path)
    # Dask makes the lost slabs again, from a file that now holds one step more
    kill_a_holder(cluster, loaded)
    cluster.wait_for_workers(2, timeout=30)
    place = Scatter(cluster, {"y": 3, "x": 4})
    with pytest.raises(CheckpointReplacedError, match="has been replaced; load the checkpoint a"):
        loaded.partial_fit(place(steps[1]).density)
