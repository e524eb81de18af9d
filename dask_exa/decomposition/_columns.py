"""Principal components whose features are split over workers.

Every block of the features keeps its own columns of the basis, next to the chunks that it learns
from; only Gram matrices of the stacked rows and the rotations chosen from them travel. The bytes
on the wire do not depend on the number of features.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array
from dask_exa._samples import Samples, flatten
from dask_exa.reduction._graph import Chunks, Graph, Key, array_of_tasks, fetch, ref
from dask_exa.reduction.rounds import Slabs
from dask_exa.summaries import axes, svd
from dask_exa.summaries.svd import SVDSummary, Truncation, Turn
from dask_exa.summaries.tiles import Batch

_ROUNDS_PER_GRAPH = 8
"""Blocks of samples that are submitted together: enough to keep workers busy between two
answers, few enough that sources cannot run far ahead of the rounds that use them."""


class SlabSummary(NamedTuple):
    """A `SVDSummary` whose columns live where Dask put them."""

    slabs: tuple[Any, ...]
    """One handle (a future, or the value under a local scheduler) of a `SVDSummary` per block
    of the features, in C order of the blocks."""
    chunks: tuple[tuple[int, ...], ...]
    """Chunk sizes along every feature axis."""
    n_rows: int
    """Rows that every slab holds."""
    n_samples: int
    weight: float
    tail: float
    bound: float
    energy: float
    """Second moment of all features together."""
    dtype: str
    """Of the rows of the slabs."""

    @property
    def blocks(self) -> list[tuple[int, ...]]:
        """Shape of every block of the features."""
        grid = np.ndindex(*(len(sizes) for sizes in self.chunks))
        return [
            tuple(sizes[i] for sizes, i in zip(self.chunks, place, strict=True)) for place in grid
        ]


class _Block(NamedTuple):
    """A block of samples: the keys of its chunks, and their weights."""

    keys: list[Key]
    n_samples: int
    sample_weight: Array | None


def learn(
    samples: Samples,
    sample_weight: Array | None,
    start: SlabSummary | None,
    truncation: Truncation,
    batch_size: int,
) -> SlabSummary:
    """Merge the samples of a Dask array, one block of samples after the other.

    Parameters
    ----------
    samples : Samples
        Lazy; features split as those of `start`.
    sample_weight : array of shape (n_samples,), optional
        In memory.
    start : SlabSummary, optional
    truncation : Truncation
    batch_size : int
        Samples that are stacked before a compression.
    """
    if samples.single is not None:
        samples = samples._replace(array=samples.single, n_sample_axes=0)
    chunks = samples.array.chunks[samples.n_sample_axes :]
    if start is None:
        n_slabs = math.prod(len(sizes) for sizes in chunks)
        start = SlabSummary((None,) * n_slabs, chunks, 0, 0, 0.0, 0.0, 0.0, 0.0, truncation.dtype)
    elif start.chunks != chunks:
        raise ValueError(
            f"X's features are chunked as {chunks}, the fitted basis as {start.chunks}; "
            "X.rechunk the features to those of the basis."
        )
    if samples.n_samples == 0:
        raise ValueError(f"X has no samples: its shape is {samples.array.shape}.")
    source = Chunks(samples.array)
    groups = _groups(_blocks(samples, sample_weight, source), batch_size)
    # with a tolerance, only the answer of a round tells how many rows the next one has
    n_together = 1 if truncation.loss else _ROUNDS_PER_GRAPH
    for i in range(0, len(groups), n_together):
        start = _run(source, groups[i : i + n_together], samples.n_sample_axes, start, truncation)
    return start._replace(dtype=truncation.dtype)


def merge(summaries: Sequence[SlabSummary], truncation: Truncation) -> SlabSummary:
    """Merge models slab by slab, where the slabs are."""
    for other in summaries[1:]:
        if other.chunks != summaries[0].chunks:
            raise ValueError(
                f"cannot merge a basis chunked as {other.chunks} into one chunked as "
                f"{summaries[0].chunks}; fit both on the same chunks of features."
            )
    graph = Graph()
    handles = zip(*(summary.slabs for summary in summaries), strict=True)
    slabs = [[graph.add_value(handle) for handle in slab] for slab in handles]
    n_rows = sum(summary.n_rows for summary in summaries) + len(summaries) - 1
    columns = Slabs(graph, slabs, [_as_it_is] * len(summaries), n_rows)
    turn = svd.choose(columns, truncation)
    total = summaries[0]._replace(
        n_samples=sum(summary.n_samples for summary in summaries),
        weight=sum(summary.weight for summary in summaries),
        n_rows=n_rows,
        dtype=truncation.dtype,
    )
    return _collect(graph, columns.rotate(turn, truncation.dtype), turn, total)


def forget(summary: SlabSummary, factor: float) -> SlabSummary:
    """Scale the weight of all that was seen by `factor`."""
    graph = Graph()
    task = functools.partial(svd.forget, factor=factor)
    keys = [graph.add_task("forget", task, ref(graph.add_value(h))) for h in summary.slabs]
    return summary._replace(
        slabs=tuple(graph.run(keys, wait=False)),
        weight=summary.weight * factor,
        tail=summary.tail * factor,
        bound=summary.bound * factor,
        energy=summary.energy * factor,
    )


def principal_axes(
    summary: SlabSummary, selection: axes.Selection, solver: str
) -> tuple[Array, Array, float]:
    """Return squared singular values, the weights of the rows, and the energy.

    See `dask_exa.summaries.axes.normalize`.
    """

    def gather(function: Any, combine: Any) -> Any:
        graph = Graph()
        slabs = [[graph.add_value(handle)] for handle in summary.slabs]
        columns = Slabs(graph, slabs, [_as_it_is], summary.n_rows)
        return graph.run([columns.gather(function, combine, _as_it_is)], wait=True)[0]

    return axes.normalize(gather, selection, solver)


def slab_array(
    summary: SlabSummary,
    name: str,
    function: Any,
    leading: tuple[int, ...],
    dtype: Any,
) -> Any:
    """Return ``function(slab)`` of all slabs as one lazy Dask array.

    Parameters
    ----------
    summary : SlabSummary
    name : str
    function : callable
        From a `SVDSummary` to an array of shape (*leading, n_features of the slab).
    leading : tuple of int
        Axes before the features, in one chunk each.
    dtype : dtype
    """
    grid = np.ndindex(*(len(sizes) for sizes in summary.chunks))
    tasks = {
        (*(0 for _ in leading), *place): (_reshaped, (function, handle, (*leading, *shape)))
        for place, handle, shape in zip(grid, summary.slabs, summary.blocks, strict=True)
    }
    chunks = (*((size,) for size in leading), *summary.chunks)
    return array_of_tasks(name, tasks, summary.slabs, chunks, dtype)


def _blocks(samples: Samples, sample_weight: Array | None, source: Chunks) -> list[_Block]:
    """List the blocks of samples that have any, in C order of the sample axes."""
    a = samples.n_sample_axes
    sizes = samples.array.chunks[:a]
    blocks = []
    place_of_sample = np.arange(samples.n_samples).reshape(samples.array.shape[:a])
    edges = [np.cumsum((0, *axis)) for axis in sizes]
    for place in np.ndindex(*map(len, sizes)):
        here = tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, place, strict=True))
        chosen = place_of_sample[here].reshape(-1)
        if chosen.size:
            weight = None if sample_weight is None else sample_weight[chosen]
            keys = [*source.keys[place].reshape(-1)]
            blocks.append(_Block(keys, chosen.size, weight))
    return blocks


def _groups(blocks: Sequence[_Block], batch_size: int) -> list[list[_Block]]:
    """Put neighbouring blocks together until they have `batch_size` samples."""
    groups: list[list[_Block]] = []
    n_samples = 0
    for block in blocks:
        if not groups or n_samples + block.n_samples > batch_size:
            groups.append([])
            n_samples = 0
        groups[-1].append(block)
        n_samples += block.n_samples
    return groups


def _run(
    source: Chunks,
    groups: Sequence[Sequence[_Block]],
    n_sample_axes: int,
    start: SlabSummary,
    truncation: Truncation,
) -> SlabSummary:
    """Stack and compress groups of blocks, one round after the other, in one graph."""
    graph = Graph()
    state = [] if start.slabs[0] is None else [[graph.add_value(h) for h in start.slabs]]
    n_rows, n_samples, weight = start.n_rows, start.n_samples, start.weight
    for group in groups:
        chunks = [_chunks(graph, source, block, state) for block in group]
        parts = [*state, *chunks]
        n_samples += sum(block.n_samples for block in group)
        weight += sum(_total_weight(block) for block in group)
        read = [_as_it_is] * len(state) + [
            functools.partial(_as_batch, sample_weight=b.sample_weight, n_axes=n_sample_axes)
            for b in group
        ]
        n_rows += sum(b.n_samples for b in group if b.n_samples > 1) + len(parts) - 1
        columns = Slabs(graph, list(zip(*parts, strict=True)), read, n_rows)
        turn = svd.choose(columns, truncation)
        state = [columns.rotate(turn, truncation.dtype)]
        if n_rows > truncation.capacity and truncation.svd_rank is not None:
            n_rows = min(n_rows, truncation.svd_rank)
    total = start._replace(n_samples=n_samples, weight=weight, n_rows=n_rows)
    return _collect(graph, state[0], turn, total)


def _chunks(
    graph: Graph, source: Chunks, block: _Block, state: Sequence[Sequence[Key]]
) -> list[Key]:
    """Return the keys of a block's chunks, each made on the worker that holds its slab."""
    n_slabs = len(block.keys)
    graph.add_chunks(source, block.keys, [i / n_slabs for i in range(n_slabs)])
    if not state or not any(source.is_made(key) for key in block.keys):
        return block.keys
    # A task that needs the slab is neither started before its turn nor stolen by another
    # worker; one that needs nothing is both.
    return [
        graph.add_task("chunk", _beside, ref(chunk), ref(slab))
        for chunk, slab in zip(block.keys, state[0], strict=True)
    ]


def _collect(graph: Graph, keys: list[Key], turn: Key, total: SlabSummary) -> SlabSummary:
    """Run the graph and fetch what the last turn has dropped.

    The turn is chosen from all chunks: bad values in them raise here. That the slabs are not
    waited for lets every worker replace them one by one, as the earlier ones are no longer held.
    """
    *slabs, handle = graph.run([*keys, turn], wait=False)
    chosen: Turn = fetch([handle])[0]
    return total._replace(
        slabs=tuple(slabs),
        n_rows=total.n_rows if chosen.rotation is None else chosen.rotation.shape[0],
        tail=chosen.tail,
        bound=chosen.bound,
        energy=chosen.energy,
    )


def _total_weight(block: _Block) -> float:
    return float(block.n_samples if block.sample_weight is None else block.sample_weight.sum())


def _as_it_is(value: Any) -> Any:
    return value


def _beside(chunk: Array, slab: SVDSummary) -> Array:
    return chunk


def _as_batch(chunk: Array, sample_weight: Array | None, n_axes: int) -> Batch:
    return Batch(flatten(chunk, n_axes), sample_weight)


def _reshaped(function: Any, slab: SVDSummary, shape: tuple[int, ...]) -> Array:
    return function(slab).reshape(shape)
