"""What a session learns, remembers and keeps, step by step."""

import concurrent.futures
import itertools
import os
import signal
import threading

import dask
import numpy as np
import pytest
import xarray as xr
from sklearn.base import BaseEstimator
from sklearn.decomposition import IncrementalPCA as SklearnPCA

from dask_exa.anomaly.field_detector import Finding
from dask_exa.apps.cluster import Scatter, column_chunks, connect
from dask_exa.apps.errors import compare, compared
from dask_exa.apps.session import MAX_KEPT, Session, follow
from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs import Stream
from dask_exa.inputs.interrupt import StopRequest
from tests.inputs.streams import LentStream

SHAPE = (6, 8)


def make_steps(n_steps, rank, *, names=("density", "potential"), seed=0):
    """Return steps whose fields have a known rank."""
    random = np.random.default_rng(seed)
    steps = []
    fields = {
        name: random.normal(size=(n_steps, rank)) @ random.normal(size=(rank, 48)) for name in names
    }
    for i in range(n_steps):
        data = {name: (("y", "x"), values[i].reshape(SHAPE)) for name, values in fields.items()}
        coords = {"time": i / 2, "timestep": 10 + i, "x": np.arange(8.0)}
        steps.append(xr.Dataset(data, coords))
    return steps


def stream_of(steps):
    names = tuple(steps[0].data_vars)
    sizes = {"y": 6, "x": 8}
    return Stream(
        lambda start: iter(steps[start:]), name="made", sizes=sizes, variables=names, n_steps=99
    )


def learn(steps, estimator, **options):
    session = Session(steps[0].data_vars, estimator)
    assert not follow(stream_of(steps), session, **options)
    return session


def matrix(steps, name="density"):
    return np.stack([step[name].values.ravel() for step in steps])


ESTIMATORS = [IncrementalPCA(4), IncrementalPCA(4, whiten=True), SklearnPCA(4)]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=["ours", "whitened", "scikit-learn"])
def test_coefficients_follow_the_basis(estimator):
    steps = make_steps(30, rank=4)
    model = learn(steps, estimator).models["density"]
    final = np.concatenate([model.transform(step.density) for step in steps])
    assert model.coefficients.shape == (30, 4)
    np.testing.assert_allclose(model.coefficients, final, atol=1e-8 * np.abs(final).max())


def test_what_is_learnt_is_that_of_the_estimator_alone():
    steps = make_steps(30, rank=12)
    session = learn(steps, IncrementalPCA(4))
    alone = IncrementalPCA(4)
    for row in matrix(steps, "potential"):
        alone.partial_fit(row[None])
    ours = session.models["potential"].estimator
    np.testing.assert_allclose(ours.singular_values_, alone.singular_values_)
    assert session.history["bytes_data"] == [2 * 48 * 8] * 30
    assert session.models["potential"].state_bytes > 4 * 48 * 8


def test_errors_are_of_the_basis_before_the_step():
    steps = make_steps(12, rank=8)
    model = learn(steps, IncrementalPCA(3)).models["density"]
    assert np.isnan(model.errors[:3]).all()
    X = matrix(steps)
    for i in range(3, 12):
        before = IncrementalPCA(3)
        for row in X[:i]:
            before.partial_fit(row[None])
        back = before.inverse_transform(before.transform(X[i : i + 1]))
        expected = np.linalg.norm(X[i] - back) / np.linalg.norm(X[i])
        assert model.errors[i] == pytest.approx(expected)


def test_results_compare_the_steps_kept():
    steps = make_steps(40, rank=8)
    session = learn(steps, IncrementalPCA(3))
    result = session.results()["density"]
    X, estimator = matrix(steps), session.models["density"].estimator
    back = estimator.inverse_transform(estimator.transform(X))
    expected = np.linalg.norm(X - back, axis=1) / np.linalg.norm(X, axis=1)
    assert list(result.error_at_the_end) == [10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 49]
    for step, error in result.error_at_the_end.items():
        assert error == pytest.approx(expected[step - 10])
        assert result.error_as_stored[step] >= error * (1 - 1e-9)
    assert [int(p.original.timestep) for p in result.pictures] == [10, 30, 49]
    assert result.modes.dims == ("component", "y", "x")


@pytest.mark.parametrize("n_steps", [1, 12, 13, 100])
def test_steps_kept_are_few_and_spread(n_steps):
    session = learn(make_steps(n_steps, rank=2), IncrementalPCA(2))
    positions = [position for position, _ in session.kept]
    assert len(positions) <= MAX_KEPT
    assert positions[0] == 0
    assert positions[-1] == n_steps - 1
    assert set(np.diff(positions[:-1])) <= {session.stride}


