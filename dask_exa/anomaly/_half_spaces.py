"""From parameters and samples to masses, and from masses to scores."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, to_host
from dask_exa._parameters import check_count, draw_seed
from dask_exa._samples import Samples, flat_rows, is_dask
from dask_exa.anomaly import _scoring
from dask_exa.anomaly._detector import check_shared_parameters
from dask_exa.kernels.forest import Forest
from dask_exa.reduction.fold import fold
from dask_exa.reduction.tree import tree
from dask_exa.summaries import Summary, mass
from dask_exa.summaries.mass import Counting, Masses, WarmUp

MAX_DEPTH = 16


class HalfSpaceModel:
    """Trees whose leaves are weighed, and what their scores are measured by."""

    def __init__(self, params: Any, summary: Summary) -> None:
        if isinstance(summary, WarmUp):
            how = _counting(params, summary.seed)
            summary = mass.settle(summary, mass.ranges_of(summary.rows), how)
        self.feature_ranges = summary.ranges
        self.masses = mass.reference(summary, params.window_size).masses
        total = float(self.masses[0].sum())
        in_logarithm = params.score_by == "log"
        leaf = kernels.leaf_scores(
            self.masses, params.max_depth, params.size_limit * total, in_logarithm=in_logarithm
        )
        forest = mass.half_spaces(summary)._replace(leaf=leaf)
        self.score_block = HalfSpaceScorer(forest, total, in_logarithm)
        self._rows = summary.sample.rows[summary.sample.members[0]]

    @functools.cached_property
    def kept_scores(self) -> np.ndarray:
        """Scores of the rows of the sample."""
        return self.score_block(self._rows)

    @property
    def offset(self) -> float:
        """Tukey's lower fence of the scores of the sample, in the logarithm."""
        if self.score_block.in_logarithm:
            return _lower_fence(self.kept_scores)
        tiny = 1.0 / max(self.score_block.total, 1.0)
        return 2.0 ** _lower_fence(np.log2(np.maximum(self.kept_scores, tiny)))


class HalfSpaceScorer(NamedTuple):
    """Scores by how much denser than evenly spread samples a place is."""

    forest: Forest
    total: float
    """What all samples weigh."""
    in_logarithm: bool

    def __call__(self, X: Array) -> Array:
        """Return the scores (n_samples,) of samples (n_samples, n_features)."""
        leaves = kernels.mean_leaves(X, self.forest)
        if self.in_logarithm:
            return leaves - math.log2(self.total + 0.5)
        return leaves / (self.total or 1.0)


def learn(params: Any, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
    """Return the masses of `start` and the samples.

    Parameters
    ----------
    params : HalfSpaceTrees
        Read only.
    samples : Samples
    sample_weight : array of shape (n_samples,), optional
    start : Masses or WarmUp, optional
        What is known already.
    """
    if samples.is_lazy:
        samples, sample_weight = flat_rows(samples, sample_weight)
    elif is_dask(sample_weight):
        sample_weight = sample_weight.compute()
    X = samples.array
    ranges = _known_ranges(params, samples.n_features, start)
    if ranges is None:
        ranges = _ranges_of_first_rows(X, sample_weight, start, params.n_warmup)
    if start is None:
        seed, first = draw_seed(params.random_state), 0
    else:
        seed, first = start.seed, start.position
    how = _counting(params, seed, ranges, stream=params.stream, first=first)
    if isinstance(start, WarmUp) and ranges is not None:
        start = mass.settle(start, ranges, how)
    reducer = mass.reducer(how)
    if params.nan == "raise":
        reducer = _scoring.refusing(reducer)
    return (tree if samples.is_lazy else fold)(reducer, X, sample_weight, start)


def check_parameters(params: Any) -> None:
    """Raise ValueError or TypeError for parameters that make no sense."""
    for name in ("n_estimators", "max_depth", "n_warmup"):
        check_count(name, getattr(params, name))
    check_count("stream", params.stream, least=0)
    if params.max_depth > MAX_DEPTH:
        raise ValueError(
            f"max_depth={params.max_depth} makes 2 ** {params.max_depth} cells a tree; pass at "
            f"most {MAX_DEPTH}."
        )
    if params.window_size is not None:
        check_count("window_size", params.window_size)
    if not 0 <= params.size_limit < 1:
        raise ValueError(f"size_limit={params.size_limit!r} must be in [0, 1).")
    if params.score_by not in ("log", "mass"):
        raise ValueError(f"score_by={params.score_by!r} is neither 'log' nor 'mass'.")
    check_shared_parameters(params)


def _lower_fence(values: np.ndarray) -> float:
    first, third = np.percentile(values, [25, 75])
    return float(first - 1.5 * (third - first))


def _counting(params: Any, seed: int, ranges: np.ndarray | None = None, **where: int) -> Counting:
    return mass.counting(
        params.n_estimators, params.max_depth, params.window_size, seed, ranges, **where
    )


def _known_ranges(params: Any, n_features: int, start: Summary | None) -> np.ndarray | None:
    given = None
    if params.feature_ranges is not None:
        given = _checked_ranges(params.feature_ranges, n_features)
    if not isinstance(start, Masses):
        return given
    if given is not None and not np.array_equal(given, start.ranges):
        raise ValueError(
            "feature_ranges are not those that the model was fitted with; set them back to its "
            "feature_ranges_, or to None, or fit anew."
        )
    return start.ranges


def _checked_ranges(feature_ranges: Any, n_features: int) -> np.ndarray:
    wanted = f"pass (low, high), each a finite number or {n_features} of them, with low <= high"
    try:
        low, high = (np.asarray(bound, dtype=np.float64) for bound in feature_ranges)
        pair = np.stack([np.broadcast_to(bound, n_features) for bound in (low, high)])
    except (TypeError, ValueError) as error:
        raise ValueError(f"feature_ranges={feature_ranges!r} is no pair; {wanted}.") from error
    if not np.isfinite(pair).all() or np.any(pair[0] > pair[1]):
        raise ValueError(f"feature_ranges={feature_ranges!r} has no such ranges; {wanted}.")
    return mass.as_ranges(pair)


def _ranges_of_first_rows(
    X: Any, sample_weight: Any, start: WarmUp | None, n_wanted: int
) -> np.ndarray | None:
    """Return the ranges of the first rows that weigh anything, or None while they are too few."""
    known = np.empty((0, X.shape[1]), np.float32) if start is None else start.rows
    n_missing = max(n_wanted - len(known), 0)
    n_looked_at = n_missing
    while True:
        rows = _in_memory(X[:n_looked_at, :])
        if sample_weight is not None:
            rows = rows[_in_memory(sample_weight[:n_looked_at]) > 0]
        if len(rows) >= n_missing:
            return mass.ranges_of(np.concatenate([known, rows[:n_missing]]))
        if n_looked_at >= X.shape[0]:
            return None
        n_looked_at *= 2


def _in_memory(array: Any) -> np.ndarray:
    return to_host(array.compute() if is_dask(array) else array)
