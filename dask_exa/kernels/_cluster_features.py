"""Trees of clustering features: insertion, and what it would take to have fewer of them."""

from __future__ import annotations

from typing import Any

from dask_exa.kernels.feature_tree import FeatureTree


def insert_features(
    tree: FeatureTree, features: tuple[Any, Any, Any], threshold: float, max_subclusters: int
) -> tuple[FeatureTree, int]:
    """Insert clustering features, or samples, one after the other.

    A feature goes down to the leaf whose means are nearest, and into the nearest subcluster there
    if the root mean square distance from the mean stays within `threshold`. Otherwise it becomes a
    subcluster of its own, and nodes that are too full split at their farthest pair. Every
    insertion depends on all earlier ones, so there is one twin, on the host.

    Parameters
    ----------
    tree : FeatureTree
        Overwritten.
    features : tuple of array
        Means (n, n_features), float32 or float64; weights (n,) or (0,) for ones; sums of squared
        deviations (n,) or (0,) for samples. What weighs nothing is passed over.
    threshold : float
    max_subclusters : int

    Returns
    -------
    tree : FeatureTree
        The same one, or one with more room.
    n_inserted : int
        Fewer than n if the last one made `max_subclusters` + 1 of them, or if the next one is not
        finite: then ``-1 - n_inserted``.

    References
    ----------
    T. Zhang, R. Ramakrishnan, M. Livny, "BIRCH: an efficient data clustering method for very
    large databases", SIGMOD 1996, section 4.2. A. Lang, E. Schubert, "BETULA: numerically stable
    CF-trees for BIRCH clustering", SISAP 2020, equations 4 to 6.
    """
    from dask_exa.kernels._cluster_features_numba import insert_features as twin

    return twin(tree, features, threshold, max_subclusters)


def union_radii(tree: FeatureTree) -> Any:
    """Return for every subcluster the radius that it would have with one other of its leaf.

    Parameters
    ----------
    tree : FeatureTree

    Returns
    -------
    array of shape (n_subclusters,), float64
        Of the union with the one for which it is smallest; infinite where it is alone.
    """
    from dask_exa.kernels._cluster_features_numba import union_radii as twin

    return twin(tree)
