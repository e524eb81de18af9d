"""Better places for centres on a few points: one at a time is taken to where it helps more.

References
----------
S. Lattanzi, C. Sohler, "A better k-means++ algorithm via local search", ICML 2019.
"""

from __future__ import annotations

import numpy as np


def improve(
    points: np.ndarray,
    counts: np.ndarray,
    centers: np.ndarray,
    n_trials: int,
    random: np.random.RandomState,
) -> np.ndarray:
    """Move centres to points while that lowers the inertia.

    A trial draws a point by its part in the inertia, and moves the centre that is missed least
    there if the inertia falls. k-means++ leaves some clusters without a centre and others with
    two; neither batches nor Lloyd's rounds repair that.

    Parameters
    ----------
    points : array of shape (n_points, n_features), float64
    counts : array of shape (n_points,)
        Their weights.
    centers : array of shape (n_clusters, n_features), float64
    n_trials : int
    random : numpy.random.RandomState

    Returns
    -------
    array of shape (n_clusters, n_features)

    Examples
    --------
    >>> points = np.array([[0.0], [0.1], [5.0], [9.0]])
    >>> improve(points, np.ones(4), points[:3], 10, np.random.RandomState(0)).T
    array([[9. , 0.1, 5. ]])
    """
    if centers.shape[0] == 1:
        return centers
    origin = points.mean(axis=0)  # what all have in common would cost digits
    points, found = points - origin, centers - origin
    squares = np.einsum("ij,ij->i", points, points)
    distances = _squared_distances(points, squares, found)
    nearest, near = _two_nearest(distances)
    for _ in range(n_trials):
        first, second = near[:, 0], near[:, 1]
        parts = np.cumsum(counts * first)
        if not parts[-1] > 0:
            break
        chosen = int(np.searchsorted(parts, random.random_sample() * parts[-1], side="right"))
        there = _squared_distances(points, squares, points[chosen][None, :])[:, 0]
        with_it = np.minimum(first, there)
        missed = counts * (np.minimum(second, there) - with_it)
        losses = np.bincount(nearest[:, 0], missed, minlength=found.shape[0])
        leaves = int(np.argmin(losses))
        if counts @ with_it + losses[leaves] >= parts[-1]:
            continue
        found[leaves], distances[:, leaves] = points[chosen], there
        changed = (nearest == leaves).any(axis=1) | (there < second)
        nearest[changed], near[changed] = _two_nearest(distances[changed])
    return found + origin


def _squared_distances(points: np.ndarray, squares: np.ndarray, centers: np.ndarray) -> np.ndarray:
    found = points @ (-2 * centers.T)
    found += squares[:, None]
    found += np.einsum("ij,ij->i", centers, centers)
    return np.maximum(found, 0.0, out=found)


def _two_nearest(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which two centres are nearest to every point, in order, and how near."""
    nearest = np.argpartition(distances, 1, axis=1)[:, :2]
    return nearest, np.take_along_axis(distances, nearest, axis=1)
