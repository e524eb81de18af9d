"""Where centres start: k-means++ on samples in memory, k-means|| on samples of any number."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.cluster import kmeans_plusplus

from dask_exa import kernels
from dask_exa._array import Array, device, namespace, to_host
from dask_exa._parameters import draw_seeds
from dask_exa._samples import Samples
from dask_exa._threads import map_threads
from dask_exa.cluster._lloyd import ATTRACT, Clustering, best, lloyd, means
from dask_exa.cluster._local_search import improve
from dask_exa.reduction.broadcast import Question, Rounds
from dask_exa.summaries import draws
from dask_exa.summaries.draws import Draw

N_PASSES = 3
"""Passes of k-means||: those that draw, and one that weighs the candidates."""
_OVERSAMPLING = 2
"""Candidates drawn at once, relative to the number of clusters."""
_N_STARTS = 3


def plus_plus(
    X: Array, n_clusters: int, sample_weight: Array | None = None, random_state: Any = None
) -> Array:
    """Return samples that are far from each other, by k-means++.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
        Finite. Copied to the host where it is elsewhere.
    n_clusters : int
    sample_weight : array of shape (n_samples,), optional
        Samples of weight zero are never taken.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    array of shape (n_clusters, n_features)
        In the dtype and namespace of `X`. Some come more than once where fewer than `n_clusters`
        samples are distinct.

    References
    ----------
    D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [0.0], [9.0], [9.0]])
    >>> np.sort(plus_plus(X, 2, random_state=0), axis=0).T
    array([[0., 9.]])
    """
    rows = to_host(X)
    weight = None if sample_weight is None else to_host(sample_weight)
    if weight is not None and not weight.all():
        rows, weight = rows[weight > 0], weight[weight > 0]
    n_distinct = min(n_clusters, rows.shape[0])
    # what all samples have in common would cost digits
    offsets = rows - rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)
    places = kmeans_plusplus(offsets, n_distinct, sample_weight=weight, random_state=random_state)[
        1
    ]
    centers = rows[np.resize(places, n_clusters)]
    return namespace(X).asarray(centers, device=device(X))


def parallel_plus_plus(rounds: Rounds, first: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return centres for samples of any number, by k-means|| in few passes.

    Candidates are drawn in rounds, `_OVERSAMPLING` times `n_clusters` of them at once, with
    probabilities proportional to their squared distance from the nearest earlier candidate (and
    to their weight). They become the means of what they attract, and few enough for
    `recluster`. The draws are a function of the seed and the numbers of the samples, so that
    neither chunks nor workers change them. Unlike in the reference, their number is exact:
    `dask_exa.summaries.draws`.

    Parameters
    ----------
    rounds : Rounds
        Asked `N_PASSES` times.
    first : array of shape (n_first, n_features)
        Samples drawn with probabilities proportional to their weight; the first candidates.
    n_clusters, seed : int

    Returns
    -------
    array of shape (n_clusters, n_features), float64

    References
    ----------
    B. Bahmani, B. Moseley, A. Vattani, R. Kumar, S. Vassilvitskii, "Scalable k-means++", VLDB
    2012, algorithm 2.
    """
    size = _OVERSAMPLING * n_clusters
    candidates = first
    for stream in range(1, N_PASSES):
        question = Question(
            functools.partial(_draw_far, size=size, seed=seed, stream=stream),
            functools.partial(draws.merge, size=size),
        )
        found = rounds.ask(question, candidates)
        candidates = np.concatenate([candidates, found.rows])
    attracted = rounds.ask(ATTRACT, candidates)
    points, counts = means(candidates, attracted)
    return recluster(points, counts, n_clusters, seed).centers


def recluster(
    points: np.ndarray,
    counts: np.ndarray,
    n_clusters: int,
    seed: int,
    starts: Sequence[np.ndarray] = (),
) -> Clustering:
    """Return the best of several clusterings of a few weighted points.

    Parameters
    ----------
    points : array of shape (n_points, n_features), float64
    counts : array of shape (n_points,)
        Their weights, above zero.
    n_clusters, seed : int
    starts : sequence of arrays of shape (n_clusters, n_features), optional
        Centres to start from beside those of `plus_plus`, which local search improves first.

    Returns
    -------
    Clustering
    """
    seeds = draw_seeds(seed, _N_STARTS)

    def run(start: Any) -> Clustering:
        if not np.ndim(start):
            random = np.random.RandomState(start)
            start = plus_plus(points, n_clusters, counts, random)
            start = improve(points, counts, start, n_clusters, random)
        return lloyd(Rounds(Samples(points), counts), start)

    return best(map_threads(run, [*starts, *seeds]))


def _draw_far(
    candidates: np.ndarray,
    X: Array,
    sample_weight: Array | None,
    row: int,
    *,
    size: int,
    seed: int,
    stream: int,
) -> Draw:
    """Answer with some of the samples that no candidate is near to."""
    xp = namespace(X)
    weight = kernels.nearest_centers(X, xp.asarray(candidates, device=device(X)))[1]
    if sample_weight is not None:
        weight = weight * sample_weight
    return draws.summarize(X, weight, size, seed, stream=stream, first=row)
