"""From parameters and samples to trees that learn online, and from such trees to scores."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array
from dask_exa._parameters import check_count, draw_seed
from dask_exa._samples import Samples, flat_rows
from dask_exa.anomaly import _scoring
from dask_exa.anomaly._detector import check_shared_parameters
from dask_exa.anomaly._growing import ForestScorer
from dask_exa.kernels.online_forest import Growth
from dask_exa.reduction.chain import chain
from dask_exa.summaries import online
from dask_exa.summaries.online import OnlineTrees


class OnlineModel:
    """The trees as they are now, and what their scores are measured by."""

    offset = -0.5

    def __init__(self, summary: OnlineTrees, max_leaf_samples: int) -> None:
        forest, even = kernels.read_online(summary.forest, max_leaf_samples)
        self.score_block = ForestScorer(forest, float(even.mean(dtype=np.float64)))
        self._rows = summary.rows

    @functools.cached_property
    def kept_scores(self) -> np.ndarray:
        """Scores of the rows of all windows."""
        return self.score_block(self._rows)


def learn(params: Any, samples: Samples, start: OnlineTrees | None) -> OnlineTrees:
    """Return the trees of `start` after they have learnt the samples.

    Parameters
    ----------
    params : OnlineIsolationForest
        Read only.
    samples : Samples
    start : OnlineTrees, optional
        What is known already.
    """
    how = growth(params)
    if start is None:
        seed = draw_seed(params.random_state)
        start = online.nothing(seed, params.stream, params.n_estimators, samples.n_features, how)
    extend = functools.partial(_extend, how=how, refuse=params.nan == "raise")
    if samples.is_lazy:
        return chain(extend, flat_rows(samples)[0].array, start)
    return extend(start, samples.array)


def growth(params: Any) -> Growth:
    """Return how the trees of an OnlineIsolationForest grow."""
    adaptive = params.growth_criterion == "adaptive"
    return online.growth(
        params.max_leaf_samples, params.window_size, params.subsample, adaptive=adaptive
    )


def check_parameters(params: Any) -> None:
    """Raise ValueError or TypeError for parameters that make no sense."""
    for name in ("n_estimators", "max_leaf_samples", "window_size"):
        check_count(name, getattr(params, name))
    check_count("stream", params.stream, least=0)
    check_shared_parameters(params)
    if params.window_size <= params.max_leaf_samples:
        raise ValueError(
            f"window_size={params.window_size} is not more than max_leaf_samples="
            f"{params.max_leaf_samples}, at which trees begin to split; enlarge it."
        )
    if not 0 < params.subsample <= 1:
        raise ValueError(f"subsample={params.subsample!r} must be a share in (0, 1].")
    if params.growth_criterion not in ("adaptive", "fixed"):
        raise ValueError(
            f"growth_criterion={params.growth_criterion!r} is neither 'adaptive' nor 'fixed'."
        )


def _extend(summary: OnlineTrees, X: Array, how: Growth, refuse: bool) -> OnlineTrees:
    if refuse:
        _scoring.refuse_non_finite(X)
    return online.extend(summary, X, how)
