"""Ranges merge exactly, in any grouping and order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa.summaries import ranges
from dask_exa.testing.strategies import cuts, groupings, matrices, merge_grouped, pieces


@given(data=st.data())
def test_any_grouping_and_order_gives_the_ranges_of_the_whole(data):
    X = data.draw(matrices(max_samples=300))
    parts = [ranges.summarize(x) for x in pieces(X, data.draw(cuts(len(X))))]
    shuffled = data.draw(st.permutations(parts))
    merged = merge_grouped(ranges.merge, shuffled, data.draw(groupings(len(parts))))
    assert (merged.n_samples, merged.weight) == (len(X), len(X))
    assert np.array_equal(merged.minimum, X.min(axis=0))
    assert np.array_equal(merged.maximum, X.max(axis=0))


@pytest.mark.parametrize("n_features", [1, 3, 31, 33, 200])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_and_folds_of_rows_are_not_seen(n_features, order, monkeypatch):
    X = np.asarray(np.random.default_rng(0).normal(size=(1001, n_features)), order=order)
    monkeypatch.setattr(ranges, "_BLOCK_BYTES", 8 * n_features * 313)
    found = ranges.summarize(X)
    assert np.array_equal(found.minimum, X.min(axis=0))
    assert np.array_equal(found.maximum, X.max(axis=0))


def test_float32_is_kept_in_float64():
    X = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    found = ranges.summarize(X)
    assert found.minimum.dtype == found.maximum.dtype == np.float64
    assert np.array_equal(found.maximum, X.max(axis=0).astype(float))


def test_samples_of_weight_zero_are_left_out():
    X = np.random.default_rng(0).normal(size=(70, 3))
    X[30:] = np.nan
    w = (np.arange(70) < 30) * 0.5
    found = ranges.summarize(X, w)
    assert (found.n_samples, found.weight) == (70, 15.0)
    assert np.array_equal(found.minimum, X[:30].min(axis=0))
    nothing = ranges.summarize(X[:30], np.zeros(30))
    assert np.all(nothing.minimum == np.inf)
    assert np.array_equal(ranges.merge([nothing, found]).maximum, found.maximum)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_features", [2, 100])
def test_non_finite_values_are_refused(bad, n_features):
    X = np.ones((700, n_features))
    X[650, 1] = bad
    with pytest.raises(ValueError, match=r"X contains NaN, infinity or a value too large.*drop"):
        ranges.summarize(X)


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="X has 0 samples"):
        ranges.summarize(np.empty((0, 3)))


@pytest.mark.parametrize("n_features", [5, 70])
def test_twins(namespace, n_features):
    X = np.random.default_rng(0).standard_normal((600, n_features))
    w = np.arange(600) % 2.0

    def compute(xp):
        parts = [
            ranges.summarize(xp.asarray(X), xp.asarray(w)),
            ranges.summarize(xp.asarray(X[:7].astype(np.float32))),
        ]
        return ranges.merge(parts)

    namespace.assert_equal(compute(namespace.xp), compute(np))
