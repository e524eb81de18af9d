"""From parameters and samples to the weighted points that `MiniBatchKMeans` keeps."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array
from dask_exa._parameters import (
    check_choice,
    check_count,
    check_forgetting_factor,
    check_positive,
    draw_seed,
)
from dask_exa._samples import Samples
from dask_exa._state import NotEnoughSamplesError, State
from dask_exa.cluster import _clustering
from dask_exa.cluster._alignment import align
from dask_exa.cluster._centroid_model import Centroids
from dask_exa.cluster._lloyd import ATTRACT
from dask_exa.cluster._local_search import improve
from dask_exa.cluster._seeding import plus_plus, recluster
from dask_exa.reduction.broadcast import Rounds
from dask_exa.reduction.samples import reduce_samples
from dask_exa.summaries import Reducer, centroids
from dask_exa.summaries.centroids import CentroidSummary, Learning
from dask_exa.summaries.moments import checked_weight, refuse_non_finite

_MAX_WAITING_BYTES = 64 << 20
_INITS = ("k-means++", "random")
_MANY_STARTS = 3
_FEW_POINTS, _FEW_POINTS_PER_CLUSTER = 1024, 4
"""k-means++ takes as long as learning so many samples several times: of more points, these."""
_LEAST_TRIALS = 64
"""Of local search; half as many as clusters find most of what there is to gain."""
_MOST_MODELS = 16
"""Merged models whose centres are kept side by side."""


class MiniBatchModel(NamedTuple):
    """Fitted attributes."""

    cluster_centers: np.ndarray
    counts: np.ndarray
    inertia: float
    n_steps: int

    @property
    def centroids(self) -> Centroids:
        """What samples are assigned to."""
        return Centroids(self.cluster_centers)


def finalize(state: State, how: Learning) -> MiniBatchModel:
    """Return the fitted attributes, with centres in the dtype of the samples."""
    summary = settle(state.summary, how)
    centers = summary.points.astype(state.dtype)
    return MiniBatchModel(centers, summary.counts, summary.inertia, summary.n_steps)


def settle(summary: CentroidSummary, how: Learning) -> CentroidSummary:
    """Return a summary of as many points as clusters, clustered with care where there are more.

    Raises NotEnoughSamplesError where there are fewer.
    """
    n_points = summary.points.shape[0]
    if n_points < how.n_clusters and not how.n_waiting:
        summary = centroids.begin(summary, how)  # the centres are given
    elif n_points < how.n_clusters:
        raise NotEnoughSamplesError(
            f"n_clusters={how.n_clusters} but only {n_points} samples with a weight were seen; "
            "lower n_clusters, or pass more samples to partial_fit."
        )
    elif summary.is_raw or n_points > how.n_clusters:
        points, counts, inertia = how.cluster(summary.points, summary.counts, summary.seed)
        if not summary.is_raw:
            inertia = summary.inertia
        summary = summary._replace(points=points, counts=counts, inertia=inertia, is_raw=False)
    return summary


def learning(params: Any, n_features: int) -> Learning:
    """Return how a `MiniBatchKMeans` learns samples of so many features."""
    n_clusters = params.n_clusters
    n_waiting = params.init_size
    if n_waiting is None:
        most = max(3 * n_clusters, _MAX_WAITING_BYTES // (8 * n_features))
        n_waiting = min(3 * params.batch_size, most)
    n_waiting = max(n_waiting, 3 * n_clusters) if n_waiting < n_clusters else n_waiting
    is_given = not (isinstance(params.init, str) or callable(params.init))
    return Learning(
        n_clusters,
        0 if is_given else n_waiting,
        max(n_waiting, _MOST_MODELS * n_clusters),
        params.batch_size,
        params.reassignment_ratio,
        params.forgetting_factor,
        functools.partial(_start, init=params.init, n_clusters=n_clusters, n_init=_n_init(params)),
        functools.partial(_cluster, n_clusters=n_clusters),
    )


def learn(
    params: Any, samples: Samples, sample_weight: Any, start: CentroidSummary | None
) -> CentroidSummary:
    """Return what is known after one pass over the samples.

    Parameters
    ----------
    params : MiniBatchKMeans
        Read only.
    samples : Samples
        In memory, batch by batch. Of a Dask array every chunk is learnt by itself as long as
        there are no centres; then it is one batch, whose chunks answer about the same centres.
    sample_weight : array of shape (n_samples,), optional
    start : CentroidSummary, optional
        What is known already.
    """
    how = learning(params, samples.n_features)
    if start is None:
        start = centroids.nothing(samples.n_features, draw_seed(params.random_state))
    if not samples.is_lazy:
        reducer = Reducer(functools.partial(_learn_alone, start=start, how=how), _only)
        return reduce_samples(reducer, samples, sample_weight)
    if how.n_waiting and start.is_raw:
        alone = centroids.nothing(samples.n_features, start.seed)
        reducer = Reducer(
            functools.partial(_learn_alone, start=alone, how=how),
            functools.partial(centroids.merge, how=how),
        )
        return reduce_samples(reducer, samples, sample_weight, start if start.n_samples else None)
    start = centroids.begin(start, how)
    attracted = Rounds(samples, sample_weight).ask(_ATTRACT_CHECKED, start.points)
    refuse_non_finite(attracted.inertia)
    kept = how.forgetting_factor**samples.n_samples
    return centroids.follow(start, attracted.counts, attracted.sums, kept)._replace(
        n_samples=start.n_samples + samples.n_samples, inertia=attracted.inertia
    )


def check_parameters(params: Any) -> None:
    """Raise ValueError or TypeError for parameters that make no sense."""
    for name in ("n_clusters", "max_iter", "batch_size"):
        check_count(name, getattr(params, name))
    if params.init_size is not None:
        check_count("init_size", params.init_size)
    if params.max_no_improvement is not None:
        check_count("max_no_improvement", params.max_no_improvement, least=0)
    if params.n_init != "auto":
        check_count("n_init", params.n_init)
    for name in ("tol", "reassignment_ratio"):
        check_positive(name, getattr(params, name), zero=True)
    check_forgetting_factor(params.forgetting_factor)
    if isinstance(params.init, str):
        check_choice("init", params.init, _INITS)


def _learn_alone(
    X: Array, sample_weight: Array | None, start: CentroidSummary, how: Learning
) -> CentroidSummary:
    return centroids.learn(start, X, checked_weight(sample_weight), how)


def _attract_checked(
    centers: np.ndarray, X: Array, sample_weight: Array | None, row: int
) -> kernels.Attracted:
    return ATTRACT.answer(centers, X, checked_weight(sample_weight), row)


_ATTRACT_CHECKED = ATTRACT._replace(answer=_attract_checked)


def _only(summaries: Sequence[CentroidSummary]) -> CentroidSummary:
    (summary,) = summaries
    return summary


def _start(
    points: np.ndarray, counts: np.ndarray, seed: int, *, init: Any, n_clusters: int, n_init: int
) -> np.ndarray:
    """Return the best of several starts, shape (n_clusters, n_features), float64."""
    random = np.random.RandomState(seed)
    draw = functools.partial(_draw, points, counts, init, n_clusters, random)
    if n_init == 1:
        return draw()
    starts = [draw() for _ in range(n_init)]
    return min(starts, key=lambda start: kernels.sum_nearest(points, start, counts)[1].inertia)


def _draw(
    points: np.ndarray,
    counts: np.ndarray,
    init: Any,
    n_clusters: int,
    random: np.random.RandomState,
) -> np.ndarray:
    if callable(init):
        init = init(points, n_clusters, random_state=random)
    if not isinstance(init, str):
        return _clustering.checked_centers(init, n_clusters, points.shape[1])
    if init == "random":
        share = counts / counts.sum()
        return points[random.choice(points.shape[0], n_clusters, replace=False, p=share)]
    return _far_apart(points, counts, n_clusters, random)


def _far_apart(
    points: np.ndarray, counts: np.ndarray, n_clusters: int, random: np.random.RandomState
) -> np.ndarray:
    """Return centres by k-means++ on few points, and local search on three times as many."""
    n_few = max(_FEW_POINTS, _FEW_POINTS_PER_CLUSTER * n_clusters)
    some = random.permutation(points.shape[0])[: 3 * n_few]
    points, counts = points[some], counts[some]
    centers = plus_plus(points[:n_few], n_clusters, counts[:n_few], random)
    return improve(points, counts, centers, max(_LEAST_TRIALS, n_clusters // 2), random)


def _cluster(
    points: np.ndarray, counts: np.ndarray, seed: int, *, n_clusters: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return centres, in the order of the first points, their weights and the inertia."""
    found = recluster(points, counts, n_clusters, seed, [points[:n_clusters]])
    order = align(points[:n_clusters], found.centers)
    return found.centers[order], found.attracted.counts[order], found.attracted.inertia


def _n_init(params: Any) -> int:
    if params.n_init != "auto":
        return int(params.n_init)
    is_random = isinstance(params.init, str) and params.init == "random"
    return _MANY_STARTS if is_random or callable(params.init) else 1
