"""The density shell: scikit-learn's methods over a mixture of Gaussians."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state

from dask_exa._parameters import check_count
from dask_exa._samples import as_series
from dask_exa.base import MergeableEstimator
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
        scores, _ = self._scores(X)
        return _mixture_model.mean_score(scores, sample_weight)

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
        gaussians = self._model.gaussians
        samples = self._validate(X, reset=False, finite=True)
        n_outputs = None if dim is None else gaussians.weights.size
        values = map_samples(
            functools.partial(function, gaussians=gaussians),
            samples,
            n_outputs,
            dtype or samples.array.dtype,
        )
        return samples.label(values, dim)

    def _scores(self, X: Any) -> tuple[Any, int]:
        """Return the log-likelihood of samples, without labels, and their number."""
        scores = self.score_samples(X)
        return as_series(scores), scores.size

    def _criterion(self, X: Any, *, bayesian: bool) -> float:
        scores, n_samples = self._scores(X)
        fit = -2 * n_samples * _mixture_model.mean_score(scores, None)
        return fit + _mixture_model.penalty(self._model, n_samples, bayesian=bayesian)
