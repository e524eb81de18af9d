"""Alarms on the way: printed, drawn, stored, resumed, and able to stop a run."""

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.field_detector import Finding
from dask_exa.apps.detection import MAX_PICTURES, Watcher, field_detector
from dask_exa.cli import INJECTIONS, main
from dask_exa.datasets import Tokam2D
from dask_exa.datasets._injection import KINDS
from dask_exa.inputs import open_stream
from tests.report.schema import check_against_schema


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def summary_of(folder):
    summary = json.loads((folder / "summary.json").read_text())
    check_against_schema(summary)
    return summary


class Scripted:
    """A detector that says what it was told to say of each step."""

    def __init__(self, alarms):
        self.alarms = alarms

    def observe(self, step):
        return Finding(self.alarms.get(int(step.timestep), []), 0.5, 0.9)


def step_of(timestep, size=8):
    field = xr.DataArray(np.zeros((size, size)), dims=("y", "x"), attrs={"units": "n_0"})
    coords = {"time": float(timestep), "timestep": timestep, "x": np.arange(size) * 0.5}
    return xr.Dataset({"density": field, "potential": field + 1}, coords)


def alarm(step, name="density: jump", **changes):
    return Alarm(step, 1.0, "odd", features=(name,), variable=name.partition(":")[0], **changes)


def test_alarm_that_goes_on_is_new_only_once():
    watcher = Watcher(Scripted({1: [alarm(1)], 2: [alarm(2)], 4: [alarm(4)]}))
    new = [[a.step for a in watcher.look(step_of(t), [])[0].new] for t in range(5)]
    assert new == [[], [1], [], [], [4]]
    assert [a.step for a in watcher.alarms] == [1, 2, 4]
    assert [picture.alarm.step for picture in watcher.pictures] == [1, 4]


def test_variable_that_is_broken_is_not_reported_twice():
    watcher = Watcher(Scripted({0: [alarm(0), alarm(0, "potential: jump")]}))
    broken = alarm(0, "density: finite")
    assert watcher.look(step_of(0), [broken])[0].all == [broken, alarm(0, "potential: jump")]


def test_pictures_are_of_the_first_things_and_mark_the_block():
    block = ((2, 3), (4, 7))
    told = {t: [alarm(t, f"potential: {t}", block=block)] for t in range(6)}
    watcher = Watcher(Scripted(told))
    for t in range(6):
        watcher.look(step_of(t), [])
    assert len(watcher.pictures) == MAX_PICTURES
    picture = watcher.pictures[0]
    assert picture.field.name == "potential"
    assert picture.blocks == [{"y": (1.5, 3.5), "x": (1.75, 3.75)}]


def test_alarms_about_one_field_share_a_picture():
    blocks = [((0, 3), (0, 3)), ((4, 7), (0, 3))]
    told = [alarm(0, f"density: {i}", block=block) for i, block in enumerate(blocks)]
    watcher = Watcher(Scripted({0: [*told, alarm(0, "potential: jump")]}))
    watcher.look(step_of(0), [])
    assert [picture.field.name for picture in watcher.pictures] == ["density", "potential"]
    assert [len(picture.blocks) for picture in watcher.pictures] == [2, 0]


def test_blocks_that_the_plane_does_not_cut_are_not_marked():
    field = xr.DataArray(np.zeros((4, 8, 8)), dims=("z", "y", "x"), name="density")
    step = xr.Dataset({"density": field}, {"time": 0.0, "timestep": 0})
    square = ((0, 3), (0, 3))
    told = [alarm(0, f"density: {z}", block=((z, z), *square)) for z in (3, 1, 3)]
    watcher = Watcher(Scripted({0: told}))
    watcher.look(step, [])
    (picture,) = watcher.pictures
    assert picture.note == "Shown: the plane z = 3."
    assert len(picture.blocks) == 2


def test_without_a_detector_only_broken_variables_are_reported():
    watcher = Watcher()
    alarms, found = watcher.look(step_of(0), [alarm(0)])
    assert alarms.all == [alarm(0)]
    assert np.isnan(found.score)
    assert watcher.result({}) is None
    assert watcher.pictures == []


@pytest.fixture(scope="module")
def faulty_run(tmp_path_factory):
    """Path of a short run whose density has a negative patch in two steps."""
    path = tmp_path_factory.mktemp("run") / "run.zarr"
    faults = [{"timestep": t, "kind": "nonphysical", "patch": (16, 24, 0, 8)} for t in (6, 7)]
    simulation = Tokam2D.sol(shape=(40, 40), length=40.0, rk4_steps_per_frame=2, inject=faults)
    steps = [step.drop_attrs().drop_vars(["timestep", "dt"]) for step in simulation.run(10)]
    xr.concat(steps, "time", coords="minimal").to_zarr(path, consolidated=False)
    return path


