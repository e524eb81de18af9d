"""K-means on streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.cluster import _clustering, _convergence, _minibatches
from dask_exa.cluster._centroid_model import CentroidModel
from dask_exa.cluster._minibatches import MiniBatchModel
from dask_exa.summaries import Summary, centroids
from dask_exa.summaries.centroids import Learning


class MiniBatchKMeans(CentroidModel):
    """Centres that follow a stream of samples, batch by batch.

    A drop-in for `sklearn.cluster.MiniBatchKMeans` whose fitted state merges.

    The first `init_size` samples wait, whatever batches they come in, single rows too; then they
    become centres by k-means++, which every further batch moves. Attributes are there as soon as
    there are `n_clusters` samples.

    **Merging is approximate.** The centres of all models are put side by side, each with the
    weight of the samples that it stands for, and clustered anew when asked for. Ranks may have
    seen the same clusters or entirely different ones: each has split its own into `n_clusters`
    parts, so that no cluster is lost. Clusters keep the numbers that they had in the first model.

    Batches are to be mixed. Where a stream brings one cluster after the other, centres stay with
    the first ones; `KMeans.partial_fit` clusters every batch by itself and does not mind.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {"k-means++", "random"}, callable or array (n_clusters, n_features)
        How waiting samples become centres. A callable gets ``(X, n_clusters, random_state=...)``.
        Where centres are given, no sample waits. `fit` of a Dask array takes k-means|| for both
        names.
    max_iter : int, default=100
        Passes of `fit`, at most.
    batch_size : int, default=1024
        Samples that centres are moved by at once; longer input of `partial_fit` is cut.
    verbose : int, default=0
        Whether `fit` prints the inertia of every step.
    compute_labels : bool, default=True
        Whether `fit` sets `labels_`.
    random_state : int, RandomState or None, default=None
    tol : float, default=0.0
        Sum of squared moves of all centres in a step, relative to the mean variance of the
        features, that ends `fit`; 0 for none.
    max_no_improvement : int or None, default=10
        Steps without improvement of the smoothed inertia that end `fit`.
    init_size : int, optional
        Samples that wait; by default three batches, or three per cluster if that is more, and
        less where they would take more than 64 MB.
    n_init : int or "auto", default="auto"
        Starts, of which the one of least inertia is taken. "auto" is 1, or 3 unless `init` is
        "k-means++" or given.
    reassignment_ratio : float, default=0.01
        Centres whose weight is less than this share of the largest move to a sample of the batch.
    forgetting_factor : float in (0, 1], default=1.0
        Weight of a sample relative to the next one, for streams that drift.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
    counts_ : array of shape (n_clusters,)
        Weight of the samples that every centre stands for.
    labels_ : array of shape (n_samples,), int32
        Cluster of every sample of the last `fit`, lazy for Dask.
    inertia_ : float
        Weighted sum of squared distances from the centres: of all samples of `fit`; of the last
        batch of `partial_fit`, before it moved the centres; after `merge` the sum of all models'.
    n_iter_ : int
        Passes over the samples that the last `fit` took, rounded up.
    n_steps_ : int
        Batches that have moved the centres.
    n_samples_seen_ : int

    Notes
    -----
    `fit` draws batches at random from samples in memory until they improve nothing, by the rules
    of scikit-learn but with a shorter memory; as many samples as may wait are clustered as a
    whole. A Dask array is read
    five times by k-means||, then once a round until a round gains less than a thousandth.
    `partial_fit` reads it once: every chunk is learnt by itself and all are merged, or, where
    there are centres already, all chunks are one batch.

    References
    ----------
    D. Sculley, "Web-scale k-means clustering", WWW 2010. For the merges see
    `dask_exa.summaries.centroids`.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> X = random.standard_normal((9000, 2)) + 9 * random.integers(0, 3, (9000, 1))
    >>> stream = MiniBatchKMeans(n_clusters=3, random_state=0)
    >>> for batch in np.array_split(X, 30):
    ...     stream = stream.partial_fit(batch)
    >>> np.sort(stream.cluster_centers_, axis=0).round() + 0
    array([[ 0.,  0.],
           [ 9.,  9.],
           [18., 18.]])
    >>> far = MiniBatchKMeans(n_clusters=3, random_state=0).fit(X[X[:, 0] > 14])
    >>> near = MiniBatchKMeans(n_clusters=3, random_state=0).fit(X[X[:, 0] < 14])
    >>> bool(abs((near | far).score(X) / stream.score(X) - 1) < 0.01)
    True
    """

    cluster_centers_ = Fitted("Centres.", leading=("cluster",))
    counts_ = Fitted("Weight of the samples that every centre stands for.")
    inertia_ = Fitted("Weighted sum of squared distances from the centres.")
    n_steps_ = Fitted("Batches that have moved the centres.")

    _state_params = ("n_clusters", "forgetting_factor")

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: int | str = "auto",
        reassignment_ratio: float = 0.01,
        forgetting_factor: float = 1.0,
        sample_dims: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.forgetting_factor = forgetting_factor
        self.sample_dims = sample_dims

    def _check_fit(self, samples: Samples) -> None:
        _minibatches.check_parameters(self)
        _clustering.check_enough(self, samples.n_samples)

    def _absorb_all(self, samples: Samples, sample_weight: Any) -> None:
        self._absorb(samples, sample_weight, self._converge)

    def _converge(self, samples: Samples, sample_weight: Any, start: None) -> Summary:
        summary, labels = _convergence.converge(self, samples, sample_weight)
        self.n_iter_ = _convergence.count_passes(self, summary, samples)
        if labels is not None and self.compute_labels:
            self.labels_ = samples.label(labels)
        return summary

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        _minibatches.check_parameters(self)
        return _minibatches.learn(self, samples, sample_weight, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return centroids.merge(summaries, self._learning)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return centroids.forget(summary, factor)

    def _finalize(self, state: State) -> MiniBatchModel:
        return _minibatches.finalize(state, self._learning)

    @property
    def _learning(self) -> Learning:
        return _minibatches.learning(self, self.n_features_in_)
