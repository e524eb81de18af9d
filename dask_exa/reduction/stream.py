"""Fold samples that come one batch after the other into a summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dask_exa._array import Array
from dask_exa.summaries.reducer import Reducer, Summary


def stream(
    reducer: Reducer,
    batches: Iterable[tuple[Array, Array | None]],
    start: Summary | None = None,
) -> Iterator[Summary]:
    """Yield what is known after every batch; the next batch is asked for only then.

    Parameters
    ----------
    reducer : Reducer
    batches : iterable of (X, sample_weight)
        In their order; arrays of shape (n_samples, n_features) and (n_samples,), or None.
    start : Summary, optional
        What is known already.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.summaries import Reducer, moments
    >>> reducer = Reducer(moments.summarize, moments.merge)
    >>> batches = ((np.full((1, 1), step), None) for step in (1.0, 2.0, 6.0))
    >>> [float(known.mean[0]) for known in stream(reducer, batches)]
    [1.0, 1.5, 3.0]
    """
    summary = start
    for X, sample_weight in batches:
        summary = reducer.absorb(summary, X, sample_weight)
        yield summary
