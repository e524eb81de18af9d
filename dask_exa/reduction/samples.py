"""Reduce samples of any kind: what they are decides where the reduction runs."""

from __future__ import annotations

from typing import Any

from dask_exa._samples import Samples, flat_rows, is_dask
from dask_exa.reduction.fold import fold
from dask_exa.reduction.tree import tree
from dask_exa.summaries.reducer import Reducer, Summary


def reduce_samples(
    reducer: Reducer,
    samples: Samples,
    sample_weight: Any = None,
    start: Summary | None = None,
    *,
    n_ranges: int = 1,
) -> Summary:
    """Summarize samples and merge them into what is known: a tree if lazy, else a fold.

    Parameters
    ----------
    reducer : Reducer
    samples : Samples
    sample_weight : array of shape (n_samples,), optional
        Lazy ones of samples in memory are computed.
    start : Summary, optional
        What is known already.
    n_ranges : int, default=1
        For samples in memory, see `dask_exa.reduction.fold.fold`.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_exa._samples import as_samples
    >>> from dask_exa.summaries import Reducer, moments
    >>> lazy = as_samples(da.arange(10, chunks=3).reshape(10, 1))
    >>> reduce_samples(Reducer(moments.summarize, moments.merge), lazy).mean
    array([4.5])
    """
    if samples.is_lazy:
        samples, sample_weight = flat_rows(samples, sample_weight)
        return tree(reducer, samples.array, sample_weight, start)
    if is_dask(sample_weight):
        sample_weight = sample_weight.compute()
    return fold(reducer, samples.array, sample_weight, start, n_ranges=n_ranges)
