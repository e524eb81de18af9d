"""Online forests as flat arrays: what the kernels that teach and read them agree on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dask_exa.kernels.forest import blank


class OnlineForest(NamedTuple):
    """Trees in the layout of `dask_exa.kernels.forest.Forest` that learn and forget rows.

    The root is node 1, the children of i are 2i and 2i + 1. A node that is not cut has an infinite
    threshold, so that every walk goes on to the leftmost place below a leaf; that place keeps the
    box of the leaf. Boxes of inner nodes are the unions of those of their leaves and not stored.
    """

    seed: np.ndarray
    """Shape (n_trees,), uint64."""
    position: np.ndarray
    """Shape (n_trees,), int64: the number that the tree gives to the next row."""
    feature: np.ndarray
    """Shape (n_trees, n_places), uint32; node 0 is not used."""
    threshold: np.ndarray
    """Shape (n_trees, n_places), float32."""
    missing_left: np.ndarray
    """Shape (n_trees, n_places), uint8: where NaN goes."""
    counts: np.ndarray
    """Shape (n_trees, 2 * n_places), int64: rows in a node; 0 below a leaf."""
    low: np.ndarray
    """Shape (n_trees, n_places, n_features), float32: lower corners; inf where nothing is."""
    high: np.ndarray
    """Shape (n_trees, n_places, n_features), float32: upper corners; -inf where nothing is."""


class Growth(NamedTuple):
    """When trees learn, split and forget."""

    window_size: int
    """Rows that are known; to learn one more, the oldest is forgotten."""
    subsample: float
    """Share of the rows that a tree learns."""
    split_at: np.ndarray
    """Shape (max_depth,), int64: rows of a leaf of this depth that split it."""
    tree_above: np.ndarray
    """Shape (max_depth,), int64: leaves of this depth split in trees of more rows than that."""


def blank_online(
    seed: int, stream: int, n_trees: int, max_depth: int, n_features: int
) -> OnlineForest:
    """Return trees that have seen nothing and whose draws belong to a seed and a stream."""
    from dask_exa.kernels._hash_numba import tree_seeds

    feature, threshold, missing_left, leaf = blank(n_trees, max_depth)
    shape = (*leaf.shape, n_features)
    return OnlineForest(
        tree_seeds(np.uint64(seed), np.uint64(stream), n_trees),
        np.zeros(n_trees, dtype=np.int64),
        feature,
        threshold,
        missing_left,
        np.zeros((n_trees, 2 * leaf.shape[1]), dtype=np.int64),
        np.full(shape, np.inf, dtype=np.float32),
        np.full(shape, -np.inf, dtype=np.float32),
    )
