"""Reservoirs are the sample that a look at every key would give, on any cut of the stream."""

import itertools

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dask_exa.reduction.fold import fold
from dask_exa.reduction.tree import tree
from dask_exa.summaries import Reducer, reservoir
from dask_exa.summaries.reservoir import Sampling
from tests import naive

SAMPLING = Sampling(n_trees=3, capacity=20, seed=7)
DECAYED = SAMPLING._replace(decay=1 / 150)
X = np.random.default_rng(0).standard_normal((5000, 2)).astype(np.float32)
WEIGHT = np.random.default_rng(1).gamma(0.3, size=5000) * (np.arange(5000) % 3 > 0)


def reducer(sampling):
    def summarize(block, weight):
        return reservoir.summarize(block, weight, sampling)

    def extend(summary, block, weight):
        return reservoir.extend(summary, block, weight, sampling)

    def located(row):
        return reducer(sampling.at(row))

    return Reducer(summarize, reservoir.merge, extend, located)


def assert_same(actual, expected):
    np.testing.assert_array_equal(actual.keys, expected.keys)
    np.testing.assert_array_equal(actual.rows[actual.members], expected.rows[expected.members])
    assert actual.n_samples == expected.n_samples
    assert actual.position == expected.position


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("sampling", [SAMPLING, DECAYED, SAMPLING._replace(first=3000, stream=4)])
def test_is_what_looking_at_every_key_gives(sampling, weight):
    copies = [None] if weight is None else [np.clip(weight - c, 0, 1) for c in range(31)]
    streams = [sampling._replace(stream=sampling.stream + (c << 32)) for c in range(len(copies))]
    keys = [naive.reservoir_keys(len(X), *pair) for pair in zip(streams, copies, strict=True)]
    keys = np.concatenate(keys, axis=1)
    summary = reservoir.summarize(X, weight, sampling)
    order = np.argsort(keys, axis=1)[:, : sampling.capacity]
    np.testing.assert_allclose(summary.keys, np.take_along_axis(keys, order, 1), rtol=1e-12)
    np.testing.assert_array_equal(summary.rows[summary.members], X[order % len(X)])


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("sampling", [SAMPLING, DECAYED])
@given(cuts=st.lists(st.integers(0, 5000), max_size=6), data=st.data())
def test_no_cut_of_the_stream_shows(sampling, weight, cuts, data):
    edges = [0, *sorted(cuts), 5000]
    whole = reservoir.summarize(X, weight, sampling)
    parts, stream = [], None
    for low, high in itertools.pairwise(edges):
        piece = None if weight is None else weight[low:high]
        at = reducer(sampling.at(low))
        if high > low:
            parts.append(at.summarize(X[low:high], piece))
            stream = at.absorb(stream, X[low:high], piece)
    assert_same(stream, whole)
    assert_same(reservoir.merge(data.draw(st.permutations(parts))), whole)
    split = data.draw(st.integers(0, len(parts)))
    groups = [reservoir.merge(group) for group in (parts[:split], parts[split:]) if group]
    assert_same(reservoir.merge(groups), whole)


def test_fold_and_tree_are_the_same_sample():
    whole = reservoir.summarize(X, None, SAMPLING)
    for n_ranges in (1, 3, 8):
        assert_same(fold(reducer(SAMPLING), X, n_ranges=n_ranges), whole)
    for chunks in (5000, 1000, 333):
        lazy = da.from_array(X, chunks=(chunks, -1))
        assert_same(tree(reducer(SAMPLING), lazy, split_every=3), whole)


def test_single_rows():
    stream = None
    for i in range(300):
        stream = reducer(SAMPLING.at(i)).absorb(stream, X[i : i + 1], None)
    assert_same(stream, reservoir.summarize(X[:300], None, SAMPLING))


def test_fewer_rows_than_places_are_all_kept_once():
    summary = reservoir.summarize(X[:9], None, SAMPLING)
    np.testing.assert_array_equal(summary.rows, X[:9])
    assert summary.members.shape == (3, 9)


def test_rows_without_weight_are_never_taken():
    summary = reservoir.summarize(X[:30], np.arange(30) % 5 == 0, SAMPLING)
    np.testing.assert_array_equal(summary.rows, X[:30:5])


def test_every_row_is_as_likely():
    many = Sampling(n_trees=4000, capacity=5, seed=3)
    half = reservoir.summarize(np.arange(20.0)[:, None], None, many)
    other = many._replace(stream=1)
    united = reservoir.merge([half, reservoir.summarize(np.arange(20.0, 80)[:, None], None, other)])
    counts = np.bincount(united.rows[united.members].astype(int).ravel(), minlength=80)
    # without replacement the counts vary less than a multinomial's: the test is on the safe side
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("scale", [1e-3, 1.0, 2.0, 1e6])
def test_weight_decides_how_likely(scale):
    many = Sampling(n_trees=20_000, capacity=1, seed=5)
    weight = np.array([0.5, 1.0, 2.5]) * scale
    summary = reservoir.summarize(np.arange(3.0)[:, None], weight, many)
    counts = np.bincount(summary.rows[summary.members].astype(int).ravel())
    assert stats.chisquare(counts, 20_000 * weight / weight.sum()).pvalue > 1e-3


def test_whole_weights_are_repetitions():
    weight = np.array([0, 1, 3])
    summary = reservoir.summarize(X[:3], weight, SAMPLING)
    for kept in summary.rows[summary.members]:
        np.testing.assert_array_equal(np.sort(kept, axis=0), np.sort(X[[1, 2, 2, 2]], axis=0))


def test_forgetting_prefers_what_comes_later():
    old = reservoir.summarize(np.zeros((1000, 1)), None, SAMPLING)
    new = reservoir.summarize(np.ones((1000, 1)), None, SAMPLING.at(1000))
    merged = reservoir.merge([reservoir.forget(old, 1e-6), new])
    assert merged.rows[merged.members].mean() > 0.95


def test_trees_keep_different_rows():
    summary = reservoir.summarize(X, None, SAMPLING._replace(n_trees=2))
    assert len(np.intersect1d(*summary.members)) < 3


def test_rows_are_kept_once_in_their_order_and_only_while_in_use():
    rising = np.arange(5000.0, dtype=np.float32)[:, None]
    stream = None
    for start in range(0, 5000, 130):
        stream = reducer(SAMPLING.at(start)).absorb(stream, rising[start : start + 130], None)
        np.testing.assert_array_equal(stream.rows, np.unique(stream.rows[stream.members])[:, None])
    before = [array.copy() for array in stream[4:]]
    reservoir.extend(stream, rising[:900], None, SAMPLING.at(5000))
    for array, expected in zip(stream[4:], before, strict=True):
        np.testing.assert_array_equal(array, expected)
