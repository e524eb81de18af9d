"""Arrays whose chunks are made of pieces of another array's chunks: halos, and blocks unrolled.

What a chunk needs of its neighbours is cut out where the neighbour is; only these cuts travel.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask._task_spec import List, Task, TaskRef

from dask_exa._array import Array
from dask_exa.reduction._graph import array_of_layer, with_keys


class Piece(NamedTuple):
    """A part of one chunk."""

    block: tuple[int, ...]
    """Place of the chunk in the grid of chunks."""
    cut: tuple[slice, ...] | None = None
    """What of it; None for all."""


def map_pieces(
    function: Callable[..., Array],
    X: Any,
    blocks: Mapping[tuple[int, ...], tuple[Sequence[Piece], tuple[Any, ...]]],
    chunks: tuple[tuple[int, ...], ...],
    dtype: Any,
) -> Any:
    """Return a lazy array, every chunk of which one task makes from pieces of others.

    Works in both of Dask's array modes.

    Parameters
    ----------
    function : callable
        ``function(pieces, *arguments)`` returns a chunk; it leaves the pieces as they are.
    X : dask.array.Array
    blocks : mapping
        For every place in the grid of the new chunks its pieces, and what else the function
        takes: small values, which go into the graph.
    chunks : tuple of tuples of int
        Of the new array.
    dtype : dtype

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> X = da.arange(6, chunks=3)
    >>> halo = Piece((1,), (slice(0, 1),))
    >>> blocks = {(0,): ([Piece((0,)), halo], ()), (1,): ([Piece((1,))], ())}
    >>> map_pieces(np.concatenate, X, blocks, ((4, 3),), X.dtype).compute()
    array([0, 1, 2, 3, 3, 4, 5])
    """
    X, keys = with_keys(X)
    name = f"exa-{getattr(function, '__name__', 'pieces').strip('_')}-{uuid.uuid4().hex[:12]}"
    layer: dict[Any, Task] = {}
    cuts: dict[Any, Any] = {}
    numbers = itertools.count()
    for place, (pieces, arguments) in blocks.items():
        refs = []
        for block, cut in pieces:
            key = keys[block]
            if cut is not None:
                known = (block, tuple((part.start, part.stop, part.step) for part in cut))
                if known not in cuts:
                    cuts[known] = (f"{name}-cut", next(numbers))
                    layer[cuts[known]] = Task(cuts[known], _cut, TaskRef(key), cut)
                key = cuts[known]
            refs.append(TaskRef(key))
        layer[name, *place] = Task((name, *place), function, List(*refs), *arguments)
    return array_of_layer(name, layer, chunks, dtype, source=X)


def reshape_blocks(X: Any, chunks: tuple[tuple[int, ...], ...]) -> Any:
    """Return an array whose chunks have other shapes: the chunks follow each other as before.

    Parameters
    ----------
    X : dask.array.Array
    chunks : tuple of tuples of int
        Of the new array; as many, and with as many values each, in C order.

    Examples
    --------
    >>> import dask.array as da
    >>> X = da.zeros((6, 8), chunks=(3, 8))
    >>> reshape_blocks(X, ((3, 3), (2,), (4,))).shape
    (6, 2, 4)
    """
    if chunks == X.chunks:
        return X
    places = np.ndindex(*map(len, chunks))
    blocks = {
        place: ([Piece(old)], (tuple(sizes[i] for sizes, i in zip(chunks, place, strict=True)),))
        for place, old in zip(places, np.ndindex(*X.numblocks), strict=True)
    }
    return map_pieces(reshape_piece, X, blocks, chunks, X.dtype)


def reshape_piece(pieces: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """Return the only piece in another shape; for `map_pieces`."""
    return pieces[0].reshape(shape)


def _cut(chunk: Array, cut: tuple[slice, ...]) -> Array:
    part = chunk[cut]
    # a view would keep all of the chunk in memory
    return part.copy() if 2 * part.size < chunk.size else part
