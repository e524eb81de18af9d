"""Limits of a subspace against the eigenvalues and laws that they come from."""

import numpy as np
import pytest
from scipy import stats

from dask_exa.summaries import moments, subspace, svd

RNG = np.random.default_rng(0)
X = RNG.standard_normal((600, 4)) * [4, 3, 2, 1] @ RNG.standard_normal((4, 12))
X += 0.3 * RNG.standard_normal(X.shape) + 50


def test_residual_moments_of_both_kinds_of_summary():
    values = np.linalg.eigvalsh(np.cov(X.T))[::-1]
    expected = [np.sum(values[3:] ** j) for j in (1, 2, 3)]
    scatter = moments.summarize(X, pairs=True)
    rows = svd.from_scatter(scatter, "float64")
    axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][:3]
    for basis in (scatter, rows):
        found = subspace.residual_moments(basis, axes, 599 * values[:3], 12, 599.0)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    # what was dropped counts as spread evenly: never more than it was
    cut = rows._replace(rows=rows.rows[:8])
    found = subspace.residual_moments(cut, axes, 599 * values[:3], 12, 599.0)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    assert np.all(found <= np.array(expected) * (1 + 1e-9))
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_limit_of_the_error_is_that_of_jackson_and_mudholkar():
    # equal eigenvalues: Q is a multiple of chi-square, whose quantiles it has to 1 %
    for n_left in (5, 20, 100):
        theta = np.array([n_left * 0.5, n_left * 0.25, n_left * 0.125])
        for confidence in (0.95, 0.99):
            exact = 0.5 * stats.chi2.isf(1 - confidence, n_left)
            assert subspace.spe_limit(theta, confidence) == pytest.approx(exact, rel=0.01)
    assert subspace.spe_limit(np.zeros(3), 0.99) == 0
    # a dominant eigenvalue makes their power small; the limit stays that of a sum of squares
    dominant = np.array([10.0, 100.0, 1000.0])
    assert subspace.spe_limit(dominant, 0.99) == pytest.approx(
        10 * stats.chi2.isf(0.01, 1), rel=0.05
    )


def test_limit_of_t2_is_that_of_an_f_distribution():
    theta = np.array([1.0, 0.5, 0.25])
    few = subspace.limits(theta, 3, 20.0, 0.99).t2
    assert few == pytest.approx(3 * (20**2 - 1) / (20 * 17) * stats.f.isf(0.01, 3, 17))
    many = subspace.limits(theta, 3, 1e7, 0.99).t2
    assert many == pytest.approx(stats.chi2.isf(0.01, 3), rel=1e-4)
    assert np.isfinite(subspace.limits(theta, 3, 2.0, 0.99).t2)


def test_combined_limit_is_that_of_a_sum_of_squares():
    # Q of ten equal eigenvalues and T² of three components, both chi-square
    theta = 10 * 0.5 ** np.arange(1, 4)
    limits = subspace.limits(theta, 3, 1e9, 0.99)
    rng = np.random.default_rng(1)
    spe, t2 = 0.5 * rng.chisquare(10, 400_000), rng.chisquare(3, 400_000)
    beyond = spe / limits.spe + t2 / limits.t2 > limits.combined
    assert beyond.mean() == pytest.approx(0.01, rel=0.2)  # matched by two moments
