"""Fold the chunks of a Dask array into a summary: neighbours first, in a fixed order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from dask_exa._array import Array
from dask_exa.reduction._errors import naming
from dask_exa.reduction._graph import Chunks, Graph, Key, ref
from dask_exa.summaries.reducer import Reducer, Summary


def tree(
    reducer: Reducer,
    X: Any,
    sample_weight: Any = None,
    start: Summary | None = None,
    *,
    split_every: int = 8,
) -> Summary:
    """Summarize every chunk where it is made and merge the summaries in a tree.

    One task a chunk, fused onto the task that makes the chunk, and one merge for `split_every`
    neighbours. Neighbours are placed on the same worker, so that only the last merges move
    summaries; chunks never move. The order of the merges depends on the number of chunks alone:
    the result is the same to the last bit on any number of workers.

    Parameters
    ----------
    reducer : Reducer
    X : dask.array.Array of shape (n_samples, n_features)
        Split into chunks of samples only.
    sample_weight : dask.array.Array of shape (n_samples,), optional
        Split as the samples of `X`.
    start : Summary, optional
        What is known already; it stays here and is merged at the end.
    split_every : int, default=8
        Summaries that one task merges.

    Returns
    -------
    Summary

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_exa.summaries import Reducer, moments
    >>> X = da.arange(10, chunks=3).reshape(10, 1)
    >>> tree(Reducer(moments.summarize, moments.merge), X).mean
    array([4.5])
    """
    graph = Graph()
    chunks = _add(graph, X)
    weights = [None] * len(chunks) if sample_weight is None else _add(graph, sample_weight)
    leaves = [
        graph.add_task(
            "summarize",
            _summarize_chunk,
            reducer.at(row),
            i,
            ref(chunk),
            None if weight is None else ref(weight),
            home=i / len(chunks),
        )
        for i, (chunk, weight, row) in enumerate(zip(chunks, weights, _first_rows(X), strict=True))
    ]
    merge = _Merge(reducer)
    last = graph.add_levels("merge", merge, leaves, split_every=split_every)
    root = graph.add_task("merge", merge, ref(last), home=0.0) if len(last) > 1 else last[0]
    (summary,) = graph.run([root], wait=True)
    if summary is None:
        raise ValueError(f"X has no samples in any of its {len(chunks)} chunks.")
    return summary if start is None else reducer.merge([start, summary])


def _add(graph: Graph, array: Any) -> list[Key]:
    chunks = Chunks(array)
    keys = list(chunks.keys.reshape(-1))
    graph.add_chunks(chunks, keys, [i / len(keys) for i in range(len(keys))])
    return keys


def _first_rows(X: Any) -> list[int]:
    """Return the number of the first sample of every chunk."""
    return list(itertools.accumulate(X.chunks[0][:-1], initial=0))


def _summarize_chunk(
    reducer: Reducer, index: int, X: Array, sample_weight: Array | None
) -> Summary | None:
    if X.shape[0] == 0:
        return None
    with naming(f"chunk {index} of the samples"):
        return reducer.summarize(X, sample_weight)


class _Merge:
    """Merge the summaries of a group of neighbours, some of which may have had no samples."""

    def __init__(self, reducer: Reducer) -> None:
        self.reducer = reducer

    def __call__(self, summaries: Sequence[Summary | None]) -> Summary | None:
        seen = [summary for summary in summaries if summary is not None]
        return self.reducer.merge(seen) if seen else None
