"""StandardScaler: means and variances that lose no digits, drift, and what counts as constant."""

import numpy as np
import pytest
import sklearn.preprocessing as peers

from dask_exa.preprocessing import StandardScaler
from tests import naive


def samples():
    rng = np.random.default_rng(0)
    return rng.standard_normal((90, 4)) * [1, 5, 0.1, 3] + [0, 3, -7, 1]


@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("with_std", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_attributes_are_scikit_learns(with_mean, with_std, weighted):
    X = samples()
    weight = np.random.default_rng(1).uniform(0, 2, 90) if weighted else None
    params = {"with_mean": with_mean, "with_std": with_std}
    found = StandardScaler(**params).fit(X, sample_weight=weight)
    wanted = peers.StandardScaler(**params).fit(X, sample_weight=weight)
    for name in ("mean_", "var_", "scale_"):
        here, there = getattr(found, name), getattr(wanted, name)
        if name == "mean_" and with_mean and not with_std:
            there = wanted.mean_
        assert (here is None) == (there is None), name
        if there is not None:
            np.testing.assert_allclose(here, there, rtol=1e-13, err_msg=name)
    np.testing.assert_allclose(found.transform(X), wanted.transform(X), rtol=0, atol=1e-13)
    assert found.n_samples_seen_ == 90


def test_far_from_the_origin_no_digits_are_lost():
    X = 1e8 + 1e-2 * np.random.default_rng(0).standard_normal((5000, 3))
    _, mean, scatter = naive.moments(X.astype(np.longdouble) - 1e8)
    std = np.sqrt(scatter.diagonal() / len(X))
    wanted = ((X - 1e8) - mean) / std
    parts = [StandardScaler().fit(x) for x in np.array_split(X, 7)]
    merged = StandardScaler().merge(*parts)
    # the mean itself has as many digits as fit behind 1e8
    np.testing.assert_allclose(merged.transform(X), wanted, rtol=0, atol=1.5e-8 / 1e-2)
    np.testing.assert_allclose(merged.transform(X).std(axis=0), 1, rtol=1e-6)


def test_float32_is_learnt_and_mapped_in_float64():
    X = (1000 + np.random.default_rng(0).standard_normal((50_000, 2))).astype(np.float32)
    found = StandardScaler().fit(X)
    exact = peers.StandardScaler().fit_transform(X.astype(np.float64))
    assert found.mean_.dtype == found.var_.dtype == np.float64
    here = found.transform(X)
    assert here.dtype == np.float32
    np.testing.assert_allclose(here, exact, rtol=1e-7, atol=1e-7)
    theirs = peers.StandardScaler().fit(X).transform(X)  # in float32, where it is new
    assert np.abs(theirs - exact).max() > np.abs(here - exact).max()


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e8, -1e-30])
def test_constant_features_are_not_divided(value):
    X = np.c_[np.full(1000, value), np.random.default_rng(0).standard_normal(1000)]
    parts = [StandardScaler().fit(x) for x in np.array_split(X, 7)]
    for fitted in (StandardScaler().fit(X), StandardScaler().merge(*parts)):
        assert (fitted.var_[0], fitted.scale_[0]) == (0.0, 1.0)
        assert np.array_equal(fitted.transform(X)[:, 0], np.zeros(1000))
    assert peers.StandardScaler().fit(X).scale_[0] == 1.0


@pytest.mark.parametrize("n_samples", [10, 100, 1000])
@pytest.mark.parametrize("mean", [1.0, 1e7])
def test_what_varies_by_rounding_errors_is_constant(n_samples, mean):
    noise = np.spacing(mean) * np.random.default_rng(0).integers(-1, 2, n_samples)
    X = (mean + noise)[:, None]
    assert peers.StandardScaler().fit(X).scale_ == StandardScaler().fit(X).scale_ == 1.0


def test_rounding_errors_do_not_grow_with_the_number_of_samples():
    # a million times as much would be taken for constant by scikit-learn's bound
    X = 1.0 + 1e-11 * np.random.default_rng(0).standard_normal((1000, 1))
    state = StandardScaler().fit(X)
    for _ in range(17):
        state = state.merge(state)
    assert state.n_samples_seen_ == 1000 * 2**17
    np.testing.assert_allclose(state.scale_, 1e-11, rtol=0.1)


def test_drift_is_followed_by_forgetting():
    rng = np.random.default_rng(0)
    scaler = StandardScaler()
    for mean in np.repeat([0.0, 10.0], 20):
        if scaler.__sklearn_is_fitted__():
            scaler.forget(0.5)
        scaler.partial_fit(rng.normal(mean, 2, (500, 3)))
    np.testing.assert_allclose(scaler.mean_, 10, atol=0.5)
    np.testing.assert_allclose(scaler.scale_, 2, atol=0.2)
    assert scaler.n_samples_seen_ == 20_000
