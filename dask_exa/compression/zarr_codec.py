"""The zarr codec of a compressed store: how any zarr reader gets at its chunks.

A chunk is a row of *parts* along the first axis, each one block of `dask_exa.compression`: what is
appended later is put behind what is there, which need not be coded again. A part may be smaller
than its place in the chunk, which is then filled up with the fill value of the array.
"""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import zarr.registry
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.core.buffer import Buffer, NDBuffer

from dask_exa._threads import thread_share
from dask_exa.compression.bounds import Bound
from dask_exa.compression.coding import Basis, decode_block, encode_block

NAME = "dask_exa"
BASIS_FOLDER = "basis"
"""Below an array; holds one file for each basis that its chunks need, named by its hash."""
_MAGIC = b"DXA1"
_HEADER = struct.Struct("<4sBIQ")
_MAX_KEPT = 2**25
"""Bytes of the largest chunk that is kept decoded: the next step asked for is often in it."""


class Part(NamedTuple):
    """One coded block of a chunk.

    Parameters
    ----------
    basis : str
        Name of the basis that decodes it; empty for none.
    n_rows : int
        Its length along the first axis.
    block : bytes
        Of `dask_exa.compression.encode_block`.
    """

    basis: str
    n_rows: int
    block: bytes


def join_parts(parts: Iterable[Part]) -> bytes:
    """Write parts as a chunk.

    Examples
    --------
    >>> from dask_exa.compression.zarr_codec import Part, join_parts, split_parts
    >>> split_parts(join_parts([Part("", 3, b"one"), Part("a1", 1, b"two")]))
    [Part(basis='', n_rows=3, block=b'one'), Part(basis='a1', n_rows=1, block=b'two')]
    """
    found = bytearray()
    for part in parts:
        name = part.basis.encode()
        found += _HEADER.pack(_MAGIC, len(name), part.n_rows, len(part.block))
        found += name + part.block
    return bytes(found)


def split_parts(data: bytes) -> list[Part]:
    """Return the parts of a chunk.

    Raises
    ------
    ValueError
        When the chunk is no row of parts, or ends within one.
    """
    parts, start = [], 0
    while start < len(data):
        if len(data) - start < _HEADER.size:
            raise _cut_off(data)
        magic, n_name, n_rows, n_block = _HEADER.unpack_from(data, start)
        if magic != _MAGIC:
            raise ValueError(
                f"the chunk has {magic!r} where {_MAGIC!r} begins a part of dask-exa; it was "
                "written by something else, or is damaged: compress the source again."
            )
        middle = start + _HEADER.size + n_name
        start = middle + n_block
        if start > len(data):
            raise _cut_off(data)
        parts.append(Part(data[middle - n_name : middle].decode(), n_rows, data[middle:start]))
    return parts


def _cut_off(data: bytes) -> ValueError:
    return ValueError(
        f"the chunk of {len(data)} bytes ends within a part: it was cut off while it was copied "
        "or written; copy it again, or compress the source again."
    )


