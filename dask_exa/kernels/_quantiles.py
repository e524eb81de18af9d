"""What a sketch of quantiles keeps of sorted values, and what it says about the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_exa._array import Array, is_host, namespace, to_host


def thin_rows(X: Array, n_kept: int, phase: float, coins: int) -> tuple[Array, float]:
    """Return `thin` of rows of weight 1, in host memory, of many rows without sorting them all.

    On the CPU, pieces of 256 rows, which sort in registers, are first halved: sorted, and every
    other value kept, a coin for every piece says which. This is done as often as adds less to the
    squares of all steps than the last thinning.

    Parameters
    ----------
    X : array of shape (n_rows, n_features), float32 or float64
    n_kept : int
        At most `n_rows`.
    phase : float in [0, 1)
    coins : int
        Decides on the coins. In [0, 2**64).

    Returns
    -------
    values : array of shape (n_features, n_kept), in the dtype of `X`
    squares : float
        Sum of the squared steps, in rows, of all that was done before the last thinning.
    """
    if is_host(X):
        from dask_exa.kernels._quantiles_numba import thin_rows as twin

        return twin(X, n_kept, phase, coins)
    xp = namespace(X)
    places = ((phase + np.arange(n_kept)) * (X.shape[0] / n_kept)).astype(np.int64)
    kept = xp.take(xp.sort(X, axis=0), xp.asarray(places), axis=0)
    return np.ascontiguousarray(to_host(kept).T), 0.0


def thin(values: Any, weights: Any, n_kept: int, phase: float) -> Any:
    """Return values that stand for equal shares of the weight of all, feature by feature.

    Of the values in increasing order, those at the weights ``(phase + j) * step``, with ``step``
    the total weight divided by `n_kept`. There is one twin, on the host.

    Parameters
    ----------
    values : array of shape (n_features, n_values), float32 or float64
    weights : array of shape (n_values,), float64
        The same for all features; none above ``step``.
    n_kept : int
    phase : float in [0, 1)

    Returns
    -------
    array of shape (n_features, n_kept), in the dtype of `values`
        Increasing along the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> thin(np.array([[5.0, 1.0, 3.0, 2.0]]), np.ones(4), 2, 0.5)
    array([[2., 5.]])
    """
    from dask_exa.kernels._quantiles_numba import thin as twin

    return twin(values, weights, n_kept, phase)


def weighted_quantiles(
    values: Any, weights: Any, ends: tuple[Any, Any], levels: Any, *, repeated: bool
) -> Any:
    """Return quantiles of weighted values, feature by feature.

    There is one twin, on the host.

    Parameters
    ----------
    values : array of shape (n_features, n_values), float32 or float64
    weights : array of shape (n_values,), float64
        Positive; the same for all features.
    ends : tuple of two arrays of shape (n_features,), float64
        Smallest and largest value; used unless `repeated`.
    levels : array of shape (n_levels,), float64
        In [0, 1], increasing.
    repeated : bool
        Whether weights say how often a value was there, in units of 1 or, if that is smaller, of
        the smallest of them; quantiles are then those of `numpy.percentile`. Otherwise a value
        stands for others on both sides of it, and lies in the middle of its weight.

    Returns
    -------
    array of shape (n_levels, n_features), float64

    Examples
    --------
    >>> import numpy as np
    >>> values, ends = np.array([[3.0, 1.0, 2.0]]), (np.array([0.0]), np.array([9.0]))
    >>> weighted_quantiles(values, np.ones(3), ends, np.array([0.0, 0.5]), repeated=True)
    array([[1.],
           [2.]])
    """
    from dask_exa.kernels._quantiles_numba import weighted_quantiles as twin

    return twin(values, weights, ends, levels, repeated=repeated)


def quantile_ranks(X: Any, quantiles: Any) -> Any:
    """Return where values are among the quantiles of their feature, from 0 to 1.

    Interpolated between the quantiles next to a value; in the middle of those that equal it, but
    at 0 or 1 where the first or the last one is among them. There is one twin, on the host.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
    quantiles : array of shape (n_features, n_quantiles), float64
        Increasing along the last axis, at equal steps of the rank.

    Returns
    -------
    array of shape (n_samples, n_features), float64

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.5], [2.0], [7.0]])
    >>> quantile_ranks(X, np.array([[1.0, 2.0, 2.0, 2.0, 6.0]]))[:, 0]
    array([0.   , 0.125, 0.5  , 1.   ])
    """
    from dask_exa.kernels._quantiles_numba import quantile_ranks as twin

    return twin(X, quantiles)
