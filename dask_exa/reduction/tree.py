"""Fold the chunks of a Dask array into a summary: neighbours first, in a fixed order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
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
    chunks = add_all(graph, Chunks(X))
    weights = (
        [None] * len(chunks) if sample_weight is None else add_all(graph, Chunks(sample_weight))
    )
    rows = first_rows(X.chunks[0])
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
        for i, (chunk, weight, row) in enumerate(zip(chunks, weights, rows, strict=True))
    ]
    summary = merge_leaves(graph, reducer.merge, leaves, split_every)
    return summary if start is None else reducer.merge([start, summary])


def merge_leaves(
    graph: Graph,
    merge: Callable[[Sequence[Summary]], Summary],
    leaves: Sequence[Key],
    split_every: int,
) -> Summary:
    """Merge the summaries of chunks, None for those without samples, in a tree, and return it.

    Parameters
    ----------
    graph : Graph
    merge : callable
        Of a `Reducer`.
    leaves : sequence of keys
        In the order of the chunks.
    split_every : int
        Summaries that one task merges.
    """
    (summary,) = graph.run([add_merges(graph, merge, leaves, split_every)], wait=True)
    if summary is None:
        raise ValueError(f"X has no samples in any of its {len(leaves)} chunks.")
    return summary


def add_merges(
    graph: Graph,
    merge: Callable[[Sequence[Summary]], Summary],
    leaves: Sequence[Key],
    split_every: int,
) -> Key:
    """Add the merges of `merge_leaves` to a graph and return the key of the last one."""
    combine = _Merge(merge)
    last = graph.add_levels("merge", combine, leaves, split_every=split_every)
    if len(last) == 1:
        return last[0]
    return graph.add_task("merge", combine, ref(last), home=graph.homes.get(last[0]))


def first_rows(sizes: Sequence[int]) -> list[int]:
    """Return the number of the first sample of every chunk, for the numbers of their samples."""
    return list(itertools.accumulate(sizes[:-1], initial=0))


def add_all(graph: Graph, chunks: Chunks) -> list[Key]:
    """Add all chunks of an array to a graph, dealt in their order, and return their keys."""
    keys = list(chunks.keys.reshape(-1))
    graph.add_chunks(chunks, keys, [i / len(keys) for i in range(len(keys))])
    return keys


def _summarize_chunk(
    reducer: Reducer, index: int, X: Array, sample_weight: Array | None
) -> Summary | None:
    if X.shape[0] == 0:
        return None
    with naming(f"chunk {index} of the samples"):
        return reducer.summarize(X, sample_weight)


class _Merge:
    """Merge the summaries of a group of neighbours, some of which may have had no samples."""

    def __init__(self, merge: Callable[[Sequence[Summary]], Summary]) -> None:
        self.merge = merge

    def __call__(self, summaries: Sequence[Summary | None]) -> Summary | None:
        seen = [summary for summary in summaries if summary is not None]
        return self.merge(seen) if seen else None
