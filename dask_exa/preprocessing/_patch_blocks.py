"""Patches of a field and a field of patches, tile by tile, in memory or lazily.

Rows are ordered by tile, then by sample, then by position in the tile: what the chunk of a field
makes is one chunk of rows, for any number of samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import dask.array as da
import numpy as np

from dask_exa._array import namespace
from dask_exa._samples import is_dask
from dask_exa.preprocessing._patch_grid import PatchAxis, Run, products
from dask_exa.preprocessing._patch_kernels import (
    add_regions,
    blend_region,
    cut_region,
    with_gaps,
)
from dask_exa.reduction.pieces import Piece, map_pieces, reshape_blocks, reshape_piece

Axes = tuple[PatchAxis, ...]


def count_patches(axes: Axes) -> int:
    """Return the number of patches of a sample."""
    return math.prod(len(axis.starts) for axis in axes)


def tiles_of(axes: Axes) -> Iterator[tuple[int, ...]]:
    """Yield the numbers of the active tiles along every axis, in C order."""
    return itertools.product(*(range(len(axis.active)) for axis in axes))


def counts_of(axes: Axes, tile: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of patches of a tile along every axis."""
    return tuple(axis.counts[i] for axis, i in zip(axes, tile, strict=True))


def region_of(axes: Axes, tile: tuple[int, ...]) -> tuple[int, ...]:
    """Return the points of the region of a tile along every axis."""
    return tuple(axis.region_sizes[i] for axis, i in zip(axes, tile, strict=True))


def extract(X: Any, axes: Axes) -> Any:
    """Return the patches (n_rows, n_columns) of fields.

    Parameters
    ----------
    X : array of shape (n_samples, *patch axes, n_others)
        Lazy ones are chunked along samples, and along patch axes as the tiles are.
    axes : tuple of PatchAxis
    """
    sizes, strides = _of(axes, "size"), _of(axes, "stride")
    n_columns = math.prod(sizes) * X.shape[-1]
    if not is_dask(X):
        rows = []
        for tile in tiles_of(axes):
            reads = products([axis.reads(i) for axis, i in zip(axes, tile, strict=True)])
            pieces = [X[(slice(None), *_absolute(axes, boxes), slice(None))] for boxes in reads]
            region = region_of(axes, tile)
            rows.append(cut_region(pieces, _here(reads), region, sizes, strides))
        return rows[0] if len(rows) == 1 else namespace(X).concat(rows)
    blocks: dict[tuple[int, ...], Any] = {}
    row_sizes: list[int] = []
    for tile in tiles_of(axes):
        reads = products([axis.reads(i) for axis, i in zip(axes, tile, strict=True)])
        arguments = (_here(reads), region_of(axes, tile), sizes, strides)
        for c, n_samples in enumerate(X.chunks[0]):
            pieces = [
                _piece(X, (c, *(run.tile for run in boxes), 0), [run.there for run in boxes])
                for boxes in reads
            ]
            blocks[len(row_sizes), 0] = (pieces, arguments)
            row_sizes.append(n_samples * math.prod(counts_of(axes, tile)))
    return map_pieces(cut_region, X, blocks, (tuple(row_sizes), (n_columns,)), X.dtype)


def blend(rows: Any, axes: Axes, n_others: int, how: str, rest: int = 1) -> Any:
    """Return the fields (n_samples, *patch axes, n_others) of their patches; see `extract`.

    Where patches overlap, their weighted mean, in float64; NaN where there is none. Chunks of
    lazy fields have a multiple of `rest` samples.
    """
    n_samples = rows.shape[0] // count_patches(axes)
    weights = [axis.weights(how) for axis in axes]
    if is_dask(rows):
        return _blend_lazy(rows, axes, n_others, weights, rest)
    xp = namespace(rows)
    fields = xp.zeros((n_samples, *_of(axes, "n_points"), n_others), dtype=xp.float64)
    start = 0
    for tile in tiles_of(axes):
        counts = counts_of(axes, tile)
        stop = start + n_samples * math.prod(counts)
        own = _own_weights(axes, tile, weights)
        region = blend_region([rows[start:stop, :]], counts, own, _of(axes, "stride"), n_others)
        for boxes in products([axis.writes(i) for axis, i in zip(axes, tile, strict=True)]):
            place = (slice(None), *_absolute(axes, boxes), slice(None))
            fields[place] += region[(slice(None), *(run.here for run in boxes), slice(None))]
        start = stop
    return with_gaps(fields, [axis.covered() for axis in axes])


