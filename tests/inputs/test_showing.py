"""What a run shows of itself: the numbers that the models have, and nothing while nobody looks."""

import copy
import logging

import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.field_detector import Finding
from dask_exa.compose import make_streaming_pipeline
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import showing
from dask_exa.preprocessing import FieldStacker
from tests.inputs.streams import LentStream, make_steps

QUIET = {"progress": False}


class Detector:
    """Finds the score 0.5 per step, NaN at the first one, and an alarm at the fourth."""

    def __init__(self):
        self.n_seen = 0

    def observe(self, step):
        self.n_seen += 1
        score = np.nan if self.n_seen == 1 else 0.5 * self.n_seen
        reason = f"it is {self.n_seen}"
        alarms = [Alarm(int(step.timestep), score, reason)] if self.n_seen == 4 else []
        return Finding(alarms, score, np.inf)


class WatchedStream(LentStream):
    """A running simulation that keeps what it is shown."""

    is_watched = True

    def __init__(self, steps):
        super().__init__(steps)
        self.shown = []

    def show(self, **quantities):
        self.shown.append(copy.deepcopy(quantities))  # the fields are only lent

    def with_a(self, quantity):
        return [one for one in self.shown if one.get(quantity) is not None]


@pytest.fixture
def at_every_step(monkeypatch):
    monkeypatch.setattr(showing, "PAUSE", 0.0)
    monkeypatch.setattr(showing, "MAX_SHARE", np.inf)


def test_nothing_is_made_for_nobody_but_scores_are_kept_to_the_end(monkeypatch):
    def forbidden(self, X):
        raise AssertionError("nobody looks")

    monkeypatch.setattr(IncrementalPCA, "transform", forbidden)
    stream = WatchedStream(make_steps(6))
    stream.is_watched = False
    stream.run(IncrementalPCA(2), detector=Detector(), **QUIET)
    found = [(one["timestep"], one["score"], one["limit"]) for one in stream.shown]
    assert found == [(11, 1.0, None), (12, 1.5, None), (13, 2.0, None), (14, 2.5, None),
                     (15, 3.0, None)]  # fmt: skip
    assert [one["alarms"] for one in stream.shown] == [(), (), ("it is 4",), (), ()]


def test_whoever_comes_late_sees_the_scores_before(at_every_step):
    stream = WatchedStream(make_steps(6))
    stream.is_watched = False

    def look(step, run):
        stream.is_watched = step.timestep >= 13

    stream.run(IncrementalPCA(2), detector=Detector(), on_step=look, **QUIET)
    assert [one["timestep"] for one in stream.with_a("score")] == [11, 12, 13, 14, 15]
    assert [one["timestep"] for one in stream.with_a("field")] == [14, 15]


def test_fields_reconstructions_and_variances_are_those_of_the_model(at_every_step):
    steps = make_steps(8, names=("density", "flux"))
    stream = WatchedStream(steps)
    models = {name: IncrementalPCA(2) for name in ("density", "flux")}
    expected = {}

    def remember(step, run):
        for name, model in models.items():
            if model.n_samples_seen_ >= 3:
                again = model.inverse_transform(model.transform(step[name]))
                shares = model.explained_variance_ratio_
                values = (step[name].values.copy(), again.values.reshape(6, 8), shares)
                expected[name, int(step.timestep)] = values

    stream.run(models, on_step=remember, **QUIET)
    pictures = {(one["variable"], one["timestep"]): one for one in stream.with_a("field")}
    variances = {
        (one["variable"], one["timestep"]): one["explained_variance"]
        for one in stream.with_a("explained_variance")
    }
    assert len(pictures) == 16
    assert len(expected) == 12
    for key, (field, again, shares) in expected.items():
        np.testing.assert_array_equal(pictures[key]["field"], field)
        np.testing.assert_allclose(pictures[key]["reconstruction"], again, rtol=1e-12)
        np.testing.assert_array_equal(variances[key], shares)
    assert pictures["density", 10]["reconstruction"] is None  # one sample has no components


def test_a_pipeline_of_all_variables_is_shown_by_variable(at_every_step):
    steps = make_steps(8, names=("density", "flux"))
    stream = WatchedStream(steps)
    model = make_streaming_pipeline(
        FieldStacker(variables=("density", "flux"), sample_dims="time"), IncrementalPCA(6)
    )
    stream.run(model, **QUIET)
    last = {one["variable"]: one for one in stream.with_a("field")}
    for name, one in last.items():  # six components of eight samples are nearly all
        error = np.linalg.norm(one["reconstruction"] - one["field"])
        assert 0 < error < 0.5 * np.linalg.norm(steps[-1][name])
    assert {one["variable"] for one in stream.with_a("explained_variance")} == {"density, flux"}


