"""A sketch is exact up to its capacity, and then off by no more than it says."""

import functools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa.kernels import _quantiles_numba
from dask_exa.summaries import sketch
from dask_exa.testing.strategies import cuts, groupings, matrices, merge_grouped, pieces
from tests import naive

LEVELS = np.linspace(0, 1, 101)
CAPACITY = 256
N = 20_000


def kinds():
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(N)
    return {
        "shuffled": normal,
        "sorted": np.sort(normal),
        "reversed": np.sort(normal)[::-1],
        "from both ends": np.sort(normal).reshape(2, -1).T.ravel(),
        "clustered": rng.choice([-1e6, 0.0, 1.0, 1e9], N) + rng.random(N),
        "heavy-tailed": rng.standard_cauchy(N) ** 3,
        "duplicates": rng.integers(0, 7, N).astype(float),
        "mostly one value": np.where(rng.random(N) < 0.9, 3.0, normal),
        "constant": np.full(N, 2.5),
        "periodic": np.sin(np.arange(N) * 2 * np.pi / 256),
    }


KINDS = kinds()
BY_KIND = np.stack(list(KINDS.values()), axis=1)


def whole(X, capacity):
    return sketch.summarize(X, capacity=capacity)


def chunk_by_chunk(X, capacity, size=700):
    state = None
    for row in range(0, len(X), size):
        state = sketch.reducer(capacity, row).absorb(state, X[row : row + size], None)
    return state


def tree(X, capacity, size=1500):
    states = [
        sketch.summarize(X[row : row + size], capacity=capacity, row=row)
        for row in range(0, len(X), size)
    ]
    while len(states) > 1:
        groups = [states[i : i + 3] for i in range(0, len(states), 3)]
        states = [sketch.merge(group, capacity=capacity) for group in groups]
    return states[0]


WAYS = {"whole": whole, "chunk by chunk": chunk_by_chunk, "tree": tree}
BY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@functools.cache
def found(way, capacity=CAPACITY):
    return way(BY_KIND, capacity)


def errors(summary, X, weights=None):
    """Return how far the ranks of quantiles are off, shape (n_levels, n_features)."""
    quantiles = sketch.quantiles(summary, LEVELS)
    return np.stack(
        [naive.rank_errors(q, LEVELS, x, weights) for q, x in zip(quantiles.T, X.T, strict=True)],
        axis=1,
    )


def bound(capacity):
    """What the docstrings of the scalers promise."""
    return 16 / capacity


@BY_WAY
def test_ranks_are_no_farther_off_than_the_sketch_says(way):
    summary = found(way)
    off = errors(summary, BY_KIND)
    assert sketch.rank_error(summary) < bound(CAPACITY)
    assert np.mean(off > sketch.rank_error(summary)) <= 0.01
    assert off.max() < bound(CAPACITY)
    assert np.sqrt(np.mean(off**2)) < bound(CAPACITY) / 4


@BY_WAY
def test_errors_fall_with_the_capacity(way):
    sizes = np.array([64, 256, 1024, 4096])
    off = [np.sqrt(np.mean(errors(way(BY_KIND, size), BY_KIND) ** 2)) for size in sizes]
    slope = np.polyfit(np.log(sizes), np.log(off), 1)[0]
    assert slope < -0.8


@BY_WAY
def test_memory_is_bounded(way):
    summary = found(way)
    n_features = len(KINDS)
    assert summary.values.shape == (n_features, summary.weights.size)
    assert summary.weights.size <= CAPACITY
    assert len(pickle.dumps(summary)) <= 8 * CAPACITY * (n_features + 1) + 16 * n_features + 1000
    assert summary.n_samples == N
    np.testing.assert_allclose(summary.weights.sum(), N, rtol=1e-12)


@BY_WAY
def test_extremes_are_exact(way):
    quantiles = sketch.quantiles(found(way), np.array([0.0, 1.0]))
    assert np.array_equal(quantiles, [BY_KIND.min(axis=0), BY_KIND.max(axis=0)])


@BY_WAY
def test_results_repeat_to_the_last_bit(way):
    once, again = found(way), way(BY_KIND, CAPACITY)
    assert np.array_equal(once.values, again.values)
    assert np.array_equal(once.weights, again.weights)


@pytest.mark.parametrize("n_samples", [16, 200, 2000])
def test_the_promise_does_not_wear_off(n_samples):
    X = np.random.default_rng(0).random((n_samples, 1))
    parts = [sketch.summarize(X, capacity=64, row=row) for row in range(7)]
    merged = parts[0]
    for i in range(2000):
        merged = sketch.merge([merged, parts[i % 7]], capacity=64)
        assert sketch.rank_error(merged) < bound(64)


