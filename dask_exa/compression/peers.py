"""The error-bounded codecs SZ3 and zfp, which nothing that is chosen may be larger than.

Both bound the largest error. For a bound of the sum of squares the coarsest setting that keeps it
is searched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dask_exa.compression import _sz3, _zfp
from dask_exa.compression.bounds import Tolerance

_LEAST_SIZE = 64
"""Values of the smallest block: below, lossless codes are as small, and SZ3 is not made for it."""
_N_TRIALS = 8
_CLOSE = 0.99


class _Trial(NamedTuple):
    data: bytes
    error: float
    setting: float


def encode_sz3(values: np.ndarray, tolerance: Tolerance) -> bytes | None:
    """Code a block by SZ3.

    Parameters
    ----------
    values : array, float32 or float64, finite
    tolerance : Tolerance

    Returns
    -------
    bytes or None
        None where SZ3 does not keep the tolerance, or the block is too small for it.

    References
    ----------
    X. Liang et al., "SZ3: a modular framework for composing prediction-based error-bounded lossy
    compressors", IEEE Trans. Big Data 9, 485 (2023).
    """
    if values.size < _LEAST_SIZE:
        return None
    folded = fold(values, 3)
    return _search(folded, tolerance, _sz3.encode, _sz3.decode, octaves=False)


def decode_sz3(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return the block that `encode_sz3` has coded."""
    return _sz3.decode(data, folded_shape(shape, 3), dtype).reshape(shape)


def encode_zfp(values: np.ndarray, tolerance: Tolerance) -> bytes | None:
    """Code a block by zfp; the parameters are those of `encode_sz3`.

    References
    ----------
    P. Lindstrom, "Fixed-rate compressed floating-point arrays", IEEE Trans. Visualization and
    Computer Graphics 20, 2674 (2014).
    """
    if values.size < _LEAST_SIZE:
        return None
    return _search(fold(values, 4), tolerance, _zfp.encode, _zfp.decode, octaves=True)


def decode_zfp(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return the block that `encode_zfp` has coded."""
    return _zfp.decode(data, folded_shape(shape, 4), dtype).reshape(shape)


def folded_shape(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Return a shape without axes of length 1, its first axes joined until there are `most`."""
    longer = [size for size in shape if size > 1] or [1]
    while len(longer) > most:
        longer[:2] = [longer[0] * longer[1]]
    return tuple(longer)


def fold(values: np.ndarray, most: int) -> np.ndarray:
    """Return values with at most so many dimensions."""
    return np.ascontiguousarray(values.reshape(folded_shape(values.shape, most)))


def _search(
    values: np.ndarray,
    tolerance: Tolerance,
    encode: Callable[[np.ndarray, float], bytes],
    decode: Callable[[bytes, tuple[int, ...], Any], np.ndarray],
    *,
    octaves: bool,
) -> bytes | None:
    """Return the coarsest code within the tolerance that a few trials find.

    zfp keeps only the exponent of its setting, so that it moves by octaves.
    """

    def attempt(setting: float) -> _Trial:
        data = encode(values, setting)
        error = np.abs(decode(data, values.shape, values.dtype).astype(np.float64) - values)
        if tolerance.pointwise:
            return _Trial(data, float(error.max()) / tolerance.value, setting)
        return _Trial(data, math.sqrt(float(np.vdot(error, error)) / tolerance.value), setting)

    if not tolerance.value > 0:
        return None
    setting = tolerance.value
    if not tolerance.pointwise:
        setting = math.sqrt(3 * tolerance.value / values.size)
    elif not octaves:  # its bound is what is asked for
        trial = attempt(setting)
        return trial.data if trial.error <= 1 else None
    best: _Trial | None = None
    low, high = 0.0, math.inf
    for _ in range(_N_TRIALS):
        trial = attempt(setting)
        if trial.error <= 1:
            if best is None or setting > best.setting:
                best, low = trial, setting
            if trial.error > _CLOSE:
                break
        else:
            high = min(high, setting)
        factor = 0.995 / trial.error if trial.error else 4.0
        if octaves:
            factor = 2.0 if trial.error <= 1 else 0.5
        setting *= float(np.clip(factor, 0.1, 8.0))
        if not low < setting < high:
            if octaves:
                break
            setting = math.sqrt(low * high) if low and high < math.inf else (2 * low or high / 2)
    return best.data if best is not None else None