@dataclass(frozen=True)
class BlockCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Chunks of a zarr array, format 3, coded within a bound; its name there is "dask_exa".

    Parameters
    ----------
    bound : Bound
        That arrays are coded with when something is written through zarr.
    bases : tuple of (str, str)
        Small bases by name, as base64. Large ones are files below the array, and are read from
        there.

    References
    ----------
    Zarr core specification, version 3, "array to bytes" codecs.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> from dask_exa.compression.zarr_codec import BlockCodec
    >>> from dask_exa.compression import Bound
    >>> values = np.sin(np.linspace(0, 9, 4096)).reshape(64, 64)
    >>> array = zarr.create_array(
    ...     zarr.storage.MemoryStore(),
    ...     data=values,
    ...     chunks=(32, 64),
    ...     serializer=BlockCodec(Bound("abs", 1e-3)),
    ...     compressors=None,
    ... )
    >>> bool(np.abs(array[:] - values).max() <= 1e-3), array.nbytes_stored() < values.nbytes / 4
    (True, True)
    """

    bound: Bound
    bases: tuple[tuple[str, str], ...] = ()
    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the codec from its entry in the metadata of an array."""
        found = data.get("configuration", {})
        if data.get("name") != NAME or "bound" not in found:
            raise ValueError(f"codec={data!r} is not one of {NAME!r} with a bound.")
        bound = Bound(str(found["bound"]["kind"]), float(found["bound"]["value"]))
        return cls(bound, tuple(sorted(found.get("bases", {}).items())))

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in the metadata of an array."""
        kind, value = self.bound
        # JSON has no infinity, which is the bound of a lossless code in decibels
        written = str(value) if math.isinf(value) else value
        configuration: dict[str, Any] = {"bound": {"kind": kind, "value": written}}
        if self.bases:
            configuration["bases"] = dict(self.bases)
        return {"name": NAME, "configuration": configuration}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Raise NotImplementedError, for the size depends on the values."""
        raise NotImplementedError(f"the size of a chunk of {NAME!r} depends on its values.")

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: Any) -> Buffer:
        block = np.ascontiguousarray(chunk_data.as_numpy_array())
        found = await asyncio.to_thread(encode_block, block, self.bound)
        n_rows = block.shape[0] if block.ndim else 1
        return chunk_spec.prototype.buffer.from_bytes(join_parts([Part("", n_rows, found)]))

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: Any) -> NDBuffer:
        data = chunk_data.to_bytes()
        names = _basis_names(data)
        inline = {name: text for name, text in self.bases if name in names}
        if set(inline) != names:
            raise ValueError(
                f"the chunk needs the basis {sorted(names - set(inline))}, which is beside its "
                "array; read the array as it was written, not within another codec (sharding)."
            )
        values = await asyncio.to_thread(_decode, data, tuple(sorted(inline.items())), chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(values)

    async def _decode_partial_single(
        self, byte_getter: Any, selection: Any, chunk_spec: Any
    ) -> NDBuffer | None:
        found = await byte_getter.get(prototype=chunk_spec.prototype)
        if found is None:
            return None
        data = found.to_bytes()
        needed = _basis_names(data)
        inline = {name: text for name, text in self.bases if name in needed}
        for name in needed - set(inline):
            inline[name] = await _read_basis(byte_getter, name, chunk_spec)
        values = await asyncio.to_thread(_decode, data, tuple(sorted(inline.items())), chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(values[selection])


zarr.registry.register_codec(NAME, BlockCodec)


def _basis_names(data: bytes) -> set[str]:
    return {part.basis for part in split_parts(data)} - {""}


async def _read_basis(byte_getter: Any, name: str, chunk_spec: Any) -> str:
    """Return a basis that is a file below the array of a chunk, as base64."""
    path = f"{_array_path(byte_getter.path, len(chunk_spec.shape))}/{BASIS_FOLDER}/{name}"
    found = await byte_getter.store.get(path.lstrip("/"), prototype=chunk_spec.prototype)
    if found is None:
        raise FileNotFoundError(
            f"the basis {path!r} of the store is not there, and the chunk {byte_getter.path!r} "
            "cannot be read without it; copy the whole store."
        )
    return base64.b64encode(found.to_bytes()).decode()


def _array_path(chunk_path: str, n_dims: int) -> str:
    """Return the path of the array of a chunk, such as "density" for "density/c.0.1"."""
    parts = chunk_path.split("/")
    is_flat = "." in parts[-1] or n_dims == 0
    return "/".join(parts[: -1 if is_flat else -(n_dims + 1)])


def _decode(data: bytes, bases: tuple[tuple[str, str], ...], chunk_spec: Any) -> np.ndarray:
    """Return a whole chunk, which must not be written to."""
    dtype = _native_dtype(chunk_spec)
    is_small = math.prod(chunk_spec.shape) * dtype.itemsize <= _MAX_KEPT
    blocks = (_decode_kept if is_small else _decode_blocks)(data, bases)
    for block in blocks:
        if block.dtype != dtype or block.ndim != len(chunk_spec.shape):
            raise ValueError(
                f"the chunk has {block.ndim} dimensions of {block.dtype} where the array has "
                f"{len(chunk_spec.shape)} of {dtype}; the store is damaged: compress the source "
                "again."
            )
    if len(blocks) == 1 and blocks[0].shape == chunk_spec.shape:
        return blocks[0]
    return _placed(blocks, chunk_spec.shape, chunk_spec.fill_value, dtype)


def _placed(
    blocks: Iterable[np.ndarray], shape: tuple[int, ...], fill_value: Any, dtype: np.dtype
) -> np.ndarray:
    """Return blocks one behind the other along the first axis, and the fill value around them."""
    placed = np.full(shape, fill_value, dtype)
    first = 0
    for block in blocks:
        corner = tuple(slice(size) for size in block.shape[1:])
        placed[(slice(first, first + len(block)), *corner)] = block
        first += len(block)
    return placed


def _native_dtype(chunk_spec: Any) -> np.dtype:
    """Return the type of the values; later versions than zarr 3.0 wrap it."""
    dtype = chunk_spec.dtype
    return dtype.to_native_dtype() if hasattr(dtype, "to_native_dtype") else np.dtype(dtype)


def _decode_blocks(data: bytes, bases: tuple[tuple[str, str], ...]) -> list[np.ndarray]:
    known = {name: _load_basis(name, text) for name, text in bases}
    parts = split_parts(data)
    with thread_share(1):  # zarr and Dask have a thread for each chunk already
        blocks = [decode_block(part.block, basis=known.get(part.basis)) for part in parts]
    for block in blocks:
        block.flags.writeable = False
    return blocks


_decode_kept = lru_cache(maxsize=8)(_decode_blocks)


@lru_cache(maxsize=16)
def _load_basis(name: str, text: str) -> Basis:
    basis = Basis.from_bytes(base64.b64decode(text))
    if basis.name != name:
        raise ValueError(
            f"the basis {name!r} of the store has the contents of {basis.name!r}; it is damaged: "
            "copy the store again."
        )
    return basis
