"""RobustScaler and QuantileTransformer: scikit-learn up to the capacity, near it beyond."""

import numpy as np
import pytest
import sklearn.preprocessing as peers
from scipy import stats

from dask_exa.preprocessing import QuantileTransformer, RobustScaler
from tests import naive

N = 20_000
LAWS = {
    "normal": stats.norm(3, 2),
    "exponential": stats.expon(),
    "heavy-tailed": stats.t(1.5),
    "lognormal": stats.lognorm(2),
}


def large():
    rng = np.random.default_rng(0)
    return np.stack([law.rvs(N, random_state=rng) for law in LAWS.values()], axis=1)


def streamed(model, X, size=700):
    for first in range(0, len(X), size):
        model.partial_fit(X[first : first + size])
    return model


@pytest.mark.parametrize("n_samples", [1, 2, 7, 500])
@pytest.mark.parametrize("quantile_range", [(25.0, 75.0), (5.0, 60.0), (0, 100)])
@pytest.mark.parametrize("with_centering", [False, True])
@pytest.mark.parametrize("with_scaling", [False, True])
def test_robust_attributes_are_scikit_learns(
    n_samples, quantile_range, with_centering, with_scaling
):
    X = large()[:n_samples]
    params = {
        "quantile_range": quantile_range,
        "with_centering": with_centering,
        "with_scaling": with_scaling,
    }
    found = streamed(RobustScaler(**params), X, size=100)
    wanted = peers.RobustScaler(**params).fit(X)
    assert found.rank_error_ == 0
    for name in ("center_", "scale_"):
        here, there = getattr(found, name), getattr(wanted, name)
        assert (here is None) == (there is None)
        if there is not None:
            np.testing.assert_allclose(here, there, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("output_distribution", ["uniform", "normal"])
@pytest.mark.parametrize("n_quantiles", [1, 2, 10, 1000])
@pytest.mark.filterwarnings("ignore:n_quantiles:UserWarning")
def test_quantile_attributes_are_scikit_learns(output_distribution, n_quantiles):
    X = large()[:600]
    params = {"n_quantiles": n_quantiles, "output_distribution": output_distribution}
    found = streamed(QuantileTransformer(**params), X, size=100)
    wanted = peers.QuantileTransformer(**params).fit(X)
    assert found.n_quantiles_ == wanted.n_quantiles_ == min(n_quantiles, 600)
    assert np.array_equal(found.references_, wanted.references_)
    scale = np.abs(wanted.quantiles_).max(axis=0)
    assert np.all(np.abs(found.quantiles_ - wanted.quantiles_) <= 1e-14 * scale)
    ranks = np.random.default_rng(1).uniform(-0.2, 1.2, (50, 4))
    there = wanted.inverse_transform(ranks)
    assert np.all(np.abs(found.inverse_transform(ranks) - there) <= 1e-13 * scale)


@pytest.mark.parametrize("capacity", [256, 2048])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_beyond_the_capacity_ranks_are_off_by_what_is_said(capacity, in_pieces):
    X = large()
    for cls in (RobustScaler, QuantileTransformer):
        model = cls(capacity=capacity)
        model = streamed(model, X) if in_pieces else model.fit(X)
        assert 0 < model.rank_error_ < 16 / capacity
        if cls is RobustScaler:
            levels, quantiles = np.array([0.5]), model.center_[None, :]
        else:
            levels, quantiles = model.references_, model.quantiles_
        off = np.stack(
            [naive.rank_errors(q, levels, x) for q, x in zip(quantiles.T, X.T, strict=True)]
        )
        assert np.mean(off > model.rank_error_) <= 0.01
        assert off.max() < 16 / capacity
        assert np.sqrt(np.mean(off**2)) < 16 / capacity / 4


def test_nearer_to_all_samples_than_scikit_learns_random_ones():
    X = large()
    ours = streamed(QuantileTransformer(), X).transform(X)
    theirs = peers.QuantileTransformer(subsample=10_000, random_state=0).fit_transform(X)
    ranks = (stats.rankdata(X, axis=0) - 1) / (N - 1)
    errors = [np.abs(found - ranks).max() for found in (ours, theirs)]
    assert errors[0] < 0.005
    assert errors[0] < errors[1]


def test_normal_features_have_a_normal_law():
    normal = streamed(QuantileTransformer(output_distribution="normal"), large()).transform(large())
    for x in normal.T:
        # the distance of Kolmogorov and Smirnov is at most the rank error and 1 / n_quantiles
        assert stats.kstest(x, "norm").statistic < 0.005
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(normal.std(axis=0), 1, atol=0.02)
    assert np.abs(normal).max() < 5.2


@pytest.mark.parametrize("name", LAWS)
def test_robust_statistics_are_those_of_the_law(name):
    law, at = LAWS[name], list(LAWS).index(name)
    model = streamed(RobustScaler(), large())
    low, median, high = law.ppf([0.25, 0.5, 0.75])
    density = law.pdf([low, median, high])
    off = 5 * np.sqrt(0.25 / N) + model.rank_error_  # of a rank: sampling, then sketching
    assert abs(model.center_[at] - median) < off / density[1]
    assert abs(model.scale_[at] - (high - low)) < off * (1 / density[0] + 1 / density[2])


def test_drift_is_followed_by_forgetting():
    rng = np.random.default_rng(0)
    model = RobustScaler(capacity=128)
    for mean in np.repeat([0.0, 10.0], 20):
        if model.__sklearn_is_fitted__():
            model.forget(0.5)
        model.partial_fit(rng.normal(mean, 2, (500, 3)))
    np.testing.assert_allclose(model.center_, 10, atol=0.5)
    np.testing.assert_allclose(model.scale_, 2 * 1.349, atol=0.5)


def test_duplicates_have_the_middle_of_their_ranks():
    X = np.random.default_rng(0).choice([0.0, 1.0, 1.0, 2.0], (900, 1))
    found = QuantileTransformer(n_quantiles=100).fit(X).transform([[0.0], [1.0], [2.0]])
    below, up_to = np.mean(X < 1), np.mean(X <= 1)
    np.testing.assert_allclose(found[:, 0], [0, (below + up_to) / 2, 1], atol=0.01)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RobustScaler(quantile_range=(75, 25)), r"quantile_range=\(75, 25\) must increase"),
        (RobustScaler(quantile_range=(-1, 25)), "must increase within 0 to 100"),
        (RobustScaler(quantile_range=(50, 50)), "must increase"),
        (RobustScaler(quantile_range=(0, 75), unit_variance=True), "leave out 0 and 100"),
        (RobustScaler(capacity=3), "capacity=3 must be an int of at least 16"),
        (QuantileTransformer(capacity=0), "capacity=0 must be an int of at least 16"),
        (QuantileTransformer(n_quantiles=0), "n_quantiles=0 must be an int of at least 1"),
        (QuantileTransformer(output_distribution="flat"), "output_distribution='flat' must be"),
    ],
)
def test_bad_parameters_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(large()[:50])
    assert not model.__sklearn_is_fitted__()


def test_models_of_other_capacities_are_not_merged():
    X = large()[:50]
    with pytest.raises(ValueError, match="capacity=2048 but the model was fitted with"):
        RobustScaler().fit(X).merge(RobustScaler(capacity=64).fit(X))
