"""Fold the chunks of a Dask array into a summary one after the other, where order matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dask_exa._array import Array
from dask_exa.reduction._errors import naming
from dask_exa.reduction._graph import Chunks, Graph, ref
from dask_exa.summaries.reducer import Summary


def chain(extend: Callable[[Summary, Array], Summary], X: Any, start: Summary) -> Summary:
    """Let a summary learn every chunk in turn, where the chunk is made.

    One task a chunk, fused onto the task that makes the chunk: the summary moves, chunks do not,
    and no more than one is in memory. What comes out is what the samples in memory would give;
    so many workers are of no more use than one.

    Parameters
    ----------
    extend : callable
        ``extend(summary, X)`` returns what is known after a chunk.
    X : dask.array.Array of shape (n_samples, n_features)
        Split into chunks of samples only.
    start : Summary
        What is known already; it is sent to the first chunk.

    Examples
    --------
    >>> import dask.array as da
    >>> X = da.arange(10, chunks=3).reshape(10, 1)
    >>> chain(lambda seen, chunk: [*seen, int(chunk.sum())], X, [])
    [3, 12, 21, 9]
    """
    graph = Graph()
    chunks = Chunks(X)
    keys = list(chunks.keys.reshape(-1))
    if not X.shape[0]:
        raise ValueError(f"X has no samples in any of its {len(keys)} chunks.")
    graph.add_chunks(chunks, keys, [i / len(keys) for i in range(len(keys))])
    known = graph.add_value(start)
    for i, key in enumerate(keys):
        home = i / len(keys)
        known = graph.add_task("extend", _extend, extend, i, ref(known), ref(key), home=home)
    (summary,) = graph.run([known], wait=True)
    return summary


def _extend(
    extend: Callable[[Summary, Array], Summary], index: int, summary: Summary, X: Array
) -> Summary:
    if X.shape[0] == 0:
        return summary
    with naming(f"chunk {index} of the samples"):
        return extend(summary, X)
