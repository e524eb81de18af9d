"""Mixtures of several models become one without changing weight, mean and second moments."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dask_exa.summaries import mixture
from dask_exa.summaries.gaussians import TYPES
from dask_exa.summaries.mixture import Mixture
from dask_exa.summaries.mixture_reduction import pair_costs, unite

K, D = 4, 3
ALL_TYPES = pytest.mark.parametrize("form", TYPES)


def statistics(form, seed, means=None, n_components=K):
    """Return statistics of random samples around some means."""
    rng = np.random.default_rng(seed)
    if means is None:
        means = rng.normal(0, 5, (n_components, D))
    labels = np.repeat(np.arange(len(means)), rng.integers(20, 60, len(means)))
    X = means[labels] + rng.normal(size=(labels.size, D)) @ rng.normal(size=(D, D))
    return mixture.attribute(X, np.eye(len(means))[labels], form)


def overall(summary):
    """Return weight, mean and second moments of all samples together, in the form of `m2`."""
    counts, means, m2 = summary.counts, summary.means, summary.m2
    mean = counts @ means / counts.sum()
    between = mixture.between(summary.covariance_type, counts, means - mean)
    total = m2 + between
    if summary.covariance_type != "tied":
        total = total.sum(axis=0)
    return counts.sum(), mean, total


@ALL_TYPES
@pytest.mark.parametrize("n_models", [2, 5])
def test_weight_mean_and_second_moments_stay(form, n_models):
    models = [statistics(form, seed) for seed in range(n_models)]
    united = unite(models, K, 1e-6)
    assert united.counts.shape == (K,)
    assert united.n_samples == sum(model.n_samples for model in models)
    side_by_side = Mixture(
        form,
        united.n_samples,
        np.concatenate([model.counts for model in models]),
        np.concatenate([model.means for model in models]),
        sum(m.m2 for m in models) if form == "tied" else np.concatenate([m.m2 for m in models]),
        0.0,
    )
    for value, exact in zip(overall(united), overall(side_by_side), strict=True):
        np.testing.assert_allclose(value, exact, rtol=1e-12, atol=1e-9)


@ALL_TYPES
def test_common_components_line_up_as_the_assignment_has_it(form):
    means = np.random.default_rng(9).normal(0, 30, (K, D))
    first = statistics(form, 0, means)
    order = np.array([2, 0, 3, 1])
    second = statistics(form, 1, means[order])
    distance = np.linalg.norm(first.means[:, None] - second.means[None], axis=2)
    partner = linear_sum_assignment(distance)[1]
    assert (order[partner] == np.arange(K)).all()
    m2 = second.m2 if form == "tied" else second.m2[partner]
    aligned = second._replace(counts=second.counts[partner], means=second.means[partner], m2=m2)
    expected = mixture.merge([first, aligned])
    united = unite([first, second], K, 1e-6)
    for value, wanted in zip(united[2:5], expected[2:5], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-9)


@ALL_TYPES
def test_components_that_only_one_model_has_stay(form):
    means = 100 * np.eye(D + 1, D)
    noise = np.random.default_rng(0).normal(size=(2, K, D))
    first = statistics(form, 0, np.repeat(means[:2], 2, axis=0) + noise[0])
    second = statistics(form, 1, np.repeat(means[2:], 2, axis=0) + noise[1])
    united = unite([first, second], K, 1e-6)
    distance = np.linalg.norm(united.means[:, None] - means[None], axis=2)
    np.testing.assert_array_equal(np.sort(distance.argmin(axis=1)), np.arange(K))
    assert distance.min(axis=1).max() < 5


@ALL_TYPES
def test_cost_is_an_upper_bound_of_the_divergence_and_zero_for_twins(form):
    summary = statistics(form, 3)
    others = np.array([1, 2, 3])
    costs = pair_costs(summary, 0, others, 1e-6)
    assert (costs > 0).all()
    double = unite([summary, summary], 2 * K, 1e-6)
    twin = pair_costs(double, 0, np.array([K]), 1e-6)
    assert twin[0] < 1e-9 * costs.max()
    if form == "full":
        i, j = 0, 2
        w = summary.counts[[i, j]]
        moved = mixture.between("full", np.array([w.prod() / w.sum()]),
                                summary.means[[j]] - summary.means[[i]])  # fmt: skip
        m2 = summary.m2
        logs = [np.linalg.slogdet(c + 1e-6 * np.eye(D))[1] for c in
                (m2[i] / w[0], m2[j] / w[1], (m2[i] + m2[j] + moved[0]) / w.sum())]  # fmt: skip
        exact = 0.5 * (w.sum() * logs[2] - w[0] * logs[0] - w[1] * logs[1])
        np.testing.assert_allclose(costs[1], exact, rtol=1e-12)


def test_tied_cost_is_the_growth_of_the_common_covariance():
    summary = statistics("tied", 3)
    total = summary.counts.sum()
    w = summary.counts[[0, 1]]
    added = mixture.between("tied", np.array([w.prod() / w.sum()]),
                            summary.means[[1]] - summary.means[[0]])  # fmt: skip
    before, after = (np.linalg.slogdet(m / total)[1] for m in (summary.m2, summary.m2 + added))
    cost = pair_costs(summary, 0, np.array([1]), 0.0)
    np.testing.assert_allclose(cost, 0.5 * total * (after - before), rtol=1e-9)


@ALL_TYPES
def test_component_without_weight_costs_nothing_and_goes_first(form):
    summary = statistics(form, 4)
    empty = summary._replace(
        counts=np.append(summary.counts, 0.0),
        means=np.vstack([summary.means, [1e9] * D]),
        m2=summary.m2 if form == "tied" else np.concatenate([summary.m2, 0 * summary.m2[:1]]),
    )
    reduced = unite([empty], K, 1e-6)
    for value, wanted in zip(reduced[2:5], summary[2:5], strict=True):
        np.testing.assert_array_equal(value, wanted)
