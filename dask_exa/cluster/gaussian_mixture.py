"""Mixtures of Gaussians of data seen in passes, in a stream, or anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.cluster import _mixture_learning, _mixture_model
from dask_exa.cluster._density_model import DensityModel
from dask_exa.cluster._mixture_model import MixtureModel
from dask_exa.summaries import Summary


class GaussianMixture(DensityModel):
    """Clusters of any extent and orientation, and the density that they make up.

    A drop-in for `sklearn.mixture.GaussianMixture` whose fitted state merges. `fit` runs EM by
    full passes: on a Dask array one task a chunk and pass, of which only small statistics come
    back. `partial_fit` runs stepwise EM: one step and one pass over what it is given, so that
    streams are learnt. `merge` makes one mixture of those of several ranks, whatever the order of
    their components; where ranks saw different clusters, all clusters are there before the
    cheapest pairs of components are merged to get `n_components` again. That is not what a fit on
    all samples would give, but weight, mean and covariance of all samples together are.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        ``full`` a covariance for every component, ``tied`` one for all, ``diag`` a variance for
        every feature and component, ``spherical`` one for every component.
    tol : float, default=1e-3
        Growth of the mean log-likelihood below which `fit` ends.
    reg_covar : float, default=1e-6
        Added to all variances, so that components of few samples do not collapse.
    max_iter : int, default=100
        Passes of EM.
    n_init : int, default=1
        Starts, of which the best on a sample of the data goes on.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}, default="kmeans"
        Where components start, on that sample: at the clusters of k-means, at samples far from
        each other, at random shares of all samples, at random samples.
    weights_init : array of shape (n_components,), optional
    means_init : array of shape (n_components, n_features), optional
    precisions_init : array, optional
        In the form of `precisions_`.
    random_state : int, RandomState or None, default=None
        What the start is drawn by; chunks and workers make no difference.
    warm_start : bool, default=False
        Kept for scikit-learn; use `partial_fit` to learn more.
    verbose : int, default=0
        Whether every pass prints its mean log-likelihood.
    verbose_interval : int, default=10
        Kept for scikit-learn.
    batch_size : float, default=1024
        Samples of a stream that make a step. More at once, or fewer, count as several steps or a
        part of one.
    learning_decay : float in (0.5, 1], default=0.7
        κ in the size ``(t + 2) ** -κ`` of step t of a stream: the smaller, the sooner earlier
        samples count less.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    weights_ : array of shape (n_components,)
    means_ : array of shape (n_components, n_features)
    covariances_, precisions_, precisions_cholesky_ : arrays
        (n_components, n_features, n_features) for ``full``, (n_features, n_features) for ``tied``,
        (n_components, n_features) for ``diag``, (n_components,) for ``spherical``.
    converged_ : bool
        Whether the last `fit` ended by `tol`; not after more was learnt.
    n_iter_ : int
        Passes of the last `fit`, and steps since.
    lower_bound_ : float
        Mean log-likelihood of the samples in the last pass, or their running mean in a stream.
    lower_bounds_ : array of shape (n_iter_,)
        Of every pass of the last `fit`; empty after more was learnt.
    n_samples_seen_ : int

    Notes
    -----
    Short batches are legal, single samples too. The first samples, ``max(batch_size, 100 *
    n_components)`` or for matrices of covariances four for each of their rows, are kept as they
    are, and the attributes are those of EM on them. Of a first batch that is larger, a sample of
    that size is taken. `fit` starts from EM on such a sample, unless something is given to start
    from.

    Weights count as repetitions. All statistics are central moments, in float64; samples in float32
    are multiplied in float32 where no component is far from the others in units of its width.

    References
    ----------
    A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum likelihood from incomplete data via the EM
    algorithm", J. R. Stat. Soc. B 39(1), 1977. For streams see `dask_exa.summaries.mixture`, for
    merges `dask_exa.summaries.mixture_reduction`.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> random = np.random.default_rng(0)
    >>> X = random.standard_normal((6000, 2)) + 9 * random.integers(0, 2, (6000, 1))
    >>> model = GaussianMixture(2, random_state=0).fit(da.from_array(X, chunks=(700, -1)))
    >>> np.sort(model.means_, axis=0).round(1)
    array([[0., 0.],
           [9., 9.]])
    >>> stream = GaussianMixture(2, random_state=0)
    >>> for batch in np.array_split(X, 10):
    ...     stream = stream.partial_fit(batch)
    >>> bool(abs(stream.score(X) - model.score(X)) < 1e-3)
    True
    """

    weights_ = Fitted("Weight of every component.")
    means_ = Fitted("Mean of every component.", leading=("component",))
    covariances_ = Fitted("Covariances, in the form of `covariance_type`.")
    precisions_ = Fitted("Inverses of the covariances.")
    precisions_cholesky_ = Fitted("Cholesky factors of the inverses of the covariances.")
    converged_ = Fitted("Whether the last fit ended by its tolerance.")
    n_iter_ = Fitted("Passes of the last fit, and steps since.")
    lower_bound_ = Fitted("Mean log-likelihood of the samples.")
    lower_bounds_ = Fitted("Mean log-likelihood of every pass of the last fit.")

    _state_params = ("n_components", "covariance_type", "reg_covar", "batch_size")

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        batch_size: float = 1024,
        learning_decay: float = 0.7,
        sample_dims: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.batch_size = batch_size
        self.learning_decay = learning_decay
        self.sample_dims = sample_dims

    def _check_fit(self, samples: Samples) -> None:
        _mixture_learning.check_enough(self, samples.n_samples)

    def _check_fitted(self, state: State) -> None:
        _mixture_model.warn_unless_converged(self._model, self.tol)

    def _absorb_all(self, samples: Samples, sample_weight: Any) -> None:
        self._absorb(samples, sample_weight, self._learn_in_passes)

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        _mixture_learning.check_parameters(self, samples.n_features)
        return _mixture_learning.learn(self, samples, sample_weight, start)

    def _learn_in_passes(self, samples: Samples, sample_weight: Any, start: None) -> Summary:
        _mixture_learning.check_parameters(self, samples.n_features)
        return _mixture_learning.fit(self, samples, sample_weight)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return _mixture_learning.merge(self, summaries)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return _mixture_learning.forget(summary, factor)

    def _finalize(self, state: State) -> MixtureModel:
        return _mixture_model.finalize(self, state.summary)
