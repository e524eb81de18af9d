"""MinMaxScaler: extremes, the ends of the range, and what it does not do."""

import numpy as np
import pytest
import sklearn.preprocessing as peers

from dask_exa.preprocessing import MinMaxScaler


def samples():
    rng = np.random.default_rng(0)
    return rng.standard_normal((90, 4)) * [1, 5, 0.1, 3] + [0, 3, -7, 1]


@pytest.mark.parametrize("feature_range", [(0, 1), (-1, 1), (5.0, 5.5)])
def test_attributes_are_scikit_learns(feature_range):
    X = samples()
    found, wanted = MinMaxScaler(feature_range).fit(X), peers.MinMaxScaler(feature_range).fit(X)
    for name in ("data_min_", "data_max_", "data_range_"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    for name in ("scale_", "min_"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-15)
    np.testing.assert_allclose(X * found.scale_ + found.min_, found.transform(X), atol=1e-13)
    assert found.n_samples_seen_ == 90


def test_the_ends_are_hit_to_rounding():
    X = samples()
    scaled = MinMaxScaler((-1, 3)).fit_transform(X)
    np.testing.assert_allclose(scaled.min(axis=0), -1, rtol=1e-15)
    np.testing.assert_allclose(scaled.max(axis=0), 3, rtol=1e-15)


def test_values_beyond_the_ends_are_clipped_where_asked_for():
    X = samples()
    beyond = np.vstack([X[0] - 100, X[0] + 100])
    clipped = MinMaxScaler((-1, 3), clip=True).fit(X).transform(beyond)
    assert np.array_equal(clipped, [[-1.0] * 4, [3.0] * 4])
    assert np.abs(MinMaxScaler((-1, 3)).fit(X).transform(beyond)).min() > 3


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e8])
def test_the_range_of_a_constant_feature_counts_as_one(value):
    X = np.c_[np.full(50, value), np.arange(50.0)]
    found, wanted = MinMaxScaler((2, 4)).fit(X), peers.MinMaxScaler((2, 4)).fit(X)
    assert np.array_equal(found.scale_, wanted.scale_)
    assert np.array_equal(found.transform(X)[:, 0], np.full(50, 2.0))
    nearly = X + np.c_[np.spacing(value) * (np.arange(50) % 2), np.zeros(50)]
    assert MinMaxScaler((2, 4)).fit(nearly).scale_[0] == 2.0


def test_small_units_are_scaled_all_the_same():
    charges = 1.6e-19 * np.arange(1, 11.0)[:, None]
    np.testing.assert_allclose(MinMaxScaler().fit_transform(charges)[:, 0], np.arange(10) / 9)
    assert peers.MinMaxScaler().fit_transform(charges).max() < 1e-17


@pytest.mark.parametrize("feature_range", [(1, 0), (1, 1), (0, np.nan)])
def test_ranges_that_do_not_increase_are_refused(feature_range):
    fitted = MinMaxScaler(feature_range)
    with pytest.raises(ValueError, match=r"feature_range=.*minimum below its maximum"):
        fitted.fit(samples())
    assert not fitted.__sklearn_is_fitted__()


def test_extremes_do_not_fade():
    fitted = MinMaxScaler().fit(samples())
    state = fitted._state
    with pytest.raises(TypeError, match=r"cannot forget.*use RobustScaler"):
        fitted.forget(0.5)
    assert fitted._state is state
    assert np.array_equal(fitted.forget(1).data_max_, samples().max(axis=0))


def test_weights_only_count_as_zero_or_not():
    X = samples()
    weight = np.where(np.arange(90) < 40, 0.0, 0.25)
    fitted = MinMaxScaler().fit(X, sample_weight=weight)
    assert np.array_equal(fitted.data_min_, X[40:].min(axis=0))
    assert fitted.n_samples_seen_ == 90
