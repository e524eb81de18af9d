"""Arrays of a zarr store, formats 2 and 3, with the names of their dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

from dask_exa.inputs.arrays import StoredArray, stream_arrays
from dask_exa.inputs.stream import Stream

_MARKERS = ("zarr.json", ".zgroup", ".zarray")


def recognise(source: str) -> bool:
    """Whether the source is the folder of a zarr group or array."""
    return any((Path(source) / marker).is_file() for marker in _MARKERS)


def open_store(source: str, *, chunks: Any = None, variables: Any = None) -> Stream:
    """Open any zarr group or array as a stream, see `dask_exa.inputs.open_stream`."""
    node = zarr.open(source, mode="r")
    if isinstance(node, zarr.Array):
        arrays = [_stored(Path(source).stem, node)]
    else:
        members = node.members(max_depth=None)
        arrays = [_stored(name, item) for name, item in members if isinstance(item, zarr.Array)]
        arrays.sort(key=lambda stored: stored.name)
    return stream_arrays(arrays, name=source, chunks=chunks, variables=variables)


def _stored(name: str, array: zarr.Array) -> StoredArray:
    dims: Any = getattr(array.metadata, "dimension_names", None)
    dims = dims or array.attrs.get("_ARRAY_DIMENSIONS") or (None,) * array.ndim
    attrs = {key: array.attrs[key] for key in ("units", "long_name") if key in array.attrs}
    return StoredArray(name, array, tuple(dims), attrs)
