"""A tree of clustering features in flat arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class FeatureTree(NamedTuple):
    """Nodes of clustering features; those of a leaf are subclusters, others sum up a node below.

    A feature is the weight, the mean and the sum of squared deviations from it of some samples.
    Every node has `branching_factor` + 1 places, the last one for the moment before it splits.
    """

    heads: np.ndarray
    """Number of the root, number of nodes, number of subclusters, number of levels; int64."""
    size: np.ndarray
    """Features of every node, shape (n_nodes,), int32."""
    child: np.ndarray
    """The node that a feature sums up, -1 in leaves, shape (n_nodes, n_places), int32."""
    weight: np.ndarray
    """Shape (n_nodes, n_places), float64."""
    deviation: np.ndarray
    """Weighted sum of squared distances from the mean, shape (n_nodes, n_places), float64."""
    mean: np.ndarray
    """Shape (n_nodes, n_features, n_places), float64: places last, for the vector unit."""


def blank_tree(n_nodes: int, n_places: int, n_features: int) -> FeatureTree:
    """Return a tree that is an empty leaf, with room for some nodes."""
    return FeatureTree(
        np.array([0, 1, 0, 1]),
        np.zeros(n_nodes, dtype=np.int32),
        np.full((n_nodes, n_places), -1, dtype=np.int32),
        np.zeros((n_nodes, n_places)),
        np.zeros((n_nodes, n_places)),
        np.zeros((n_nodes, n_features, n_places)),
    )
