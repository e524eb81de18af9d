"""Which twin maps every feature by itself, there and back."""

from __future__ import annotations

from typing import Any

from dask_exa._array import Array, is_host, namespace, to_host


def scale(X: Array, origin: Array, unit: Array, start: Array) -> Array:
    """Return ``(X - origin) / unit + start``, computed in float64, in the dtype of `X`.

    Subtracted before it is divided: the origin may be much larger than the differences.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
    origin, unit, start : arrays of shape (n_features,), float64

    Returns
    -------
    array of shape (n_samples, n_features)

    Examples
    --------
    >>> import numpy as np
    >>> X, ones = np.array([[5.0, 1.0]], dtype=np.float32), np.ones(2)
    >>> scale(X, ones, 2 * ones, ones)
    array([[3., 1.]], dtype=float32)
    """
    if is_host(X) and X.flags.c_contiguous:
        from dask_exa.kernels._affine_numba import scale as twin

        return twin(X, to_host(origin), to_host(unit), to_host(start))
    xp = namespace(X)
    origin, unit, start = (_like(values, xp) for values in (origin, unit, start))
    return xp.astype((X - origin) / unit + start, X.dtype, copy=False)


def unscale(X: Array, origin: Array, unit: Array, start: Array) -> Array:
    """Return ``(X - start) * unit + origin``, computed in float64, in the dtype of `X`.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
    origin, unit, start : arrays of shape (n_features,), float64

    Returns
    -------
    array of shape (n_samples, n_features)
    """
    if is_host(X) and X.flags.c_contiguous:
        from dask_exa.kernels._affine_numba import unscale as twin

        return twin(X, to_host(origin), to_host(unit), to_host(start))
    xp = namespace(X)
    origin, unit, start = (_like(values, xp) for values in (origin, unit, start))
    return xp.astype((X - start) * unit + origin, X.dtype, copy=False)


def _like(values: Array, xp: Any) -> Array:
    return values if namespace(values) is xp else xp.asarray(to_host(values))