def test_single_rows_are_legal():
    X = BY_KIND[:3000]
    summary = None
    for row in range(len(X)):
        summary = sketch.reducer(64, row).absorb(summary, X[row : row + 1], None)
        assert summary.weights.size <= 64
    off = errors(summary, X)
    assert off.max() < bound(64)
    assert np.mean(off > sketch.rank_error(summary)) <= 0.01


@given(data=st.data())
def test_is_exact_up_to_its_capacity_in_any_grouping_and_order(data):
    X = data.draw(matrices())
    times = np.random.default_rng(0).integers(1, 4, len(X))
    sizes = data.draw(cuts(len(X)))
    parts = [
        sketch.summarize(x, w.astype(float), capacity=40)
        for x, w in zip(pieces(X, sizes), pieces(times, sizes), strict=True)
    ]
    shuffled = data.draw(st.permutations(parts))
    merge = functools.partial(sketch.merge, capacity=40)
    merged = merge_grouped(merge, shuffled, data.draw(groupings(len(parts))))
    assert sketch.rank_error(merged) == merged.squared_steps == 0
    wanted = np.percentile(np.repeat(X, times, axis=0), 100 * LEVELS, axis=0)
    scale = np.abs(X).max()
    np.testing.assert_allclose(sketch.quantiles(merged, LEVELS), wanted, rtol=0, atol=1e-14 * scale)
    assert sketch.count_repeated(merged) == times.sum()


@given(data=st.data())
def test_any_grouping_is_as_good_as_its_bound(data):
    X = BY_KIND[np.random.default_rng(data.draw(st.integers(0, 99))).permutation(N)[:3000]]
    sizes = data.draw(cuts(len(X)))
    parts = [sketch.summarize(x, capacity=64) for x in pieces(X, sizes)]
    merge = functools.partial(sketch.merge, capacity=64)
    merged = merge_grouped(merge, parts, data.draw(groupings(len(parts))))
    off = errors(merged, X)
    assert np.mean(off > sketch.rank_error(merged)) <= 0.03
    assert off.max() < bound(64)


def test_ranks_are_right_on_average_and_as_often_as_promised():
    X = np.random.default_rng(0).random((3000, 1))
    median = np.sort(X[:, 0])[1500]
    signed, promised = [], []
    for row in range(400):
        parts = [
            sketch.summarize(x, capacity=64, row=row * 3000 + 500 * i)
            for i, x in enumerate(np.split(X, 6))
        ]
        merged = sketch.merge(parts, capacity=64)
        rank = merged.weights[merged.values[0] < median].sum() / 3000
        signed.append(rank - 0.5)
        promised.append(sketch.rank_error(merged, 0.9))
    signed = np.array(signed)
    assert abs(signed.mean()) < 4 * signed.std() / np.sqrt(len(signed))
    assert np.mean(np.abs(signed) > promised) <= 0.1
    # the variance of one thinning is at most s² / 4
    assert signed.std() < 1.1 * np.sqrt(merged.squared_steps / 4) / 3000


@pytest.mark.parametrize("kind", ["whole", "real"])
def test_weights_count_repetitions(kind):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 5, N).astype(float) if kind == "whole" else rng.exponential(size=N)
    parts = [
        sketch.summarize(BY_KIND[rows], weights[rows], capacity=CAPACITY)
        for rows in np.split(np.arange(N), 8)
    ]
    merged = sketch.merge(parts, capacity=CAPACITY)
    np.testing.assert_allclose(merged.weights.sum(), weights.sum(), rtol=1e-12)
    off = errors(merged, BY_KIND, weights)
    assert np.mean(off > sketch.rank_error(merged)) <= 0.01
    assert off.max() < bound(CAPACITY)


def test_the_scale_of_weights_makes_no_difference():
    # by a power of two: otherwise the borders of what is thinned together lie elsewhere
    once = sketch.summarize(BY_KIND[:1000], np.full(1000, 1.0), capacity=64)
    scaled = sketch.summarize(BY_KIND[:1000], np.full(1000, 2.0**-40), capacity=64)
    assert np.array_equal(once.values, scaled.values)
    assert np.array_equal(once.weights, scaled.weights * 2.0**40)
    np.testing.assert_allclose(sketch.rank_error(scaled), sketch.rank_error(once), rtol=1e-12)


def test_forgetting_is_a_smaller_weight():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 3)) + 5 * np.linspace(0, 1, N)[:, None]
    summary, weights = None, np.zeros(0)
    for row in range(0, N, 200):
        if summary is not None:
            summary = sketch.forget(summary, 0.9)
        summary = sketch.reducer(CAPACITY, row).absorb(summary, X[row : row + 200], None)
        weights = np.r_[0.9 * weights, np.ones(200)]
    assert summary.weights.size <= CAPACITY
    np.testing.assert_allclose(summary.weight, weights.sum(), rtol=1e-12)
    np.testing.assert_allclose(summary.weights.sum(), weights.sum(), rtol=1e-12)
    off = errors(summary, X, weights)[1:-1]  # extremes are of what is kept
    assert np.mean(off > sketch.rank_error(summary)) <= 0.01
    assert off.max() < bound(CAPACITY)
    assert np.median(X, axis=0).max() < 3 < sketch.quantiles(summary, [0.5]).min()


