"""Reduce every block of features where it is, for summaries that treat features by themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa._array import Array, namespace
from dask_exa._samples import Samples, flat_sizes, flatten, split_weight
from dask_exa.reduction._errors import naming
from dask_exa.reduction._graph import Chunks, Graph, ref
from dask_exa.reduction.tree import add_merges, first_rows
from dask_exa.summaries.reducer import Reducer, Summary

Place = Callable[[Sequence[Array]], Array]
"""Puts what the blocks of features have, (n_features of a block, …) each, together."""


def reduce_features(
    reducer: Reducer,
    samples: Samples,
    sample_weight: Any,
    join: Callable[[Sequence[Summary], Place], Summary],
    *,
    split_every: int = 8,
) -> Summary:
    """Summarize chunks that are split along features too: no chunk moves, only summaries do.

    Every block of features has a tree of its own, see `dask_exa.reduction.tree`; all run at once.

    Parameters
    ----------
    reducer : Reducer
        Of a summary in which no feature knows of the others.
    samples : Samples
        Lazy.
    sample_weight : array of shape (n_samples,) or None
    join : callable
        ``join(summaries, place)``: the summary of all features from those of the blocks.
    split_every : int, default=8
        Summaries that one task merges.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_exa._samples import as_samples
    >>> from dask_exa.summaries import Reducer, moments
    >>> X = as_samples(da.arange(12, chunks=4).reshape(6, 2).rechunk((2, 1)))
    >>> reduce_features(Reducer(moments.summarize, moments.merge), X, None, moments.join).mean
    array([5., 6.])
    """
    X, a = samples.array, samples.n_sample_axes
    X = X.rechunk(dict.fromkeys(range(1, a), -1))
    graph = Graph()
    chunks = Chunks(X)
    keys = chunks.keys.reshape((X.numblocks[0], -1)).T  # blocks of features, then of samples
    homes = np.arange(keys.size).reshape(keys.shape) / keys.size
    graph.add_chunks(chunks, list(keys.reshape(-1)), list(homes.reshape(-1)))
    sizes = flat_sizes(X.chunks[:a])
    weights: list[Any] = [None] * len(sizes)
    if sample_weight is not None:
        split = Chunks(split_weight(sample_weight, sizes))
        weights = list(split.keys)
        graph.add_chunks(split, weights, list(homes[0]))
    rows = first_rows(sizes)
    roots = []
    for block, block_homes in zip(keys, homes, strict=True):
        leaves = [
            graph.add_task(
                "summarize",
                _SummarizeBlock(reducer.at(row), i, a),
                ref(key),
                None if weights[i] is None else ref(weights[i]),
                home=home,
            )
            for i, (key, row, home) in enumerate(zip(block, rows, block_homes, strict=True))
        ]
        roots.append(add_merges(graph, reducer.merge, leaves, split_every))
    summaries = graph.run(roots, wait=True)
    if summaries[0] is None:
        raise ValueError(f"X has no samples in any of its {keys.size} chunks.")
    return join(summaries, _Place(X.chunks[a:]))


@dataclass(frozen=True)
class _SummarizeBlock:
    reducer: Reducer
    index: int
    n_sample_axes: int

    def __call__(self, X: Array, sample_weight: Array | None) -> Summary | None:
        X = flatten(X, self.n_sample_axes)
        if X.shape[0] == 0:
            return None
        with naming(f"chunk {self.index} of the samples"):
            return self.reducer.summarize(X, sample_weight)


@dataclass(frozen=True)
class _Place:
    chunks: tuple[tuple[int, ...], ...]
    """Of the axes of the features."""

    def __call__(self, blocks: Sequence[Array]) -> Array:
        xp = namespace(blocks[0])
        rest = blocks[0].shape[1:]
        shapes = itertools.product(*self.chunks)
        parts = [
            xp.reshape(block, (*shape, *rest)) for block, shape in zip(blocks, shapes, strict=True)
        ]
        for axis in reversed(range(len(self.chunks))):
            n = len(self.chunks[axis])
            parts = [xp.concat(parts[i : i + n], axis=axis) for i in range(0, len(parts), n)]
        return xp.reshape(parts[0], (-1, *rest))
