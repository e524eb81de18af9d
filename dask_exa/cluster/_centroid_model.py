"""The clustering shell: scikit-learn's methods over centres to which samples are assigned."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Self

import dask
import numpy as np
import xarray as xr
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning

from dask_exa import kernels
from dask_exa._array import Array, namespace, to_host
from dask_exa._samples import is_dask
from dask_exa.base import MergeableEstimator, checked_sample_weight
from dask_exa.reduction.samplewise import map_samples


class Centroids(NamedTuple):
    """Centres, and the numbers of the clusters that they belong to."""

    centers: Array
    """Shape (n_centers, n_features)."""
    clusters: Array | None = None
    """Shape (n_centers,), int32, where several centres make one cluster."""

    def predict(self, X: Array) -> Array:
        """Return the cluster of every sample in memory."""
        xp = namespace(X)
        labels, _ = kernels.nearest_centers(X, xp.asarray(self.centers))
        return labels if self.clusters is None else xp.take(xp.asarray(self.clusters), labels)

    def distances(self, X: Array) -> Array:
        """Return the distance of every sample from every centre."""
        xp = namespace(X)
        centers = xp.asarray(self.centers, dtype=X.dtype)
        origin = xp.mean(centers, axis=0)  # what all have in common would cost digits
        X, centers = X - origin, centers - origin
        squares = xp.sum(X * X, axis=1)[:, None] + xp.sum(centers * centers, axis=1)[None, :]
        squares = squares - 2 * (X @ xp.matrix_transpose(centers))
        return xp.sqrt(xp.where(squares > 0, squares, 0.0))

    def squared_distances(self, X: Array) -> Array:
        """Return the squared distance of every sample from its nearest centre."""
        return kernels.nearest_centers(X, namespace(X).asarray(self.centers))[1]


class CentroidModel(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, MergeableEstimator
):
    """Base of the clusterings that assign a sample to the nearest of their centres.

    What a subclass's `_finalize` returns has an attribute ``centroids``, a `Centroids`.
    """

    labels_: Any
    """Cluster of every sample of the last `fit`, in the kind of its `X`: lazy for Dask."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from all samples of `X`, forgetting what was learnt before.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            Never modified.
        y : None
            Ignored.
        sample_weight : array of shape (n_samples,), optional

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            self.__dict__.pop("labels_", None)
            super().fit(X, y, sample_weight)
            _warn_of_equal_centers(self)
            if getattr(self, "compute_labels", True) and "labels_" not in vars(self):
                self.labels_ = self.predict(X)
        return self

    def merge(self, *others: Self) -> Self:
        """Take over what other models have learnt; see `MergeableEstimator.merge`."""
        before = self.__dict__.get("_state")
        with self._unchanged_on_error():
            super().merge(*others)
            if before is not None and self._state.summary is not before.summary:
                self.__dict__.pop("labels_", None)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Learn from all samples of `X` and return their clusters."""
        return self.fit(X, y, sample_weight).labels_

    def predict(self, X: Any) -> Any:
        """Return the cluster of every sample.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples,), int32
            Lazy for Dask, labelled for xarray.
        """
        centroids = self._model.centroids
        samples = self._validate(X, reset=False, finite=True)
        return samples.label(map_samples(centroids.predict, samples, dtype=np.int32))

    def transform(self, X: Any) -> Any:
        """Return the distance of every sample from every centre.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples, n_centers)
            In the dtype of `X`; lazy for Dask, labelled (dimension ``cluster``) for xarray.
        """
        centroids = self._model.centroids
        samples = self._validate(X, reset=False, finite=True)
        n_centers = centroids.centers.shape[0]
        distances = map_samples(centroids.distances, samples, n_centers, samples.array.dtype)
        return samples.label(distances, "cluster")

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the inertia of samples: the larger, the nearer they are to the centres.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            Computed.
        y : None
            Ignored.
        sample_weight : array of shape (n_samples,), optional
        """
        centroids = self._model.centroids
        samples = self._validate(X, reset=False, finite=True)
        squares = map_samples(centroids.squared_distances, samples).reshape(-1)
        if sample_weight is not None:
            squares = squares * checked_sample_weight(sample_weight, samples)
        total = squares.sum()
        return -float(total.compute() if is_dask(total) else total)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without labels that are yet to be computed: they would take the data along."""
        state = dict(super().__getstate__())
        if dask.is_dask_collection(labels := state.get("labels_")):
            del state["labels_"]
        elif isinstance(labels, xr.DataArray):  # in types that skops knows
            state["labels_"] = labels.to_dict(data="array")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` has returned."""
        if isinstance(labels := state.get("labels_"), dict):
            state = {**state, "labels_": xr.DataArray.from_dict(labels)}
        super().__setstate__(state)

    @property
    def _n_features_out(self) -> int:
        return self._model.centroids.centers.shape[0]


def _warn_of_equal_centers(model: Any) -> None:
    """Warn where there are fewer distinct samples than clusters, so that some are empty."""
    centroids = model._model.centroids
    if centroids.clusters is not None or not isinstance(model.n_clusters, int | np.integer):
        return
    n_distinct = np.unique(to_host(centroids.centers), axis=0).shape[0]
    if n_distinct < model.n_clusters:
        warnings.warn(
            f"n_clusters={model.n_clusters} but only {n_distinct} clusters are distinct, as there "
            "are not more distinct samples; lower n_clusters.",
            ConvergenceWarning,
            stacklevel=3,
        )
