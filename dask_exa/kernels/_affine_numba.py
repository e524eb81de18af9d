"""Affine maps of features on the CPU, in one sweep; other arrays go through the array API."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from dask_exa._threads import map_threads

_BLOCK = 1 << 17
"""Values that a thread maps at a time."""


def scale(X: np.ndarray, origin: np.ndarray, unit: np.ndarray, start: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.scale`; `X` in C order."""
    return _map(_scale, X, origin, 1 / unit, start)  # dividing takes three times as long


def unscale(X: np.ndarray, origin: np.ndarray, unit: np.ndarray, start: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.unscale`; `X` in C order."""
    return _map(_unscale, X, origin, unit, start)


def _map(sweep: Callable[..., None], X: np.ndarray, *values: np.ndarray) -> np.ndarray:
    mapped = np.empty(X.shape, dtype=X.dtype)
    values = tuple(np.ascontiguousarray(part) for part in values)
    step = max(1, _BLOCK // X.shape[1])

    def map_block(first: int) -> None:
        rows = slice(first, first + step)
        sweep(X[rows], *values, mapped[rows])

    map_threads(map_block, range(0, X.shape[0], step))
    return mapped


@numba.njit(nogil=True, cache=True)
def _scale(X, origin, factor, start, mapped):  # pragma: no cover  (compiled)
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            mapped[i, j] = (X[i, j] - origin[j]) * factor[j] + start[j]


@numba.njit(nogil=True, cache=True)
def _unscale(X, origin, unit, start, mapped):  # pragma: no cover  (compiled)
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            mapped[i, j] = (X[i, j] - start[j]) * unit[j] + origin[j]
