"""Which centre of one model is which of another: the numbers of clusters mean nothing."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def align(reference: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the order that puts centres next to those that they are nearest to as a whole.

    Parameters
    ----------
    reference : array of shape (n_reference, n_features)
    centers : array of shape (n_centers, n_features)
        At least as many.

    Returns
    -------
    array of shape (n_centers,), int64
        ``centers[order][i]`` belongs to ``reference[i]``: the sum of their squared distances is
        the smallest of all orders (H. W. Kuhn, "The Hungarian method for the assignment problem",
        Naval Research Logistics Quarterly 2, 1955). Those that belong to none come last, in
        their order.

    Examples
    --------
    >>> import numpy as np
    >>> align(np.array([[0.0], [9.0]]), np.array([[5.0], [8.0], [1.0]]))
    array([2, 1, 0])
    """
    origin = reference.mean(axis=0)  # what all have in common would cost digits
    reference, centers = reference - origin, centers - origin
    squares = np.sum(reference**2, axis=1)[:, None] + np.sum(centers**2, axis=1)[None, :]
    order = linear_sum_assignment(squares - 2 * (reference @ centers.T))[1]
    rest = np.setdiff1d(np.arange(centers.shape[0]), order)
    return np.concatenate([order, rest])
