"""The kernels of quantile sketches against sorting, repeating and interpolating one by one."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa import kernels
from dask_exa.kernels import _quantiles_numba
from tests import naive

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@st.composite
def weighted_values(draw):
    """Draw values (n_features, n_values), many of them equal, and weights."""
    n_values = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-5, 6, (3, n_values)) / draw(st.sampled_from([1.0, 3.0]))
    return values, rng.integers(1, 5, n_values).astype(float)


@DTYPES
def test_halves_of_pieces_are_chosen_by_their_coins(dtype):
    pieces = np.sort(np.random.default_rng(0).random((3, 200, 8)).astype(dtype), axis=2)
    halves = np.empty((3, 200, 4), dtype=dtype)
    coins = np.uint64(2**63 + 5)
    _quantiles_numba._halve_sorted(pieces, coins, 1 << 48, halves)
    for feature, half in zip(pieces, halves, strict=True):
        assert np.array_equal(half, naive.halved(feature, int(coins), 1 << 48))
    share = np.mean(halves[0, :, 0] == pieces[0, :, 0])
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(200)


@DTYPES
@pytest.mark.parametrize("n_rows", [500, 40_003])
def test_rows_are_thinned_as_values_of_equal_weight(dtype, n_rows):
    X = np.random.default_rng(0).random((n_rows, 20)).astype(dtype)
    found, squares = kernels.thin_rows(X, 100, 0.3, 5)
    assert found.dtype == dtype
    wanted = kernels.thin(np.ascontiguousarray(X.T), np.ones(n_rows), 100, 0.3)
    if n_rows == 500:
        assert squares == 0
        assert np.array_equal(found, wanted)
    else:  # by Hoeffding's inequality, ranks are farther off once in 10 000 times
        assert 0 < squares < (n_rows / 100) ** 2
        moved = np.abs(found - wanted) * n_rows  # values are their ranks, but for sampling
        far = np.sqrt(squares * np.log(20_000) / 2) + 5 * np.sqrt(n_rows) / 2
        assert moved.max() < far


def test_coins_of_other_numbers_fall_otherwise():
    X = np.random.default_rng(0).random((40_003, 2))
    one, other = (kernels.thin_rows(X, 100, 0.3, coins)[0] for coins in (5, 6))
    assert not np.array_equal(one, other)


def test_rows_of_other_namespaces_are_sorted_as_a_whole():
    X = np.random.default_rng(0).random((40_003, 2))
    found, squares = kernels.thin_rows(array_api_strict.asarray(X), 100, 0.3, 5)
    assert squares == 0
    wanted = kernels.thin(np.ascontiguousarray(X.T), np.ones(len(X)), 100, 0.3)
    assert np.array_equal(found, wanted)


@DTYPES
@given(data=st.data())
def test_thinning_keeps_the_values_at_equal_steps(dtype, data):
    values, weights = data.draw(weighted_values())
    values = values.astype(dtype)
    least = int(weights.sum() / weights.max())
    n_kept = data.draw(st.integers(1, least))
    phase = data.draw(st.floats(0, 1, exclude_max=True))
    kept = kernels.thin(values, weights, n_kept, phase)
    assert kept.dtype == dtype
    for feature, found in zip(values, kept, strict=True):
        wanted = naive.thinned_values(feature, weights, n_kept, phase)
        assert np.mean(found != wanted) <= 1 / n_kept  # where a sum is rounded to the other side


@pytest.mark.parametrize("n_kept", [1, 7, 50, 64])
def test_equal_weights_are_thinned_as_others_are(n_kept):
    values = np.random.default_rng(0).random((70, 64))  # several blocks of features
    equal = kernels.thin(values, np.full(64, 0.5), n_kept, 0.3)
    nearly = kernels.thin(values, np.r_[np.full(63, 0.5), 0.5 + 1e-12], n_kept, 0.3)
    assert np.array_equal(equal, nearly)
    assert np.all(np.diff(equal, axis=1) >= 0)


def test_blocks_of_features_are_not_seen(monkeypatch):
    rng = np.random.default_rng(0)
    values, weights = rng.random((70, 64)), rng.random(64)
    ends, levels = (values.min(axis=1), values.max(axis=1)), np.linspace(0, 1, 5)

    def compute():
        return (
            kernels.thin(values, weights, 9, 0.4),
            kernels.weighted_quantiles(values, weights, ends, levels, repeated=False),
            kernels.weighted_quantiles(values, weights, ends, levels, repeated=True),
        )

    whole = compute()
    monkeypatch.setattr(_quantiles_numba, "_BLOCK", 1)
    for one, other in zip(compute(), whole, strict=True):
        assert np.array_equal(one, other)


@DTYPES
@given(data=st.data())
def test_quantiles_of_repeated_values_are_those_of_all_of_them(dtype, data):
    values, times = data.draw(weighted_values())
    values = values.astype(dtype)
    levels = np.sort(np.random.default_rng(0).random(9))
    levels[0], levels[-1] = 0.0, 1.0
    ends = np.full(3, np.nan), np.full(3, np.nan)
    found = kernels.weighted_quantiles(values, times, ends, levels, repeated=True)
    for feature, quantiles in zip(values.astype(float), found.T, strict=True):
        wanted = naive.repeated_quantiles(feature, times.astype(int), levels)
        np.testing.assert_allclose(quantiles, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-3, 0.5, 1.0])
def test_equal_weights_of_any_size_are_no_weights(scale):
    values = np.random.default_rng(0).random((2, 15))
    levels = np.linspace(0, 1, 22)
    nothing = np.full(2, np.nan)
    weights = np.full(15, scale)
    found = kernels.weighted_quantiles(values, weights, (nothing, nothing), levels, repeated=True)
    wanted = np.percentile(values, 100 * levels, axis=1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


@given(data=st.data())
def test_quantiles_of_thinned_values_lie_between_the_middles_of_their_weights(data):
    values, weights = data.draw(weighted_values())
    ends = values.min(axis=1) - 1, values.max(axis=1) + 2
    levels = np.linspace(0, 1, 13)
    found = kernels.weighted_quantiles(values, weights, ends, levels, repeated=False)
    assert np.array_equal(found[0], ends[0])
    assert np.all(np.diff(found, axis=0) >= 0)
    np.testing.assert_allclose(found[-1], ends[1], rtol=1e-14)
    for f, feature in enumerate(values):
        wanted = naive.thinned_quantiles(feature, weights, (ends[0][f], ends[1][f]), levels)
        np.testing.assert_allclose(found[:, f], wanted, rtol=0, atol=1e-13)


def test_quantiles_never_fall_by_rounding():
    random = np.random.default_rng(3)
    for _ in range(300):
        values = random.integers(-5, 6, size=(3, 15)) / 3
        weights = random.integers(1, 5, size=15).astype(float)
        ends = values.min(axis=1) - 1, values.max(axis=1) + 2
        levels = np.linspace(0, 1, 13)
        found = kernels.weighted_quantiles(values, weights, ends, levels, repeated=False)
        assert np.all(np.diff(found, axis=0) >= 0)


@DTYPES
@given(data=st.data())
def test_ranks_are_the_mean_of_interpolating_up_and_down(dtype, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_quantiles = data.draw(st.integers(1, 12))
    quantiles = np.sort(rng.integers(-4, 5, (3, n_quantiles)) / 2, axis=1)
    X = (rng.integers(-12, 13, (20, 3)) / 4).astype(dtype)
    found = kernels.quantile_ranks(X, quantiles)
    wanted = [[naive.quantile_rank(x, quantiles[f]) for f, x in enumerate(row)] for row in X]
    np.testing.assert_allclose(found, np.clip(wanted, 0, 1), rtol=0, atol=1e-15)


def test_a_missing_value_has_no_rank():
    found = kernels.quantile_ranks(np.array([[np.nan, 1.0]]), np.array([[0.0, 2.0], [0.0, 2.0]]))
    np.testing.assert_array_equal(found, [[np.nan, 0.5]])
