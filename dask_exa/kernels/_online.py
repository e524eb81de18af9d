"""Online forests: learning, forgetting and reading them."""

from __future__ import annotations

import numpy as np

from dask_exa.kernels.forest import Forest
from dask_exa.kernels.online_forest import Growth, OnlineForest


def learn_rows(
    forest: OnlineForest, rows: np.ndarray, n_known: int, growth: Growth
) -> OnlineForest:
    """Return a forest that has learnt rows one after the other, forgetting as many old ones.

    A row is counted in every node that it falls into, and widens the box of its leaf. A leaf with
    enough rows is cut in two, at a feature at random among those that vary in its box and a value
    at random, as if its rows were uniform in the box. Forgetting takes a row out of the counts; a
    node that is left with too few becomes a leaf again. The draws of a tree are a function of its
    seed and of the number of the row alone. There is one twin, on the host: one row has to be
    learnt before the next. What comes out is read by `mean_leaves`, on any device.

    Parameters
    ----------
    forest : OnlineForest
        Not changed.
    rows : array of shape (n_known + n_rows, n_features), float32
        The window, the oldest row first, and then the rows to learn. No infinite values.
    n_known : int
    growth : Growth

    References
    ----------
    F. Leveni, G. Weigert Cassales, B. Pfahringer, A. Bifet, G. Boracchi, "Online isolation
    forest", ICML 2024.
    """
    from dask_exa.kernels._online_numba import learn_rows as twin

    return twin(forest, rows, n_known, growth)


def forget_rows(forest: OnlineForest, rows: np.ndarray, n_old: int, growth: Growth) -> OnlineForest:
    """Return a forest that has forgotten the oldest `n_old` rows of its window.

    Parameters
    ----------
    forest : OnlineForest
        Not changed.
    rows : array of shape (n_known, n_features), float32
        The window, the oldest row first.
    n_old : int
    growth : Growth
    """
    from dask_exa.kernels._online_numba import forget_rows as twin

    return twin(forest, rows, n_old, growth)


def read_online(forest: OnlineForest, max_leaf_samples: int) -> tuple[Forest, np.ndarray]:
    """Return the trees as they are now, for `mean_leaves`.

    Returns
    -------
    trees : Forest
        Leaves are worth their depth plus the depth that their rows would still need,
        ``log2(n_rows / max_leaf_samples)`` where that is positive.
    even : array of shape (n_trees,), float32
        What the leaves of a tree would be worth if its rows were spread evenly.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.kernels.online_forest import blank_online
    >>> forest = blank_online(seed=0, stream=0, n_trees=1, max_depth=1, n_features=2)
    >>> trees, even = read_online(forest, 32)
    >>> float(trees.leaf.max()), float(even[0])
    (0.0, 0.0)
    """
    from dask_exa.kernels._online_numba import read_online as twin

    return twin(forest, max_leaf_samples)
