"""From parameters and samples to the reservoir of an isolation forest."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from dask_exa._parameters import check_count, check_forgetting_factor, draw_seed
from dask_exa._samples import Samples
from dask_exa.anomaly import _scoring
from dask_exa.anomaly._detector import check_shared_parameters
from dask_exa.reduction.samples import reduce_samples
from dask_exa.summaries import Reducer, reservoir
from dask_exa.summaries.reservoir import Reservoir, Sampling

DEFAULT_SAMPLES = 256


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
        seed = draw_seed(params.random_state)
        capacity, first = _capacity(params.max_samples, samples.n_samples), 0
    else:
        seed, capacity, first = start.seed, start.capacity, start.position
    decay = -math.log(params.forgetting_factor)
    sampling = Sampling(params.n_estimators, capacity, seed, params.stream, decay, first)
    reducer = _reducer(sampling)
    if params.nan == "raise":
        reducer = _scoring.refusing(reducer)
    return reduce_samples(reducer, samples, sample_weight, start)


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
    if params.extension_level is not None:
        check_count("extension_level", params.extension_level, least=0)
        if not params.extended:
            raise ValueError(
                f"extension_level={params.extension_level} means nothing without extended=True; "
                "set that, or leave it None."
            )
    if not 0 < params.regrow <= 1:
        raise ValueError(f"regrow={params.regrow!r} must be a share in (0, 1].")
    for name in ("bootstrap", "warm_start"):
        if getattr(params, name):
            raise ValueError(
                f"{name}=True is not possible with samples that merge; leave it False. To learn "
                "more, use partial_fit."
            )


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


def _reducer(sampling: Sampling) -> Reducer:
    return Reducer(
        functools.partial(reservoir.summarize, sampling=sampling),
        reservoir.merge,
        functools.partial(reservoir.extend, sampling=sampling),
        functools.partial(_located, sampling=sampling),
    )


def _located(row: int, sampling: Sampling) -> Reducer:
    return _reducer(sampling.at(row))
