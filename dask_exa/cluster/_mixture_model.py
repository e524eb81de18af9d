"""The fitted attributes of a `GaussianMixture`, and what is read off them."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dask_exa._array import to_host
from dask_exa._samples import is_dask
from dask_exa.cluster import _mixture_learning
from dask_exa.cluster._mixture_learning import Learnt
from dask_exa.cluster._mixture_sample import Drawn
from dask_exa.summaries import mixture
from dask_exa.summaries.gaussians import Gaussians


class MixtureModel(NamedTuple):
    """Fitted attributes."""

    gaussians: Gaussians
    n_iter: int
    converged: bool
    lower_bound: float
    lower_bounds: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Weight of every component."""
        return self.gaussians.weights

    @property
    def means(self) -> np.ndarray:
        """Mean of every component."""
        return self.gaussians.means

    @property
    def covariances(self) -> np.ndarray:
        """Covariances."""
        return self.gaussians.covariances

    @property
    def precisions(self) -> np.ndarray:
        """Inverses of the covariances."""
        return self.gaussians.precisions

    @property
    def precisions_cholesky(self) -> np.ndarray:
        """Cholesky factors of the inverses of the covariances."""
        return self.gaussians.precisions_cholesky


def finalize(params: Any, known: Drawn | Learnt) -> MixtureModel:
    """Return the fitted attributes."""
    learnt = _mixture_learning.settle(params, known)
    statistics = learnt.statistics
    return MixtureModel(
        mixture.maximize(statistics, params.reg_covar),
        learnt.n_iter,
        learnt.converged,
        statistics.log_likelihood / statistics.weight,
        learnt.lower_bounds,
    )


def warn_unless_converged(model: MixtureModel, tol: float) -> None:
    """Warn of a fit that `max_iter` ended."""
    if not model.converged:
        warnings.warn(
            f"EM has not converged to tol={tol} in max_iter={model.n_iter} passes; raise one of "
            "them, or scale the features.",
            ConvergenceWarning,
            stacklevel=4,
        )


def mean_score(scores: Any, sample_weight: Any) -> float:
    """Return the weighted mean of scores of any kind, computed.

    Parameters
    ----------
    scores : array of shape (sample axes …,)
        In memory or lazy.
    sample_weight : array of shape (n_samples,), optional
    """
    scores = scores if is_dask(scores) else to_host(scores)
    scores = scores.reshape(-1).astype(np.float64)
    if sample_weight is None:
        mean = scores.mean()
    else:
        weight = sample_weight if is_dask(sample_weight) else to_host(sample_weight)
        mean = (scores * weight).sum() / weight.sum()
    return float(mean.compute() if is_dask(mean) else mean)


def penalty(model: MixtureModel, n_samples: int, *, bayesian: bool) -> float:
    """Return what an information criterion asks for the parameters of a mixture."""
    n_parameters = model.gaussians.n_parameters
    return n_parameters * (math.log(n_samples) if bayesian else 2.0)


def sample(
    gaussians: Gaussians, n_samples: int, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples (n_samples, n_features) and their components, which increase."""
    k, d = gaussians.means.shape
    counts = random.multinomial(n_samples, gaussians.weights / gaussians.weights.sum())
    labels = np.repeat(np.arange(k, dtype=np.int32), counts)
    noise = random.standard_normal((n_samples, d))
    factor = gaussians.covariances
    if gaussians.covariance_type == "diag":
        noise *= np.sqrt(factor)[labels]
    elif gaussians.covariance_type == "spherical":
        noise *= np.sqrt(factor)[labels, None]
    else:
        roots = np.broadcast_to(np.linalg.cholesky(factor), (k, d, d))
        for i in range(k):
            noise[labels == i] = noise[labels == i] @ roots[i].T
    return gaussians.means[labels] + noise, labels
