"""Clusters of unknown number, by features that sum up what is near each other."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.cluster import AgglomerativeClustering
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import has_fit_parameter

from dask_exa._parameters import check_count, check_positive
from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.cluster._centroid_model import CentroidModel, Centroids
from dask_exa.reduction.samples import reduce_samples
from dask_exa.summaries import Reducer, Summary, cluster_features
from dask_exa.summaries.cluster_features import ClusterFeatures, Growth


class Birch(CentroidModel):
    """Sum up what is near each other while it comes, and cluster the sums.

    A drop-in for `sklearn.cluster.Birch` whose fitted state merges and is bounded. Samples go
    through a tree to the subcluster with the nearest mean, and into it if its root mean square
    distance from the mean stays within `threshold`; otherwise they begin a new one. The
    subclusters, as many as the data ask for, are clustered when clusters are first asked for.

    A stream gives the same subclusters as one `fit`, to the last bit, in any batches. The chunks
    of a Dask array are summed up side by side, and their subclusters, and those of merged models,
    are inserted into the tree of the first: which samples make up a subcluster depends on the
    order in which they came, but number, mean and squared deviations of all together are exact
    in any grouping.

    Parameters
    ----------
    threshold : float, default=0.5
        Largest radius of a subcluster: root mean square distance of its samples from their mean.
    branching_factor : int, default=50
        Largest number of subclusters, or of nodes, in a node of the tree.
    n_clusters : int, clusterer or None, default=3
        What is done with the subclusters: int merges them to that many by Ward's criterion;
        a clusterer with ``fit_predict`` is given their means, and their weights if it takes
        them; None leaves them as they are. May be changed at any time.
    compute_labels : bool, default=True
        Whether `fit` makes `labels_`.
    max_subclusters : int, default=5000
        Where there are more, the threshold is raised: see `threshold_`.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    subcluster_centers_ : array of shape (n_subclusters, n_features)
        Means of the subclusters.
    subcluster_labels_ : ndarray of shape (n_subclusters,), int32
        The cluster of each.
    subcluster_weights_ : ndarray of shape (n_subclusters,), float64
        The number, or weight, of the samples of each.
    subcluster_radii_ : ndarray of shape (n_subclusters,), float64
        Root mean square distance of the samples of each from their mean.
    threshold_ : float
        The threshold, raised until `max_subclusters` were enough.
    labels_ : array of shape (n_samples,), int32
        Cluster of every sample of the last `fit`; lazy for Dask, labelled for xarray.
    n_samples_seen_ : int
    n_features_in_ : int

    Notes
    -----
    Features are kept by mean and squared deviations, as in BETULA: data far from zero lose no
    digits. At equal parameters, the subclusters of data near zero are scikit-learn's.

    References
    ----------
    See `dask_exa.summaries.cluster_features`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((3000, 2))
    >>> X += 10 * np.repeat(np.eye(3, 2), 1000, axis=0)
    >>> ranks = [Birch(threshold=1.0).fit(part) for part in np.array_split(X, 4)]
    >>> model = ranks[0].merge(*ranks[1:])
    >>> model.n_samples_seen_
    3000
    >>> np.unique(model.predict(X), return_counts=True)[1]
    array([1000, 1000, 1000])
    """

    subcluster_centers_ = Fitted("Means of the subclusters.", leading=("subcluster",))
    subcluster_labels_ = Fitted("Clusters of the subclusters.")
    subcluster_weights_ = Fitted("Weights of the subclusters.")
    subcluster_radii_ = Fitted("Root mean square distances of samples from their subcluster.")
    threshold_ = Fitted("Threshold, raised until the subclusters were few enough.")

    _state_params = ("threshold", "branching_factor", "max_subclusters")

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        branching_factor: int = 50,
        n_clusters: Any = 3,
        compute_labels: bool = True,
        max_subclusters: int = 5000,
        sample_dims: Any = None,
    ) -> None:
        self.threshold = threshold
        self.branching_factor = branching_factor
        self.n_clusters = n_clusters
        self.compute_labels = compute_labels
        self.max_subclusters = max_subclusters
        self.sample_dims = sample_dims

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        growth = self._checked_growth()

        def summarize(X: Any, weight: Any) -> ClusterFeatures:
            return cluster_features.summarize(X, weight, growth)

        def merge(summaries: Sequence[ClusterFeatures]) -> ClusterFeatures:
            return cluster_features.merge(summaries, growth)

        def extend(summary: ClusterFeatures, X: Any, weight: Any) -> ClusterFeatures:
            return cluster_features.extend(summary, X, weight, growth)

        return reduce_samples(Reducer(summarize, merge, extend), samples, sample_weight, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return cluster_features.merge(summaries, self._growth)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return cluster_features.forget(summary, factor, self._growth)

    def _finalize(self, state: State) -> _Subclusters:
        return _Subclusters(state)

    @property
    def _model(self) -> _Subclusters:
        return super()._model.clustered(self.n_clusters)

    @property
    def _growth(self) -> Growth:
        return Growth(float(self.threshold), self.branching_factor, self.max_subclusters)

    def _checked_growth(self) -> Growth:
        check_positive("threshold", self.threshold)
        check_count("branching_factor", self.branching_factor, least=2)
        check_count("max_subclusters", self.max_subclusters)
        _check_n_clusters(self.n_clusters)
        return self._growth


class _Subclusters:
    """What is read off a tree of features, and the clusters that were asked for last."""

    def __init__(self, state: State) -> None:
        means, weights, deviations = state.summary.subclusters
        self.subcluster_centers = means.astype(state.dtype)
        self.subcluster_weights = weights
        self.subcluster_radii = np.sqrt(deviations / weights)
        self.threshold = state.summary.threshold
        self.centroids = Centroids(self.subcluster_centers)
        self._n_clusters: Any = self  # nothing that anybody can ask for

    @property
    def subcluster_labels(self) -> Any:
        """Return the cluster of every subcluster."""
        return self.centroids.clusters

    def clustered(self, n_clusters: Any) -> _Subclusters:
        """Put the subclusters into clusters, unless they are."""
        if n_clusters is not self._n_clusters:
            labels = self._cluster(n_clusters).astype(np.int32)
            self.centroids = Centroids(self.subcluster_centers, labels)
            self._n_clusters = n_clusters
        return self

    def _cluster(self, n_clusters: Any) -> np.ndarray:
        _check_n_clusters(n_clusters)
        centers = self.subcluster_centers
        if n_clusters is None:
            return np.arange(len(centers))
        if hasattr(n_clusters, "fit_predict"):
            weights = {}
            if has_fit_parameter(n_clusters, "sample_weight"):
                weights = {"sample_weight": self.subcluster_weights}
            return np.asarray(clone(n_clusters).fit(centers, **weights).labels_)
        if len(centers) < n_clusters:
            warnings.warn(
                f"there are {len(centers)} subclusters but n_clusters={n_clusters}; lower "
                "threshold, or n_clusters.",
                ConvergenceWarning,
                stacklevel=2,
            )
        if len(centers) <= n_clusters:
            return np.arange(len(centers))
        return AgglomerativeClustering(n_clusters).fit(centers).labels_


def _check_n_clusters(n_clusters: Any) -> None:
    if n_clusters is None or hasattr(n_clusters, "fit_predict"):
        return
    check_count("n_clusters", n_clusters)
