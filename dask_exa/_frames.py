"""Dask DataFrames and Series as Dask arrays; `dask.dataframe` is never imported for others."""

from __future__ import annotations

from typing import Any

import dask
from dask.utils import is_dataframe_like, is_series_like


def is_lazy_frame(X: Any) -> bool:
    """Whether `X` is a Dask DataFrame."""
    return hasattr(X, "__dask_graph__") and is_dataframe_like(X)


def is_lazy_series(X: Any) -> bool:
    """Whether `X` is a Dask Series."""
    # a labelled array has all that makes a series, and dimensions
    return hasattr(X, "__dask_graph__") and is_series_like(X) and not hasattr(X, "dims")


def lazy_array(X: Any) -> Any:
    """Return a Dask DataFrame or Series as a Dask array of the same partitions.

    Nobody knows the lengths of partitions before they are made, so all of them are made once to be
    counted: one pass over the data, which ``X.persist()`` before saves.

    Parameters
    ----------
    X : dask.dataframe.DataFrame or dask.dataframe.Series

    Returns
    -------
    dask.array.Array of shape (n_samples, n_columns) or (n_samples,)
        float32 if all columns are, else float64. Missing values are NaN.

    Raises
    ------
    TypeError
        If a column is not numeric.
    NotImplementedError
        Under ``array.query-planning``, where Dask does not know the dtype of such arrays.

    Examples
    --------
    >>> import dask.dataframe as dd, pandas as pd
    >>> frame = dd.from_pandas(pd.DataFrame({"n": [1, 2, 3], "T": [0.5, 1.5, 2.5]}), npartitions=2)
    >>> lazy_array(frame).chunks
    ((2, 1), (2,))
    """
    if dask.config.get("array.query-planning", False):
        raise NotImplementedError(
            "Dask cannot make an array of a DataFrame under array.query-planning=True; set it to "
            "False or pass a Dask array."
        )
    dtypes = dict(X.dtypes) if is_lazy_frame(X) else {X.name: X.dtype}
    if other := [name for name, dtype in dtypes.items() if dtype.kind not in "buif"]:
        raise TypeError(
            f"the columns {other} are not numeric; encode them as numbers or drop them."
        )
    is_single = all(str(dtype) == "float32" for dtype in dtypes.values())
    # lengths of X itself are not to be relied on: Dask may fuse partitions into fewer chunks
    return X.astype("float32" if is_single else "float64").values.compute_chunk_sizes()


def column_names(X: Any) -> Any:
    """Return the columns of a Dask DataFrame as a pandas DataFrame, whose one row is of dtypes."""
    return X.dtypes.to_frame().T
