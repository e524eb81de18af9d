"""One task a chunk of a Dask array, which knows where its chunk lies."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np


def map_chunks(
    function: Callable[[np.ndarray, list[int]], np.ndarray],
    data: Any,
    chunks: tuple[tuple[int, ...], ...],
    dtype: Any = np.float64,
) -> Any:
    """Apply a function to every chunk.

    Parameters
    ----------
    function : callable
        ``function(block, begin)`` with the first index of the block along every axis. Its array
        may have one axis more, the last.
    data : dask.array.Array
    chunks : tuple of tuple of int
        Of the result.
    dtype : dtype, default=float64

    Returns
    -------
    dask.array.Array

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_exa.inputs.velocity_space.chunks import map_chunks
    >>> data = da.ones((5,), chunks=2)
    >>> map_chunks(lambda block, begin: block * begin[0], data, data.chunks).compute()
    array([0., 0., 2., 2., 4.])
    """
    begins = [[0, *itertools.accumulate(sizes)] for sizes in data.chunks]

    def of_chunk(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
        # the number of a block has the new axis, too
        return function(block, [at[n] for at, n in zip(begins, block_id, strict=False)])

    new_axis = data.ndim if len(chunks) > data.ndim else None
    meta = np.empty((0,) * len(chunks), dtype=dtype)
    return data.map_blocks(of_chunk, dtype=dtype, chunks=chunks, new_axis=new_axis, meta=meta)
