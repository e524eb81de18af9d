"""One array namespace for NumPy, CuPy and the strict test namespace.

Numeric code asks an array for its functions (`namespace`) instead of importing NumPy, so that
the same lines run on the host and on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

__all__ = ["as_float64", "device", "is_host", "namespace", "to_host"]

Array = Any
"""An array of any namespace: `numpy.ndarray`, `cupy.ndarray`, …"""


def namespace(*arrays: Array) -> Any:
    """Return the array API namespace that the given arrays share."""
    return array_namespace(*[array for array in arrays if array is not None])


def is_host(array: Array) -> bool:
    """Whether an array is a plain NumPy array in host memory."""
    return is_numpy_array(array)


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