def test_watch_detects_prints_and_draws(faulty_run, tmp_path):
    found = call("watch", faulty_run, "--detect", "--out", tmp_path, "--components", 2)
    assert found.exit_code == 0, found.output
    told = "Steps 5 to 6, block [13:25, 0:12]: density must be positive"
    assert f"alarm: {told}" in found.stdout
    assert "ALARM step 5, block [13:25, 0:12]:" in " ".join(found.stderr.split())
    summary = summary_of(tmp_path)
    assert {alarm["step"] for alarm in summary["alarms"]} == {5, 6}
    assert summary["alarms"][0]["block"] == [[13, 25], [0, 12]]
    assert summary["alarms"][0]["variable"] == "density"
    assert summary["detection"]["detector"].startswith("FieldDetector(")
    assert summary["steps"]["seen"] == 10
    page = (tmp_path / "report.html").read_text()
    assert told in page
    assert "The field at the alarm of step 5." in page


def test_watch_stops_on_an_alarm(faulty_run, tmp_path):
    options = ("--detect", "--stop-on-alarm", "--components", 2)
    found = call("watch", faulty_run, *options, "--out", tmp_path)
    assert found.exit_code == 0
    assert "stopped at the alarm of step 5: density must be positive" in found.stdout
    summary = summary_of(tmp_path)
    assert summary["steps"]["seen"] == 6
    assert summary["stopped"].startswith("stopped at the alarm of step 5")
    assert not summary["interrupted"]
    coefficients = xr.open_zarr(tmp_path / "coefficients.zarr", chunks=None)
    is_learnt = coefficients.notnull().all("component")
    assert is_learnt.density.values.tolist() == [True] * 5 + [False]  # what is wrong is not learnt
    assert is_learnt.potential.all()


def test_resumed_run_raises_the_same_alarms(faulty_run, tmp_path):
    options = ("watch", faulty_run, "--detect", "--components", 2, "--out")
    call(*options, tmp_path / "whole")
    call(*options, tmp_path / "parts", "--steps", 7)
    assert call(*options, tmp_path / "parts", "--resume").exit_code == 0
    whole, parts = summary_of(tmp_path / "whole"), summary_of(tmp_path / "parts")
    for name in ("alarms", "detection", "errors"):
        assert whole[name] == parts[name]
    assert (tmp_path / "parts/report.html").read_text().count("The field at the alarm") == 1


def test_resumption_with_another_detector_is_refused(faulty_run, tmp_path):
    call("watch", faulty_run, "--out", tmp_path, "--steps", 3)
    found = call("watch", faulty_run, "--out", tmp_path, "--resume", "--detect")
    assert found.exit_code == 1
    assert "the checkpoint was made with the detector None, but FieldDetector(" in found.stderr


@pytest.mark.distributed
def test_demo_with_an_injection_stops_and_says_so(tmp_path):
    found = call(
        "demo", "--inject", "nonphysical@4", "--size", 48, "--components", 2, "--out", tmp_path
    )
    assert found.exit_code == 0, found.output
    assert "stopped at the alarm of step 4: density must be positive" in found.stdout
    summary = summary_of(tmp_path)
    assert summary["steps"]["seen"] == 4
    assert summary["alarms"][0]["block"] is not None


@pytest.mark.parametrize("value", ["nonphysical", "nonphysical@0", "odd@3", "nan@x", "@3"])
def test_injection_that_makes_no_sense(value):
    found = call("demo", "--inject", value)
    assert found.exit_code == 2
    assert f"'{value}' is not KIND@STEP" in " ".join(found.stderr.split())


def test_every_kind_of_injection_may_be_asked_for():
    assert INJECTIONS == KINDS


def test_real_run_that_crashes_is_told_before_it_does(shared_data, tmp_path):
    path = shared_data / "tokam2d/sol_crash/simulation_fields.h5"
    found = call("watch", path, "--detect", "--out", tmp_path)
    assert found.exit_code == 0
    summary = summary_of(tmp_path)
    first = summary["alarms"][0]
    assert first["step"] <= 31
    assert first["block"] is not None
    assert f"step {first['step']}" in found.stderr
    assert [a["step"] for a in summary["alarms"] if "not finite" in a["reason"]] == [33, 33]
    page = (tmp_path / "report.html").read_text()
    assert f"The field at the alarm of step {first['step']}." in page


def test_time_step_may_be_given(shared_data, tmp_path):
    link = tmp_path / "simulation_fields.h5"
    link.symlink_to(shared_data / "tokam2d/sol_crash/simulation_fields.h5")
    alone = call("watch", link, "--detect", "--steps", 26, "--out", tmp_path / "alone")
    given = call("watch", link, "--detect", "--steps", 26, "--dt", 3, "--out", tmp_path / "given")
    assert "alarm:" not in alone.stdout
    assert "alarm: Steps 24 to 25, block" in given.stdout


@pytest.mark.slow
@pytest.mark.parametrize("run", ["sol", "hw"])
def test_healthy_real_runs_raise_no_alarm(shared_data, run):
    with open_stream(shared_data / "tokam2d" / run / "simulation_fields.h5") as stream:
        detector = field_detector(stream.sizes)
        alarms = [alarm for step in stream for alarm in detector.observe(step).alarms]
    assert alarms == []
