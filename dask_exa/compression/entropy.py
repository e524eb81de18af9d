"""Integers and raw values to bytes without loss, by libraries: Pcodec, Zstandard and zlib."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numcodecs import Blosc

_PCODEC, _ZSTD = b"\0", b"\1"
_BYTES = 1
_LEVEL = 8
_FEW = 256  # below, the tables of Pcodec count
_PCODEC_TYPES = {"i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8"}


def encode_integers(values: np.ndarray) -> bytes:
    """Code integers that have no order, such as quantised coefficients.

    Parameters
    ----------
    values : array of shape (n,), integers within those of int64

    Returns
    -------
    bytes
        `decode_integers` wants to be told n.
    """
    largest = max(int(values.max(initial=0)), -int(values.min(initial=0)))
    width = 2 if largest < 2**15 else 4 if largest < 2**31 else 8
    pcodec, standalone = _pcodec()
    config = pcodec.ChunkConfig(
        compression_level=_LEVEL,
        mode_spec=pcodec.ModeSpec.classic(),
        delta_spec=pcodec.DeltaSpec.no_op(),
    )
    narrow = np.ascontiguousarray(values, f"=i{width}")
    coded = bytes([width]) + standalone.simple_compress(narrow, config)
    if values.size > _FEW or largest >= 128:
        return coded
    return min(coded, bytes([_BYTES]) + zlib.compress(values.astype(np.int8).tobytes()), key=len)


def decode_integers(data: bytes, size: int) -> np.ndarray:
    """Return the integers that `encode_integers` has coded.

    Parameters
    ----------
    data : bytes
    size : int

    Returns
    -------
    array of shape (size,)
    """
    if data[0] == _BYTES:
        return _checked(np.frombuffer(zlib.decompress(data[1:]), np.int8), np.int8, size)
    return _checked(_pcodec()[1].simple_decompress(data[1:]), f"i{data[0]}", size)


def encode_lossless(values: np.ndarray) -> bytes:
    """Code raw values: the smaller one of Pcodec and of Zstandard of shuffled bytes.

    Parameters
    ----------
    values : array of shape (n,), of any integer or real dtype, in native byte order

    Returns
    -------
    bytes
        `decode_lossless` wants to be told dtype and n.
    """
    values = np.ascontiguousarray(values)
    shuffle = Blosc.SHUFFLE if values.dtype.itemsize > 1 else Blosc.NOSHUFFLE
    coded = [_ZSTD + Blosc(cname="zstd", clevel=5, shuffle=shuffle).encode(values.tobytes())]
    if values.dtype.str[1:] in _PCODEC_TYPES:
        pcodec, standalone = _pcodec()
        config = pcodec.ChunkConfig(compression_level=_LEVEL)
        coded.append(_PCODEC + standalone.simple_compress(values, config))
    return min(coded, key=len)


def decode_lossless(data: bytes, dtype: Any, size: int) -> np.ndarray:
    """Return the values that `encode_lossless` has coded.

    Parameters
    ----------
    data : bytes
    dtype : dtype
    size : int

    Returns
    -------
    array of shape (size,)
    """
    if data[:1] == _PCODEC:
        return _checked(_pcodec()[1].simple_decompress(data[1:]), dtype, size)
    return _checked(np.frombuffer(Blosc().decode(data[1:]), dtype), dtype, size).copy()


def _checked(values: np.ndarray | None, dtype: Any, size: int) -> np.ndarray:
    if values is None or len(values) != size:
        raise ValueError(f"the coded block is damaged: it does not hold {size} values.")
    return np.asarray(values).astype(dtype, copy=False)


def _pcodec() -> tuple[Any, Any]:
    """Return Pcodec, and its module that codes whole arrays."""
    try:
        import pcodec
        from pcodec import standalone
    except ImportError as error:
        raise ImportError(
            "compression needs pcodec: pip install 'dask-exa[compression]'"
        ) from error
    return pcodec, standalone
