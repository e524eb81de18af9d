"""Weighted points that stand for samples, and centres among them that follow a stream.

A summary is weighted points. The first samples of a stream are points of their own weight, as
they are; when there are enough of them they become k centres, which every further batch moves to
the mean of what they have attracted so far (Sculley 2010, with counts as step sizes)::

    n_j ← n_j + Σ w        c_j ← c_j + Σ w (x - c_j) / n_j        over the x nearest to c_j

The points of several summaries together are a summary of all their samples: merging is putting
them side by side, and clustering the weighted points anew once there are many. It is no average
of centres of equal number, which mean different things in different models, and nothing is lost
where models have seen different clusters: each has split what it saw into k parts, of which the
union needs k in all.

How points become centres is passed in: see `Learning`.

References
----------
D. Sculley, "Web-scale k-means clustering", WWW 2010.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, device, namespace, to_host
from dask_exa.summaries.affine import Change, carry, mean_stretch, move
from dask_exa.summaries.moments import refuse_non_finite

_REASSIGN_EVERY = 10
"""Samples per centre between two looks for centres that attract too few."""
_MOST_MOVED = 0.5
"""Share of the samples of a batch that may become centres."""


class CentroidSummary(NamedTuple):
    """Weighted points, on the host."""

    n_samples: int
    n_steps: int
    """Batches that have moved centres."""
    seed: int
    points: np.ndarray
    """Shape (n_points, n_features), float64."""
    counts: np.ndarray
    """Weight of the samples that every point stands for, shape (n_points,)."""
    is_raw: bool
    """Whether the points are samples that wait for others."""
    recent: float = 0.0
    """Samples seen since centres of low weight were last looked for."""
    inertia: float = 0.0
    """Weighted sum of squared distances of the last batch from its centres, before it moved
    them."""


class Learning(NamedTuple):
    """How points become centres, and centres follow samples."""

    n_clusters: int
    n_waiting: int
    """Samples that wait until they become centres, at least `n_clusters`; none where the centres
    to start from are given."""
    max_points: int
    """Points of merged summaries that are kept side by side."""
    batch_size: int
    reassignment_ratio: float
    forgetting_factor: float
    start: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    """`start(points, counts, seed)`: centres to start a stream from, found fast."""
    cluster: Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray, float]]
    """`cluster(points, counts, seed)`: the best centres, their weights and the inertia of the
    points, found with care."""


def summarize(X: Array, sample_weight: Array | None, seed: int) -> CentroidSummary:
    """Return samples as the points that they are.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    sample_weight : array of shape (n_samples,), optional
    seed : int

    Examples
    --------
    >>> import numpy as np
    >>> summarize(np.zeros((3, 2)), np.array([1.0, 0.0, 2.0]), 0).counts
    array([1., 2.])
    """
    points = to_host(X).astype(np.float64)
    refuse_non_finite(float(np.sum(points * points)))
    counts = np.ones(points.shape[0]) if sample_weight is None else to_host(sample_weight)
    some = counts > 0
    return CentroidSummary(points.shape[0], 0, seed, points[some], counts[some] * 1.0, True)


def nothing(n_features: int, seed: int) -> CentroidSummary:
    """Return the summary of no samples."""
    return CentroidSummary(0, 0, seed, np.empty((0, n_features)), np.empty(0), True)


def learn(
    summary: CentroidSummary, X: Array, sample_weight: Array | None, how: Learning
) -> CentroidSummary:
    """Let a summary follow more samples, `batch_size` at a time."""
    n_samples, taken = X.shape[0], 0
    while summary.is_raw and taken < n_samples and summary.points.shape[0] < how.n_waiting:
        stop = min(n_samples, taken + how.n_waiting - summary.points.shape[0])
        summary = _wait(summary, *_rows(X, sample_weight, slice(taken, stop)), how)
        taken = stop
    if taken == n_samples:
        return summary
    summary = begin(summary, how)
    n_steps = max(1, (n_samples - taken) // how.batch_size)
    edges = [taken + (n_samples - taken) * i // n_steps for i in range(n_steps + 1)]
    for start, stop in itertools.pairwise(edges):
        summary = step(summary, *_rows(X, sample_weight, slice(start, stop)), how)
    return summary


def begin(summary: CentroidSummary, how: Learning) -> CentroidSummary:
    """Return a summary of as many points as clusters, which can follow samples."""
    if summary.is_raw:
        centers = how.start(summary.points, summary.counts, summary.seed)
        _, attracted = kernels.sum_nearest(summary.points, centers, summary.counts)
        moved = centers + attracted.sums / _above_zero(attracted.counts)
        return summary._replace(points=moved, counts=attracted.counts, is_raw=False)
    if summary.points.shape[0] > how.n_clusters:
        points, counts, _ = how.cluster(summary.points, summary.counts, summary.seed)
        return summary._replace(points=points, counts=counts)
    return summary


def step(
    summary: CentroidSummary, X: Array, sample_weight: Array | None, how: Learning
) -> CentroidSummary:
    """Move the centres of a summary, as many as clusters, to what a batch of samples says.

    Parameters
    ----------
    summary : CentroidSummary
    X : array of shape (n_samples, n_features), float32 or float64
    sample_weight : array of shape (n_samples,), float64, optional
    how : Learning
    """
    xp, n_samples = namespace(X), X.shape[0]
    weight, kept = _aged(sample_weight, X, how.forgetting_factor)
    centers = xp.asarray(summary.points, device=device(X))
    _, attracted = kernels.sum_nearest(X, centers, weight)
    refuse_non_finite(attracted.inertia)
    moved = follow(summary, to_host(attracted.counts), to_host(attracted.sums), kept)
    moved = moved._replace(
        n_samples=summary.n_samples + n_samples,
        recent=summary.recent + n_samples,
        inertia=float(attracted.inertia),
    )
    if not how.reassignment_ratio:
        return moved
    if moved.counts.all() and moved.recent < _REASSIGN_EVERY * how.n_clusters:
        return moved
    return _reassign(moved, X, sample_weight, how.reassignment_ratio)._replace(recent=0.0)


def follow(
    summary: CentroidSummary, counts: np.ndarray, sums: np.ndarray, kept: float = 1.0
) -> CentroidSummary:
    """Move the centres to the means of all that they have attracted so far.

    Parameters
    ----------
    summary : CentroidSummary
        Of as many points as clusters.
    counts, sums : arrays of shape (n_clusters,) and (n_clusters, n_features)
        What new samples add, see `dask_exa.kernels.Attracted`.
    kept : float, default=1.0
        Share of the weight so far that remains.
    """
    total = summary.counts * kept + counts
    points = sums / _above_zero(total)
    points += summary.points
    return summary._replace(
        points=points,
        counts=total,
        n_steps=summary.n_steps + 1,
    )


def merge(summaries: Sequence[CentroidSummary], how: Learning) -> CentroidSummary:
    """Return the points of all the given summaries, or centres of them where they are many."""
    if len(summaries) == 1:
        return summaries[0]
    n_samples = sum(summary.n_samples for summary in summaries)
    known = [summary for summary in summaries if summary.counts.any()] or summaries[:1]
    united = known[0]._replace(
        n_samples=n_samples,
        n_steps=sum(summary.n_steps for summary in summaries),
        seed=min(summary.seed for summary in summaries),
        points=np.concatenate([summary.points for summary in known]),
        counts=np.concatenate([summary.counts for summary in known]),
        is_raw=all(summary.is_raw for summary in known),
        recent=sum(summary.recent for summary in summaries),
        inertia=sum(summary.inertia for summary in summaries),
    )
    if united.points.shape[0] <= how.max_points:
        return united
    return begin(united._replace(is_raw=False), how)


def forget(summary: CentroidSummary, factor: float) -> CentroidSummary:
    """Scale the weight of all that was seen by `factor`; the centres stay where they are."""
    return summary._replace(counts=summary.counts * factor)


@carry.register
def carry_centroids(summary: CentroidSummary, change: Change) -> CentroidSummary:
    """Return the same points where they are now; see `dask_exa.summaries.affine`."""
    inertia = summary.inertia * mean_stretch(change)
    return summary._replace(points=move(summary.points, change), inertia=inertia)


def _wait(
    summary: CentroidSummary, X: Array, sample_weight: Array | None, how: Learning
) -> CentroidSummary:
    weight, kept = _aged(sample_weight, X, how.forgetting_factor)
    new = summarize(X, weight, summary.seed)
    return summary._replace(
        n_samples=summary.n_samples + new.n_samples,
        points=np.concatenate([summary.points, new.points]),
        counts=np.concatenate([summary.counts * kept, new.counts]),
    )


def _aged(sample_weight: Array | None, X: Array, factor: float) -> tuple[Array | None, float]:
    """Return weights that fall with the age of a sample, and what is left of those before."""
    if factor == 1:
        return sample_weight, 1.0
    xp, n_samples = namespace(X), X.shape[0]
    ages = xp.asarray(factor ** np.arange(n_samples - 1.0, -1.0, -1.0), device=device(X))
    return ages if sample_weight is None else ages * sample_weight, math.pow(factor, n_samples)


def _reassign(
    summary: CentroidSummary, X: Array, sample_weight: Array | None, ratio: float
) -> CentroidSummary:
    """Move centres that stand for very little to samples of the batch, drawn at random.

    They take on the weight of the least of the others, so as not to be moved again at once.
    """
    counts = summary.counts
    weight = np.ones(X.shape[0]) if sample_weight is None else to_host(sample_weight)
    allowed = min(int(_MOST_MOVED * X.shape[0]), int(np.count_nonzero(weight)))
    order = np.argsort(counts, kind="stable")
    low = order[: np.count_nonzero(counts < ratio * counts.max())][:allowed]
    if low.size == 0:
        return summary
    random = np.random.default_rng([summary.seed, summary.n_steps])
    rows = random.choice(X.shape[0], low.size, replace=False, p=weight / weight.sum())
    points, counts = summary.points.copy(), counts.copy()
    xp = namespace(X)
    points[low] = to_host(xp.take(X, xp.asarray(rows, device=device(X)), axis=0))
    counts[low] = np.delete(counts, low).min()
    return summary._replace(points=points, counts=counts)


def _above_zero(counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, counts, 1.0)[:, None]


def _rows(X: Array, sample_weight: Array | None, rows: slice) -> tuple[Array, Array | None]:
    return X[rows, :], None if sample_weight is None else sample_weight[rows]
