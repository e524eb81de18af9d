"""K-means by rounds over samples of any number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.cluster import _clustering, _partition
from dask_exa.cluster._centroid_model import CentroidModel
from dask_exa.cluster._clustering import KMeansModel
from dask_exa.summaries import Summary


class KMeans(CentroidModel):
    """Centres that every sample is near to, by Lloyd's algorithm on samples of any number.

    A drop-in for `sklearn.cluster.KMeans`. On a Dask array every round is one task a chunk, on
    the worker where the chunk is: the centres go there, and sums come back. From the same start,
    an array in memory and a Dask array give the same centres, however it is chunked.

    The samples are read once to start with, three times more by k-means||, once a round and once
    at the end. Chunks are made anew each time, so that nothing but them has to fit into memory:
    where all of them do, pass ``X.persist()``.

    **Merging is approximate.** The state is the centres, and the weight and sum of squares of the
    samples of each. `merge` clusters the weighted centres of all models, and `partial_fit` merges
    with the clustering of the new samples alone: `inertia_` is then an upper bound, a few percent
    above a fit on all samples. ``KMeans(init=merged.cluster_centers_).fit(X)`` closes the gap in
    a few rounds. For streams of small batches that are well mixed take `MiniBatchKMeans`.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {"k-means||", "k-means++", "random"}, callable or array, default="k-means||"
        Where the centres start: ``k-means||`` draws candidates far from each other in a few
        passes. ``k-means++``, one centre after the other, is for samples in memory; on a Dask
        array it is ``k-means||``. ``random`` draws samples. A callable gets ``(X, n_clusters,
        random_state=...)`` and returns centres, an array (n_clusters, n_features) gives them.
    n_init : int or "auto", default="auto"
        Starts, of which the one of least inertia is kept. "auto" is 10 for ``random`` and
        callables, else 1.
    max_iter : int, default=300
        Rounds of one start.
    tol : float, default=1e-4
        Sum of the squared moves of all centres that ends the rounds, relative to the mean
        variance of the features.
    verbose : int, default=0
        Whether every round prints its inertia.
    random_state : int, RandomState or None, default=None
        What the start is drawn by, as a function of the numbers of the samples: chunks and
        workers make no difference.
    copy_x : bool, default=True
        Kept for scikit-learn; `X` is never written to.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        Kept for scikit-learn; the result of both is that of Lloyd's algorithm.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
    labels_ : array of shape (n_samples,), int32
        Cluster of every sample of the last `fit`, lazy for Dask.
    inertia_ : float
        Weighted sum of the squared distances of the samples from their centres.
    n_iter_ : int
        Rounds of the last clustering, of samples or, after a merge, of centres.
    n_samples_seen_ : int

    References
    ----------
    B. Bahmani, B. Moseley, A. Vattani, R. Kumar, S. Vassilvitskii, "Scalable k-means++", VLDB
    2012, for k-means||. For the rounds see `dask_exa.reduction.broadcast`.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> random = np.random.default_rng(0)
    >>> X = random.standard_normal((300, 2)) + 9 * random.integers(0, 2, (300, 1))
    >>> model = KMeans(n_clusters=2, random_state=0).fit(da.from_array(X, chunks=(70, -1)))
    >>> np.sort(model.cluster_centers_, axis=0).round()
    array([[-0.,  0.],
           [ 9.,  9.]])
    >>> here, there = KMeans(2, random_state=0).fit(X[:99]), KMeans(2, random_state=0).fit(X[99:])
    >>> bool(1 <= (here | there).inertia_ / model.inertia_ < 1.01)
    True
    """

    cluster_centers_ = Fitted("Centres.", leading=("cluster",))
    inertia_ = Fitted("Weighted sum of squared distances of the samples from their centres.")
    n_iter_ = Fitted("Rounds of the last clustering.")

    _state_params = ("n_clusters",)

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means||",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        sample_dims: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.sample_dims = sample_dims

    def _check_fit(self, samples: Samples) -> None:
        _clustering.check_parameters(self)
        _clustering.check_enough(self, samples.n_samples)

    def _check_fitted(self, state: State) -> None:
        _clustering.finalize(state, self.n_clusters)

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        _clustering.check_parameters(self)
        found = _clustering.cluster(self, samples, sample_weight)
        return found if start is None else _partition.merge([start, found], self.n_clusters)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return _partition.merge(summaries, self.n_clusters)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return _partition.forget(summary, factor)

    def _finalize(self, state: State) -> KMeansModel:
        return _clustering.finalize(state, self.n_clusters)