def test_a_step_that_is_left_out_has_no_reconstruction(at_every_step):
    steps = make_steps(8)
    steps[5].density[0, 0] = np.nan
    stream = WatchedStream(steps)
    run = stream.run(IncrementalPCA(1), **QUIET)
    assert list(run.skipped) == [15]
    are_whole = {
        one["timestep"]: one["reconstruction"] is not None for one in stream.with_a("field")
    }
    assert [step for step, is_whole in are_whole.items() if not is_whole] == [10, 15]


def test_what_goes_wrong_is_logged_once_and_ends_nothing(at_every_step, monkeypatch, caplog):
    def broken(self, X):
        raise TypeError("no way back")

    monkeypatch.setattr(IncrementalPCA, "inverse_transform", broken)
    stream, model = WatchedStream(make_steps(8)), IncrementalPCA(1)
    with caplog.at_level(logging.WARNING):
        run = stream.run(model, detector=Detector(), **QUIET)
    assert run.n_steps == 8
    assert len(stream.with_a("score")) == 7
    assert [record.message for record in caplog.records] == ["step of lent is not shown"]
    assert "no way back" in caplog.text


def test_it_is_shown_twice_a_second_at_most_and_in_a_twentieth_of_the_time(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(showing.time, "monotonic", lambda: clock[0])
    stream = WatchedStream(make_steps(1))
    steps = make_steps(50)
    page = showing.Showing(stream, [])
    page.variables = ["density"]
    moments = []
    for step in steps:
        page.show(step)
        clock[0] += 0.125
    moments = [one["timestep"] for one in stream.with_a("field")]
    assert moments == list(range(10, 60, 4))  # 0.5 s apart

    def slow(self, step, learners):
        moments.append(clock[0])
        clock[0] += 0.1

    monkeypatch.setattr(showing.Showing, "_show_pictures", slow)
    clock[0], moments[:] = 200.0, []
    for step in steps:
        page.show(step)
        clock[0] += 0.125
    pauses = np.diff(moments)  # which grow from one to the next, to what 0.1 s of work cost
    assert pauses[0] < 1.1
    assert pauses[1:].min() >= 0.1 / 0.05


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_is_told_the_address_once(monkeypatch, capsys, is_terminal):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1" if is_terminal else "")
    stream = WatchedStream(make_steps(3))
    stream.live_page = "http://host:8787/exa?stream=lent"
    stream.run(IncrementalPCA(1))
    printed = "".join(capsys.readouterr())
    assert printed.count("live page: http://host:8787/exa?stream=lent") == is_terminal


def test_the_first_step_of_an_alarm_is_shown_at_once(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(showing.time, "monotonic", lambda: clock[0])
    page, shown = showing.Showing(WatchedStream(make_steps(1)), []), []

    def slow(self, step, learners):
        shown.append(int(step.timestep) - 10)
        clock[0] += 0.3

    monkeypatch.setattr(showing.Showing, "_show_pictures", slow)
    for number, step in enumerate(make_steps(12)):
        alarms = [Alarm(number, 1.0, "bad")] if number in (4, 5, 6) else []
        page.note(number, [("detector", Finding(alarms, 1.0, 2.0))])
        page.show(step)
        clock[0] += 0.6
    # pauses of 1, 2 and 4 s, but for the alarm at step 4, only 1.5 s after step 2
    assert shown == [0, 2, 4, 11]


def test_a_field_of_many_dimensions_is_shown_in_its_middle_with_its_places():
    values = np.random.default_rng(0).normal(size=(3, 256, 4, 130))
    coords = {
        "z": ("z", [0.0, 0.5, 1.0]),
        "y": ("y", 0.25 * np.arange(256), {"units": "rho_s"}),
        "x": ("x", 10.0 + np.arange(130.0)),
    }
    field = xr.DataArray(values, coords, ("z", "y", "mu", "x"), attrs={"units": "m-3"})
    stream = WatchedStream(make_steps(1))
    page = showing.Showing(stream, [])
    page.variables = ["f"]
    page.show(xr.Dataset({"f": field}, {"timestep": 3}))
    (one,) = stream.shown
    np.testing.assert_array_equal(one["field"], values[1, ::2, 2, ::2])
    assert one["dims"] == ("y [rho_s]", "x")
    assert one["extent"] == (9.0, 139.0, -0.25, 63.75)
    assert (one["units"], one["note"]) == ("m-3", "z = 0.5, mu: 2")
