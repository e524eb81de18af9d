"""What a threshold keeps of scores: numbers only, on either side, alarms as many as expected."""

import numpy as np
import pytest

from dask_exa.reduction.fold import fold
from dask_exa.summaries import extremes, scores
from dask_exa.summaries.scores import Recording

HIGH = Recording(sign=1.0, capacity=64)
X = np.random.default_rng(0).standard_normal((300, 2))


def test_series_are_one_stream_in_the_order_of_their_steps():
    seen = fold(scores.reducer(HIGH), X)
    flat = extremes.summarize(X.ravel(), capacity=64)
    np.testing.assert_array_equal(seen.extremes.values, flat.values)
    np.testing.assert_array_equal(seen.extremes.keys, flat.keys)
    assert (seen.n_samples, seen.n_scores) == (300, 600)
    low = scores.extend(None, -X, None, HIGH._replace(sign=-1.0))
    np.testing.assert_array_equal(low.extremes.values, flat.values)


def test_what_is_no_number_counts_as_a_row_only():
    broken = X.copy()
    broken[4, 0], broken[7, 1], broken[9, 0] = np.nan, np.inf, -np.inf
    seen = scores.extend(None, broken, None, HIGH)
    assert (seen.n_samples, seen.n_scores, seen.extremes.position) == (300, 598, 600)
    assert seen.extremes.weight == 598
    assert np.isfinite(seen.extremes.values[0])


def test_relative_scores_are_distances_from_the_mean_before():
    recording = HIGH._replace(depth=5, capacity=600)
    seen = scores.extend(None, X, None, recording)
    expected = [X[i, j] - X[i - 5 : i, j].mean() for i in range(5, 300) for j in range(2)]
    np.testing.assert_allclose(seen.extremes.values, np.sort(expected)[::-1], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(seen.recent, X[-5:])
    np.testing.assert_allclose(scores.recent_means(seen, 5), X[-5:].mean(axis=0), rtol=1e-12)


def test_alarms_count_up_to_the_number_of_false_ones():
    seen = scores.extend(None, X, None, HIGH)
    one = scores.with_alarms(seen, 1, 3.5, 1e-2)
    assert (one.n_scores, one.n_alarms, one.extremes.weight) == (601, 1, 601)
    np.testing.assert_array_equal(one.extremes.values[one.extremes.censored], [3.5])
    many = scores.with_alarms(one, 1000, 3.5, 1e-2)
    assert many.n_alarms == int(6.01 + 6.01**0.5 + 1)  # 1 % and a standard deviation
    assert scores.with_alarms(many, 5, 3.5, 1e-2) is many
    assert many.n_samples == 300


def test_scores_of_other_series_do_not_merge():
    one, two = (scores.extend(None, X[:, :n], None, HIGH) for n in (1, 2))
    with pytest.raises(ValueError, match=r"scores of \[1, 2\] series"):
        scores.merge([one, two])
