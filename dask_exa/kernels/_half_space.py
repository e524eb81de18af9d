"""Half-space trees: what cuts space into cells, counts rows in them and weighs cells by counts."""

from __future__ import annotations

from typing import Any

from dask_exa._array import Array, is_cupy, to_host
from dask_exa.kernels.forest import Forest


def grow_half_spaces(low: Any, high: Any, seed: int, n_trees: int, max_depth: int) -> Forest:
    """Cut space into cells at random, without data, by trees of one depth.

    A tree covers in every feature its work range ``s ± max(s - low, high - s)``, with s drawn
    between `low` and `high`. A node takes one of the features that vary (of all, if none does) and
    cuts its part of the range at a random place in the middle 70 % of it. The draws of a node are
    a function of seed, tree and node. NaN goes the way of the largest values. There is one twin,
    on the host.

    Tan et al. reach twice as far and cut in the middle; on real streams, this tells more apart.

    Parameters
    ----------
    low, high : arrays of shape (n_features,), float64
        Finite in float32. Where they are equal, a feature does not vary.
    seed : int
    n_trees, max_depth : int

    Returns
    -------
    Forest
        Leaves are worth nothing yet. Trees have `TOP_LEVELS` levels at least.

    References
    ----------
    S. C. Tan, K. M. Ting, T. F. Liu, "Fast anomaly detection for streaming data", IJCAI 2011.
    """
    from dask_exa.kernels._half_space_numba import grow_half_spaces as twin

    return twin(low, high, seed, n_trees, max_depth)


def leaf_counts(X: Array, sample_weight: Array | None, forest: Forest) -> Array:
    """Return how many of the samples fall into every leaf, or how much they weigh.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), float32 or float64
        Compared as float32.
    sample_weight : array of shape (n_samples,), float64, optional
    forest : Forest

    Returns
    -------
    array of shape (n_trees, n_leaves), float64

    Examples
    --------
    >>> import numpy as np
    >>> forest = grow_half_spaces(np.zeros(2), np.ones(2), 7, 3, 4)
    >>> leaf_counts(np.ones((10, 2)), None, forest).sum(axis=1)
    array([10., 10., 10.])
    """
    if is_cupy(X):
        from dask_exa.kernels._half_space_cupy import leaf_counts as twin
    else:
        from dask_exa.kernels._half_space_numba import leaf_counts as twin

        X = to_host(X)
        sample_weight = None if sample_weight is None else to_host(sample_weight)
    return twin(X, sample_weight, forest)


def leaf_scores(masses: Any, max_depth: int, limit: float, *, in_logarithm: bool) -> Any:
    """Return what every leaf is worth by the masses around it.

    The mass of a node is the sum of those of its leaves. On the way from the root to a leaf, the
    first node of at most `limit`, or else the one at `max_depth`, decides: of mass m at depth k,
    it is worth ``m * 2**k``, or ``log2(m + 1/2) + k``. There is one twin, on the host.

    Parameters
    ----------
    masses : array of shape (n_trees, n_leaves), float64
    max_depth : int
    limit : float
    in_logarithm : bool

    Returns
    -------
    array of shape (n_trees, n_leaves), float32

    Examples
    --------
    >>> import numpy as np
    >>> leaf_scores(np.array([[3.0, 1.0, 0.0, 0.0]]), 2, 0.0, in_logarithm=False)
    array([[12., 4., 0., 0.]], dtype=float32)
    """
    from dask_exa.kernels._half_space_numba import leaf_scores as twin

    return twin(masses, max_depth, limit, in_logarithm)
