"""Which twin centres a block of samples."""

from __future__ import annotations

from dask_exa._array import Array, is_cupy, is_host, namespace


def center(
    X: Array, columns: slice, sample_weight: Array | None, out: Array
) -> tuple[Array, Array]:
    """Centre some columns of a block of samples and write them as float64.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
    columns : slice
        With start and stop.
    sample_weight : array of shape (n_samples,), float64, optional
        Where it is zero throughout, the mean is of no meaning.
    out : array of shape (n_samples, n_columns), float64
        Receives √w (X - mean).

    Returns
    -------
    mean, m2 : arrays of shape (n_columns,), float64
        Weighted mean, and Σ w (X - mean)².

    Examples
    --------
    >>> import numpy as np
    >>> X, out = np.array([[0.0, 1.0], [2.0, 5.0]]), np.empty((2, 1))
    >>> center(X, slice(1, 2), None, out)
    (array([3.]), array([8.]))
    >>> out
    array([[-2.],
           [ 2.]])
    """
    if is_host(X) and X.flags.c_contiguous and out.flags.c_contiguous:
        from dask_exa.kernels._center_numba import center as twin
    elif is_cupy(X):
        from dask_exa.kernels._center_cupy import center as twin
    else:
        twin = _center
    return twin(X, columns, sample_weight, out)


def _center(
    X: Array, columns: slice, sample_weight: Array | None, out: Array
) -> tuple[Array, Array]:
    xp = namespace(X)
    rows = xp.astype(X[:, columns], xp.float64, copy=True)
    origin = xp.asarray(rows[0, :], copy=True)
    rows -= origin
    if sample_weight is None:
        shift = xp.mean(rows, axis=0)
        rows -= shift
    else:
        shift = sample_weight @ rows / (float(xp.sum(sample_weight)) or 1.0)
        rows -= shift
        rows *= xp.sqrt(sample_weight)[:, None]
    out[:, :] = rows
    return origin + shift, xp.sum(rows * rows, axis=0)