def sample_chunks(rows: Any, axes: Axes, rest: int) -> tuple[int, ...]:
    """Return how samples are chunked in lazy rows, in multiples of `rest`: as in the first tile."""
    n_samples = rows.shape[0] // count_patches(axes)
    first = rest * math.prod(axis.counts[0] for axis in axes)
    ends = -(-np.cumsum(rows.chunks[0]) // first) * rest
    ends = np.unique([*ends[ends < n_samples], n_samples])
    return tuple(np.diff([0, *ends]).tolist())


def row_chunks(axes: Axes, chunks: Sequence[int]) -> tuple[int, ...]:
    """Return the rows that every tile makes of every chunk of samples."""
    counts = [math.prod(counts_of(axes, tile)) for tile in tiles_of(axes)]
    return tuple(n_samples * count for count in counts for n_samples in chunks)


def _blend_lazy(rows: Any, axes: Axes, n_others: int, weights: list[np.ndarray], rest: int) -> Any:
    chunks = sample_chunks(rows, axes, rest)
    rows = rows.rechunk({0: row_chunks(axes, chunks), 1: -1})
    blocks: dict[tuple[int, ...], Any] = {}
    for number, (tile, c) in enumerate(itertools.product(tiles_of(axes), range(len(chunks)))):
        own = _own_weights(axes, tile, weights)
        arguments = (counts_of(axes, tile), own, _of(axes, "stride"), n_others)
        blocks[c, *tile, 0] = ([Piece((number, 0))], arguments)
    sizes = tuple(tuple(axis.region_sizes) for axis in axes)
    regions = map_pieces(blend_region, rows, blocks, (chunks, *sizes, (n_others,)), np.float64)
    writes = [[axis.writes(i) for i in range(len(axis.active))] for axis in axes]
    blocks = {}
    for target in itertools.product(*(range(len(axis.tiles)) for axis in axes)):
        found = products([_into(runs, tile) for runs, tile in zip(writes, target, strict=True)])
        there = tuple(tuple(run.there for run in boxes) for boxes in found)
        shape = tuple(axis.tiles[tile] for axis, tile in zip(axes, target, strict=True))
        covered = [
            axis.covered()[axis.edges[tile] : axis.edges[tile + 1]]
            for axis, tile in zip(axes, target, strict=True)
        ]
        for c, n in enumerate(chunks):
            pieces = [
                _piece(regions, (c, *(run.tile for run in boxes), 0), [run.here for run in boxes])
                for boxes in found
            ]
            blocks[c, *target, 0] = (pieces, (there, (n, *shape, n_others), covered))
    grid = (chunks, *(axis.tiles for axis in axes), (n_others,))
    return map_pieces(add_regions, regions, blocks, grid, np.float64)


def _into(runs_of_tiles: Sequence[Sequence[Run]], target: int) -> list[Run]:
    """Return what active tiles write into a tile, with the writer in place of the reader."""
    return [
        run._replace(tile=writer)
        for writer, runs in enumerate(runs_of_tiles)
        for run in runs
        if run.tile == target
    ]


def _own_weights(
    axes: Axes, tile: tuple[int, ...], weights: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return the weights of the patches of a tile along every axis."""
    found = []
    for axis, i, weight in zip(axes, tile, weights, strict=True):
        start = sum(axis.counts[:i])
        found.append(weight[start : start + axis.counts[i]])
    return found


def _of(axes: Axes, name: str) -> tuple[int, ...]:
    return tuple(getattr(axis, name) for axis in axes)


def _here(reads: Sequence[tuple[Run, ...]]) -> tuple[tuple[slice, ...], ...]:
    return tuple(tuple(run.here for run in boxes) for boxes in reads)


def _absolute(axes: Axes, boxes: tuple[Run, ...]) -> tuple[slice, ...]:
    """Return the points of the field that a box of runs has."""
    found = []
    for axis, run in zip(axes, boxes, strict=True):
        start, step = int(axis.edges[run.tile]), run.there.step
        stop = None if run.there.stop is None else run.there.stop + start
        if step < 0 and stop is None:
            stop = start - 1 if start else None
        found.append(slice(run.there.start + start, stop, step))
    return tuple(found)


def _piece(X: Any, block: tuple[int, ...], cuts: Sequence[slice]) -> Piece:
    """Return a piece of a chunk of an array (samples, *axes, others), whole where it is."""
    sizes = [X.chunks[axis + 1][block[axis + 1]] for axis in range(len(cuts))]
    is_whole = all(cut == slice(0, n, 1) for cut, n in zip(cuts, sizes, strict=True))
    return Piece(block, None if is_whole else (slice(None), *cuts))


def scatter_rows(values: Any, axes: Axes, rest: int = 1) -> Any:
    """Return one row per patch (n_rows, n_values) as (n_samples, *positions, n_values)."""
    n_samples = values.shape[0] // count_patches(axes)
    n_values = values.shape[1]
    if not is_dask(values):
        xp = namespace(values)
        positions = tuple(len(axis.starts) for axis in axes)
        found = xp.empty((n_samples, *positions, n_values), dtype=values.dtype)
        start = 0
        for tile in tiles_of(axes):
            counts = counts_of(axes, tile)
            stop = start + n_samples * math.prod(counts)
            firsts = [sum(axis.counts[:i]) for axis, i in zip(axes, tile, strict=True)]
            place = tuple(slice(f, f + n) for f, n in zip(firsts, counts, strict=True))
            part = xp.reshape(values[start:stop, :], (n_samples, *counts, n_values))
            found[(slice(None), *place, slice(None))] = part
            start = stop
        return found
    chunks = sample_chunks(values, axes, rest)
    values = values.rechunk({0: row_chunks(axes, chunks), 1: -1})
    blocks: dict[tuple[int, ...], Any] = {}
    for number, (tile, c) in enumerate(itertools.product(tiles_of(axes), range(len(chunks)))):
        shape = (chunks[c], *counts_of(axes, tile), n_values)
        blocks[c, *tile, 0] = ([Piece((number, 0))], (shape,))
    grid = (chunks, *(tuple(axis.counts) for axis in axes), (n_values,))
    return map_pieces(reshape_piece, values, blocks, grid, values.dtype)


def split_samples(fields: Any, sizes: tuple[int, ...], last: tuple[int, ...]) -> Any:
    """Return fields (n_samples, …, n_last) with the axes of samples, and the last ones, apart."""
    if not is_dask(fields):
        return fields.reshape((*sizes, *fields.shape[1:-1], *last))
    first: tuple[tuple[int, ...], ...] = ()
    if sizes:
        rest = math.prod(sizes[1:])
        first = (tuple(n // rest for n in fields.chunks[0]), *((n,) for n in sizes[1:]))
    return reshape_blocks(fields, (*first, *fields.chunks[1:-1], *((n,) for n in last)))


def row_coordinate(values: np.ndarray, axes: Axes, along: int | None, chunks: Any) -> Any:
    """Return a coordinate as one value per row.

    Parameters
    ----------
    values : array
        One per sample or, with `along`, one per point along that axis.
    axes : tuple of PatchAxis
    along : int, optional
        Number of the axis.
    chunks : tuple of int or int
        Of the samples, for a lazy result; their number for one in memory.
    """
    lazy = not isinstance(chunks, int)
    sizes = chunks if lazy else (chunks,)
    edges = np.cumsum([0, *sizes]).tolist()
    blocks: dict[tuple[int, ...], Any] = {}
    parts = []
    for tile in tiles_of(axes):
        counts = counts_of(axes, tile)
        for start, stop in itertools.pairwise(edges):
            shape = (stop - start, *counts)
            cut, own = slice(start, stop), (stop - start, *(1 for _ in axes))
            if along is not None:
                axis = axes[along]
                first, n = axis.first_starts()[tile[along]], counts[along]
                cut = slice(first, first + (n - 1) * axis.stride + 1, axis.stride)
                own = (1, *(n if i == along else 1 for i in range(len(axes))))
            if lazy:
                blocks[(len(blocks),)] = ([Piece((0,), (cut,))], (own, shape))
            else:
                parts.append(_repeat([values[cut]], own, shape))
    if not lazy:
        return np.concatenate(parts)
    source = da.from_array(np.ascontiguousarray(values), chunks=-1)
    return map_pieces(_repeat, source, blocks, (row_chunks(axes, chunks),), values.dtype)


def _repeat(
    pieces: Sequence[np.ndarray], own: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    return np.broadcast_to(pieces[0].reshape(own), shape).reshape(-1)
