"""Generalised Pareto laws against scipy, quadrature and what the next value really does."""

import numpy as np
import pytest
from scipy import stats

from dask_exa.summaries import pareto
from tests import naive

SHAPES = [-0.8, -0.3, 0.0, 0.2, 0.7, 1.2]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [20, 200, 2000])
def test_maximum_likelihood_is_scipys(shape, count):
    y = stats.genpareto(shape, scale=3).rvs(count, random_state=count)
    law = pareto.fit(y)
    best = stats.genpareto.fit(y, floc=0)
    if best[0] < -1:  # where the likelihood has no maximum; ours stays at the bound
        assert -1 <= law.shape < -0.95
        return

    def log_likelihood(shape, scale):
        return stats.genpareto(shape, scale=scale).logpdf(y).sum()

    assert log_likelihood(law.shape, law.scale) >= log_likelihood(best[0], best[2]) - 1e-6
    np.testing.assert_allclose([law.shape, law.scale], [best[0], best[2]], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("shape", [-0.5, 0.0, 0.5])
def test_probabilities_are_the_integral_over_all_parameters(shape, count):
    y = stats.genpareto(shape, scale=2).rvs(count, random_state=1)
    law = pareto.fit(y)
    for z in (0.3, 1.0, 3.0):
        exact = naive.predictive_survival(y, z * y.max())
        assert law.survival(np.array([z * y.max()]))[0] == pytest.approx(exact, rel=0.02)


def test_exponential_limit_is_the_closed_form():
    # with the shape held at 0 the next of k exponentials exceeds z with (1 + z / Σy) ** -k; a
    # shape that is known to about 1/√k leaves that a little heavier, never lighter
    y = stats.expon.ppf((np.arange(3000) + 0.5) / 3000)
    law = pareto.fit(y)
    z = np.array([0.5, 2.0, 5.0])
    np.testing.assert_allclose(law.survival(z), np.exp(-z), rtol=0.03)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [10, 50, 400])
def test_next_value_exceeds_the_quantile_as_often_as_asked_or_less(shape, count):
    true = stats.genpareto(shape)
    rates = [
        true.sf(pareto.fit(true.rvs(count, random_state=seed)).quantile(0.05))
        for seed in range(150)
    ]
    error = np.std(rates) / np.sqrt(len(rates))
    # heavier tails than the prior expects are found out late
    assert np.mean(rates) < 0.05 * (1 + 0.6 * (shape > 0.5) * (count < 100)) + 3 * error
    assert np.mean(rates) > 0.02 - 0.02 * (count < 50 or shape < -0.5)


def test_scale_of_the_scores_does_not_matter():
    y = stats.genpareto(0.1).rvs(100, random_state=0)
    for factor in (1e-250, 1e-9, 1e9, 1e250):
        law = pareto.fit(factor * y)
        np.testing.assert_allclose(law.quantile(1e-3) / factor, pareto.fit(y).quantile(1e-3))


def test_whole_weights_are_repetitions():
    y = stats.genpareto(0.2).rvs(60, random_state=0)
    times = np.random.default_rng(0).integers(1, 4, 60)
    weighted, repeated = pareto.fit(y, times.astype(float)), pareto.fit(np.repeat(y, times))
    np.testing.assert_allclose(weighted.log_survival, repeated.log_survival, atol=1e-9)
    np.testing.assert_allclose(weighted.shape, repeated.shape, rtol=1e-6)


def test_quantile_is_where_survival_has_the_value():
    law = pareto.fit(stats.genpareto(-0.2).rvs(300, random_state=0))
    p = np.array([0.9, 0.3, 1e-2, 1e-5])
    z = np.array([law.quantile(value) for value in p])
    np.testing.assert_allclose(law.survival(z), p, rtol=1e-9)
    assert law.survival(np.array([0.0]))[0] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("y", [np.ones(50), np.repeat([0.5, 1.0], 20), np.arange(1.0, 6.0)])
def test_ties_and_few_values_give_a_law(y):
    law = pareto.fit(y)
    assert np.isfinite([law.shape, law.scale, *law.log_survival]).all()
    assert np.all(np.diff(law.log_survival) <= 1e-12)
    assert law.quantile(1e-3) > y.max()


def test_so_few_values_cannot_tell():
    assert pareto.fit(np.array([1.0, 2.0, 3.0])).quantile(1e-12) == np.inf


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.4])
def test_what_is_only_known_to_be_large_does_not_shorten_the_tail(shape):
    y = stats.genpareto(shape).rvs(4000, random_state=0)
    limit = np.quantile(y, 0.9)
    law, cut = (pareto.fit(np.minimum(y, limit), None, far) for far in (y >= limit, y < 0))
    assert law.shape == pytest.approx(shape, abs=0.15)
    assert law.quantile(0.01) == pytest.approx(stats.genpareto(shape).isf(0.01), rel=0.2)
    assert cut.quantile(0.01) < 0.8 * law.quantile(0.01)