def test_too_few_steps_are_reported_as_such():
    result = learn(make_steps(3, rank=3), IncrementalPCA(4)).results()["density"]
    assert result.fitted == {}
    assert result.pictures == []
    assert result.modes is None


def test_values_that_are_not_finite_raise_an_alarm():
    steps = make_steps(12, rank=3)
    steps[6].density[1, 2:4] = np.nan
    session = learn(steps, IncrementalPCA(3))
    (alarm,) = session.watcher.alarms
    assert alarm.step == 16
    assert alarm.score == pytest.approx(2 / 48)
    assert "density has 2 of 48 values that are not finite" in alarm.reason
    density, potential = session.models["density"], session.models["potential"]
    assert density.estimator.n_samples_seen_ == 11
    assert potential.estimator.n_samples_seen_ == 12
    assert np.isnan(density.coefficients[6]).all()
    assert np.isnan(density.errors[6])
    assert np.isfinite(density.coefficients[7:]).all()
    assert len(session.results()["density"].error_at_the_end) == 11


def test_transform_that_is_not_affine_keeps_its_coefficients():
    class Squares(BaseEstimator):
        def fit(self, X, y=None):
            self.n_features_in_ = X.shape[1]
            return self

        partial_fit = fit

        def transform(self, X):
            return X[:, :2] ** 2

        def inverse_transform(self, X):
            return np.pad(X, ((0, 0), (0, self.n_features_in_ - 2)))

    steps = make_steps(3, rank=3)
    model = learn(steps, Squares()).models["density"]
    np.testing.assert_allclose(model.coefficients, matrix(steps)[:, :2] ** 2)


def test_blocks_on_a_threaded_scheduler_give_the_same():
    steps = make_steps(20, rank=8)
    whole = learn(steps, IncrementalPCA(3, solver="gram"))
    split = learn(
        steps,
        IncrementalPCA(3, solver="gram", layout="columns"),
        place=lambda step: step.chunk({"y": 3, "x": 4}),
    )
    for name, model in whole.models.items():
        other = split.models[name]
        np.testing.assert_allclose(other.coefficients, model.coefficients, rtol=1e-6, atol=1e-8)
        # Three centred samples span two directions; the third one of a basis of three is arbitrary.
        np.testing.assert_allclose(other.errors[4:], model.errors[4:], rtol=1e-6)


@pytest.mark.distributed
def test_blocks_stay_on_their_workers(client):
    from distributed import futures_of, wait

    step = make_steps(1, rank=2)[0]
    placed = Scatter(client, {"y": 3, "x": 4})(step)
    assert placed.density.data.numblocks == (2, 2)
    assert placed.density.timestep.item() == 10
    np.testing.assert_array_equal(placed.density.compute(), step.density)
    futures = futures_of(placed.density.data.persist())
    wait(futures)
    where = client.who_has(futures)
    assert {len(workers) for workers in where.values()} == {1}
    assert len({worker for workers in where.values() for worker in workers}) == 2


@pytest.mark.distributed
def test_workers_leave_ctrl_c_to_the_run():
    with connect(None, n_workers=1) as client:
        found = client.run(signal.getsignal, signal.SIGINT)
    assert set(found.values()) == {signal.SIG_IGN}


def test_cluster_that_does_not_answer_is_named():
    with (
        pytest.raises(ConnectionError, match=r"cluster='tcp://127.0.0.1:9' does not answer"),
        connect("tcp://127.0.0.1:9", timeout=0.2),
    ):
        pass


@pytest.mark.parametrize(
    ("sizes", "n_blocks", "chunks"),
    [
        ({"x": 10}, 1, {"x": 10}),
        ({"x": 10}, 3, {"x": 3}),
        ({"y": 128, "x": 128}, 4, {"y": 64, "x": 64}),
        ({"x": 2}, 9, {"x": 1}),
    ],
)
def test_blocks_are_about_as_many_as_asked_for(sizes, n_blocks, chunks):
    assert column_chunks(sizes, n_blocks) == chunks


def test_comparison_is_the_same_for_blocks():
    random = np.random.default_rng(0)
    a, b = (xr.DataArray(random.normal(size=(6, 8)), dims=("y", "x")) for _ in range(2))
    a[0, 0] = np.nan
    whole, split = (
        compared(dask.compute(found)[0])
        for found in (compare(a[1:], b[1:]), compare(a.chunk({"y": 2})[1:], b[1:]))
    )
    assert whole == pytest.approx(split)
    assert compared(compare(a)).n_not_finite == 1
    assert np.isnan(compared(compare(a)).error)
    zeros = xr.zeros_like(b)
    assert compared(compare(zeros, zeros)).error == 0
    assert compared(compare(zeros, b)).error == np.inf


