"""What SubspaceDetector delegates: learning in one pass, and the model that scores."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array, namespace, to_host
from dask_exa._samples import Samples
from dask_exa._state import State
from dask_exa._threads import map_threads
from dask_exa.decomposition import _learning, _model
from dask_exa.reduction.samples import reduce_samples
from dask_exa.summaries import Reducer, reservoir, subspace
from dask_exa.summaries.reservoir import Sampling
from dask_exa.summaries.subspace import SubspaceSummary

_KEPT_BYTES = 4 << 20
_KEPT = (16, 1024)
"""Samples that are kept, at least and at most; in between as many as fit `_KEPT_BYTES`."""
_BLOCK_BYTES = 8 << 20
_MAX_RANGE_BYTES = 64 << 20


class Scorer(NamedTuple):
    """Statistics of samples, relative to what normal ones stay below."""

    components: Array
    mean: Array
    inverse_variances: Array
    per_spe: float
    """What Q is multiplied by, 0 to leave it out."""
    per_t2: float

    def __call__(self, X: Array) -> Array:
        """Return ``-(per_spe Q + per_t2 T²)``, without bound for samples that are not finite."""
        xp = namespace(X)
        step = max(1, _BLOCK_BYTES // (8 * X.shape[1]))

        def block(start: int) -> Array:
            rows = X[start : min(start + step, X.shape[0]), :]
            with np.errstate(invalid="ignore", over="ignore"):
                inside, residual = subspace.coordinates(rows, self.components, self.mean)
                spe = xp.sum(residual * residual, axis=1)
                t2 = xp.sum(inside * inside * self.inverse_variances, axis=1)
                total = self.per_spe * spe + self.per_t2 * t2
            beyond = -np.inf if self.per_spe + self.per_t2 > 0 else np.inf
            return xp.where(xp.isnan(total), xp.asarray(beyond), -total)

        return xp.concat(map_threads(block, range(0, X.shape[0], step)))

    def contributions(self, X: Array) -> Array:
        """Return what every feature adds to ``per_spe Q + per_t2 T²``, shape (n, n_features).

        What is not finite adds infinity, and the rest is as if it were the mean.
        """
        xp = namespace(X)
        finite = xp.isfinite(X)
        X = xp.where(finite, xp.astype(X, xp.float64), self.mean)
        inside, residual = subspace.coordinates(X, self.components, self.mean)
        direction = (inside * self.inverse_variances) @ self.components
        total = self.per_spe * residual**2 + self.per_t2 * (X - self.mean) * direction
        return xp.where(finite, total, xp.asarray(xp.inf))


class SubspaceModel:
    """The subspace, its limits, and scorers for each statistic."""

    offset = -1.0

    def __init__(self, state: State, n_features: int, confidence: float, score_by: str) -> None:
        basis, total = state.summary.basis, state.summary.moments
        pca = _model.finalize(State(basis, state.params, state.dtype, state.labels), n_features)
        self.components, self.mean = pca.components, pca.mean
        self.explained_variance, self.n_components = pca.explained_variance, pca.n_components
        freedom = total.weight - 1 if total.weight > 1 else total.weight
        rank = min(max(round(total.weight) - 1, 1), n_features)
        squared = pca.singular_values**2
        theta = subspace.residual_moments(basis, pca.components, squared, rank, freedom)
        limits = subspace.limits(theta, pca.n_components, total.weight, confidence)
        self.spe_limit, self.t2_limit = limits.spe, limits.t2
        self._inverse = np.zeros(squared.shape)
        used = squared > 1e-14 * squared.max()
        self._inverse[used] = 1 / pca.explained_variance[used]
        # a residual where there was none in all that was learnt is beyond any limit
        spe = max(limits.spe, 1e-12 * total.energy / freedom)
        weights = {
            "spe": (1 / spe, 0.0),
            "t2": (0.0, 1 / limits.t2),
            "combined": (1 / (spe * limits.combined), 1 / (limits.t2 * limits.combined)),
        }
        self.score_block = self.scorer(*weights[score_by])
        self._kept = state.summary.kept.rows

    def scorer(self, per_spe: float, per_t2: float) -> Scorer:
        """Return what adds up the statistics with these weights."""
        xp = namespace(self.components)
        axes = xp.astype(self.components, xp.float64)
        mean = xp.astype(self.mean, xp.float64)
        return Scorer(axes, mean, xp.asarray(self._inverse), per_spe, per_t2)

    @functools.cached_property
    def kept_scores(self) -> np.ndarray:
        """Scores of a uniform sample of all that was learnt."""
        xp = namespace(self.components)
        return to_host(self.score_block(xp.asarray(self._kept)))


def learn(
    params: Any, samples: Samples, sample_weight: Any, start: SubspaceSummary | None
) -> SubspaceSummary:
    """Return the summary of `start` and the samples, which are read once.

    Parameters
    ----------
    params : SubspaceDetector
        Read only.
    samples : Samples
    sample_weight : array of shape (n_samples,), optional
    start : SubspaceSummary, optional
        What is known already.
    """
    factor, n_features = params.forgetting_factor, samples.n_features
    if factor < 1:
        sample_weight = _learning.decay(sample_weight, samples, factor)
        start = start and subspace.forget(start, factor**samples.n_samples)
    capacity = int(np.clip(_KEPT_BYTES // (4 * n_features), *_KEPT))
    first = 0 if start is None else start.kept.position
    basis = _learning.choose_reducer(params, samples, start and start.basis)
    reducer = _reducer(basis, Sampling(1, capacity, 0, first=first), params.nan == "score")
    n_ranges = 1
    if basis.extend is None:
        n_ranges = min(8, _MAX_RANGE_BYTES // (8 * n_features**2))
    summary = reduce_samples(reducer, samples, sample_weight, start, n_ranges=n_ranges)
    if samples.is_lazy:
        return _learning.weighty(summary)
    if summary is None:
        raise ValueError(
            "X contains NaN or infinity in every sample; pass some that are finite first."
        )
    return summary


def merged(
    params: Any, summaries: Sequence[SubspaceSummary], n_features: int, dtype: str
) -> SubspaceSummary:
    """Merge the summaries of several models of the same parameters."""
    basis = _learning.merge(params, [summary.basis for summary in summaries], n_features, dtype)
    return SubspaceSummary(basis, subspace.merged_kept(summaries))


def _reducer(basis: Reducer, sampling: Sampling, skip: bool) -> Reducer:
    """Return the reduction to a basis and a few samples, in one pass.

    With `skip`, samples that are not finite are left out, where they are not refused.
    """
    return Reducer(
        functools.partial(_extend, None, basis=basis, sampling=sampling, skip=skip),
        functools.partial(_merge, basis=basis),
        functools.partial(_extend, basis=basis, sampling=sampling, skip=skip),
        functools.partial(_located, basis=basis, sampling=sampling, skip=skip),
    )


def _located(row: int, basis: Reducer, sampling: Sampling, skip: bool) -> Reducer:
    return _reducer(basis, sampling.at(row), skip)


def _merge(summaries: Sequence[SubspaceSummary | None], basis: Reducer) -> SubspaceSummary | None:
    seen = [summary for summary in summaries if summary is not None]
    if len(seen) < 2:
        return seen[0] if seen else None
    merged_basis = basis.merge([summary.basis for summary in seen])
    return SubspaceSummary(merged_basis, subspace.merged_kept(seen))


def _extend(
    summary: SubspaceSummary | None,
    X: Array,
    weight: Array | None,
    basis: Reducer,
    sampling: Sampling,
    skip: bool,
) -> SubspaceSummary | None:
    xp = namespace(X)
    rows, row_weight = X, weight
    if skip and not bool(xp.isfinite(xp.sum(X))):  # one bad value shows in the sum
        finite = xp.all(xp.isfinite(X), axis=1)
        ones = xp.ones(X.shape[0]) if weight is None else weight
        keep = xp.nonzero(finite)[0]
        rows = xp.take(X, keep, axis=0)
        row_weight = None if weight is None else xp.take(weight, keep)
        weight = xp.where(finite, ones, 0.0)
    known = None if summary is None else summary.basis
    if rows.shape[0]:
        known = basis.absorb(known, rows, row_weight)
    if known is None:
        return None
    if summary is None:
        return SubspaceSummary(known, reservoir.summarize(X, weight, sampling))
    return SubspaceSummary(known, reservoir.extend(summary.kept, X, weight, sampling))
