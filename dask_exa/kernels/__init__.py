"""Numeric kernels in twins, Numba and CuPy, with one signature; the array decides which runs.

Arrays that neither twin takes (other namespaces, Fortran order) go through the array API.
"""

from __future__ import annotations

from typing import Any

from dask_exa._array import Array, is_cupy, is_host, namespace, to_host
from dask_exa.kernels.forest import Forest


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


def draw_keys(
    sampling: tuple[int, int, int],
    first: int,
    n_rows: int,
    log_weight: Any,
    decay: float,
    capacity: int,
    limits: Any,
    guess: float,
) -> tuple[Any, Any, Any]:
    """Draw the keys of a block of rows and return the smallest ones of every tree.

    The key of a row is ``log(e) - log(weight) - decay * number`` with e exponential, a function
    of (seed, stream, tree, row number) alone. The e of a segment of row numbers are drawn from
    the smallest one on, each with the row that it belongs to, so that rows with larger keys than
    asked for cost nothing. Rows are never read; there is one twin, on the host.

    Parameters
    ----------
    sampling : tuple of int
        Seed, stream and number of trees.
    first, n_rows : int
        The block: numbers ``first`` to ``first + n_rows - 1`` of the stream.
    log_weight : array of shape (n_rows,) or (0,), float64
        Logarithms of the weights; empty for weights of one.
    decay : float
        Growth of the log-weight from one row to the next.
    capacity : int
        Keys that are wanted per tree.
    limits : array of shape (n_trees,), float64
        Larger keys are of no use.
    guess : float
        Where the search starts; the result does not depend on it.

    Returns
    -------
    keys : array of shape (n_trees, min(capacity, n_rows)), float64
        In no particular order; only the first ``counts[i]`` of row i are set.
    rows : array of the same shape, int64
        Their rows in the block.
    counts : array of shape (n_trees,), int64
    """
    from dask_exa.kernels._reservoir_numba import draw_keys as twin

    return twin(sampling, first, n_rows, log_weight, decay, capacity, limits, guess)


def grow_trees(
    rows: Any,
    members: Any,
    seed: int,
    n_features: int,
    max_depth: int,
    *,
    with_density: bool = False,
) -> tuple[Forest, Any]:
    """Grow one isolation tree from every row of `members`.

    A node takes a feature at random among those that vary in it and cuts between the smallest and
    the largest value. Where a feature has missing values, they go to a side at random; where it
    has none, NaN will go with the larger part. Infinite values count as the largest float32. The
    draws of a node are a function of seed, tree and node; the order of a tree's rows is of no
    consequence. There is one twin, on the host.

    Parameters
    ----------
    rows : array of shape (n_rows, n_features), float32
    members : array of shape (n_trees, n_samples), int64
        The rows that each tree grows from.
    seed : int
    n_features : int
        Features, drawn anew for each tree, that it may use.
    max_depth : int
    with_density : bool, default=False

    Returns
    -------
    forest : Forest
        Leaves are worth their depth plus the mean depth that their samples would still need.
    density : array of the shape of ``forest.leaf``, or (n_trees, 0) if not asked for, float32
        For every leaf the sum over its path of ln((n_part / n) / (length_part / length)), the
        logarithm of how much denser than the whole it is.

    References
    ----------
    F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation forest", ICDM 2008.
    """
    from dask_exa.kernels._grow_numba import grow_trees as twin

    return twin(rows, members, seed, n_features, max_depth, with_density)


def mean_leaves(X: Array, forest: Forest) -> Array:
    """Return for every sample the mean over the trees of the leaf that it falls into.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
        Compared as float32.
    forest : Forest

    Returns
    -------
    array of shape (n_samples,), float64

    Examples
    --------
    >>> import numpy as np
    >>> stumps, _ = grow_trees(np.array([[0.0], [1.0]], np.float32), np.array([[0, 1]]), 7, 1, 1)
    >>> mean_leaves(np.array([[-1.0], [2.0]]), stumps)
    array([1., 1.])
    """
    if is_cupy(X):
        from dask_exa.kernels._paths_cupy import mean_leaves as twin
    else:
        from dask_exa.kernels._paths_numba import mean_leaves as twin

        X = to_host(X)
    return twin(X, forest)
