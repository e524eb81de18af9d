"""Arrays of a store that grow step by step: fields that are coded, and what is kept as it is."""

from __future__ import annotations

import base64
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
import zarr
from dask.array.core import normalize_chunks

from dask_exa._threads import map_threads
from dask_exa.compression import _folder
from dask_exa.compression._achieved import Record, append_records, compare
from dask_exa.compression.bounds import Bound
from dask_exa.compression.coding import decode_block, describe_block, encode_block
from dask_exa.compression.zarr_codec import (
    BASIS_FOLDER,
    Part,
    join_parts,
    split_parts,
)

CHUNK_BYTES = 2**24
"""A chunk takes so many bytes at most, before it is coded: what a reader of one value decodes."""
MAX_STEPS = 16
MAX_INLINE = 2048
"""Bytes of the largest basis that is kept in the metadata of its array."""


class Encoder(Protocol):
    """What codes blocks of variables."""

    def prepare(self, name: str, blocks: Sequence[np.ndarray]) -> None:
        """Look at all blocks of a chunk of steps, before each of them is coded."""

    def __call__(self, name: str, block: np.ndarray) -> tuple[bytes, Any]:
        """Return the coded block, and its basis or None."""


def steps_per_chunk(n_bytes: int) -> int:
    """Return how many steps of a field are coded together.

    Examples
    --------
    >>> from dask_exa.compression._step_arrays import steps_per_chunk
    >>> steps_per_chunk(128 * 128 * 8), steps_per_chunk(4 * 2**20), steps_per_chunk(2**40)
    (16, 4, 1)
    """
    return int(np.clip(CHUNK_BYTES // max(n_bytes, 1), 1, MAX_STEPS))


class CodedArray:
    """A field whose steps are coded within a bound.

    Parameters
    ----------
    folder : Path
        Of the array.
    metadata : dict
        Of the array, with the number of its steps.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        self.folder, self.metadata = folder, metadata
        self.chunks = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        self._lock = threading.Lock()

    @classmethod
    def create(
        cls,
        folder: Path,
        dims: tuple[str, ...],
        field: xr.DataArray,
        shape: tuple[int, ...],
        n_steps: int,
        codec: Any,
    ) -> CodedArray:
        """Return an array without steps for fields such as `field`, in chunks up to `shape`."""
        limit = max(CHUNK_BYTES // n_steps, 1)
        split = normalize_chunks("auto", shape=shape, limit=limit, dtype=field.dtype)
        chunks = (n_steps, *(max(sizes) for sizes in split))
        metadata = _folder.array_metadata(
            dims, field.shape, chunks, field.dtype, field.attrs, codec
        )
        return cls(folder, metadata)

    @property
    def n_steps(self) -> int:
        """Number of steps that are written."""
        return self.metadata["shape"][0]

    def splits(self, fields: Sequence[np.ndarray]) -> bool:
        """Whether any of these steps lies in more than one chunk, or an earlier one does."""
        shapes = [self.metadata["shape"][1:], *(field.shape for field in fields)]
        return any(
            size > chunk
            for shape in shapes
            for size, chunk in zip(shape, self.chunks[1:], strict=True)
        )

    def append(self, fields: np.ndarray, encode: Encoder) -> None:
        """Write steps of shape (n_steps, …) that lie in one chunk of time.

        They may be larger or smaller than those before them.
        """
        row, offset = divmod(self.n_steps, self.chunks[0])
        grow(self.metadata, fields.shape[1:])
        blocks = {
            place: np.ascontiguousarray(fields[(slice(None), *region)])
            for place, region in self._regions()
        }
        encode.prepare(self.folder.name, [block for block in blocks.values() if block.size])
        records = map_threads(
            lambda item: self._write_block(row, offset, *item, encode), blocks.items()
        )
        append_records(self.folder, filter(None, records))
        self.metadata["shape"][0] += len(fields)

    def _regions(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Yield the index of each chunk of a field, and where it lies in the field."""
        shape = self.metadata["shape"][1:]
        counts = [-(-size // chunk) for size, chunk in zip(shape, self.chunks[1:], strict=True)]
        for place in itertools.product(*map(range, counts)):
            corners = zip(place, self.chunks[1:], strict=True)
            yield place, tuple(slice(at * chunk, (at + 1) * chunk) for at, chunk in corners)

    def _write_block(
        self, row: int, offset: int, place: tuple[int, ...], block: np.ndarray, encode: Encoder
    ) -> Record | None:
        path = self.folder / ".".join(["c", *map(str, (row, *place))])
        if not block.size and not path.exists():
            return None
        earlier = _first_rows(path, offset, block)
        if not block.size:
            _folder.write_whole(path, join_parts([*earlier, _nothing(len(block), block)]))
            return None
        data, basis = encode(self.folder.name, block)
        part = Part("" if basis is None else basis.name, len(block), data)
        if basis is not None:
            self._keep(basis)
        _folder.write_whole(path, join_parts([*earlier, part]))
        decoded = decode_block(data, basis=basis)
        return Record(
            first=self.n_steps,
            n_steps=len(block),
            place=place,
            raw=block.nbytes,
            coded=len(join_parts([part])),
            method=describe_block(data).transform,
            n_modes=0 if basis is None else basis.n_components,
            basis=part.basis,
            **compare(block, decoded),
        )

    def _keep(self, basis: Any) -> None:
        """Put a basis where the codec finds it: a small one in the metadata, others in a file."""
        path = self.folder / BASIS_FOLDER / basis.name
        with self._lock:
            inline = self.metadata["codecs"][0]["configuration"].setdefault("bases", {})
            if basis.name in inline or path.exists():
                return
            data = basis.to_bytes()
            if len(data) > MAX_INLINE:
                _folder.write_whole(path, data)
            else:
                inline[basis.name] = base64.b64encode(data).decode()


def grow(metadata: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Make the steps of an array at least as large as `shape`."""
    metadata["shape"][1:] = map(max, metadata["shape"][1:], shape)


def _nothing(n_rows: int, block: np.ndarray) -> Part:
    """Return a part of rows without values, for steps that do not reach to a chunk."""
    empty = np.empty((n_rows, *(0 for _ in block.shape[1:])), block.dtype)
    return Part("", n_rows, encode_block(empty, Bound("abs", 0.0)))


def _first_rows(path: Path, n_rows: int, block: np.ndarray) -> list[Part]:
    """Return the parts of a chunk with its first rows; more are of a run that was killed."""
    if n_rows == 0:
        return []
    if not path.exists():
        return [_nothing(n_rows, block)]
    parts = split_parts(path.read_bytes())
    ends = list(itertools.accumulate(part.n_rows for part in parts))
    if n_rows not in ends:
        raise ValueError(
            f"the chunk {str(path)!r} has parts of {[part.n_rows for part in parts]} steps where "
            f"{n_rows} are to be kept; the store is damaged: compress the source again."
        )
    return parts[: ends.index(n_rows) + 1]


class PlainArray:
    """A coordinate of the steps, kept as it is.

    Parameters
    ----------
    folder : Path
    metadata : dict
    """

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        self.folder, self.metadata = folder, metadata

    @classmethod
    def create(
        cls, folder: Path, dims: tuple[str, ...], value: xr.Variable, n_steps: int
    ) -> PlainArray:
        """Return an array without steps for values such as `value`, of `encoded`."""
        dtype: Any = "str" if value.dtype.kind in "OUST" else value.dtype
        chunks = (n_steps, *(max(size, 1) for size in value.shape))
        metadata = _folder.array_metadata(dims, value.shape, chunks, dtype, value.attrs)
        return cls(folder, metadata)

    def append(self, values: np.ndarray) -> None:
        """Write values of shape (n_steps, …)."""
        first = self.metadata["shape"][0]
        grow(self.metadata, values.shape[1:])
        self.metadata["shape"][0] += len(values)
        corner = (slice(first, None), *(slice(size) for size in values.shape[1:]))
        _folder.write_metadata(self.folder, self.metadata)
        with _folder.quiet_about_text():
            zarr.open_array(self.folder, mode="r+", zarr_format=3)[corner] = values


def encoded(variable: xr.Variable) -> xr.Variable:
    """Return a variable as it is written: dates as numbers, see the CF conventions."""
    plain = variable.copy(deep=False)
    plain.encoding = {}
    if variable.dtype.kind == "M":
        plain.encoding = {"units": "nanoseconds since 1970-01-01", "dtype": "int64"}
    elif variable.dtype.kind == "m":
        plain.encoding = {"units": "nanoseconds", "dtype": "int64"}
    elif variable.dtype.kind != "b":
        return plain
    return xr.conventions.encode_cf_variable(plain)
