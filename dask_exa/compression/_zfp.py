"""The only module that touches zfpy, the Python interface of zfp."""

from __future__ import annotations

from typing import Any

import numpy as np


def encode(values: np.ndarray, largest: float) -> bytes:
    """Code values of 1 to 4 dimensions, float32 or float64, with a bound of the largest error."""
    return _load().compress_numpy(values, tolerance=largest, write_header=True)


def decode(data: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return the values that `encode` has coded."""
    return _load().decompress_numpy(data).reshape(shape).astype(dtype, copy=False)


def _load() -> Any:
    try:
        import zfpy
    except ImportError as error:
        raise ImportError(
            "zfp needs zfpy: pip install 'dask-exa[compression]', or leave \"zfp\" out of "
            "transforms"
        ) from error
    return zfpy
