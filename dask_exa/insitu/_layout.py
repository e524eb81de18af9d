"""How the chunks of ranks make up an array: what each declares, and whether it fits together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dask_exa.insitu.errors import LayoutError


@dataclass(frozen=True)
class Chunk:
    """One rank's share of an array.

    Parameters
    ----------
    global_shape : tuple of int
        Of the whole array.
    chunk_shape : tuple of int
        Of what this rank has of it.
    chunk_position : tuple of int
        Place in the grid of chunks, from zero along every axis.
    dims : tuple of str
        Names of the dimensions.
    dtype : numpy.dtype
    attrs : dict
        Such as ``{"units": "m"}``.
    """

    global_shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    chunk_position: tuple[int, ...]
    dims: tuple[str, ...]
    dtype: np.dtype
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the chunk."""
        return math.prod(self.chunk_shape) * self.dtype.itemsize


@dataclass(frozen=True)
class ArrayLayout:
    """A whole array, cut into chunks.

    Parameters
    ----------
    name : str
    dims : tuple of str
    chunks : tuple of tuples of int
        As of a Dask array.
    positions : tuple
        Place in the grid of every rank's chunk, in rank order; None for ranks without one.
    dtype : numpy.dtype
    attrs : dict
    """

    name: str
    dims: tuple[str, ...]
    chunks: tuple[tuple[int, ...], ...]
    positions: tuple[tuple[int, ...] | None, ...]
    dtype: np.dtype
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return tuple(sum(sizes) for sizes in self.chunks)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that have a chunk."""
        return tuple(rank for rank, place in enumerate(self.positions) if place is not None)


def read_chunk(name: str, given: Mapping[str, Any] | Chunk) -> Chunk:
    """Return what a rank declares of an array, checked by itself.

    Parameters
    ----------
    name : str
    given : mapping
        ``global_shape``; optional ``chunk_shape`` (default: the whole), ``chunk_position``
        (default: zeros), ``dims`` (default: dim_0, dim_1, …), ``dtype`` (default: float64) and
        ``attrs``.

    Examples
    --------
    >>> read_chunk("density", {"global_shape": (8, 4), "chunk_shape": (2, 4)}).dims
    ('dim_0', 'dim_1')
    """
    if isinstance(given, Chunk):
        return given
    unknown = set(given) - set(Chunk.__dataclass_fields__)
    if unknown or "global_shape" not in given:
        raise LayoutError(
            f"arrays[{name!r}] has the entries {sorted(given)}; pass global_shape and, where they "
            f"differ from the defaults, {', '.join(list(Chunk.__dataclass_fields__)[1:])}."
        )
    shape = _as_tuple(given["global_shape"])
    chunk = Chunk(
        global_shape=shape,
        chunk_shape=_as_tuple(given.get("chunk_shape", shape)),
        chunk_position=_as_tuple(given.get("chunk_position", (0,) * len(shape))),
        dims=tuple(given.get("dims", [f"dim_{axis}" for axis in range(len(shape))])),
        dtype=np.dtype(given.get("dtype", np.float64)),
        attrs=dict(given.get("attrs", {})),
    )
    for entry in ("chunk_shape", "chunk_position", "dims"):
        if len(getattr(chunk, entry)) != len(shape):
            raise LayoutError(
                f"{entry}={getattr(chunk, entry)} of array {name!r} has not one entry for each "
                f"axis of global_shape={shape}; pass {len(shape)}."
            )
    if len(set(chunk.dims)) != len(shape):
        raise LayoutError(f"dims={chunk.dims} of array {name!r} repeats a name; pass unique ones.")
    if any(size < 1 for size in chunk.chunk_shape) or any(at < 0 for at in chunk.chunk_position):
        raise LayoutError(
            f"array {name!r} has chunk_shape={chunk.chunk_shape} at chunk_position="
            f"{chunk.chunk_position}; pass sizes of one or more and positions from zero on."
        )
    return chunk


def arrange(declared: Sequence[Mapping[str, Chunk]]) -> dict[str, ArrayLayout]:
    """Put the chunks of all ranks together.

    Parameters
    ----------
    declared : sequence of mappings of str to Chunk
        By rank; a rank need not have a chunk of every array.

    Returns
    -------
    dict of str to ArrayLayout
        In the order in which the ranks name the arrays.

    Raises
    ------
    LayoutError
        With the ranks at fault: chunks overlap, lie outside of the grid, differ in what they say
        of the whole array, or leave holes.

    Examples
    --------
    >>> halves = [
    ...     {"x": read_chunk("x", dict(global_shape=[5], chunk_shape=[3], chunk_position=[0]))},
    ...     {"x": read_chunk("x", dict(global_shape=[5], chunk_shape=[2], chunk_position=[1]))},
    ... ]
    >>> arrange(halves)["x"].chunks
    ((3, 2),)
    """
    names = list(dict.fromkeys(name for chunks in declared for name in chunks))
    if not names:
        raise LayoutError("no rank declares an array; pass arrays={name: {...}} to the bridge.")
    return {name: _arrange(name, [chunks.get(name) for chunks in declared]) for name in names}


def _arrange(name: str, chunks: Sequence[Chunk | None]) -> ArrayLayout:
    owners = {rank: chunk for rank, chunk in enumerate(chunks) if chunk is not None}
    first = next(iter(owners))
    whole = owners[first]
    for rank, chunk in owners.items():
        for entry in ("global_shape", "dims", "dtype"):
            if getattr(chunk, entry) != getattr(whole, entry):
                raise LayoutError(
                    f"rank {rank} declares {entry}={getattr(chunk, entry)} of array {name!r}, "
                    f"rank {first} {getattr(whole, entry)}; they must be equal.",
                    (rank,),
                )
    _refuse_overlaps(name, owners)
    sizes = tuple(_sizes(name, owners, axis) for axis in range(len(whole.global_shape)))
    taken = {chunk.chunk_position for chunk in owners.values()}
    holes = [place for place in np.ndindex(*map(len, sizes)) if place not in taken]
    if holes:
        raise LayoutError(
            f"no rank has the chunk of array {name!r} at chunk_position={holes[0]} of the grid "
            f"{tuple(map(len, sizes))}; every place needs a rank."
        )
    places = tuple(None if chunk is None else chunk.chunk_position for chunk in chunks)
    return ArrayLayout(name, whole.dims, sizes, places, whole.dtype, whole.attrs)


def _refuse_overlaps(name: str, owners: Mapping[int, Chunk]) -> None:
    taken: dict[tuple[int, ...], int] = {}
    for rank, chunk in owners.items():
        other = taken.setdefault(chunk.chunk_position, rank)
        if other != rank:
            raise LayoutError(
                f"rank {rank} declares chunk_position={chunk.chunk_position} of array {name!r}, "
                f"which rank {other} has already; chunks must not overlap.",
                (rank,),
            )


def _sizes(name: str, owners: Mapping[int, Chunk], axis: int) -> tuple[int, ...]:
    """Return the chunk sizes along an axis; ranks in one row of the grid must agree."""
    sizes: dict[int, tuple[int, int]] = {}
    for rank, chunk in owners.items():
        at, size = chunk.chunk_position[axis], chunk.chunk_shape[axis]
        known, other = sizes.setdefault(at, (size, rank))
        if known != size:
            raise LayoutError(
                f"rank {rank} has {size} along {chunk.dims[axis]} of array {name!r} at "
                f"chunk_position={chunk.chunk_position}, rank {other} has {known} in the same row "
                "of the grid; chunks of one row have one size.",
                (rank,),
            )
    length, stop = next(iter(owners.values())).global_shape[axis], 0
    for at, (size, rank) in sorted(sizes.items()):
        stop += size
        if at >= len(sizes) or stop > length:
            raise LayoutError(
                f"rank {rank} declares chunk_position={owners[rank].chunk_position} of array "
                f"{name!r}, which lies outside of the grid: {len(sizes)} chunks along "
                f"{owners[rank].dims[axis]}, of {length} in all.",
                (rank,),
            )
    if stop != length:
        raise LayoutError(
            f"the chunks of array {name!r} have {stop} along axis {axis}, its global_shape "
            f"{length}; a rank is missing or a size is wrong."
        )
    return tuple(size for _, (size, _) in sorted(sizes.items()))


def _as_tuple(sizes: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in (sizes if np.ndim(sizes) else [sizes]))