def test_stop_waits_for_the_end_of_a_step():
    steps = make_steps(9, rank=2)
    session = Session(steps[0].data_vars, IncrementalPCA(2))

    def stop_at_four(session):
        if session.n_steps == 4:
            os.kill(os.getpid(), signal.SIGINT)

    assert follow(stream_of(steps), session, after_step=stop_at_four)
    assert session.n_steps == 4


def test_steps_kept_of_a_simulation_that_lends_them_are_copies():
    steps = make_steps(20, rank=4)
    whole = learn(steps, IncrementalPCA(3))
    lent = Session(steps[0].data_vars, IncrementalPCA(3))
    assert not follow(LentStream(steps), lent)
    for name, result in whole.results().items():
        assert lent.results()[name].error_at_the_end == result.error_at_the_end
        np.testing.assert_array_equal(lent.models[name].coefficients, result.coefficients)


def test_variable_that_comes_at_every_second_step_is_learnt_there():
    steps = make_steps(20, rank=4)
    rare = [step if i % 2 == 0 else step.drop_vars("potential") for i, step in enumerate(steps)]
    session = learn(rare, IncrementalPCA(3))
    density, potential = session.models["density"], session.models["potential"]
    alone = IncrementalPCA(3)
    for row in matrix(steps[::2], "potential"):
        alone.partial_fit(row[None])
    np.testing.assert_allclose(potential.estimator.singular_values_, alone.singular_values_)
    assert density.estimator.n_samples_seen_ == 20
    assert np.isnan(potential.coefficients[1::2]).all()
    assert np.isfinite(potential.coefficients[::2]).all()
    assert session.history["bytes_data"] == [2 * 48 * 8, 48 * 8] * 10
    assert all(position % 2 == 0 for position, _ in session.kept)
    assert set(session.results()["potential"].error_at_the_end) <= set(range(10, 30, 2))


class Losing(BaseEstimator):
    """A detector that loses something with a worker at one step, after it has changed."""

    def __init__(self, at=None):
        self.at = at

    def observe(self, step):
        self.n_seen_ = getattr(self, "n_seen_", 0) + 1
        if int(step.timestep) == self.at:
            raise concurrent.futures.CancelledError("gone")
        return Finding([], 0.0, 1.0)


@pytest.mark.parametrize("lose_in", ["detector", "learning"])
def test_step_that_is_lost_with_a_worker_is_left_out(monkeypatch, lose_in):
    steps = make_steps(12, rank=8)
    session = Session(steps[0].data_vars, IncrementalPCA(3), Losing(16))
    if lose_in == "learning":  # the density has learnt the step by then
        session.watcher.detector.at = None
        learn_potential = session.models["potential"].learn

        def lose(field):
            if int(field.timestep) == 16:
                raise concurrent.futures.CancelledError("gone")
            learn_potential(field)

        monkeypatch.setattr(session.models["potential"], "learn", lose)
    assert not follow(stream_of(steps), session, on_fault="skip")
    assert session.faults == ["step 16 was lost with a worker (CancelledError: gone)"]
    others = [step for step in steps if int(step.timestep) != 16]
    expected = learn(others, IncrementalPCA(3))
    assert session.history["timestep"] == expected.history["timestep"]
    assert session.watcher.detector.n_seen_ == 11
    for name, model in session.models.items():
        np.testing.assert_array_equal(model.coefficients, expected.models[name].coefficients)
        np.testing.assert_array_equal(model.errors, expected.models[name].errors)
    again = Session(steps[0].data_vars, IncrementalPCA(3), Losing(16))
    with pytest.raises(concurrent.futures.CancelledError):
        follow(stream_of(steps), again)


def test_signal_stops_a_running_simulation_while_its_next_step_is_awaited():
    told = threading.Event()

    class Running(LentStream):
        def stop(self, reason=""):
            super().stop(reason)
            told.set()

    def no_more():
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(10)  # though the simulation has not come to its next step
        yield from ()

    steps = make_steps(4, rank=2)
    stream = Running(steps)
    read = stream._read
    stream._read = lambda start: itertools.chain(read(start), no_more())
    session = Session(steps[0].data_vars, IncrementalPCA(2))
    assert follow(stream, session) == "signal"
    assert session.n_steps == 4
    assert stream.stop_reason == "analytics was interrupted"


def test_second_signal_stops_at_once():
    with StopRequest(note=None) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
