"""What a run saw is on disk at once, and files replay it to the last bit."""

import datetime
import json

import numpy as np
import pytest
import xarray as xr

from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import open_stream, replay
from dask_exa.inputs.step_log import StepLog, read_log
from tests.inputs.streams import LentStream, assert_same_bits, make_steps, stream_of

QUIET = {"progress": False}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_line_of_every_step_is_written_before_the_next_one(tmp_path):
    steps, log, seen = make_steps(5), tmp_path / "runs" / "steps.jsonl", []
    steps[2].density[0, 0] = np.nan
    options = {"log": log, "on_step": lambda step, run: seen.append(len(lines_of(log)))}
    stream_of(steps).run(IncrementalPCA(2), **options, **QUIET)
    lines = lines_of(log)
    assert seen == [1, 2, 4, 5]
    assert [line["state"] for line in lines] == ["learnt", "learnt", "skipped", "learnt", "learnt"]
    assert [line["timestep"] for line in lines] == [10, 11, 12, 13, 14]
    assert [line["time"] for line in lines] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert lines[0]["shapes"] == {"density": [6, 8]}
    assert lines[2]["reason"] == "density has 1 of 48 values that are not finite"
    released = [datetime.datetime.fromisoformat(line["released"]) for line in lines]
    assert released == sorted(released)


@pytest.mark.parametrize("window", [1, 4])
def test_replay_gives_the_same_bits_where_steps_were_dropped(window, tmp_path):
    steps, log = make_steps(20), tmp_path / "steps.jsonl"
    arrived = [step.copy(deep=True) for step in steps if int(step.timestep) not in (13, 14, 21)]
    arrived[7].density[:] = np.inf  # timestep 19, broken on its way
    live, later, all_steps = (IncrementalPCA(3) for _ in range(3))
    stream = LentStream(arrived)
    stream.run(live, window=window, log=log, **QUIET)
    assert stream.log is None
    found = replay(log, stream_of(steps))
    run = found.run(later, window=window, **QUIET)
    assert run.timesteps == [t for t in range(10, 30) if t not in (13, 14, 19, 21)]
    assert len(found) == run.n_steps == 16
    assert_same_bits(later, live)
    stream_of(steps).run(all_steps, window=window, **QUIET)
    assert not np.array_equal(all_steps.mean_, live.mean_)


def test_simulation_is_replayed_from_the_file_that_it_wrote_by_time(tmp_path):
    log, path = tmp_path / "steps.jsonl", tmp_path / "run.zarr"
    with open_stream("tokam2d-hw", shape=(24, 24), rk4_steps_per_frame=2) as stream:
        live, later = IncrementalPCA(2), IncrementalPCA(2)
        stream.run(live, variables="density", n_steps=6, log=log, **QUIET)
        steps = [step for step, _ in zip(stream, range(9), strict=False)]
    stored = [step.drop_attrs().drop_vars(["timestep", "dt"], errors="ignore") for step in steps]
    xr.concat(stored, "time", coords="minimal").to_zarr(path, consolidated=False)
    with open_stream(path) as file:
        replay(log, file, by="time").run(later, variables="density", **QUIET)
        assert_same_bits(later, live)
        # a file counts from 0, the simulation from 1
        with StepLog(log, after=6) as more:
            more.write({"timestep": 99}, "learnt")
        with pytest.raises(ValueError, match=r"no step of timestep 99, which was learnt; pass by="):
            list(replay(log, file))


def test_steps_after_the_checkpoint_hold_no_more(tmp_path):
    steps, log, path = make_steps(9), tmp_path / "steps.jsonl", tmp_path / "run.zarr"
    options = {"checkpoint": path, "log": log}

    def fail(step, run):
        if run.n_steps == 6:
            raise KeyboardInterrupt  # which leaves no time for a checkpoint

    with pytest.raises(KeyboardInterrupt):
        LentStream(steps).run(
            IncrementalPCA(2), checkpoint_every=4, on_step=fail, **options, **QUIET
        )
    log.write_text(log.read_text() + '{"timestep": 16, "sta')  # a kill in the middle of a line
    model, alone = IncrementalPCA(2), IncrementalPCA(2)
    run = LentStream(steps[7:]).run(model, **options, **QUIET)
    assert run.timesteps == [10, 11, 12, 13, 17, 18]
    states = {step: line["state"] for step, line in read_log(log).items()}
    assert [step for step, state in states.items() if state == "lost"] == [14, 15]
    replay(log, stream_of(steps)).run(alone, **QUIET)
    assert_same_bits(alone, model)


def test_run_that_starts_anew_starts_a_new_log(tmp_path):
    log = tmp_path / "steps.jsonl"
    for n_steps in (5, 3):
        stream_of(make_steps(5)).run(IncrementalPCA(2), n_steps=n_steps, log=log, **QUIET)
    assert len(lines_of(log)) == 3


def test_replay_can_be_read_from_any_step(tmp_path):
    log = tmp_path / "steps.jsonl"
    stream_of(make_steps(6)).run(IncrementalPCA(2), n_steps=4, log=log, **QUIET)
    found = replay(log, stream_of(make_steps(6)))
    assert [int(step.timestep) for step in found.read(2)] == [12, 13]
    assert list(found.read(4)) == []


def test_wrong_logs_are_named(tmp_path):
    log = tmp_path / "steps.jsonl"
    log.write_text("hello\n")
    with pytest.raises(ValueError, match=r"steps.jsonl' has no step in line 1; pass a file that"):
        replay(log, stream_of(make_steps(2)))
    log.write_text('{"timestep": 3, "state": "lost", "time": 1.0}\n')
    with pytest.raises(ValueError, match="has no step that was learnt"):
        replay(log, stream_of(make_steps(2)))
    with pytest.raises(ValueError, match="by='name' must be 'timestep' or 'time'"):
        replay(log, stream_of(make_steps(2)), by="name")
