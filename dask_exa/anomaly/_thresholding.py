"""Scores of any kind in, scores learnt and alarms out: what StreamingThreshold delegates."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa._array import to_host
from dask_exa._frames import is_lazy_series, lazy_array
from dask_exa._parameters import check_count, check_forgetting_factor
from dask_exa._samples import Samples, flat_rows, is_dask
from dask_exa._state import State
from dask_exa.anomaly._score_law import ScoreLaw
from dask_exa.anomaly.alarm import Alarm, Block
from dask_exa.reduction.samples import reduce_samples
from dask_exa.summaries import scores
from dask_exa.summaries.scores import Recording, Scores


def learn(params: Any, samples: Samples, sample_weight: Any, start: Scores | None) -> Scores:
    """Return the summary of `start` and more scores.

    Parameters
    ----------
    params : StreamingThreshold
        Read only.
    samples : Samples
        Scores of shape (n_steps, n_series).
    sample_weight : array of shape (n_steps,), optional
    start : Scores, optional
        What is known already.
    """
    n_series = samples.n_features
    recording = Recording(
        sign_of(params),
        params.max_excesses,
        -math.log(params.forgetting_factor) / n_series,
        params.drift_depth or 0,
        0 if start is None else start.extremes.position // n_series,
    )
    reducer = scores.reducer(recording)
    if not (samples.is_lazy and recording.depth):
        return reduce_samples(reducer, samples, sample_weight, start)
    samples, sample_weight = flat_rows(samples, sample_weight)
    # a moving mean goes through the steps in their order; one chunk is in memory at a time
    for row, block, weight in _chunks(samples.array, sample_weight):
        start = reducer.at(row).absorb(start, block, weight)
    if start is None:
        raise ValueError(f"X has no samples in any of its {samples.array.numblocks[0]} chunks.")
    return start


def sign_of(params: Any) -> float:
    """Return what scores are multiplied by so that abnormal ones are large."""
    return 1.0 if params.side == "high" else -1.0


def check_parameters(params: Any) -> None:
    """Raise ValueError or TypeError for parameters that make no sense."""
    for name in ("false_alarm_rate", "level"):
        value = getattr(params, name)
        if not (isinstance(value, float | int | np.number) and 0 < value < 1):
            raise ValueError(f"{name}={value!r} must be between 0 and 1.")
    check_count("n_calibration", params.n_calibration, least=2)
    check_count("max_excesses", params.max_excesses, least=32)
    if params.drift_depth is not None:
        check_count("drift_depth", params.drift_depth)
    check_forgetting_factor(params.forgetting_factor)
    if params.side not in ("low", "high"):
        raise ValueError(f"side={params.side!r} is neither 'low' nor 'high'.")


def as_matrix(X: Any) -> Any:
    """Return one series of scores as a matrix of one column, anything else as it is."""
    if isinstance(X, xr.DataArray):
        return X.expand_dims("series", axis=-1) if X.ndim == 1 else X
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    if is_lazy_series(X):
        X = lazy_array(X)
    if getattr(X, "ndim", 0) != 1:
        return X
    return (X if hasattr(X, "__array_namespace__") or is_dask(X) else np.asarray(X))[:, None]


def elementwise(function: Callable[[Any], Any], X: Any, dtype: Any) -> Any:
    """Apply a function of an array to scores, in their kind."""
    if isinstance(X, xr.DataArray):
        return X.copy(data=elementwise(function, X.data, dtype))
    if is_dask(X):
        return da.map_blocks(function, X, dtype=dtype, meta=np.empty((0,) * X.ndim, dtype))
    return function(X)


def in_memory(X: Any) -> np.ndarray:
    """Return scores as a NumPy array in float64."""
    X = X.data if isinstance(X, xr.DataArray) else X
    X = X.compute() if is_dask(X) else X
    return (to_host(X) if hasattr(X, "__array_namespace__") else np.asarray(X)).astype(np.float64)


def p_values(params: Any, X: Any, law: ScoreLaw | None, state: State) -> Any:
    """Return the p-values of scores, in their kind, measured from the last ones learnt.

    Parameters
    ----------
    params : StreamingThreshold
        Read only.
    X : scores of any kind
    law : ScoreLaw, optional
        None where nothing can be told yet.
    state : State
    """
    means = None
    if params.drift_depth is not None:
        X = _whole_series(X, state)
        means = scores.recent_means(state.summary, params.drift_depth)
    if not (isinstance(X, xr.DataArray) or is_dask(X)):
        X = in_memory(X)
    function = functools.partial(_p_block, law=law, sign=sign_of(params), means=means)
    return elementwise(function, X, np.float64)


def next_p_values(
    params: Any, X: np.ndarray, law: ScoreLaw | None, summary: Scores | None
) -> np.ndarray:
    """Return the p-values of the next steps of a stream, each measured from those before it.

    Parameters
    ----------
    params : StreamingThreshold
        Read only.
    X : array of shape (n_steps,) or (n_steps, n_series)
    law : ScoreLaw, optional
    summary : Scores, optional
        What is known already.
    """
    matrix, sign, limit = as_matrix(X), sign_of(params), np.inf
    recent = np.empty((0, matrix.shape[1])) if summary is None else summary.recent
    if law is not None and not params.learn_alarms:
        limit = law.quantile(params.false_alarm_rate)
    far, _ = scores.turned(matrix, recent, sign, params.drift_depth or 0, limit)
    return _judged(sign * matrix, far, law).reshape(X.shape)


def verdict(p_values: np.ndarray, rate: float) -> np.ndarray:
    """Return -1 where a p-value is at most `rate`, else 1."""
    return np.where(p_values <= rate, -1, 1)


class Where(NamedTuple):
    """What scores are about; see `StreamingThreshold.alarms`."""

    steps: Any
    blocks: Sequence[Block] | None
    features: Any
    variable: str


def alarms(values: np.ndarray, p_values: np.ndarray, rate: float, where: Where) -> list[Alarm]:
    """Return the alarms among scores, step by step.

    Parameters
    ----------
    values, p_values : arrays of shape (n_steps, ...)
        How far from normal, the larger the farther, and how probable that is.
    rate : float
    where : Where
    """
    steps = np.arange(len(values)) if where.steps is None else where.steps
    steps = np.broadcast_to(steps, len(values))
    found = []
    for place in zip(*np.nonzero(p_values <= rate), strict=True):
        score, p = float(values[place]), float(p_values[place])
        found.append(
            Alarm(
                step=int(steps[place[0]]),
                score=math.inf if math.isnan(score) else score,
                reason=_reason(score, p, rate),
                block=None if where.blocks is None else where.blocks[place[-1]],
                p_value=p,
                features=() if where.features is None else tuple(where.features[place[0]]),
                variable=where.variable,
            )
        )
    return found


def _whole_series(X: Any, state: State) -> Any:
    """Return scores whose series are in the order of the fitted ones, in one chunk."""
    if isinstance(X, xr.DataArray):
        if state.labels is not None and X.ndim > 1:
            X = X.transpose(*state.labels.sample_dims, *state.labels.feature_dims)
        return X.chunk(dict.fromkeys(X.dims[1:], -1)) if is_dask(X.data) else X
    return X.rechunk(dict.fromkeys(range(1, X.ndim), -1)) if is_dask(X) else X


def _p_block(X: Any, law: ScoreLaw | None, sign: float, means: np.ndarray | None) -> np.ndarray:
    values = sign * to_host(X).astype(np.float64)
    far = values if means is None else values - means.reshape(values.shape[1:])
    return _judged(values, far, law)


def _judged(values: np.ndarray, far: np.ndarray, law: ScoreLaw | None) -> np.ndarray:
    """Return the p-values of scores, large ones abnormal, that are so far from normal."""
    p = np.ones(values.shape) if law is None else law.p_values(far)
    p[np.isnan(far)] = 1.0
    p[np.isnan(values) | (values == np.inf)] = 0.0
    return p


def _reason(score: float, p: float, rate: float) -> str:
    if not math.isfinite(score):
        return "the score is not a number" if math.isnan(score) else "the score is infinite"
    return (
        f"a score this far out has probability {p:.1g} among those seen before, "
        f"less than the false-alarm rate {rate:.1g}"
    )


def _chunks(X: Any, sample_weight: Any) -> Iterator[tuple[int, Any, Any]]:
    """Yield the chunks of a Dask array that have samples, with their first rows."""
    row = 0
    for size in X.chunks[0]:
        if size:
            rows = slice(row, row + size)
            weight = None if sample_weight is None else sample_weight[rows].compute()
            yield row, X[rows].compute(), weight
        row += size
