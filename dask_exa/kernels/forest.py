"""Forests as flat arrays: what the kernels that grow and read them agree on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dask_exa._array import Array

TOP_LEVELS = 4
"""Every tree has at least so many levels, which kernels may treat apart."""


class Forest(NamedTuple):
    """Perfect binary trees in heap order: the root is node 1, the children of i are 2i and 2i + 1.

    A sample goes left where its feature is at most the threshold. Where a branch ends early, the
    levels below it hold one value throughout, so that every walk has the same length.
    """

    feature: Array
    """Shape (n_trees, n_leaves), uint32; node 0 is not used."""
    threshold: Array
    """Shape (n_trees, n_leaves), float32."""
    missing_left: Array
    """Shape (n_trees, n_leaves), uint8: where NaN goes."""
    leaf: Array
    """Shape (n_trees, n_leaves), float32: what a sample is worth that ends there."""


def blank(n_trees: int, max_depth: int) -> Forest:
    """Return a forest that sends every sample to the left and is worth nothing."""
    shape = (n_trees, 1 << max(max_depth, TOP_LEVELS))
    return Forest(
        np.zeros(shape, dtype=np.uint32),
        np.full(shape, np.inf, dtype=np.float32),
        np.ones(shape, dtype=np.uint8),
        np.zeros(shape, dtype=np.float32),
    )


class ObliqueForest(NamedTuple):
    """Perfect binary trees in the order of `Forest` whose nodes cut along several features.

    A sample goes left where the sum of ``normal * value`` over the features of a node, added up
    in their order in float32, is at most the threshold. Values beyond ±`BOUND` count as that.
    """

    feature: Array
    """Shape (n_trees, n_leaves or 1, n_cut), uint32; 1 where all nodes of a tree cut along the
    same features."""
    normal: Array
    """Shape (n_trees, n_leaves, n_cut), float32, of absolute value at most 1."""
    threshold: Array
    """Shape (n_trees, n_leaves), float32."""
    missing: Array
    """Shape (n_trees, n_features), float32: the value that NaN counts as."""
    leaf: Array
    """Shape (n_trees, n_leaves), float32: what a sample is worth that ends there."""


BOUND = 2.0**96
"""No sum of products with normals overflows for values within it."""


def blank_oblique(
    n_trees: int, max_depth: int, n_features: int, n_cut: int, *, shared: bool
) -> ObliqueForest:
    """Return a forest that sends every sample to the left and is worth nothing."""
    shape = (n_trees, 1 << max(max_depth, TOP_LEVELS))
    return ObliqueForest(
        np.zeros((n_trees, 1 if shared else shape[1], n_cut), dtype=np.uint32),
        np.zeros((*shape, n_cut), dtype=np.float32),
        np.full(shape, np.inf, dtype=np.float32),
        np.zeros((n_trees, n_features), dtype=np.float32),
        np.zeros(shape, dtype=np.float32),
    )
