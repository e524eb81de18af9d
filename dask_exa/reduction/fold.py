"""Fold an array in memory into a summary."""

from __future__ import annotations

import itertools

from dask_exa._array import Array
from dask_exa._threads import map_threads
from dask_exa.summaries.reducer import Reducer, Summary


def fold(
    reducer: Reducer,
    X: Array,
    sample_weight: Array | None = None,
    start: Summary | None = None,
    *,
    n_ranges: int = 1,
) -> Summary:
    """Summarize the samples in memory and merge them into what is known already.

    Parameters
    ----------
    reducer : Reducer
    X : array of shape (n_samples, n_features)
    sample_weight : array of shape (n_samples,), optional
    start : Summary, optional
        What is known already.
    n_ranges : int, default=1
        Ranges of samples that are summarized side by side on threads. The result depends on
        this number, not on how many threads there are.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.summaries import Reducer, moments
    >>> reducer = Reducer(moments.summarize, moments.merge)
    >>> fold(reducer, np.arange(6.0).reshape(3, 2)).mean
    array([2., 3.])
    """
    n_samples = X.shape[0]
    n_ranges = max(1, min(n_ranges, n_samples))
    if n_ranges == 1:
        return reducer.at(0).absorb(start, X, sample_weight)
    edges = [n_samples * i // n_ranges for i in range(n_ranges + 1)]
    ranges = [slice(*pair) for pair in itertools.pairwise(edges)]

    def summarize(rows: slice) -> Summary:
        weight = None if sample_weight is None else sample_weight[rows]
        return reducer.at(rows.start).summarize(X[rows, :], weight)

    summaries = map_threads(summarize, ranges)
    return reducer.merge(summaries if start is None else [start, *summaries])
