"""From parameters and samples to a reservoir, and from a reservoir to trees."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from dask_exa import kernels
from dask_exa._array import Array, namespace
from dask_exa._samples import Samples, flat_rows, is_dask
from dask_exa.anomaly import _scoring
from dask_exa.anomaly._detector import (
    check_count,
    check_forgetting_factor,
    check_shared_parameters,
)
from dask_exa.kernels.forest import Forest
from dask_exa.reduction.fold import fold
from dask_exa.reduction.tree import tree
from dask_exa.summaries import Reducer, reservoir
from dask_exa.summaries.reservoir import Reservoir, Sampling

DEFAULT_SAMPLES = 256


class ForestModel:
    """A forest that has grown, and what its scores are measured by."""

    offset = -0.5

    def __init__(self, summary: Reservoir, n_features: int, score_by: str) -> None:
        self.max_samples = summary.members.shape[1]
        self.max_depth = math.ceil(math.log2(max(self.max_samples, 2)))
        dense = score_by == "path+density"
        forest, density = kernels.grow_trees(
            summary.rows,
            summary.members,
            summary.seed,
            n_features,
            self.max_depth,
            with_density=dense,
        )
        forest = _with_density(forest, density, summary.rows) if dense else forest
        self.score_block = ForestScorer(forest, mean_path(self.max_samples))
        self._rows = summary.rows

    @functools.cached_property
    def kept_scores(self) -> np.ndarray:
        """Scores of all rows that the trees have grown from."""
        return self.score_block(self._rows)


class ForestScorer(NamedTuple):
    """Scores ``-2 ** (-mean leaf / scale)`` by a forest."""

    forest: Forest
    scale: float
    """The mean depth of samples that are like all others; 0 where there was one sample only."""

    def __call__(self, X: Array) -> Array:
        """Return the scores (n_samples,) of samples (n_samples, n_features)."""
        paths = kernels.mean_leaves(X, self.forest)
        return -(2 ** -(paths / self.scale if self.scale else namespace(paths).ones_like(paths)))


def learn(params: Any, samples: Samples, sample_weight: Any, start: Reservoir | None) -> Reservoir:
    """Return the reservoir of `start` and the samples.

    Parameters
    ----------
    params : IsolationForest
        Read only.
    samples : Samples
    sample_weight : array of shape (n_samples,), optional
    start : Reservoir, optional
        What is known already.
    """
    if start is None:
        seed = int(check_random_state(params.random_state).randint(2**31 - 1))
        capacity, first = _capacity(params.max_samples, samples.n_samples), 0
    else:
        seed, capacity, first = start.seed, start.capacity, start.position
    decay = -math.log(params.forgetting_factor)
    sampling = Sampling(params.n_estimators, capacity, seed, params.stream, decay, first)
    reducer = _reducer(sampling, params.nan == "raise")
    if samples.is_lazy:
        samples, sample_weight = flat_rows(samples, sample_weight)
        return tree(reducer, samples.array, sample_weight, start)
    if is_dask(sample_weight):
        sample_weight = sample_weight.compute()
    return fold(reducer, samples.array, sample_weight, start)


def mean_path(count: int) -> float:
    """Return c(n), the mean length of a path that isolates one of `count` samples.

    Examples
    --------
    >>> mean_path(1), mean_path(2), round(mean_path(256), 4)
    (0.0, 1.0, 10.2448)
    """
    if count <= 2:
        return max(0.0, count - 1.0)
    return 2 * (math.log(count - 1) + np.euler_gamma) - 2 * (count - 1) / count


def count_features(max_features: int | float, n_features: int) -> int:
    """Return how many features a tree may use, as scikit-learn counts them."""
    if isinstance(max_features, int | np.integer):
        return min(int(max_features), n_features)
    return max(1, int(max_features * n_features))


def check_parameters(params: Any, n_features: int) -> None:
    """Raise ValueError or TypeError for parameters that make no sense."""
    check_count("n_estimators", params.n_estimators)
    check_count("stream", params.stream, least=0)
    if params.max_samples != "auto":
        _check_count_or_share("max_samples", params.max_samples)
    _check_count_or_share("max_features", params.max_features)
    if params.max_features > n_features:
        raise ValueError(
            f"max_features={params.max_features} is more than the {n_features} features of X; "
            "lower it, or give a share."
        )
    check_shared_parameters(params)
    check_forgetting_factor(params.forgetting_factor)
    if params.score_by not in ("path", "path+density"):
        raise ValueError(f"score_by={params.score_by!r} is neither 'path' nor 'path+density'.")
    for name in ("bootstrap", "warm_start"):
        if getattr(params, name):
            raise ValueError(
                f"{name}=True is not possible with samples that merge; leave it False. To learn "
                "more, use partial_fit."
            )


def _with_density(forest: Forest, density: np.ndarray, rows: np.ndarray) -> Forest:
    """Add to the paths how much denser than the mean of all kept rows a leaf is."""
    mean = kernels.mean_leaves(rows, forest._replace(leaf=density)).mean()
    return forest._replace(leaf=(forest.leaf + (density - mean)).astype(np.float32))


def _check_count_or_share(name: str, value: Any) -> None:
    if not isinstance(value, float | np.floating):
        check_count(name, value)
    elif not 0 < value <= 1:
        raise ValueError(f"{name}={value!r} must be a count or a share in (0, 1].")


def _capacity(max_samples: Any, n_samples: int) -> int:
    if max_samples == "auto":
        return DEFAULT_SAMPLES
    if isinstance(max_samples, int | np.integer):
        return int(max_samples)
    return max(1, int(max_samples * n_samples))


def _reducer(sampling: Sampling, refuse: bool) -> Reducer:
    return Reducer(
        functools.partial(_summarize, sampling=sampling, refuse=refuse),
        reservoir.merge,
        functools.partial(_extend, sampling=sampling, refuse=refuse),
        functools.partial(_located, sampling=sampling, refuse=refuse),
    )


def _located(row: int, sampling: Sampling, refuse: bool) -> Reducer:
    return _reducer(sampling.at(row), refuse)


def _summarize(X: Array, weight: Array | None, sampling: Sampling, refuse: bool) -> Reservoir:
    if refuse:
        _scoring.refuse_non_finite(X)
    return reservoir.summarize(X, weight, sampling)


def _extend(
    summary: Reservoir, X: Array, weight: Array | None, sampling: Sampling, refuse: bool
) -> Reservoir:
    if refuse:
        _scoring.refuse_non_finite(X)
    return reservoir.extend(summary, X, weight, sampling)
