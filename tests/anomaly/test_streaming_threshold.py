"""StreamingThreshold raises the alarms that were asked for, however the scores came."""

import pickle

import array_api_strict as xp
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_exa._state import NotEnoughSamplesError
from dask_exa.anomaly import StreamingThreshold
from dask_exa.testing.contracts import MergeableEstimatorContract

LAWS = {
    "normal": stats.norm(),
    "exponential": stats.expon(),
    "Pareto": stats.pareto(3),
    "uniform": stats.uniform(),
    "beta": stats.beta(2, 5),
    "Student": stats.t(4),
}
SCORES = np.random.default_rng(0).standard_normal(5000)


def make(**params):
    return StreamingThreshold(**{"side": "high", **params})


class TestContract(MergeableEstimatorContract):
    takes_weights = True

    def make(self):
        return StreamingThreshold(n_calibration=2, false_alarm_rate=0.01)

    def learnt(self, estimator):
        names = ("n_samples_seen_", "threshold_", "tail_shape_", "tail_scale_")
        values = {name: np.asarray(getattr(estimator, name)) for name in names}
        return values | {"p_values": estimator.p_values(np.linspace(-60, 30, 6)[None])}

    def bad_calls(self, X):
        calls = super().bad_calls(X)
        # bad scores are alarms, and one series is legal
        for legal in ("NaN", "NaN in fit", "NaN in a chunk", "infinity"):
            del calls[legal]
        del calls["one dimension"], calls["one dimension of chunks"]
        return calls

    def test_state_does_not_grow_with_the_number_of_samples(self):
        X = np.random.default_rng(0).standard_normal((200_000, 2))
        short, long = (len(pickle.dumps(self.fitted(X[:n]))) for n in (20_000, 200_000))
        assert long - short < 24 * 1024 * np.log(12)  # a logarithm


@parametrize_with_checks(
    [StreamingThreshold()],
    expected_failed_checks=lambda estimator: {
        "check_fit1d": "scores of one series may come as (n_steps,)"
    },
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("rate", "n"), [(1e-2, 5000), (1e-3, 20_000), (1e-4, 20_000)])
def test_fresh_scores_raise_as_many_alarms_as_asked(name, rate, n):
    law = LAWS[name]
    found = [
        law.sf(make(false_alarm_rate=rate).fit(law.rvs(n, random_state=seed)).threshold_)
        for seed in range(30)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) < 1.05 * rate + 3 * error
    # the end of a bounded tail is approached from outside
    assert np.mean(found) > (0.3 if name == "uniform" else 0.85) * rate - 3 * error


@pytest.mark.parametrize("name", LAWS)
def test_long_streams_are_as_sure(name):
    law, rate = LAWS[name], 1e-3
    found = [
        law.sf(make(false_alarm_rate=rate).fit(law.rvs(300_000, random_state=seed)).threshold_)
        for seed in range(5)
    ]
    np.testing.assert_allclose(np.mean(found), rate, rtol=0.1)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_short_histories_raise_no_more_alarms_than_asked(name, n):
    law, rate = LAWS[name], 1e-3
    model = make(false_alarm_rate=rate, n_calibration=50)
    found = [law.sf(model.fit(law.rvs(n, random_state=seed)).threshold_) for seed in range(60)]
    assert np.mean(found) < 1.25 * rate + 2 * np.std(found) / np.sqrt(len(found))


def test_a_short_history_still_sees_what_is_far_out():
    for seed in range(20):
        model = make().fit(stats.norm.rvs(size=100, random_state=seed))
        assert 2.3 < model.threshold_ < 15


def test_p_values_of_normal_scores_are_uniform():
    model = make().fit(np.random.default_rng(2).standard_normal(100_000))
    fresh = np.random.default_rng(1).standard_normal(100_000)
    p = model.p_values(fresh)
    for share in (0.9, 0.5, 0.1, 0.01, 0.001):
        np.testing.assert_allclose((p <= share).mean(), share, rtol=0.1 + 0.3 * (share < 0.01))
    assert np.all(np.diff(p[np.argsort(fresh)]) <= 1e-12)


def test_probabilities_agree_with_the_threshold():
    for rate in (0.3, 0.02, 1e-3, 1e-5):
        model = make(false_alarm_rate=rate).fit(SCORES)
        beyond = model.threshold_ + np.array([-1e-6, 1e-6])
        np.testing.assert_array_equal(model.predict(beyond), [1, -1])


def test_sides_mirror_each_other():
    low, high = StreamingThreshold().fit(-SCORES), make().fit(SCORES)
    assert low.threshold_ == -high.threshold_
    np.testing.assert_array_equal(low.p_values(-SCORES), high.p_values(SCORES))


