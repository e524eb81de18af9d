"""One array namespace for NumPy, CuPy and the strict test namespace.

Numeric code asks an array for its functions (`namespace`) instead of importing NumPy, so that
the same lines run on the host and on a GPU.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_cupy_array, is_numpy_array

__all__ = [
    "as_float64",
    "device",
    "is_cupy",
    "is_host",
    "namespace",
    "product",
    "scratch",
    "to_host",
]

Array = Any
"""An array of any namespace: `numpy.ndarray`, `cupy.ndarray`, …"""


def namespace(*arrays: Array) -> Any:
    """Return the array API namespace that the given arrays share."""
    return array_namespace(*[array for array in arrays if array is not None])


def is_host(array: Array) -> bool:
    """Whether an array is a plain NumPy array in host memory."""
    return is_numpy_array(array)


def is_cupy(array: Array) -> bool:
    """Whether an array is in the memory of a GPU under CuPy."""
    return is_cupy_array(array)


class _Scratch(threading.local):
    """Buffers that a thread uses again and again.

    Dask's workers give freed memory back to the system at once (``MALLOC_TRIM_THRESHOLD_``), so
    that every temporary array of a few MB costs its page faults anew: three times the arithmetic.
    """

    def __init__(self) -> None:
        self.buffers: dict[str, np.ndarray] = {}


_scratch = _Scratch()


def scratch(name: str, shape: tuple[int, int], like: Array) -> Array:
    """Return a float64 array to be overwritten, valid until this thread asks for `name` again."""
    if not is_host(like):
        xp = namespace(like)
        return xp.empty(shape, dtype=xp.float64)
    size = shape[0] * shape[1]
    buffer = _scratch.buffers.get(name)
    if buffer is None or buffer.size < size:
        buffer = _scratch.buffers[name] = np.empty(size)
    return buffer[:size].reshape(shape)


def product(small: Array, rows: Array) -> Array:
    """Return ``small @ rows`` of float64 arrays, valid until this thread asks for the next one."""
    if not is_host(rows):
        return small @ rows
    out = scratch("product", (small.shape[0], rows.shape[1]), rows)
    return np.matmul(small, rows, out=out)


def to_host(array: Array) -> np.ndarray:
    """Copy an array to host memory as NumPy; a NumPy array comes back as it is."""
    if is_host(array):
        return array
    if hasattr(array, "get"):  # CuPy refuses the implicit copy that np.asarray would make
        return array.get()
    return np.asarray(array)


def as_float64(array: Array) -> Array:
    """Cast to float64, without a copy where it already is.

    Squares of float32 values summed in float32 lose the small principal components; whatever
    is accumulated is therefore accumulated in float64.
    """
    xp = namespace(array)
    return array if array.dtype == xp.float64 else xp.astype(array, xp.float64)
