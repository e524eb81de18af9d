"""`MiniBatchKMeans.fit`: batches or rounds until nothing improves any more."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, device, namespace, to_host
from dask_exa._parameters import draw_seed
from dask_exa._samples import Samples, is_dask
from dask_exa.cluster import _clustering, _minibatches
from dask_exa.cluster._lloyd import ATTRACT, means
from dask_exa.cluster._seeding import parallel_plus_plus
from dask_exa.reduction.broadcast import Question, Rounds
from dask_exa.summaries import centroids, draws
from dask_exa.summaries.centroids import CentroidSummary, Learning
from dask_exa.summaries.moments import (
    checked_weight,
    refuse_non_finite,
    refuse_non_finite_samples,
)

_LEAST_GAIN = 1e-3
"""Relative fall of the inertia of all samples that is worth another pass over a Dask array."""

_LEAST_FOLLOW = 0.1
"""How fast the smoothed inertia follows the batches, at least."""


def converge(
    params: Any, samples: Samples, sample_weight: Any
) -> tuple[CentroidSummary, Array | None]:
    """Return what is known of samples after as many passes as it takes, and their labels.

    Parameters
    ----------
    params : MiniBatchKMeans
        Read only.
    samples : Samples
        In memory: those that may wait are clustered as a whole; of more, batches are drawn at
        random. A Dask array is asked in rounds, each of them a pass over its chunks; it gets no
        labels.
    sample_weight : array of shape (n_samples,), optional
    """
    how = _minibatches.learning(params, samples.n_features)
    seed = draw_seed(params.random_state)
    if samples.is_lazy:
        return _rounds(params, how, Rounds(samples, sample_weight), seed), None
    if is_dask(sample_weight):
        sample_weight = sample_weight.compute()
    X = samples.array
    if samples.n_samples <= how.n_waiting:
        summary = _minibatches.settle(centroids.summarize(X, sample_weight, seed), how)
    else:
        summary = _batches(params, how, X, sample_weight, seed)
    points = summary.points.astype(str(X.dtype).rpartition(".")[2])  # as predict has them
    labels, attracted = kernels.sum_nearest(X, namespace(X).asarray(points), sample_weight)
    refuse_non_finite(attracted.inertia)
    counts = to_host(attracted.counts)
    inertia = float(attracted.inertia)
    return summary._replace(points=points.astype(float), counts=counts, inertia=inertia), labels


def count_passes(params: Any, summary: CentroidSummary, samples: Samples) -> int:
    """Return how often every sample was used, rounded up."""
    if samples.is_lazy:
        return summary.n_steps
    size = min(params.batch_size, samples.n_samples)
    return max(1, math.ceil(summary.n_steps * size / samples.n_samples))


class Monitor:
    """Tells when batches no longer improve the centres, by the rules of scikit-learn.

    But for a smoothing that does not get longer with the samples: measured, that costs three times
    the steps for .1 to .7 % of the inertia.

    Parameters
    ----------
    share : float
        Of a batch among the samples: how fast the smoothed inertia follows the batches.
    tol : float
        Sum of squared moves of all centres in a step that ends the fit; 0 for none.
    max_no_improvement : int or None
        Steps in a row without a new least smoothed inertia that end the fit.
    verbose : int, default=0
    """

    def __init__(
        self, share: float, tol: float, max_no_improvement: int | None, verbose: int = 0
    ) -> None:
        self.follow = min(max(2 * share, _LEAST_FOLLOW), 1.0)
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.verbose = verbose
        self.smoothed: float | None = None
        self.least = math.inf
        self.n_worse = 0

    def is_over(self, step: int, inertia: float, shift: float) -> bool:
        """Return whether to stop after a step.

        Parameters
        ----------
        step : int
            From 1 on. The first one shows the start only, and does not count.
        inertia : float
            Mean of the batch, before the step.
        shift : float
            Sum of squared moves of all centres.
        """
        if step == 1:
            return False
        before = inertia if self.smoothed is None else self.smoothed
        self.smoothed = before + self.follow * (inertia - before)
        if self.verbose:
            print(f"Step {step}: inertia {inertia:.6g} per sample, smoothed {self.smoothed:.6g}")
        if 0 < self.tol >= shift:
            return True
        self.n_worse = 0 if self.smoothed < self.least else self.n_worse + 1
        self.least = min(self.least, self.smoothed)
        return self.max_no_improvement is not None and self.n_worse >= self.max_no_improvement


def _batches(
    params: Any, how: Learning, X: Array, sample_weight: Array | None, seed: int
) -> CentroidSummary:
    n_samples = X.shape[0]
    random = np.random.default_rng(seed)
    places = _Places(n_samples, sample_weight)
    first = _take(X, places.draw(random, max(how.n_waiting, how.n_clusters)))
    summary = centroids.begin(centroids.summarize(first, None, seed), how)
    tol = params.tol * float(np.mean(np.var(to_host(first), axis=0, dtype=np.float64)))
    size = min(params.batch_size, n_samples)
    monitor = Monitor(size / n_samples, tol, params.max_no_improvement, params.verbose)
    for step in range(1, max(1, params.max_iter * n_samples // size) + 1):
        moved = centroids.step(summary, _take(X, places.draw(random, size)), None, how)
        shift = float(np.sum((moved.points - summary.points) ** 2)) if tol else 0.0
        summary = moved
        if monitor.is_over(step, moved.inertia / size, shift):
            break
    return summary._replace(n_samples=n_samples)


class _Places:
    """Draws numbers of samples, with replacement and by their weights."""

    def __init__(self, n_samples: int, sample_weight: Array | None) -> None:
        self.n_samples = n_samples
        self.edges = None if sample_weight is None else np.cumsum(to_host(sample_weight))

    def draw(self, random: np.random.Generator, size: int) -> np.ndarray:
        """Return numbers of samples, shape (size,)."""
        if self.edges is None:
            return random.integers(0, self.n_samples, size)
        return np.searchsorted(self.edges, random.random(size) * self.edges[-1], side="right")


def _take(X: Array, places: np.ndarray) -> Array:
    xp = namespace(X)
    return xp.take(X, xp.asarray(places, device=device(X)), axis=0)


def _rounds(params: Any, how: Learning, rounds: Rounds, seed: int) -> CentroidSummary:
    n_features = rounds.samples.n_features
    if isinstance(params.init, str):
        centers = _drawn_centers(rounds, how.n_clusters, seed)
    elif callable(params.init):
        raise TypeError(
            "init is a callable, which wants samples in memory; pass centres, or 'k-means++'."
        )
    else:
        centers = _clustering.checked_centers(params.init, how.n_clusters, n_features)
    least = math.inf
    for n_passes in range(1, params.max_iter + 1):
        attracted = rounds.ask(ATTRACT, centers)
        refuse_non_finite(attracted.inertia)
        if params.verbose:
            print(f"Pass {n_passes}: inertia {attracted.inertia:.6g}")
        if n_passes == params.max_iter or attracted.inertia > (1 - _LEAST_GAIN) * least:
            break
        least = attracted.inertia
        some = attracted.counts > 0
        centers = centers.copy()
        centers[some] = means(centers, attracted)[0]
    return CentroidSummary(
        rounds.samples.n_samples, n_passes, seed, centers, attracted.counts, False
    )._replace(inertia=attracted.inertia)


def _drawn_centers(rounds: Rounds, n_clusters: int, seed: int) -> np.ndarray:
    question = Question(
        functools.partial(_draw, seed=seed), functools.partial(draws.merge, size=n_clusters)
    )
    first = rounds.ask(question, n_clusters).rows
    if first.shape[0] < n_clusters:
        raise ValueError(
            f"n_clusters={n_clusters} but only {first.shape[0]} samples have a weight; lower "
            "n_clusters, or weight more samples."
        )
    return parallel_plus_plus(rounds, first, n_clusters, seed)


def _draw(size: int, X: Array, sample_weight: Array | None, row: int, *, seed: int) -> draws.Draw:
    refuse_non_finite_samples(X)
    return draws.summarize(X, checked_weight(sample_weight), size, seed, first=row)
