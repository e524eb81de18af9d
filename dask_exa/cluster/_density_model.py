"""The density shell: scikit-learn's methods over a mixture of Gaussians."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dask_exa._parameters import check_count
from dask_exa._samples import Samples
from dask_exa.base import MergeableEstimator, checked_sample_weight
from dask_exa.cluster import _mixture_model
from dask_exa.reduction.samplewise import map_samples
from dask_exa.summaries import densities


class DensityModel(DensityMixin, MergeableEstimator):
    """Base of what is a density of several components.

    A subclass has the parameter `random_state`. What its `_finalize` returns has an attribute
    ``gaussians``, the mixture.
    """

    random_state: Any

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Learn from all samples of `X` and return the component that each most likely is of."""
        return self.fit(X, y, sample_weight).predict(X)

    def predict(self, X: Any) -> Any:
        """Return the component that every sample most likely is of, int32.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples,), int32
            Lazy for Dask, labelled for xarray.
        """
        return self._map(densities.most_likely, X, dtype=np.int32)

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of every component for every sample.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples, n_components)
            In the dtype of `X`; lazy for Dask, labelled (dimension ``component``) for xarray.
        """
        return self._map(densities.memberships, X, "component")

    def score_samples(self, X: Any) -> Any:
        """Return the logarithm of the density at every sample, in the kind and dtype of `X`."""
        return self._map(densities.log_density, X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean log-likelihood of samples, which are computed.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
        y : None
            Ignored.
        sample_weight : array of shape (n_samples,), optional
        """
        samples = self._samples(X)
        weight = checked_sample_weight(sample_weight, samples)
        return _mixture_model.mean_score(self._apply(densities.log_density, samples), weight)

    def bic(self, X: Any) -> float:
        """Return the Bayesian information criterion of samples: the lower, the better."""
        return self._criterion(X, bayesian=True)

    def aic(self, X: Any) -> float:
        """Return the Akaike information criterion of samples: the lower, the better."""
        return self._criterion(X, bayesian=False)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw samples from the mixture.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        X : array of shape (n_samples, n_features), float64
        y : array of shape (n_samples,), int32
            Component of each, increasing.
        """
        gaussians = self._model.gaussians
        check_count("n_samples", n_samples)
        return _mixture_model.sample(gaussians, n_samples, check_random_state(self.random_state))

    def _map(self, function: Any, X: Any, dim: str | None = None, dtype: Any = None) -> Any:
        """Apply a function of samples and a mixture; label what comes of it."""
        samples = self._samples(X)
        n_outputs = None if dim is None else self._model.gaussians.weights.size
        return samples.label(self._apply(function, samples, n_outputs, dtype), dim)

    def _samples(self, X: Any) -> Samples:
        check_is_fitted(self)
        return self._validate(X, reset=False, finite=True)

    def _apply(
        self, function: Any, samples: Samples, n_outputs: int | None = None, dtype: Any = None
    ) -> Any:
        function = functools.partial(function, gaussians=self._model.gaussians)
        return map_samples(function, samples, n_outputs, dtype or samples.array.dtype)

    def _criterion(self, X: Any, *, bayesian: bool) -> float:
        samples = self._samples(X)
        scores = self._apply(densities.log_density, samples)
        fit = -2 * samples.n_samples * _mixture_model.mean_score(scores, None)
        return fit + _mixture_model.penalty(self._model, samples.n_samples, bayesian=bayesian)
