"""A block of any dtype as the real numbers that are coded, and back."""

from __future__ import annotations

import math

import numpy as np

from dask_exa.compression.entropy import decode_lossless, encode_lossless


def native(dtype: np.dtype) -> np.dtype:
    """Return a dtype in the byte order of this machine."""
    return dtype.newbyteorder("=")


def dtype_of_parts(dtype: np.dtype) -> np.dtype:
    """Return the dtype of the two parts of complex numbers; others are their own."""
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else native(dtype)


def working_dtype(parts: np.dtype) -> np.dtype:
    """Return the dtype that parts are coded in: single precision where it holds them, or double."""
    return np.dtype(np.float32 if parts.kind == "f" and parts.itemsize <= 4 else np.float64)


def as_parts(block: np.ndarray) -> np.ndarray:
    """Return real values; those of a complex block have a last axis of two."""
    values = np.ascontiguousarray(block, native(block.dtype)).reshape(block.shape)
    if block.dtype.kind != "c":
        return values
    return values.reshape(*block.shape, 1).view(dtype_of_parts(block.dtype))


def mask_of_parts(mask: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return a mask of the values of a block as one of their parts."""
    return np.broadcast_to(mask if parts.ndim == mask.ndim else mask[..., None], parts.shape)


def joined(parts: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return the block that `as_parts` was given."""
    values = np.ascontiguousarray(parts).reshape(-1).view(native(dtype))
    return values.reshape(shape).astype(dtype, copy=False)


def rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return floats in the dtype of parts, integers rounded to the next one that there is."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    with np.errstate(over="ignore"):  # infinite values break the bound, and are thrown away
        return values.astype(dtype, copy=False)


def encode_raw(block: np.ndarray) -> bytes:
    """Code a block of any dtype without loss."""
    values = np.ascontiguousarray(block, native(block.dtype))
    return encode_lossless(values.reshape(-1).view(_raw_dtype(block.dtype)))


def decode_raw(data: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return the block that `encode_raw` has coded."""
    raw = _raw_dtype(dtype)
    values = decode_lossless(data, raw, math.prod(shape) * dtype.itemsize // raw.itemsize)
    return values.view(native(dtype)).reshape(shape).astype(dtype, copy=False)


def _raw_dtype(dtype: np.dtype) -> np.dtype:
    if dtype.kind in "mM":
        return np.dtype(np.int64)
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype_of_parts(dtype)
