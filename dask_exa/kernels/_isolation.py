"""Isolation trees: which twin grows them, and which walks samples through them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_exa._array import Array, is_cupy, to_host
from dask_exa.kernels.forest import Forest, ObliqueForest


def grow_trees(
    rows: Any,
    members: Any,
    seed: int,
    n_features: int,
    max_depth: int,
    *,
    trees: Any = None,
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
    trees : array of shape (n_trees,), int, optional
        The number of every tree, which decides its draws; by default they are counted.
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

    trees = np.arange(members.shape[0]) if trees is None else trees
    return twin(rows, members, trees, seed, n_features, max_depth, with_density)


def grow_oblique_trees(
    rows: Any,
    members: Any,
    seed: int,
    n_features: int,
    max_depth: int,
    n_cut: int,
    *,
    trees: Any = None,
    with_density: bool = False,
) -> tuple[ObliqueForest, Any]:
    """Grow isolation trees whose nodes cut along several features at once.

    A node draws a hyperplane: the features that it cuts, among those that vary in it; a normal
    that is isotropic where every feature is divided by its standard deviation in the node; a
    point of the node's bounding box. The cut may leave one part empty; a sample that comes there
    later is isolated at once. A missing value counts as the mean of the finite values of its
    feature in the tree's rows; values beyond `dask_exa.kernels.forest.BOUND` count as that. There
    is one twin, on the host.

    Parameters
    ----------
    rows, members, seed, n_features, max_depth, trees, with_density
        As in `grow_trees`.
    n_cut : int
        Features that a node cuts, at most `n_features`.

    Returns
    -------
    forest : ObliqueForest
    density : array
        As in `grow_trees`. Lengths are those of the box along the normal.

    References
    ----------
    S. Hariri, M. Carrasco Kind, R. J. Brunner, "Extended isolation forest", IEEE Transactions on
    Knowledge and Data Engineering 33(4), 2021. There the normals are isotropic in the features as
    they come, so that those of large scale alone decide where rows go.
    """
    from dask_exa.kernels._grow_oblique_numba import grow_trees as twin

    trees = np.arange(members.shape[0]) if trees is None else trees
    return twin(rows, members, trees, seed, n_features, n_cut, max_depth, with_density)


def mean_leaves(X: Array, forest: Forest | ObliqueForest) -> Array:
    """Return for every sample the mean over the trees of the leaf that it falls into.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
        Compared as float32.
    forest : Forest or ObliqueForest

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
    if not is_cupy(X):
        X = to_host(X)
        if isinstance(forest, ObliqueForest):
            from dask_exa.kernels._oblique_numba import mean_leaves as oblique

            return oblique(X, forest)
        from dask_exa.kernels._paths_numba import mean_leaves as straight

        return straight(X, forest)
    if isinstance(forest, ObliqueForest):
        from dask_exa.kernels._oblique_cupy import mean_leaves as oblique_on_gpu

        return oblique_on_gpu(X, forest)
    from dask_exa.kernels._paths_cupy import mean_leaves as straight_on_gpu

    return straight_on_gpu(X, forest)
