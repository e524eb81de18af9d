"""Masses of cells are the same however the rows came, and are those of the naive version."""

import itertools
import pickle

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa.reduction.fold import fold
from dask_exa.reduction.stream import stream
from dask_exa.reduction.tree import tree
from dask_exa.summaries import mass, windows
from tests import naive

X = np.random.default_rng(0).standard_normal((1000, 3))
WEIGHT = np.random.default_rng(1).integers(0, 3, 1000) * (np.arange(1000) // 100 != 7) * 1.0
RANGES = np.array([[-3.0, -3, -3], [3, 3, 3]])


def counting(window_size=300, ranges=RANGES, **where):
    return mass.counting(4, 6, window_size, 5, ranges, **where)


def plain(value):
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return value.tolist() if hasattr(value, "tolist") else value


def assert_same(actual, expected):
    assert type(actual) is type(expected)
    assert plain(actual._replace(sample=None)) == plain(expected._replace(sample=None))
    assert actual.sample.keys.tolist() == expected.sample.keys.tolist()
    assert (actual.n_samples, actual.position) == (expected.n_samples, expected.position)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("window_size", [None, 1000, 300, 128, 1])
def test_counts_the_last_two_windows(window_size, weight):
    summary = mass.summarize(X, weight, counting(window_size))
    rows = np.arange(1000) if weight is None else np.flatnonzero(weight)
    numbers = rows // (window_size or 1000)
    trees = naive.half_space_trees(*RANGES, 5, 4, 6)
    kept = [summary.latest, *([summary.earlier] if summary.earlier else [])]
    assert [window.number for window in kept] == sorted(set(numbers), reverse=True)[:2]
    for window in kept:
        some = rows[numbers == window.number]
        own = None if weight is None else weight[some]
        for cuts, masses in zip(trees, window.masses, strict=True):
            expected = naive.half_space_masses(cuts, X[some], own)
            np.testing.assert_array_equal(masses, [expected.get(i, 0) for i in range(64, 128)])


@pytest.mark.parametrize("ranges", [RANGES, None], ids=["settled", "warming up"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("window_size", [None, 300, 70])
@given(cuts=st.lists(st.integers(0, 1000), max_size=6), data=st.data())
def test_no_cut_of_the_stream_shows(window_size, weight, ranges, cuts, data):
    how = counting(window_size, ranges)
    whole = mass.summarize(X, weight, how)
    edges = [0, *sorted(set(cuts) - {0, 1000}), 1000]
    parts, known = [], None
    for low, high in itertools.pairwise(edges):
        own = None if weight is None else weight[low:high]
        parts.append(mass.summarize(X[low:high], own, how.at(low)))
        known = mass.reducer(how.at(low)).absorb(known, X[low:high], own)
    assert_same(known, whole)
    assert_same(mass.merge(data.draw(st.permutations(parts)), window_size), whole)
    split = data.draw(st.integers(0, len(parts)))
    groups = [mass.merge(g, window_size) for g in (parts[:split], parts[split:]) if g]
    assert_same(mass.merge(groups, window_size), whole)


@pytest.mark.parametrize("window_size", [None, 300])
def test_fold_tree_and_stream_are_the_same(window_size):
    how = counting(window_size)
    whole = mass.summarize(X, None, how)
    for n_ranges in (1, 3, 8):
        assert_same(fold(mass.reducer(how), X, n_ranges=n_ranges), whole)
    for chunks in (1000, 333, 50):
        assert_same(tree(mass.reducer(how), da.from_array(X, chunks=(chunks, -1))), whole)
    one_by_one = None
    for i in range(300):
        (one_by_one,) = stream(mass.reducer(how.at(i)), [(X[i : i + 1], None)], one_by_one)
    assert_same(one_by_one, mass.summarize(X[:300], None, how))


@given(st.permutations(range(6)), st.integers(1, 5))
def test_warm_ups_and_settled_ones_merge_in_any_order_and_grouping(order, split):
    parts = [
        mass.summarize(X[i::6], None, counting(40, RANGES if i > 2 else None, stream=i))
        for i in range(6)
    ]
    ranks = [mass.summarize(X[i::6], None, counting(40, stream=i)) for i in range(6)]
    parts = [parts[i] for i in order]
    groups = [mass.merge(parts[:split], 40), mass.merge(parts[split:], 40)]
    assert_same(mass.merge(groups, 40), mass.merge(ranks, 40))


def test_ranks_side_by_side_add_window_by_window():
    ranks = [mass.summarize(X[i::2], None, counting(150, stream=i)) for i in range(2)]
    merged, whole = mass.merge(ranks, 150), mass.summarize(X, None, counting(300))
    for side_by_side, one in ((merged.latest, whole.latest), (merged.earlier, whole.earlier)):
        assert side_by_side.number == one.number
        np.testing.assert_array_equal(side_by_side.masses, one.masses)


@pytest.mark.parametrize(
    ("n_rows", "number"), [(1, 0), (99, 0), (100, 0), (101, 0), (199, 0), (200, 1), (201, 1)]
)
def test_reference_is_the_last_complete_window(n_rows, number):
    summary = mass.summarize(X[:n_rows], None, counting(100))
    assert mass.reference(summary, 100).number == number
    everything = mass.summarize(X[:n_rows], None, counting(None))
    assert mass.reference(everything, None).masses[0].sum() == n_rows


def test_settling_is_having_known_the_ranges():
    rows = X.astype(np.float32)
    warm = mass.summarize(rows, WEIGHT, counting(300, None))
    expected = mass.summarize(rows, WEIGHT, counting(300))
    assert_same(mass.settle(warm, RANGES, counting(300)), expected)


def test_ranges_are_of_finite_values():
    rows = np.array([[1.0, np.nan, np.inf, 5e300], [2.0, np.nan, 4.0, -1.0]])
    np.testing.assert_array_equal(mass.ranges_of(rows), [[1, 0, 4, -1], [2, 0, 4, -1]])
    np.testing.assert_array_equal(mass.ranges_of(rows[:0]), np.zeros((2, 4)))


def test_forgetting_scales_every_mass():
    summary = mass.summarize(X, None, counting(300))
    half = mass.forget(summary, 0.5)
    np.testing.assert_array_equal(half.latest.masses, summary.latest.masses / 2)
    np.testing.assert_array_equal(half.earlier.masses, summary.earlier.masses / 2)
    warm = mass.forget(mass.summarize(X, None, counting(300, None)), 0.5)
    np.testing.assert_array_equal(warm.weight, 0.5)


def test_other_cells_do_not_merge():
    one = mass.summarize(X, None, counting())
    with pytest.raises(ValueError, match=r"seeds 5 and 6.*random_state"):
        mass.merge([one, one._replace(seed=6)], 300)
    with pytest.raises(ValueError, match="same feature_ranges"):
        mass.merge([one, mass.summarize(X, None, counting(ranges=RANGES * 2))], 300)


@pytest.mark.parametrize("n_rows", [0, 20, 20_000])
def test_travels_without_empty_leaves(n_rows):
    masses = np.zeros((4, 4096))
    np.add.at(masses, (slice(None), np.random.default_rng(0).integers(0, 4096, n_rows)), 1.0)
    window = windows.Window(3, masses)
    packed = pickle.dumps(window)
    unpacked = pickle.loads(packed)
    assert unpacked.number == 3
    np.testing.assert_array_equal(unpacked.masses, masses)
    assert len(packed) < min(masses.nbytes, 12 * np.count_nonzero(masses)) + 500
