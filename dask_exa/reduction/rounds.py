"""Broadcast-reduce: send a small value to every block, reduce the answers, update the blocks.

Blocks stay on the worker that holds them from one round to the next; only the small answers and
the value that is broadcast travel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dask_exa.reduction._graph import Graph, Key, ref
from dask_exa.summaries.svd import SVDSummary, Turn
from dask_exa.summaries.tiles import Part, Tiles

_SPLIT_EVERY = 32
"""Small answers that one task combines."""


def gather(
    graph: Graph,
    function: Callable[..., Any],
    blocks: Sequence[Sequence[Key]],
    combine: Callable[[Sequence[Any]], Any],
    finish: Callable[[Any], Any],
) -> Key:
    """Apply a function to every block and reduce its small answers.

    Parameters
    ----------
    graph : Graph
    function : callable
        ``function(*values of the block)``
    blocks : sequence of sequences of keys
        The values that belong to each block.
    combine : callable
        ``combine(answers)``, associative; in the order of the blocks.
    finish : callable
        What to make of the combined answer before it is broadcast.
    """
    answers = [graph.add_task("gather", function, *map(ref, block)) for block in blocks]
    answers = graph.add_levels("combine", combine, answers, split_every=_SPLIT_EVERY)
    return graph.add_task("finish", _Finish(combine, finish), ref(answers))


def update(
    graph: Graph, function: Callable[..., Any], blocks: Sequence[Sequence[Key]], small: Key
) -> list[Key]:
    """Replace every block by ``function(small, *values of the block)``."""
    return [
        graph.add_task("update", function, ref(small), *map(ref, block), home=i / len(blocks))
        for i, block in enumerate(blocks)
    ]


@dataclass(frozen=True)
class _Finish:
    combine: Callable[[Sequence[Any]], Any]
    finish: Callable[[Any], Any]

    def __call__(self, answers: Sequence[Any]) -> Any:
        return self.finish(self.combine(answers))


class Slabs:
    """Stacked summaries whose columns are split over workers.

    The distributed sibling of `dask_exa.summaries.tiles.Tiles`: see
    `dask_exa.summaries.svd.Columns`. Answers are keys of a graph that has not run yet.

    Parameters
    ----------
    graph : Graph
    slabs : sequence of sequences of keys
        For every slab of columns, the values that are stacked.
    read : sequence of callables
        For each of these values, what makes it a summary or a batch of samples.
    n_rows : int
        Rows of the stack.
    """

    def __init__(
        self,
        graph: Graph,
        slabs: Sequence[Sequence[Key]],
        read: Sequence[Callable[[Any], Part]],
        n_rows: int,
    ) -> None:
        self.graph = graph
        self.slabs = slabs
        self.read = tuple(read)
        self.n_rows = n_rows

    def gather(
        self,
        function: Callable[[SVDSummary], Any],
        combine: Callable[[Sequence[Any]], Any],
        finish: Callable[[Any], Any],
    ) -> Key:
        """Apply `function` to every slab, combine the small answers and finish the result."""
        task = _Gather(self.read, function, combine)
        return gather(self.graph, task, self.slabs, combine, finish)

    def rotate(self, turn: Key, dtype: str) -> list[Key]:
        """Apply a turn to the rows of every slab, where it is."""
        return update(self.graph, _Rotate(self.read, dtype), self.slabs, turn)


@dataclass(frozen=True)
class _Gather:
    read: tuple[Callable[[Any], Part], ...]
    function: Callable[[SVDSummary], Any]
    combine: Callable[[Sequence[Any]], Any]

    def __call__(self, *values: Any) -> Any:
        return _tiles(self.read, values).gather(self.function, self.combine, lambda small: small)


@dataclass(frozen=True)
class _Rotate:
    read: tuple[Callable[[Any], Part], ...]
    dtype: str

    def __call__(self, turn: Turn, *values: Any) -> SVDSummary:
        return _tiles(self.read, values).rotate(turn, self.dtype)


def _tiles(read: Sequence[Callable[[Any], Part]], values: Sequence[Any]) -> Tiles:
    return Tiles([reader(value) for reader, value in zip(read, values, strict=True)])
