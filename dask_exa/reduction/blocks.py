"""One value per block of an array, kept on its worker and updated with every new chunk there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dask_exa.reduction._graph import Chunks, Graph, Key, array_of_tasks, fetch, ref, settle

Handle = Any
"""A value, or the future of one that is on a worker."""


def update_blocks(
    function: Callable[[tuple[int, ...], Any, Any], Any],
    X: Any,
    block_axes: Sequence[int],
    values: Sequence[Handle],
) -> list[Handle]:
    """Replace the value of every block by what its chunks make of it.

    One task a chunk, fused onto the task that makes the chunk, where the value is; chunks do not
    move.

    Parameters
    ----------
    function : callable
        ``function(place, value, chunk)`` returns the new value and leaves the old one as it is.
    X : dask.array.Array
    block_axes : sequence of int
        Axes that tell blocks apart. Chunks of one block, along the other axes, follow each other.
    values : sequence of handles
        One per block, in C order.

    Returns
    -------
    list of handles
        When all of them are there; the first error is raised.
    """
    graph = Graph()
    source = Chunks(X)
    grid = np.moveaxis(source.keys, list(block_axes), list(range(len(block_axes))))
    places = list(np.ndindex(grid.shape[: len(block_axes)]))
    keys = [
        _update_block(graph, source, function, place, grid[place], value, i / len(places))
        for i, (place, value) in enumerate(zip(places, values, strict=True))
    ]
    return settle(graph.run(keys, wait=False))


def map_values(function: Callable[..., Any], *values: Sequence[Handle]) -> list[Handle]:
    """Apply a function to the values of every block, where they are."""
    graph = Graph()
    keys = [
        graph.add_task("map", function, *(ref(graph.add_value(value)) for value in block))
        for block in zip(*values, strict=True)
    ]
    return settle(graph.run(keys, wait=False))


def reduce_values(
    combine: Callable[[Sequence[Any]], Any], values: Sequence[Handle], *, split_every: int = 8
) -> Any:
    """Combine the values of all blocks into one, in a tree of fixed order, and return it."""
    graph = Graph()
    keys = [graph.add_value(value) for value in values]
    last = graph.add_levels("merge", combine, keys, split_every=split_every)
    root = graph.add_task("merge", combine, ref(last))
    return graph.run([root], wait=True)[0]


def fetch_values(values: Sequence[Handle]) -> list[Any]:
    """Bring the values of all blocks here."""
    return fetch(values)


def array_of_values(values: Sequence[Handle], chunks: tuple[tuple[int, ...], ...]) -> Any:
    """Return a Dask array whose chunks are the values, for `dask.array.blockwise`.

    Parameters
    ----------
    values : sequence of handles
        In C order of the blocks.
    chunks : tuple of tuples of int
        Of the array that it goes with; only their number is true of the values.
    """
    places = np.ndindex(*map(len, chunks))
    tasks = {place: (_same, (value,)) for place, value in zip(places, values, strict=True)}
    return array_of_tasks("values", tasks, list(values), chunks, object)


def count_blocks(X: Any, block_axes: Sequence[int]) -> tuple[int, ...]:
    """Return the number of blocks along every block axis.

    Examples
    --------
    >>> import dask.array as da
    >>> count_blocks(da.zeros((8, 6, 4), chunks=(4, 2, 4)), (1, 2))
    (3, 1)
    """
    return tuple(X.numblocks[axis] for axis in block_axes)


def _update_block(
    graph: Graph,
    source: Chunks,
    function: Callable[..., Any],
    place: tuple[int, ...],
    chunks: Any,
    value: Handle,
    home: float,
) -> Key:
    keys = list(chunks.reshape(-1)) if isinstance(chunks, np.ndarray) else [chunks]
    graph.add_chunks(source, keys, [home] * len(keys))
    key = graph.add_value(value)
    for chunk in keys:
        task = functools.partial(function, place)
        key = graph.add_task("update", task, ref(key), ref(chunk), home=home)
    return key


def _same(value: Any) -> Any:
    return value
