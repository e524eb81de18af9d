"""Clustering features: weight, mean and squared deviations of many small clusters, in a tree.

Samples that are near each other are summed up as soon as they come, so that any number of them
fits into a bounded number of features, whatever clusters there are. A feature is kept as in
BETULA, by mean and squared deviations from it, and two unite by Chan's update (see
`dask_exa.summaries.moments`): the sums of squares of BIRCH lose all digits where samples are far
from zero.

**Bounded memory**: when there are more than `max_subclusters`, the threshold is raised so that a
quarter of them may unite with their nearest neighbours, and all features are inserted anew.

**Merging** inserts the features of one tree into the other. Weight, mean and squared deviations
of all samples together are exact in any grouping. Which samples make up a subcluster depends on
the order in which they came, in a stream as much as in a merge.

References
----------
T. Zhang, R. Ramakrishnan, M. Livny, "BIRCH: an efficient data clustering method for very large
databases", SIGMOD 1996. A. Lang, E. Schubert, "BETULA: numerically stable CF-trees for BIRCH
clustering", SISAP 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, to_host
from dask_exa.kernels.feature_tree import FeatureTree, blank_tree
from dask_exa.summaries.moments import refuse_non_finite

_NONE = np.empty(0)
_FADED = 1e-15
"""Share of the largest weight below which a feature is forgotten altogether."""
_LEAST = np.finfo(np.float64).tiny
"""What is not forgotten keeps a weight, so that it keeps a mean."""
_REBUILT = 0.9
"""Share of `max_subclusters` that are left, at most, when the threshold was raised."""
_RAISED = 0.25
"""Share of the subclusters that a raise lets unite with their nearest neighbours."""


class Growth(NamedTuple):
    """How a tree of features grows."""

    threshold: float
    """Largest root mean square distance of a subcluster's samples from their mean."""
    branching_factor: int
    """Largest number of features in a node."""
    max_subclusters: int
    """Largest number of features in all leaves."""