def test_forgetting_alone_changes_no_quantile():
    X = BY_KIND[:40]
    summary = sketch.summarize(X, capacity=64)
    forgotten = sketch.forget(sketch.forget(summary, 0.5), 0.3)
    assert forgotten.n_samples == 40
    np.testing.assert_allclose(forgotten.weight, 6.0)
    wanted = np.percentile(X, 100 * LEVELS, axis=0)
    tolerance = 1e-13 * np.abs(X).max(axis=0)
    assert np.all(np.abs(sketch.quantiles(forgotten, LEVELS) - wanted) <= tolerance)


def test_what_has_faded_is_dropped_with_its_extremes():
    old = sketch.summarize(np.full((10, 2), 99.0), capacity=64)
    for _ in range(300):
        old = sketch.forget(old, 0.5)
        old = sketch.merge([old, sketch.summarize(np.ones((1, 2)), capacity=64)], capacity=64)
    assert np.array_equal(sketch.quantiles(old, [0.0, 1.0]), np.ones((2, 2)))


def test_a_large_block_is_halved_before_it_is_thinned():
    X = np.random.default_rng(0).standard_normal((100_003, 20))
    summary = sketch.summarize(X, capacity=1024)
    step = summary.weights[0]
    assert step**2 < summary.squared_steps < 2 * step**2  # halving costs less than thinning
    off = errors(summary, X)
    assert np.mean(off > sketch.rank_error(summary)) <= 0.01
    assert off.max() < bound(1024)


def test_parts_and_columns_of_a_block_are_not_seen(monkeypatch):
    X = np.random.default_rng(0).standard_normal((100_003, 7))
    once = sketch.summarize(X, capacity=1024)
    monkeypatch.setattr(_quantiles_numba, "_BLOCK", 1)
    monkeypatch.setattr(_quantiles_numba, "_COLUMNS", 2)
    for order in ("C", "F"):
        again = sketch.summarize(np.asarray(X, order=order), capacity=1024)
        assert np.array_equal(once.values, again.values)


def test_float32_is_kept_as_it_is():
    X = BY_KIND[:500].astype(np.float32)
    summary = sketch.summarize(X, capacity=64)
    assert summary.values.dtype == np.float32
    assert np.all(np.isin(summary.values, X))
    united = sketch.merge([summary, sketch.summarize(BY_KIND[:9], capacity=64)], capacity=100)
    assert united.values.dtype == np.float64


def test_blocks_that_weigh_nothing_change_nothing():
    nothing = sketch.summarize(BY_KIND[:9], np.zeros(9), capacity=64)
    assert (nothing.n_samples, nothing.weight, nothing.weights.size) == (9, 0.0, 0)
    summary = sketch.summarize(BY_KIND[:40], capacity=64)
    merged = sketch.merge([nothing, summary], capacity=64)
    assert np.array_equal(sketch.quantiles(merged, LEVELS), sketch.quantiles(summary, LEVELS))


def test_levels_come_in_any_order():
    summary = found(whole)
    levels = np.array([0.7, 0.1, 1.0, 0.1])
    single = [sketch.quantiles(summary, [level])[0] for level in levels]
    assert np.array_equal(sketch.quantiles(summary, levels), single)


@pytest.mark.parametrize("n_samples", [40, 1000])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_refused(n_samples, bad):
    X = np.ones((n_samples, 3))
    X[n_samples // 2, 1] = bad
    with pytest.raises(ValueError, match="X contains NaN, infinity"):
        sketch.summarize(X, capacity=64)


def test_samples_are_left_alone():
    X = np.random.default_rng(0).standard_normal((5000, 4))
    before = X.copy()
    X.flags.writeable = False
    for order in ("C", "F"):
        sketch.summarize(np.asarray(X, order=order), capacity=64)
    sketch.summarize(X, np.arange(5000) % 3.0, capacity=64)
    assert np.array_equal(X, before)


@pytest.mark.parametrize("n_samples", [40, 300])
def test_twins(namespace, n_samples):
    X = np.random.default_rng(0).standard_normal((n_samples, 5))
    here = sketch.summarize(X, np.full(n_samples, 0.5), capacity=128)
    weights = namespace.xp.full(n_samples, 0.5, dtype=namespace.xp.float64)
    there = sketch.summarize(namespace.xp.asarray(X), weights, capacity=128)
    assert np.array_equal(there.values, here.values)
    assert np.array_equal(there.weights, here.weights)
    assert there.squared_steps == here.squared_steps
