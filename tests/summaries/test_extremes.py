"""Extremes are the sample above every level that a look at all pairs gives, on any cut."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa import kernels
from dask_exa.summaries import extremes
from dask_exa.testing.strategies import groupings, merge_grouped
from tests import naive

RNG = np.random.default_rng(0)
X = RNG.standard_normal(600)
TIES = np.round(X, 1)
WEIGHT = RNG.gamma(0.5, size=600) * (np.arange(600) % 5 > 0)


def assert_same(actual, expected):
    for name in ("values", "keys", "log_weights"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)
    assert actual.position == expected.position
    np.testing.assert_allclose(actual.weight, expected.weight, rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 1 / 300])
@pytest.mark.parametrize("values", [X, TIES, np.sort(X), -np.sort(X)], ids=range(4))
def test_keeps_what_looking_at_all_pairs_does(values, decay):
    seen = extremes.summarize(values, capacity=8, decay=decay, first=40)
    keys = naive.extreme_keys(values, first=40, decay=decay)
    kept = naive.kept_extremes(values, keys, 8)
    kept = [i for i in kept if decay * (len(values) - 1 - i) <= np.log(1e3)]
    order = sorted(kept, key=lambda i: (-values[i], keys[i]))
    np.testing.assert_array_equal(seen.values, values[order])
    np.testing.assert_allclose(seen.keys, keys[order], rtol=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("decay", [0.0, 1 / 50])
@pytest.mark.parametrize("values", [X, TIES], ids=["continuous", "ties"])
@given(cuts=st.lists(st.integers(0, 600), max_size=5), data=st.data())
def test_merges_in_any_order_and_grouping(values, decay, weight, cuts, data):
    options = {"capacity": 16, "decay": decay}
    parts = [
        extremes.summarize(
            values[low:high],
            None if weight is None else weight[low:high],
            first=low,
            **options,
        )
        for low, high in itertools.pairwise([0, *sorted(cuts), 600])
        if high > low
    ]
    parts = data.draw(st.permutations(parts))
    merged = merge_grouped(extremes.merge, parts, data.draw(groupings(len(parts))))
    assert_same(merged, extremes.summarize(values, weight, **options))


@pytest.mark.parametrize("decay", [0.0, 1 / 100])
def test_survival_is_exact_where_few_lie_above(decay):
    seen = extremes.survival(extremes.summarize(X, capacity=64, decay=decay))
    age = np.exp(-decay * np.arange(600)[::-1])
    for value, above in zip(seen.values[:63], seen.above[:63], strict=True):
        np.testing.assert_allclose(above, age[value <= X].sum(), rtol=2e-3 if decay else 1e-12)
    np.testing.assert_allclose(seen.total, age.sum(), rtol=1e-12)
    assert np.all(np.diff(seen.above) >= 0)
    assert seen.above[-1] <= seen.total


@pytest.mark.parametrize(("decay", "weighted"), [(0.0, False), (0.0, True), (1 / 3000, False)])
def test_survival_is_as_sure_at_every_level(decay, weighted):
    capacity, n = 256, 30_000
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = rng.standard_normal(n)
        weight = rng.gamma(2.0, size=n) if weighted else None
        seen = extremes.survival(extremes.summarize(values, weight, capacity=capacity, decay=decay))
        w = np.exp(-decay * np.arange(n)[::-1]) * (1.0 if weight is None else weight)
        found = []
        for level in (0.0, 1.0, 2.0):
            place = np.searchsorted(-seen.values, -level) - 1
            found.append(seen.above[place] / w[values >= seen.values[place]].sum() - 1)
        errors.append(found)
    deviation = np.std(errors, axis=0)
    assert np.all(deviation < 1.25 / np.sqrt(capacity)), deviation
    bias = np.mean(errors, axis=0)
    assert np.all(np.abs(bias) < 3.5 * deviation / np.sqrt(40) + 2e-3), bias


def test_size_grows_with_the_logarithm_in_any_order():
    values = np.random.default_rng(1).standard_normal(200_000)
    for order in (values, np.sort(values), np.sort(values)[::-1]):
        size = extremes.summarize(order, capacity=128).values.size
        assert size < 128 * (1 + np.log(200_000 / 128)) * 1.15
    faded = extremes.summarize(values, capacity=128, decay=1 / 500)
    assert faded.values.size < 128 * (1 + np.log(7 * 500 / 128)) * 1.3
    falling = extremes.summarize(np.sort(values)[::-1], capacity=128, decay=1 / 500)
    assert falling.values.size < 7 * 500


def test_forgetting_scales_all_that_was_seen():
    seen = extremes.summarize(X, capacity=32)
    half = extremes.survival(extremes.forget(seen, 0.5))
    np.testing.assert_allclose(half.above, 0.5 * extremes.survival(seen).above, rtol=1e-12)
    assert half.total == 300
    merged = extremes.merge([extremes.forget(seen, 1e-3), extremes.summarize(X - 9, capacity=32)])
    assert extremes.survival(merged).above[0] == pytest.approx(1e-3)
    assert extremes.survival(merged).total == pytest.approx(600.6)


def test_far_rows_do_not_overflow():
    seen = extremes.summarize(X, capacity=32, decay=0.1, first=10**7)
    near = extremes.summarize(X, capacity=600, decay=0.1)
    seen, near = extremes.survival(seen), extremes.survival(near)
    np.testing.assert_allclose(seen.total, near.total, rtol=1e-6)
    np.testing.assert_allclose(seen.above[:20], near.above[:20], rtol=1e-6)


def test_replays_to_the_last_bit_and_pickles():
    one, two = (extremes.summarize(X, capacity=32) for _ in range(2))
    assert pickle.dumps(one) == pickle.dumps(two)
    assert_same(pickle.loads(pickle.dumps(one)), one)


@pytest.mark.parametrize("limit", [np.inf, 0.5])
@given(cut=st.integers(1, 79), depth=st.integers(1, 12))
def test_moving_mean_on_any_cut(limit, cut, depth):
    scores = np.random.default_rng(3).standard_normal((80, 2))
    scores[[3, 17, 18, 40], 0] = np.nan
    scores[:3, 1] = np.nan
    nothing = np.empty((0, 2))
    means, recent = kernels.moving_mean(scores, nothing, depth, limit)
    first, between = kernels.moving_mean(scores[:cut], nothing, depth, limit)
    second, last = kernels.moving_mean(scores[cut:], between, depth, limit)
    np.testing.assert_array_equal(np.concatenate([first, second]), means)
    np.testing.assert_array_equal(last, recent)
    for j in range(2):
        expected = naive.moving_mean(scores[:, j], [], depth, limit)
        np.testing.assert_allclose(means[:, j], expected[0], rtol=1e-12)
        np.testing.assert_allclose(recent[:, j], expected[1], rtol=1e-12)
