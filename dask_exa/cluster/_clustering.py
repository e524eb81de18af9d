"""From parameters and samples to the partition that `KMeans` keeps."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array, is_cupy, namespace, to_host
from dask_exa._parameters import check_choice, check_count, check_positive, draw_seeds
from dask_exa._samples import Samples
from dask_exa._state import NotEnoughSamplesError, State
from dask_exa.cluster._centroid_model import Centroids
from dask_exa.cluster._lloyd import best, lloyd
from dask_exa.cluster._partition import Partition, partition
from dask_exa.cluster._seeding import parallel_plus_plus, plus_plus
from dask_exa.reduction.broadcast import Question, Rounds
from dask_exa.summaries import draws, moments
from dask_exa.summaries.draws import Draw
from dask_exa.summaries.moments import Moments

_INITS = ("k-means||", "k-means++", "random")
_MANY_STARTS = 10
_RANGES = 16
"""Ranges of samples in memory whose moments are taken side by side."""


class KMeansModel(NamedTuple):
    """Fitted attributes."""

    cluster_centers: Array
    inertia: float
    n_iter: int

    @property
    def centroids(self) -> Centroids:
        """What samples are assigned to."""
        return Centroids(self.cluster_centers)


def cluster(params: Any, samples: Samples, sample_weight: Any) -> Partition:
    """Cluster samples.

    Parameters
    ----------
    params : KMeans
        Read only.
    samples : Samples
    sample_weight : array of shape (n_samples,), optional

    Returns
    -------
    Partition
        Of fewer centres than asked for where fewer samples have a weight.
    """
    n_clusters = params.n_clusters
    seeds = draw_seeds(params.random_state, _count_starts(params))
    rounds = Rounds(samples, sample_weight)
    opening = _open(rounds, n_clusters, seeds)
    tol = params.tol * opening.moments.energy / opening.moments.weight / samples.n_features
    options = {"tol": tol, "max_iter": params.max_iter, "verbose": params.verbose}
    found = []
    for seed, draw in zip(seeds, opening.draws, strict=True):
        start = draw.rows
        if start.shape[0] >= n_clusters:
            start = _start(params, samples, rounds, start, int(seed))
        found.append(lloyd(rounds, start, **options))
    centers, attracted, n_iter = best(found)
    like = np.empty(0) if samples.is_lazy else samples.array
    seed = int(seeds[0])
    return partition(opening.moments.n_samples, seed, n_iter, centers, attracted, like)


def finalize(state: State, n_clusters: int) -> KMeansModel:
    """Return the fitted attributes, with centres in the dtype of the samples."""
    summary = state.summary
    xp = namespace(summary.centers)
    if summary.centers.shape[0] < n_clusters:
        raise NotEnoughSamplesError(
            f"n_clusters={n_clusters} but only {summary.centers.shape[0]} samples with a weight "
            "were seen; lower n_clusters, or fit more samples."
        )
    centers = xp.astype(summary.centers, getattr(xp, str(state.dtype)))
    return KMeansModel(centers, summary.inertia, summary.n_iter)


def check_parameters(params: Any) -> None:
    """Raise ValueError or TypeError for parameters that make no sense."""
    check_count("n_clusters", params.n_clusters)
    check_count("max_iter", params.max_iter)
    check_positive("tol", params.tol, zero=True)
    check_choice("algorithm", params.algorithm, ("lloyd", "elkan"))
    if params.n_init != "auto":
        check_count("n_init", params.n_init)
    if isinstance(params.init, str):
        check_choice("init", params.init, _INITS)


def check_enough(params: Any, n_samples: int) -> None:
    """Raise ValueError for fewer samples than clusters."""
    if n_samples < params.n_clusters:
        raise ValueError(
            f"n_samples={n_samples} is less than n_clusters={params.n_clusters}; lower n_clusters, "
            "or use partial_fit to learn more samples later."
        )


class _Opening(NamedTuple):
    """What the first pass over the samples tells."""

    moments: Moments
    draws: tuple[Draw, ...]
    """Samples drawn by their weights, for every start."""


def _open(rounds: Rounds, n_clusters: int, seeds: np.ndarray) -> _Opening:
    question = Question(
        functools.partial(_answer_opening, seeds=tuple(map(int, seeds))),
        functools.partial(_merge_opening, size=n_clusters),
    )
    opening = rounds.ask(question, n_clusters, n_ranges=_RANGES)
    if not opening.moments.weight:
        raise ValueError("sample_weight is zero for every sample; weight some of them.")
    return opening


def _answer_opening(
    size: int, X: Array, sample_weight: Array | None, row: int, *, seeds: tuple[int, ...]
) -> _Opening:
    found = moments.summarize(X, sample_weight)
    drawn = (draws.summarize(X, sample_weight, size, seed, first=row) for seed in seeds)
    return _Opening(found, tuple(drawn))


def _merge_opening(parts: Sequence[_Opening], *, size: int) -> _Opening:
    columns = zip(*(part.draws for part in parts), strict=True)
    return _Opening(
        moments.merge([part.moments for part in parts]),
        tuple(draws.merge(column, size) for column in columns),
    )


def _start(
    params: Any, samples: Samples, rounds: Rounds, drawn: np.ndarray, seed: int
) -> np.ndarray:
    """Return centres to start from, shape (n_clusters, n_features), on the host."""
    init, n_clusters = params.init, params.n_clusters
    if callable(init):
        init = init(samples.array, n_clusters, random_state=np.random.RandomState(seed))
    if not isinstance(init, str):
        return checked_centers(init, n_clusters, samples.n_features)
    if init == "random":
        return drawn
    if init == "k-means++" and not samples.is_lazy:
        weight = rounds.sample_weight
        return to_host(plus_plus(samples.array, n_clusters, weight, seed))
    return parallel_plus_plus(rounds, drawn, n_clusters, seed)


def checked_centers(init: Any, n_clusters: int, n_features: int) -> np.ndarray:
    """Return given centres as (n_clusters, n_features) in float64, or raise ValueError."""
    centers = np.asarray(to_host(init) if is_cupy(init) else init, dtype=np.float64)
    if centers.ndim < 2 or centers.reshape(centers.shape[0], -1).shape != (n_clusters, n_features):
        raise ValueError(
            f"init has the shape {centers.shape}; pass centres of shape (n_clusters, n_features)="
            f"({n_clusters}, {n_features})."
        )
    if not np.isfinite(centers).all():
        raise ValueError("init has centres that are NaN or infinite; pass finite ones.")
    return centers.reshape(n_clusters, n_features)


def _count_starts(params: Any) -> int:
    init = params.init
    if not (isinstance(init, str) or callable(init)):
        return 1
    if params.n_init != "auto":
        return int(params.n_init)
    return _MANY_STARTS if callable(init) or init == "random" else 1