@pytest.mark.parametrize("params", [{}, {"forgetting_factor": 0.999}, {"drift_depth": 7}])
def test_batches_and_chunks_do_not_show(params):
    scores = SCORES.copy()
    scores[::97] = np.nan
    whole = make(**params).fit(scores)
    stream = make(**params)
    for piece in np.array_split(scores, 13):
        stream.partial_fit(piece)
    lazy = make(**params).fit(da.from_array(scores, chunks=777))
    for other in (stream, lazy):
        np.testing.assert_allclose(other.threshold_, whole.threshold_, rtol=1e-10)
        np.testing.assert_allclose(other.p_values(scores), whole.p_values(scores), rtol=1e-9)


def test_one_threshold_for_all_blocks():
    film = SCORES.reshape(500, 10)
    blocks = make().fit(film)
    assert blocks.threshold_ == pytest.approx(make().fit(SCORES).threshold_, rel=1e-12)
    assert blocks.n_samples_seen_ == 500
    assert blocks.p_values(film).shape == (500, 10)
    labelled = xr.DataArray(film, dims=("time", "block"), coords={"time": np.arange(500)})
    for array in (labelled, labelled.chunk({"time": 100, "block": 5})):
        p = make().fit(array).p_values(array)
        assert p.dims == ("time", "block")
        np.testing.assert_array_equal(p.data, blocks.p_values(film))
    lazy = blocks.predict(da.from_array(film, chunks=(100, 5)))
    np.testing.assert_array_equal(lazy.compute(), blocks.predict(film))


def test_arrays_of_other_namespaces():
    film = SCORES.reshape(500, 10)
    model = make().fit(xp.asarray(film))
    assert model.threshold_ == make().fit(film).threshold_
    np.testing.assert_array_equal(model.p_values(xp.asarray(film)), model.p_values(film))


def test_worker_processes_do_not_show(client):
    model = make().fit(da.from_array(SCORES, chunks=700))
    assert model.threshold_ == make().fit(SCORES).threshold_
    lazy = model.p_values(da.from_array(SCORES, chunks=900))
    np.testing.assert_array_equal(lazy.compute(), model.p_values(SCORES))


def test_update_tests_before_it_learns():
    model = make(n_calibration=200)
    p = model.update(SCORES[:1000], batch_size=1)
    assert np.all(p[:200] == 1)
    before = make(n_calibration=200).fit(SCORES[:777])
    assert p[777] == pytest.approx(before.p_values(SCORES[777:778])[0], rel=1e-9)
    assert (p <= 1e-3).sum() <= 5
    assert model.n_samples_seen_ == 1000


@pytest.mark.parametrize(("rate", "n_seeds"), [(1e-2, 1), (1e-3, 4)])
def test_a_stream_raises_as_many_alarms_as_asked(rate, n_seeds):
    # without alarms that count as scores beyond the threshold it is five times as many
    shares = [
        make(false_alarm_rate=rate).update(stats.norm.rvs(size=10_000, random_state=seed)) <= rate
        for seed in range(n_seeds)
    ]
    expected = rate * 10_000 * n_seeds
    assert abs(np.sum(shares) - expected) < 4 * np.sqrt(expected)


def test_alarms_are_not_learnt_unless_asked_for():
    wrong = SCORES.copy()
    wrong[2000:2200] += 12
    for learn, n_alarms in ((False, 200), (True, None)):
        model = make(learn_alarms=learn)
        p = model.update(wrong)
        assert np.all(p[2000:2048] < 1e-3)  # up to the end of the batch
        if learn:
            assert model.threshold_ > 10
        else:
            assert np.count_nonzero(p[2000:2200] <= 1e-3) == n_alarms
            assert model.threshold_ < 5


def test_forgetting_follows_a_drift():
    drifted = np.concatenate([SCORES, 0.2 * SCORES])
    stale, fresh = make().fit(drifted), make(forgetting_factor=0.998).fit(drifted)
    assert stale.threshold_ > 2.5
    assert 0.45 < fresh.threshold_ < 0.95  # .62 for the later scores alone
    forgot = make().fit(SCORES).forget(1e-4).partial_fit(0.2 * SCORES)
    assert 0.45 < forgot.threshold_ < 0.95


def test_a_moving_mean_takes_a_trend_off():
    trend = SCORES + np.linspace(0, 200, 5000)
    p = make(drift_depth=10).update(trend)
    assert (p <= 1e-3).mean() < 4e-3
    assert (make().update(trend) <= 1e-3).mean() > 0.3
    spiked = trend.copy()
    spiked[4000:4003] += 15
    model = make(drift_depth=10)
    p = model.update(spiked)
    assert np.all(p[4000:4003] < 1e-3)  # nor do alarms move the mean
    assert (p[4003:4020] <= 1e-3).sum() <= 1
    # the next score is measured from the last ones
    level = spiked[-10:].mean()
    np.testing.assert_array_equal(model.predict([level, level + 30.0]), [1, -1])


