"""Values that are not finite: where they are and which, kept exactly; a block without them."""

from __future__ import annotations

import numpy as np

from dask_exa.compression._byte_fields import Reader, Writer
from dask_exa.compression.entropy import decode_lossless, encode_lossless


def split_off(block: np.ndarray, finite: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Return a block whose values are all finite, and the code of those that were not.

    Parameters
    ----------
    block : array of any shape, real and of a floating dtype
    finite : array of bool, of the shape of the block
        The others are replaced by straight lines between their neighbours in memory.

    Returns
    -------
    filled : array
        The block itself where all is finite.
    data : bytes
        Empty where all is finite.
    """
    if finite.all():
        return block, b""
    flat, there = block.reshape(-1), finite.reshape(-1)
    places = np.flatnonzero(there)
    filled = flat.copy()
    if places.size:
        gaps = np.flatnonzero(~there)
        filled[gaps] = np.interp(gaps, places, flat[places].astype(np.float64))
        filled[gaps] = np.clip(filled[gaps], flat[places].min(), flat[places].max())
    else:
        filled[:] = 0
    raw = np.ascontiguousarray(flat[~there]).view(f"u{block.dtype.itemsize}")
    packed = np.packbits(~there)
    data = Writer().section(encode_lossless(packed)).number(raw.size).rest(encode_lossless(raw))
    return filled.reshape(block.shape), data


def put_back(block: np.ndarray, data: bytes) -> np.ndarray:
    """Return a block with the values that `split_off` has taken out.

    Parameters
    ----------
    block : array
        Changed in place.
    data : bytes

    Returns
    -------
    array
    """
    if not data:
        return block
    reader = Reader(data)
    places = np.flatnonzero(_unpack(reader.section(), block.size))
    size = reader.number()
    raw = decode_lossless(reader.rest(), f"u{block.dtype.itemsize}", size)
    block.reshape(-1)[places] = raw.view(block.dtype)
    return block


def _unpack(data: bytes, size: int) -> np.ndarray:
    packed = decode_lossless(data, np.uint8, -(-size // 8))
    return np.unpackbits(packed, count=size).astype(bool)
