"""Verdicts on samples, and samples that get none."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from dask_exa._array import Array, namespace
from dask_exa._samples import is_dask
from dask_exa.summaries import Reducer, Summary


def verdict(decision: Any) -> Any:
    """Return -1 where a decision is negative, else 1."""
    if is_dask(decision):
        return decision.map_blocks(
            verdict, dtype=np.int64, meta=np.empty((0,) * decision.ndim, int)
        )
    if isinstance(decision, xr.DataArray):
        return decision.copy(data=verdict(decision.data))
    xp = namespace(decision)
    return xp.where(decision < 0, xp.asarray(-1), xp.asarray(1))


def refuse_non_finite(X: Array) -> None:
    """Raise ValueError if samples have NaN or infinity in them."""
    xp = namespace(X)
    if bool(xp.isfinite(xp.sum(X))):  # one bad value shows in the sum
        return
    finite = xp.all(xp.isfinite(X), axis=1)
    if not bool(xp.all(finite)):
        first = int(xp.argmin(xp.astype(finite, xp.uint8)))
        raise ValueError(
            f"X contains NaN or infinity, first in row {first}; drop or fill such samples, or "
            "take nan='score', which lets them pass."
        )


def refusing(reducer: Reducer) -> Reducer:
    """Return a reducer that raises ValueError where samples have NaN or infinity in them."""
    return Reducer(
        functools.partial(_summarize_finite, reducer=reducer),
        reducer.merge,
        functools.partial(_extend_finite, reducer=reducer),
        functools.partial(_located_refusing, reducer=reducer),
    )


def _summarize_finite(X: Array, weight: Array | None, reducer: Reducer) -> Summary:
    refuse_non_finite(X)
    return reducer.summarize(X, weight)


def _extend_finite(summary: Summary, X: Array, weight: Array | None, reducer: Reducer) -> Summary:
    refuse_non_finite(X)
    return reducer.absorb(summary, X, weight)


def _located_refusing(row: int, reducer: Reducer) -> Reducer:
    return refusing(reducer.at(row))
