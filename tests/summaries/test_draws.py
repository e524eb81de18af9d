"""Weighted draws: against the definition, and the same however samples are cut."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa.summaries import draws
from dask_exa.summaries.reservoir import Sampling
from dask_exa.testing.strategies import cuts, groupings, merge_grouped, pieces, sample_weights
from tests import naive


@given(data=st.data())
def test_any_cut_and_grouping_draw_the_same_rows(data):
    X = np.random.default_rng(0).standard_normal((70, 2))
    weight = data.draw(sample_weights(70))
    size = data.draw(st.integers(1, 80))
    whole = draws.summarize(X, weight, size, seed=4)
    sizes = data.draw(cuts(70))
    firsts = np.cumsum((0, *sizes))
    parts = [
        draws.summarize(x, w, size, seed=4, first=int(first))
        for x, w, first in zip(pieces(X, sizes), pieces(weight, sizes), firsts, strict=False)
    ]
    grouping = data.draw(groupings(len(parts)))
    merged = merge_grouped(lambda group: draws.merge(group, size), parts, grouping)
    np.testing.assert_array_equal(merged.keys, whole.keys)
    np.testing.assert_array_equal(merged.rows, whole.rows)
    assert len(whole.keys) == min(size, 70)


@pytest.mark.parametrize("first", [0, 3000])
def test_keys_are_those_of_the_definition(first):
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((100, 1)), rng.uniform(0, 5, 100)
    found = draws.summarize(X, weight, 7, seed=3, stream=2, first=first)
    sampling = Sampling(n_trees=1, capacity=7, seed=3, stream=2, first=first)
    (keys,) = naive.reservoir_keys(100, sampling, weight)
    order = np.argsort(keys)[:7]
    np.testing.assert_allclose(found.keys, keys[order], rtol=1e-12)
    np.testing.assert_array_equal(found.rows, X[order])


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e200])
def test_rows_come_as_often_as_their_weights_say(scale):
    X, weight = np.arange(5.0)[:, None], scale * np.array([0.0, 1, 2, 3, 4])
    n_draws = 10_000
    found = [int(draws.summarize(X, weight, 1, seed).rows[0, 0]) for seed in range(n_draws)]
    counts = np.bincount(found, minlength=5)
    assert counts[0] == 0
    expected = n_draws * np.arange(1, 5) / 10
    assert np.sum((counts[1:] - expected) ** 2 / expected) < 16.3  # chi², 3 degrees, p = .001


def test_rows_keep_their_type_and_weightless_ones_never_come():
    X = np.arange(20, dtype=np.float32)[:, None]
    weight = (np.arange(20) % 5 == 0).astype(float)
    found = draws.summarize(X, weight, 10, seed=0)
    assert found.rows.dtype == np.float32
    assert sorted(found.rows[:, 0]) == [0, 5, 10, 15]
    strict = array_api_strict.asarray
    other = draws.summarize(strict(X), strict(weight), 10, seed=0)
    np.testing.assert_array_equal(other.rows, found.rows)
    assert isinstance(other.rows, np.ndarray)
