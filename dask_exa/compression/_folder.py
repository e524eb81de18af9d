"""The folder of a compressed store: files that are whole or not there, and what they are called.

Readers see what the metadata of the group says, which are replaced in one go when all chunks of
the steps are written: nobody sees half a step, not after a kill or on a full disk either.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

METADATA = "zarr.json"
CHUNK_KEYS: Any = {"name": "default", "separator": "."}
"""Chunk "c.0.1": a file beside the metadata, and no folders that a change of dimensions leaves."""


@contextlib.contextmanager
def quiet_about_text() -> Iterator[None]:
    """Write text without the warnings that the specification of zarr has no type for it yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        warnings.simplefilter("ignore", category=FutureWarning)
        yield


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that takes the place of an earlier one when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def array_metadata(
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: Any,
    attributes: Mapping[str, Any],
    codec: Any = None,
) -> dict[str, Any]:
    """Return the metadata of an array without steps, whose first dimension is time.

    Parameters
    ----------
    dims : tuple of str
        With time first.
    shape : tuple of int
        Of one step.
    chunks : tuple of int
        With time first.
    dtype : dtype or "str"
    attributes : dict
    codec : zarr codec, optional
        From arrays to bytes; by default what zarr takes, which loses nothing.
    """
    coded = {} if codec is None else {"serializer": codec, "compressors": None, "filters": None}
    with quiet_about_text():
        array = zarr.create_array(
            MemoryStore(),
            shape=(0, *shape),
            chunks=chunks,
            dtype=dtype,
            dimension_names=dims,
            attributes=plain(attributes),
            chunk_key_encoding=CHUNK_KEYS,
            fill_value=fill_value(dtype),
            **coded,
        )
    files = array.metadata.to_buffer_dict(default_buffer_prototype())
    return json.loads(files[METADATA].to_bytes())


def fill_value(dtype: Any) -> Any:
    """Return what stands where a step has no value."""
    if dtype == "str":
        return ""
    kind = np.dtype(dtype).kind
    return {"f": np.nan, "c": complex(np.nan, np.nan)}.get(kind, 0)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a group or array."""
    return json.loads((path / METADATA).read_text())


def write_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    """Replace the metadata of a group or array."""
    write_whole(path / METADATA, json.dumps(metadata, indent=1, default=_json_value).encode())


def publish(folder: Path, arrays: Mapping[str, Mapping[str, Any]], attributes: Any) -> None:
    """Make arrays, as they are now, what readers of the group see.

    Parameters
    ----------
    folder : Path
    arrays : dict of str to dict
        Metadata by name.
    attributes : dict
        Of the group.
    """
    for name, metadata in arrays.items():
        write_metadata(folder / name, metadata)
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": plain(attributes),
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }
    write_metadata(folder, group)


def published(folder: Path) -> dict[str, Any] | None:
    """Return the metadata of the arrays that readers see; None where there is no such group."""
    path = folder / METADATA
    if not path.is_file():
        return None
    found = json.loads(path.read_text()).get("consolidated_metadata") or {}
    return found.get("metadata")


def plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as JSON has them: numbers and lists instead of those of NumPy."""
    return json.loads(json.dumps({str(k): v for k, v in attributes.items()}, default=_json_value))


def _json_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value)
