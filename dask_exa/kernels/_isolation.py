"""Isolation trees: which twin grows them, and which walks samples through them."""

from __future__ import annotations

from typing import Any

from dask_exa._array import Array, is_cupy, to_host
from dask_exa.kernels.forest import Forest


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
