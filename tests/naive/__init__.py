"""Slow and plain versions of our algorithms, which the fast ones have to equal."""

from tests.naive._isolation import (
    below,
    drawn,
    exponentials,
    isolation_leaf,
    isolation_tree,
    mean_path,
    reservoir_keys,
    tree_seeds,
    unit,
)
from tests.naive._principal import (
    PCA,
    center,
    forgetting_weights,
    moments,
    pca,
    positive_signs,
    stacked_svd,
    svd_chunk_by_chunk,
)
from tests.naive._tokam2d import tokam2d_right_hand_side

__all__ = [
    "PCA",
    "below",
    "center",
    "drawn",
    "exponentials",
    "forgetting_weights",
    "isolation_leaf",
    "isolation_tree",
    "mean_path",
    "moments",
    "pca",
    "positive_signs",
    "reservoir_keys",
    "stacked_svd",
    "svd_chunk_by_chunk",
    "tokam2d_right_hand_side",
    "tree_seeds",
    "unit",
]
