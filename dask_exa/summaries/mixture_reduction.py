"""Fewer components that say the same of the whole: mixtures of several models become one.

The components of all models are put side by side, and pairs are replaced by the Gaussian of their
total weight, mean and covariance until there are few enough. A pair i, j of weights w and
covariances C costs at most, as a Kullback-Leibler divergence of the mixtures (Runnalls, eq. 21)::

    B = ½ [(w_i + w_j) log det C_ij - w_i log det C_i - w_j log det C_j]

The cheapest pair goes first. Components that two models have in common are such pairs, in whatever
order each model has them: they line up. A component that only one model has, since the others never
saw such samples, finds no cheap partner and stays. Under a ``tied`` covariance C of total weight W,
a pair adds its distance to C for all components::

    B = ½ W log(1 + w_i w_j / ((w_i + w_j) W) (μ_i - μ_j)ᵀ C⁻¹ (μ_i - μ_j))

Merging pairs is exact in the statistics: the weight, mean and second moments of all samples stay.

References
----------
A. R. Runnalls, "Kullback-Leibler approach to Gaussian mixture reduction", IEEE Transactions on
Aerospace and Electronic Systems 43(3), 2007.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dask_exa.summaries.gaussians import from_covariances
from dask_exa.summaries.mixture import Mixture, between


def unite(summaries: Sequence[Mixture], n_components: int, reg_covar: float) -> Mixture:
    """Return the statistics of several models in one mixture of so many components.

    Parameters
    ----------
    summaries : sequence of Mixture
        Of one covariance type. A component that takes one of the first model with it has the place
        of that; others have the places that are left.
    n_components : int
    reg_covar : float
        Added to the variances of which the cost is.

    Examples
    --------
    >>> import numpy as np
    >>> one = Mixture("diag", 4, np.array([3.0, 1.0]), np.array([[0.0], [5.0]]), np.ones((2, 1)), 0)
    >>> two = Mixture("diag", 4, np.array([2.0, 2.0]), np.array([[5.0], [0.0]]), np.ones((2, 1)), 0)
    >>> united = unite([one, two], 2, 1e-6)
    >>> united.counts, united.means.T
    (array([5., 3.]), array([[0., 5.]]))
    """
    first = summaries[0]
    counts = np.concatenate([summary.counts for summary in summaries])
    means = np.concatenate([summary.means for summary in summaries])
    m2 = [summary.m2 for summary in summaries]
    tied = first.covariance_type == "tied"
    second = np.sum(m2, axis=0) if tied else np.concatenate(m2)
    total = Mixture(
        first.covariance_type,
        sum(summary.n_samples for summary in summaries),
        counts,
        means,
        second,
        sum(summary.log_likelihood for summary in summaries),
    )
    return _reduce(total, n_components, reg_covar)


def pair_costs(summary: Mixture, i: int, others: np.ndarray, reg_covar: float) -> np.ndarray:
    """Return what it costs to merge component i with others, at most.

    Parameters
    ----------
    summary : Mixture
    i : int
    others : array of int, shape (n_others,)
    reg_covar : float

    Returns
    -------
    array of shape (n_others,)
        Kullback-Leibler divergence times the total weight; 0 where one weighs nothing.
    """
    form, counts = summary.covariance_type, summary.counts
    weight = counts[i] + counts[others]
    some = np.where(weight > 0, weight, 1.0)
    joint = counts[i] * counts[others] / some
    offsets = summary.means[others] - summary.means[i]
    if form == "tied":
        total = np.sum(counts)
        covariance = summary.m2 / total + reg_covar * np.eye(offsets.shape[1])
        root = from_covariances(form, counts, summary.means, covariance, reg_covar)
        squares = np.sum((offsets @ root.precisions_cholesky) ** 2, axis=1)
        return 0.5 * total * np.log1p(joint / total * squares)
    pooled = summary.m2[i] + summary.m2[others] + between(form, joint, offsets)
    d = offsets.shape[1]
    cost = weight * _log_determinants(form, pooled, some, reg_covar, d)
    for weights, m2 in ((counts[others], summary.m2[others]), (counts[i : i + 1], summary.m2[[i]])):
        own = np.where(weights > 0, weights, 1.0)
        cost = cost - weights * _log_determinants(form, m2, own, reg_covar, d)
    cost = np.where((counts[others] > 0) & (counts[i] > 0), cost, 0.0)
    return 0.5 * np.maximum(cost, 0.0)


def _reduce(summary: Mixture, n_components: int, reg_covar: float) -> Mixture:
    n_all = summary.counts.size
    alive = np.ones(n_all, dtype=bool)
    costs = np.full((n_all, n_all), np.inf)
    for i in range(n_all - 1):
        costs[i, i + 1 :] = pair_costs(summary, i, np.arange(i + 1, n_all), reg_covar)
    for _ in range(n_all - n_components):
        i, j = divmod(int(np.argmin(costs)), n_all)
        summary = _merge_pair(summary, i, j)
        alive[j] = False
        costs[j, :] = costs[:, j] = np.inf
        others = np.flatnonzero(alive & (np.arange(n_all) != i))
        if others.size:
            fresh = pair_costs(summary, i, others, reg_covar)
            costs[np.minimum(i, others), np.maximum(i, others)] = fresh
    places = _places(np.flatnonzero(alive), n_components)
    m2 = summary.m2 if summary.covariance_type == "tied" else summary.m2[places]
    return summary._replace(counts=summary.counts[places], means=summary.means[places], m2=m2)


def _places(alive: np.ndarray, n_components: int) -> np.ndarray:
    """Return which component goes where: those of the first model stay, others fill the gaps."""
    places = np.full(n_components, -1)
    own = alive[alive < n_components]
    places[own] = own
    places[places < 0] = alive[alive >= n_components]
    return places


def _merge_pair(summary: Mixture, i: int, j: int) -> Mixture:
    """Put component j into component i < j and leave nothing in its place."""
    form = summary.covariance_type
    counts, means, m2 = summary.counts.copy(), summary.means.copy(), summary.m2.copy()
    weight = counts[i] + counts[j]
    part = counts[j] / weight if weight else 0.0
    joint = np.array([counts[i] * part])
    offset = (means[j] - means[i])[None, :]
    added = between(form, joint, offset)
    if form == "tied":
        m2 += added
    else:
        m2[i] += m2[j] + added[0]
        m2[j] = 0.0
    means[i] += part * offset[0]
    counts[i], counts[j] = weight, 0.0
    return summary._replace(counts=counts, means=means, m2=m2)


def _log_determinants(
    form: str, m2: np.ndarray, weights: np.ndarray, reg_covar: float, n_features: int
) -> np.ndarray:
    if form == "full":
        covariances = m2 / weights[:, None, None] + reg_covar * np.eye(n_features)
        return np.linalg.slogdet(covariances)[1]
    if form == "diag":
        return np.sum(np.log(m2 / weights[:, None] + reg_covar), axis=1)
    return n_features * np.log(m2 / (weights * n_features) + reg_covar)
