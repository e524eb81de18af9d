"""Slow and plain versions of our algorithms, which the fast ones have to equal."""

from tests.naive._half_space import (
    RiverHalfSpaceTrees,
    half_space_masses,
    half_space_path,
    half_space_scores,
    half_space_trees,
    river_forest,
    river_leaves,
)
from tests.naive._isolation import (
    below,
    drawn,
    exponentials,
    isolation_leaf,
    isolation_tree,
    mean_path,
    oblique_leaf,
    oblique_tree,
    reservoir_keys,
    tree_seeds,
    unit,
)
from tests.naive._monitor import courant_number, kurtosis_shares, nyquist_share, wave_remainder
from tests.naive._online import OnlineTree, redrawn_split
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
from tests.naive._tails import (
    extreme_keys,
    kept_extremes,
    moving_mean,
    predictive_survival,
)
from tests.naive._tokam2d import tokam2d_right_hand_side

__all__ = [
    "PCA",
    "OnlineTree",
    "RiverHalfSpaceTrees",
    "below",
    "center",
    "courant_number",
    "drawn",
    "exponentials",
    "extreme_keys",
    "forgetting_weights",
    "half_space_masses",
    "half_space_path",
    "half_space_scores",
    "half_space_trees",
    "isolation_leaf",
    "isolation_tree",
    "kept_extremes",
    "kurtosis_shares",
    "mean_path",
    "moments",
    "moving_mean",
    "nyquist_share",
    "oblique_leaf",
    "oblique_tree",
    "pca",
    "positive_signs",
    "predictive_survival",
    "redrawn_split",
    "reservoir_keys",
    "river_forest",
    "river_leaves",
    "stacked_svd",
    "svd_chunk_by_chunk",
    "tokam2d_right_hand_side",
    "tree_seeds",
    "unit",
    "wave_remainder",
]
