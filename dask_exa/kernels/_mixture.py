"""The two inner loops of a mixture: which twin squares samples and normalises probabilities.

Between them lie products of matrices, which are best left to BLAS.
"""

from __future__ import annotations

from dask_exa._array import Array, is_cupy, is_host, namespace


def quadratic_features(X: Array, origin: Array, out: Array, *, pairs: bool = False) -> None:
    """Write what the logarithm of a Gaussian is linear in: x, x² and 1, about an origin.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
    origin : array of shape (n_features,)
        In the dtype of `out`.
    out : array of shape (n_samples, n_outputs), float32 or float64, in C order
        Receives ``[x, x², 1]`` of ``x = X - origin``, n_outputs = 2 n_features + 1, computed in
        its dtype.
    pairs : bool, default=False
        Instead of x² all x_i x_j, i <= j, by i and then j: n_outputs = n_features + n_features
        (n_features + 1) / 2 + 1.

    Examples
    --------
    >>> import numpy as np
    >>> X, origin = np.array([[1.0, 5.0]]), np.array([0.0, 2.0])
    >>> out = np.empty((1, 5))
    >>> quadratic_features(X, origin, out)
    >>> out
    array([[1., 3., 1., 9., 1.]])
    >>> out = np.empty((1, 6))
    >>> quadratic_features(X, origin, out, pairs=True)
    >>> out
    array([[1., 3., 1., 3., 9., 1.]])
    """
    if is_host(X) and X.flags.c_contiguous and out.flags.c_contiguous:
        from dask_exa.kernels._mixture_numba import quadratic_features as twin
    elif is_cupy(X):
        from dask_exa.kernels._mixture_cupy import quadratic_features as twin
    else:
        twin = _quadratic_features
    twin(X, origin, out, pairs=pairs)


def normalize_log(log_joint: Array) -> Array:
    """Turn logarithms into shares of the total of their row, in place.

    Parameters
    ----------
    log_joint : array of shape (n_samples, n_components), float32 or float64, in C order
        Becomes ``exp(log_joint - log_norm)``, whose rows add up to 1. A row with NaN, or with
        nothing but -inf, becomes NaN.

    Returns
    -------
    log_norm : array of shape (n_samples,)
        ``log Σ exp(log_joint)``, without overflow.

    Examples
    --------
    >>> import numpy as np
    >>> joint = np.log([[1.0, 3.0], [2.0, 2.0]])
    >>> np.exp(normalize_log(joint))
    array([4., 4.])
    >>> joint
    array([[0.25, 0.75],
           [0.5 , 0.5 ]])
    """
    if is_host(log_joint) and log_joint.flags.c_contiguous:
        from dask_exa.kernels._mixture_numba import normalize_log as twin
    elif is_cupy(log_joint) and log_joint.flags.c_contiguous:
        from dask_exa.kernels._mixture_cupy import normalize_log as twin
    else:
        twin = _normalize_log
    return twin(log_joint)


def _quadratic_features(X: Array, origin: Array, out: Array, *, pairs: bool = False) -> None:
    xp = namespace(X)
    n_features = X.shape[1]
    offsets = xp.astype(X, out.dtype, copy=False) - origin
    out[:, :n_features] = offsets
    out[:, -1] = 1.0
    if not pairs:
        out[:, n_features:-1] = offsets * offsets
        return
    start = n_features
    for i in range(n_features):
        out[:, start : start + n_features - i] = offsets[:, i : i + 1] * offsets[:, i:]
        start += n_features - i


def _normalize_log(log_joint: Array) -> Array:
    xp = namespace(log_joint)
    largest = xp.max(log_joint, axis=1)
    log_joint -= largest[:, None]
    log_joint[...] = xp.exp(log_joint)
    total = xp.sum(log_joint, axis=1)
    log_joint /= total[:, None]
    return largest + xp.log(total)