class ClusterFeatures(NamedTuple):
    """A tree of clustering features, node by node, without the room for more."""

    n_samples: int
    """Number of samples seen; never scaled by forgetting."""
    threshold: float
    """At least that of the `Growth`; larger if there would have been too many subclusters."""
    heads: np.ndarray
    """As in `dask_exa.kernels.feature_tree.FeatureTree`, like `child` and `size`."""
    size: np.ndarray
    child: np.ndarray
    """Shape (n_entries,), int32; -1 for subclusters."""
    weight: np.ndarray
    """Shape (n_entries,), float64."""
    deviation: np.ndarray
    """Sum of squared distances from the mean, shape (n_entries,), float64."""
    mean: np.ndarray
    """Shape (n_entries, n_features), float64."""

    @property
    def subclusters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means (n_subclusters, n_features), weights and squared deviations (n_subclusters,)."""
        is_leaf = self.child < 0
        return self.mean[is_leaf], self.weight[is_leaf], self.deviation[is_leaf]


def summarize(X: Array, sample_weight: Array | None, growth: Growth) -> ClusterFeatures:
    """Return the clustering features of the rows of `X`.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        float32 is accumulated in float64. Read on the host.
    sample_weight : array of shape (n_samples,), optional
    growth : Growth

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [9.0]])
    >>> means, weights, deviations = summarize(X, None, Growth(0.5, 50, 100)).subclusters
    >>> means.ravel(), weights, deviations
    (array([0.5, 9. ]), array([2., 1.]), array([0.5, 0. ]))
    """
    tree = blank_tree(3, growth.branching_factor + 1, X.shape[1])
    return _extend(tree, 0, growth.threshold, X, sample_weight, growth)


def extend(
    summary: ClusterFeatures, X: Array, sample_weight: Array | None, growth: Growth
) -> ClusterFeatures:
    """Insert samples into a tree that is there; a stream in any pieces gives the same one."""
    tree = _unpack(summary, growth)
    return _extend(tree, summary.n_samples, summary.threshold, X, sample_weight, growth)


def merge(summaries: Sequence[ClusterFeatures], growth: Growth) -> ClusterFeatures:
    """Return the features of all samples that the given summaries saw.

    Those of the later ones are inserted into the tree of the first, at the largest threshold.
    """
    if len(summaries) == 1:
        return summaries[0]
    threshold = max(summary.threshold for summary in summaries)
    first = summaries[0]
    tree = _unpack(first, growth)
    if first.threshold < threshold:
        tree = _rebuild(first.subclusters, threshold, growth)
    for summary in summaries[1:]:
        tree, threshold = _insert(tree, threshold, summary.subclusters, growth)
    return _pack(tree, sum(summary.n_samples for summary in summaries), threshold)


def forget(summary: ClusterFeatures, factor: float, growth: Growth) -> ClusterFeatures:
    """Scale the weight of all that was seen; what no longer weighs anything is dropped."""
    faded = summary._replace(
        weight=np.maximum(summary.weight * factor, _LEAST), deviation=summary.deviation * factor
    )
    means, weights, deviations = faded.subclusters
    stays = weights > _FADED * weights.max(initial=0)
    if stays.all():
        return faded
    kept = means[stays], weights[stays], deviations[stays]
    tree = _rebuild(kept, summary.threshold, growth)
    return _pack(tree, summary.n_samples, summary.threshold)


def _extend(
    tree: FeatureTree,
    n_samples: int,
    threshold: float,
    X: Array,
    sample_weight: Array | None,
    growth: Growth,
) -> ClusterFeatures:
    weights = _NONE if sample_weight is None else to_host(sample_weight).astype(np.float64)
    tree, threshold = _insert(tree, threshold, (to_host(X), weights, _NONE), growth)
    return _pack(tree, n_samples + int(X.shape[0]), threshold)


def _insert(
    tree: FeatureTree,
    threshold: float,
    features: tuple[np.ndarray, np.ndarray, np.ndarray],
    growth: Growth,
) -> tuple[FeatureTree, float]:
    """Insert features, raising the threshold as often as there are too many subclusters."""
    while True:
        tree, n_inserted = kernels.insert_features(
            tree, features, threshold, growth.max_subclusters
        )
        if n_inserted < 0:
            refuse_non_finite(np.nan)
        if tree.heads[2] <= growth.max_subclusters:
            return tree, threshold
        tree, threshold = _shrink(tree, threshold, growth)
        means, weights, deviations = features
        features = means[n_inserted:], weights[n_inserted:], deviations[n_inserted:]


def _shrink(tree: FeatureTree, threshold: float, growth: Growth) -> tuple[FeatureTree, float]:
    """Raise the threshold until there are clearly fewer subclusters than are allowed."""
    n_wanted = max(1, int(_REBUILT * growth.max_subclusters))
    while tree.heads[2] > n_wanted:
        radii = kernels.union_radii(tree)
        radii = radii[np.isfinite(radii)]
        needed = float(np.quantile(radii, _RAISED)) if radii.size else 0.0
        threshold = max(needed, 1.1 * threshold)
        tree = _rebuild(_pack(tree, 0, threshold).subclusters, threshold, growth)
    return tree, threshold


def _rebuild(
    features: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float, growth: Growth
) -> FeatureTree:
    tree = blank_tree(3, growth.branching_factor + 1, features[0].shape[1])
    return kernels.insert_features(tree, features, threshold, len(features[0]))[0]


def _pack(tree: FeatureTree, n_samples: int, threshold: float) -> ClusterFeatures:
    n_nodes = int(tree.heads[1])
    size = tree.size[:n_nodes].copy()
    used = _used(size, tree.weight.shape[1])
    return ClusterFeatures(
        n_samples,
        threshold,
        tree.heads.copy(),
        size,
        tree.child[:n_nodes][used],
        tree.weight[:n_nodes][used],
        tree.deviation[:n_nodes][used],
        np.moveaxis(tree.mean[:n_nodes], 2, 1)[used],
    )


def _unpack(summary: ClusterFeatures, growth: Growth) -> FeatureTree:
    n_nodes, n_features = summary.size.size, summary.mean.shape[1]
    tree = blank_tree(n_nodes + 3, growth.branching_factor + 1, n_features)
    used = _used(summary.size, growth.branching_factor + 1)
    tree.heads[:] = summary.heads
    tree.size[:n_nodes] = summary.size
    tree.child[:n_nodes][used] = summary.child
    tree.weight[:n_nodes][used] = summary.weight
    tree.deviation[:n_nodes][used] = summary.deviation
    np.moveaxis(tree.mean[:n_nodes], 2, 1)[used] = summary.mean
    return tree


def _used(size: np.ndarray, n_places: int) -> np.ndarray:
    """Return which places of the nodes have a feature, shape (n_nodes, n_places)."""
    return np.arange(n_places) < size[:, None]
