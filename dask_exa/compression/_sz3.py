"""The only module that touches pysz, the Python interface of SZ3."""

from __future__ import annotations

from typing import Any

import numpy as np


def encode(values: np.ndarray, largest: float) -> bytes:
    """Code values of 1 to 3 dimensions, float32 or float64, with a bound of the largest error."""
    pysz = _load()
    config = pysz.szConfig(values.shape)
    config.errorBoundMode = pysz.szErrorBoundMode.ABS
    config.absErrorBound = largest
    return pysz.sz.compress(values, config)[0].tobytes()


def decode(data: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return the values that `encode` has coded."""
    coded = np.frombuffer(data, np.uint8).copy()
    return _load().sz.decompress(coded, np.dtype(dtype), shape)[0]


def _load() -> Any:
    try:
        import pysz
    except ImportError as error:
        raise ImportError(
            "SZ3 needs pysz: pip install 'dask-exa[compression]', or leave \"sz3\" out of "
            "transforms"
        ) from error
    return pysz
