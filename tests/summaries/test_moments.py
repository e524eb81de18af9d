"""Moments merge to those of all samples together, in any grouping and without losing digits."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa.summaries import moments
from dask_exa.testing.strategies import cuts, groupings, matrices, merge_grouped, pieces
from dask_exa.testing.strategies import sample_weights as weights
from tests import naive

PAIRS = pytest.mark.parametrize("pairs", [False, True])


def assert_are_moments_of(summary, X, sample_weight=None, rtol=1e-11):
    """Compare with the oracle, relative to the size of the data about their mean."""
    weight, mean, scatter = naive.moments(X, sample_weight)
    spread = np.trace(scatter) / weight
    # subtracting a mean cannot be more exact than the digits of the data themselves
    digits = np.finfo(float).eps * np.abs(X).max()
    np.testing.assert_allclose(summary.weight, weight, rtol=1e-13)
    np.testing.assert_allclose(summary.mean, mean, rtol=1e-14, atol=4 * digits)
    wanted = scatter if summary.m2.ndim == 2 else scatter.diagonal()
    atol = weight * (rtol * spread + 8 * digits * np.sqrt(spread) + 8 * digits**2)
    np.testing.assert_allclose(summary.m2, wanted, rtol=0, atol=atol)


@PAIRS
@given(data=st.data())
def test_any_grouping_gives_the_moments_of_the_whole(pairs, data):
    X = data.draw(matrices())
    w = data.draw(weights(len(X)))
    sizes = data.draw(cuts(len(X)))
    parts = [
        moments.summarize(x, v, pairs=pairs)
        for x, v in zip(pieces(X, sizes), pieces(w, sizes), strict=True)
    ]
    merged = merge_grouped(moments.merge, parts, data.draw(groupings(len(parts))))
    assert_are_moments_of(merged, X, w)
    assert merged.n_samples == len(X)


@PAIRS
@given(data=st.data())
def test_merge_commutes(pairs, data):
    X = data.draw(matrices(min_samples=2))
    parts = [moments.summarize(x, pairs=pairs) for x in pieces(X, data.draw(cuts(len(X))))]
    shuffled = data.draw(st.permutations(parts))
    assert_are_moments_of(moments.merge(shuffled), X)


@PAIRS
def test_single_samples_have_no_scatter_of_their_own(pairs):
    X = np.random.default_rng(0).normal(3, 2, (50, 4))
    rows = [moments.summarize(x[None, :], pairs=pairs) for x in X]
    assert all(np.array_equal(row.m2, np.zeros_like(row.m2)) for row in rows)
    assert_are_moments_of(moments.merge(rows), X)


@PAIRS
def test_far_from_the_origin_no_digits_are_lost(pairs):
    X = np.random.default_rng(0).standard_normal((5000, 3)) + 1e6
    parts = [moments.summarize(x, pairs=pairs) for x in np.array_split(X, 50)]
    # XᵀX - n mean meanᵀ would be wrong in the fourth digit
    assert_are_moments_of(moments.merge(parts), X, rtol=1e-13)


@PAIRS
@given(data=st.data())
def test_float32_is_accumulated_in_float64(pairs, data):
    X = data.draw(matrices(offsets=(0.0, 100.0))).astype(np.float32)
    summary = moments.summarize(X, pairs=pairs)
    assert summary.m2.dtype == summary.mean.dtype == np.float64
    assert_are_moments_of(summary, X.astype(np.float64))


@PAIRS
def test_blocks_of_rows_are_not_seen(pairs, monkeypatch):
    X = np.random.default_rng(0).normal(3, 2, (1000, 4))
    w = np.random.default_rng(1).uniform(0, 2, 1000)
    whole = moments.summarize(X, w, pairs=pairs)
    monkeypatch.setattr(moments, "_BLOCK_BYTES", 1)  # blocks of 256 rows
    blocked = moments.summarize(X, w, pairs=pairs)
    assert_are_moments_of(blocked, X, w, rtol=1e-13)
    np.testing.assert_allclose(blocked.m2, whole.m2, rtol=1e-12, atol=1e-9)
    assert blocked.n_samples == whole.n_samples == 1000


@PAIRS
def test_weight_is_repetition(pairs):
    X = np.random.default_rng(0).normal(3, 2, (30, 4))
    times = np.random.default_rng(1).integers(1, 5, 30)
    repeated = moments.summarize(np.repeat(X, times, axis=0), pairs=pairs)
    weighted = moments.summarize(X, times.astype(float), pairs=pairs)
    assert weighted.weight == repeated.weight == times.sum()
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-14)
    np.testing.assert_allclose(weighted.m2, repeated.m2, rtol=1e-13, atol=1e-12)


@PAIRS
def test_blocks_that_weigh_nothing_change_nothing(pairs, monkeypatch):
    X = np.random.default_rng(0).normal(3, 2, (1000, 4))
    w = (np.arange(1000) >= 600).astype(float)
    monkeypatch.setattr(moments, "_BLOCK_BYTES", 1)  # blocks of 256 rows
    assert_are_moments_of(moments.summarize(X, w, pairs=pairs), X[600:])


@PAIRS
@given(data=st.data(), factor=st.floats(0.1, 1.0))
def test_forgetting_is_a_smaller_weight(pairs, data, factor):
    X = data.draw(matrices(min_samples=2))
    cut = data.draw(st.integers(1, len(X) - 1))
    old, new = (moments.summarize(x, pairs=pairs) for x in (X[:cut], X[cut:]))
    merged = moments.merge([moments.forget(old, factor), new])
    assert_are_moments_of(merged, X, np.r_[np.full(cut, factor), np.ones(len(X) - cut)])
    assert merged.n_samples == len(X)


def test_forgetting_keeps_mean_and_variance():
    summary = moments.summarize(np.random.default_rng(0).normal(3, 2, (30, 4)), pairs=True)
    forgotten = moments.forget(moments.forget(summary, 0.5), 0.25)
    assert forgotten.weight == 30 / 8
    assert np.array_equal(forgotten.mean, summary.mean)
    np.testing.assert_allclose(forgotten.m2 / forgotten.weight, summary.m2 / 30, rtol=1e-15)


def test_what_is_forgotten_altogether_has_no_say():
    X = np.random.default_rng(0).normal(3, 2, (30, 4))
    nothing = moments.forget(moments.summarize(X[:10], pairs=True), 0.0)
    merged = moments.merge([nothing, moments.summarize(X[10:], pairs=True)])
    assert_are_moments_of(merged, X[10:])


@PAIRS
def test_travel_changes_no_bit_and_takes_half_of_a_symmetric_matrix(pairs):
    X = np.random.default_rng(0).normal(3, 2, (300, 100))
    parts = [moments.summarize(x, pairs=pairs) for x in np.array_split(X, 7)]
    summary = moments.merge(parts)
    pickled = pickle.dumps(summary)
    again = pickle.loads(pickled)
    for one, other in zip(again, summary, strict=True):
        assert np.array_equal(one, other)
    assert len(pickled) < 8 * (100 * 101 / 2 if pairs else 100) + 2000


def test_energy_is_the_total_second_moment():
    X = np.random.default_rng(0).normal(3, 2, (30, 4))
    energy = ((X - X.mean(axis=0)) ** 2).sum()
    for pairs in (False, True):
        summary = moments.summarize(X, pairs=pairs)
        np.testing.assert_allclose(summary.energy, energy, rtol=1e-14)
        np.testing.assert_allclose(summary.variances, 30 * X.var(axis=0), rtol=1e-13)


@PAIRS
def test_samples_are_left_alone(pairs):
    X = np.random.default_rng(0).normal(3, 2, (30, 4))
    before = X.copy()
    X.flags.writeable = False
    moments.summarize(X, np.ones(30), pairs=pairs)
    assert np.array_equal(X, before)


@PAIRS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_non_finite_values_are_refused(pairs, bad):
    X = np.ones((700, 3))
    X[650, 1] = bad
    with pytest.raises(ValueError, match=r"X contains NaN, infinity or a value too large.*drop"):
        moments.summarize(X, pairs=pairs)


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="X has 0 samples"):
        moments.summarize(np.empty((0, 3)))


@PAIRS
def test_twins(pairs, namespace):
    X = np.random.default_rng(0).normal(3, 2, (600, 5))
    w = np.random.default_rng(1).uniform(0.5, 2, 600)

    def compute(xp):
        parts = [
            moments.summarize(xp.asarray(X[:, :]), xp.asarray(w), pairs=pairs),
            moments.summarize(xp.asarray(X[:7].astype(np.float32)), pairs=pairs),
        ]
        return moments.forget(moments.merge(parts), 0.5)

    namespace.assert_equal(compute(namespace.xp), compute(np))
