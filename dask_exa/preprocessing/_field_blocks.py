"""Rows and columns of a matrix that are fields: which have values, and where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dask_exa._array import Array, namespace


def floating(array: Array) -> Array:
    """Return real numbers as float32 or float64."""
    xp = namespace(array)
    if array.dtype in (xp.float32, xp.float64):
        return array
    if not xp.isdtype(array.dtype, ("bool", "real floating", "integral")):
        kind = "Complex data not supported: " if xp.isdtype(array.dtype, "complex floating") else ""
        raise ValueError(f"{kind}X has dtype {array.dtype}; pass real numbers.")
    return xp.astype(array, xp.float64)


def find_values(X: Array, sample_weight: Array | None = None) -> tuple[Array, Array]:
    """Return which features, and which samples, have any value that is not NaN."""
    xp = namespace(X)
    is_there = ~xp.isnan(X)
    return xp.any(is_there, axis=0), xp.any(is_there, axis=1)


def join_values(found: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return what `find_values` finds in rows that follow each other."""
    features, samples = zip(*found, strict=True)
    xp = namespace(features[0])
    return xp.any(xp.stack(features), axis=0), xp.concat(samples)


def select(pieces: Sequence[Array], rows: Any, columns: Any) -> Array:
    """Return some rows and columns, by numbers or None for all, of the only piece."""
    (X,) = pieces
    xp = namespace(X)
    if rows is not None:
        X = xp.take(X, xp.asarray(rows), axis=0)
    return X if columns is None else xp.take(X, xp.asarray(columns), axis=1)


def unstack(
    pieces: Sequence[Array],
    rows: tuple[int, Any],
    columns: tuple[int, Any],
    shape: tuple[int, ...],
    dtype: str,
) -> Array:
    """Return rows as fields: values to their places, NaN to the others.

    Parameters
    ----------
    pieces : sequence of one array (n_rows, n_columns)
    rows, columns : tuple of int and array of int
        Number of places and that of every row, or column; None where all are taken in order.
    shape : tuple of int
        Of the fields.
    dtype : str
        Of the fields; whole numbers are rounded.
    """
    (X,) = pieces
    X = _spread(_spread(X, *columns, axis=1), *rows, axis=0)
    xp = namespace(X)
    X = xp.reshape(X, shape)
    return cast(X, dtype)


def cast(X: Any, dtype: str) -> Any:
    """Return an array, lazy or not, in another dtype; whole numbers are rounded."""
    if dtype == str(X.dtype):
        return X
    return (np.rint(X) if np.dtype(dtype).kind in "iu" else X).astype(dtype)


def _spread(X: Array, n_places: int, places: Any, axis: int) -> Array:
    if places is None:
        return X
    xp = namespace(X)
    if not xp.isdtype(X.dtype, "real floating"):
        X = xp.astype(X, xp.float64)
    shape = (n_places, X.shape[1]) if axis == 0 else (X.shape[0], n_places)
    full = xp.full(shape, xp.nan, dtype=X.dtype)
    if axis == 0:
        full[xp.asarray(places), :] = X
    else:
        full[:, xp.asarray(places)] = X
    return full
