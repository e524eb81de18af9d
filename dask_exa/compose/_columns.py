"""Columns of arrays and data frames, and where transformers of some of them put samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_exa._array import to_host
from dask_exa.compose import _coordinates, _steps
from dask_exa.summaries.affine import Coordinates

_MOST_ENTRIES = 1 << 24
"""Of a matrix that says where all the columns go; more take too much memory to follow."""


def numbers(columns: Any, names: Sequence[Any]) -> Any:
    """Return the numbers of columns, however they are named; a number for a single one."""
    every = np.arange(len(names))
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        start = names.index(start) if isinstance(start, str) else start
        stop = names.index(stop) + 1 if isinstance(stop, str) else stop
        return every[start : stop : columns.step]
    listed = np.asarray(columns)
    if listed.size == 0 or listed.dtype.kind not in "OUT":
        return every[listed.astype(int) if listed.size == 0 else listed]
    found = np.array([names.index(name) for name in np.atleast_1d(listed)], dtype=int)
    return found.reshape(listed.shape)[()]


def select(X: Any, columns: Any) -> Any:
    """Return some columns as scikit-learn gives them to their transformer."""
    chosen = numbers(columns, [*getattr(X, "columns", range(X.shape[1]))])
    return X.iloc[:, chosen] if hasattr(X, "iloc") else X[:, chosen]


def side_by_side(
    parts: Sequence[tuple[Any, np.ndarray, slice]], n_features: int
) -> Coordinates | None:
    """Return where transformers of different columns put samples together.

    Parameters
    ----------
    parts : sequence of (transformer, numbers of its columns, places of its outputs)
    n_features : int

    Returns
    -------
    Coordinates or None
        None where a transformer is no affine map, or where two have a column in common.
    """
    parts = [part for part in parts if part[2].stop > part[2].start]
    n_outputs = sum(where.stop - where.start for _, _, where in parts)
    if n_features * n_outputs > _MOST_ENTRIES:
        return None
    matrix, inverse = np.zeros((n_outputs, n_features)), np.zeros((n_features, n_outputs))
    origin, start = np.zeros(n_features), np.zeros(n_outputs)
    taken = np.zeros(n_features, dtype=bool)
    for transformer, columns, where in parts:
        columns, outputs = np.atleast_1d(columns), np.arange(where.start, where.stop)
        own = _coordinates_of(transformer, len(outputs))
        if own is None or own.origin.shape != columns.shape or taken[columns].any():
            return None
        taken[columns] = True
        matrix[np.ix_(outputs, columns)] = _as_matrix(own.matrix)
        inverse[np.ix_(columns, outputs)] = _as_matrix(own.inverse)
        origin[columns], start[outputs] = own.origin, own.start
    return Coordinates(matrix, inverse, origin, start)


def _coordinates_of(transformer: Any, n_outputs: int) -> Coordinates | None:
    """Return the map of one transformer: the identity for columns that pass through."""
    # what passes through is a FunctionTransformer of no function, once it is fitted
    if not _steps.is_there(transformer) or getattr(transformer, "func", 0) is None:
        return Coordinates(np.ones(n_outputs), np.ones(n_outputs), *np.zeros((2, n_outputs)))
    found = _coordinates.coordinates(transformer)
    return None if found is None else Coordinates(*map(to_host, found))


def _as_matrix(matrix: np.ndarray) -> np.ndarray:
    return np.diag(matrix) if matrix.ndim == 1 else matrix
