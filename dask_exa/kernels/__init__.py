"""Numeric kernels in twins, Numba and CuPy, with one signature; the array decides which runs.

Arrays that neither twin takes (other namespaces, Fortran order) go through the array API. Every
family has one private module here that dispatches: `_centering`, `_reservoir`, `_isolation`,
`_extremes`, `_half_space`, `_online`, `_distances`, `_cluster_features`, `_mixture`,
`_quantiles`, `_affine`.
"""

from dask_exa.kernels._affine import scale, unscale
from dask_exa.kernels._centering import center
from dask_exa.kernels._cluster_features import insert_features, union_radii
from dask_exa.kernels._distances import Attracted, nearest_centers, sum_nearest
from dask_exa.kernels._extremes import draw_exponentials, moving_mean, sample_above
from dask_exa.kernels._half_space import grow_half_spaces, leaf_counts, leaf_scores
from dask_exa.kernels._isolation import grow_oblique_trees, grow_trees, mean_leaves
from dask_exa.kernels._mixture import normalize_log, quadratic_features
from dask_exa.kernels._online import forget_rows, learn_rows, read_online
from dask_exa.kernels._quantiles import quantile_ranks, thin, thin_rows, weighted_quantiles
from dask_exa.kernels._reservoir import draw_keys, keep_rows

__all__ = [
    "Attracted",
    "center",
    "draw_exponentials",
    "draw_keys",
    "forget_rows",
    "grow_half_spaces",
    "grow_oblique_trees",
    "grow_trees",
    "insert_features",
    "keep_rows",
    "leaf_counts",
    "leaf_scores",
    "learn_rows",
    "mean_leaves",
    "moving_mean",
    "nearest_centers",
    "normalize_log",
    "quadratic_features",
    "quantile_ranks",
    "read_online",
    "sample_above",
    "scale",
    "sum_nearest",
    "thin",
    "thin_rows",
    "union_radii",
    "unscale",
    "weighted_quantiles",
]
