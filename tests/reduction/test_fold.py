"""An array in memory folds into the moments of its rows, in any number of ranges."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_exa._threads import thread_share
from dask_exa.reduction.fold import fold
from dask_exa.summaries import Reducer, moments
from dask_exa.testing.strategies import matrices
from tests import naive

SCATTER = Reducer(functools.partial(moments.summarize, pairs=True), moments.merge)
# What is summarized is which rows were seen, in which order.
ROWS = Reducer(
    summarize=lambda X, sample_weight: (
        *zip(X[:, 0], X[:, 0] if sample_weight is None else sample_weight, strict=True),
    ),
    merge=lambda summaries: sum(summaries, ()),
)


def in_order(n, start=0):
    return tuple((float(i), float(i)) for i in range(start, n))


@settings(max_examples=50)
@given(X=matrices(offsets=(0.0, 10.0)), n_ranges=st.integers(1, 50))
def test_ranges_are_not_seen(X, n_ranges):
    summary = fold(SCATTER, X, n_ranges=n_ranges)
    weight, mean, scatter = naive.moments(X)
    np.testing.assert_allclose(summary.mean, mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(summary.m2, scatter, rtol=0, atol=1e-11 * max(scatter.max(), 1e-3))
    assert summary.weight == weight
    assert summary.n_samples == len(X)


@pytest.mark.parametrize("n_ranges", [1, 2, 7, 20, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_row_is_seen_once_and_in_order(n_ranges, weighted):
    X = np.arange(20.0)[:, None]
    assert fold(ROWS, X, X[:, 0] if weighted else None, n_ranges=n_ranges) == in_order(20)
    start = in_order(20)
    later = fold(ROWS, X + 20, X[:, 0] + 20 if weighted else None, start, n_ranges=n_ranges)
    assert later == in_order(40)


def test_number_of_threads_changes_no_bit():
    X = np.random.default_rng(0).normal(3, 2, (5000, 60))
    results = []
    for n_threads in (1, 2, 5):
        with thread_share(n_threads):
            results.append(fold(SCATTER, X, n_ranges=8))
    assert all(np.array_equal(result.m2, results[0].m2) for result in results)
    assert all(np.array_equal(result.mean, results[0].mean) for result in results)
    np.testing.assert_allclose(results[0].m2, 4999 * np.cov(X.T), rtol=1e-12, atol=1e-9)


def test_reducer_that_can_extend_is_asked_to():
    extending = ROWS._replace(extend=lambda rows, X, w: (*rows, "extended", *X[:, 0]))
    X = np.arange(3.0)[:, None]
    assert fold(extending, X) == in_order(3)
    assert fold(extending, X, start=("start",)) == ("start", "extended", 0.0, 1.0, 2.0)
    assert fold(ROWS, X, start=("start",)) == ("start", *in_order(3))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("n_ranges", [1, 4])
def test_errors_come_through(n_ranges):
    X = np.ones((20, 2))
    X[13] = np.nan
    with pytest.raises(ValueError, match="X contains NaN"):
        fold(SCATTER, X, n_ranges=n_ranges)