@pytest.mark.parametrize("learn", ["fit", "update"])
def test_bad_scores_are_alarms_and_never_learnt(learn):
    broken = SCORES.copy()
    broken[[0, 900]], broken[901], broken[902] = np.nan, np.inf, -np.inf
    model = make()
    p = model.update(broken) if learn == "update" else model.fit(broken).p_values(broken)
    np.testing.assert_array_equal(p[[0, 900, 901]], 0)
    assert p[902] == 1
    assert 2.5 < model.threshold_ < 4
    assert model._state.summary.n_scores <= 4997
    assert model.n_samples_seen_ == 5000
    assert np.isnan(make().partial_fit([np.nan] * 3).p_values([np.nan, 1.0])[0]) == 0


def test_says_when_it_does_not_know_yet():
    model = make(n_calibration=100)
    assert not hasattr(model, "threshold_")
    assert not model.is_calibrated_
    with pytest.raises(NotFittedError):
        model.p_values([1.0])
    model.partial_fit(SCORES[:99])
    with pytest.raises(NotEnoughSamplesError, match="n_calibration=100 is more than the 99 scores"):
        _ = model.threshold_
    np.testing.assert_array_equal(model.p_values([1e9, 0.0]), 1)
    assert model.alarms([1e9]) == []
    model.partial_fit(SCORES[99:100])
    assert model.is_calibrated_
    assert len(model.alarms([1e9])) == 1


def test_constant_scores_and_scores_with_few_values():
    constant = make().fit(np.full(500, 3.0))
    assert constant.threshold_ == np.inf
    assert np.isnan(constant.tail_shape_)
    np.testing.assert_allclose(constant.p_values([2.0, 3.0, 4.0]), [1, 1, 1 / 501])
    constant.partial_fit(np.full(1500, 3.0))
    np.testing.assert_array_equal(constant.predict([3.0, 4.0]), [1, -1])  # 1 of 2001 is less
    coins = make(false_alarm_rate=0.01).fit(np.random.default_rng(0).integers(0, 6, 2000))
    assert np.all(coins.predict(np.arange(6)) == 1)


def test_settings_that_only_read_may_change_at_any_time():
    model = make().fit(SCORES)
    first = model.threshold_
    model.false_alarm_rate = 0.05
    np.testing.assert_allclose(model.threshold_, np.quantile(SCORES, 0.95), atol=0.02)
    model.set_params(false_alarm_rate=1e-3, level=0.9)
    assert model.threshold_ != first
    assert abs(model.threshold_ - first) < 0.3


def test_alarms_say_what_where_and_how_sure():
    model = StreamingThreshold().fit(-np.abs(SCORES).reshape(500, 10))
    scores = np.zeros((3, 10))
    scores[1, 4], scores[2, 0] = -9.0, np.nan
    blocks = [((0, 7), (8 * i, 8 * i + 7)) for i in range(10)]
    features = [("a",), ("b", "c"), ()]
    alarms = model.alarms(
        scores, steps=[20, 21, 22], blocks=blocks, features=features, variable="density"
    )
    assert [alarm.step for alarm in alarms] == [21, 22]
    first, second = alarms
    assert (first.score, first.block, first.features) == (9.0, blocks[4], ("b", "c"))
    assert first.p_value == model.p_values(scores)[1, 4] < 1e-3
    assert first.variable == "density"
    assert "probability" in first.reason
    assert (second.score, second.p_value) == (np.inf, 0)
    assert "not a number" in second.reason
    assert model.alarms(scores, p_values=np.ones((3, 10))) == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"false_alarm_rate": 0.0}, "false_alarm_rate=0.0"),
        ({"level": 1.0}, "level=1.0"),
        ({"n_calibration": 1}, "n_calibration=1"),
        ({"max_excesses": 3}, "max_excesses=3"),
        ({"drift_depth": 0}, "drift_depth=0"),
        ({"forgetting_factor": 1.5}, "forgetting_factor=1.5"),
        ({"side": "both"}, "side='both'"),
    ],
)
def test_parameters_out_of_range(params, message):
    with pytest.raises(ValueError, match=message):
        StreamingThreshold(**params).fit(SCORES)


@pytest.mark.parametrize("params", [{"side": "low"}, {"forgetting_factor": 0.9}])
def test_models_of_other_parameters_do_not_merge(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        make().fit(SCORES).merge(make(**params).fit(SCORES))
