"""Incremental principal component analysis in every data layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from dask_exa._array import Array
from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.base import MergeableEstimator, checked_sample_weight
from dask_exa.decomposition import _columns, _learning, _model, _projection
from dask_exa.decomposition._columns import SlabSummary
from dask_exa.decomposition._likelihood import check_density, gaussian_law
from dask_exa.decomposition._model import PCAModel
from dask_exa.reduction.samplewise import map_samples
from dask_exa.summaries import Summary, moments, svd
from dask_exa.summaries.affine import Coordinates
from dask_exa.summaries.svd import SVDSummary


class IncrementalPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, MergeableEstimator):
    """Principal components of data that are seen once, in pieces, anywhere.

    A drop-in for `sklearn.decomposition.IncrementalPCA` whose fitted state merges: an array in
    memory, the chunks of a Dask array, the steps of a stream and the models of other ranks all
    give the same components.

    Parameters
    ----------
    n_components : int, float in (0, 1) or None, default=None
        Number of components; a float picks the smallest number that explains this share of the
        variance; None keeps ``min(n_samples, n_features)``, weights counting as repetitions.
    whiten : bool, default=False
        Divide transformed samples by the standard deviation of each component.
    copy : bool, default=True
        Kept for scikit-learn; `X` is never written to.
    batch_size : int, optional
        Samples that the low-rank solvers stack before they compress; by default four times the
        rank they keep.
    layout : {"auto", "rows", "columns", "both"}, default="auto"
        How a Dask array is split: ``rows`` into blocks of samples, merged in a tree; ``columns``
        into blocks of features, each of which keeps its own slab of the basis on its worker
        (only small Gram matrices travel; `components_` and `mean_` are then Dask arrays); ``both``
        like columns, one block of samples after the other. ``auto`` goes by the chunks of the
        features. Dask's work stealing may move a slab to an idle worker: where slabs are large,
        set ``distributed.scheduler.work-stealing`` to False.
    solver : {"auto", "scatter", "gram", "qr"}, default="auto"
        ``scatter`` accumulates the exact n_features × n_features scatter matrix. ``gram`` and
        ``qr`` merge low-rank summaries, by the eigenvectors of a Gram matrix or, twice as slow
        but right for singular values below 1e-7 of the largest, by QR. ``auto`` takes
        ``scatter`` up to 1024 features, or 4096 given more samples than features, else ``gram``.
    tol : float in (0, 1), optional
        Instead of `n_components`: the smallest number of components whose relative
        root-mean-square reconstruction error is at most `tol`.
    oversampling : int, optional
        Directions that low-rank solvers keep beyond `n_components`; by default as many again and
        at least 10, in the columns layout a quarter as many and at least 8.
    forgetting_factor : float in (0, 1], default=1.0
        Weight of a sample relative to the next one, for streams that drift. Independent of how
        the stream is cut into batches.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features, and fitted attributes come back labelled with them.

    Attributes
    ----------
    components_ : array of shape (n_components_, n_features)
        Principal axes, by decreasing variance.
    mean_, var_ : arrays of shape (n_features,)
        Mean and variance of every feature, exact.
    explained_variance_, explained_variance_ratio_, singular_values_ : arrays (n_components_,)
    noise_variance_ : float
        Mean variance of the directions left out, from the exact total variance.
    n_components_, n_samples_seen_ : int
    truncation_error_ : float
        Relative root-mean-square error that merging with a limited rank has cost at most; 0 for
        the scatter solver.

    Notes
    -----
    Short batches are legal, single samples too: they wait until there are enough of them. The
    attributes above raise ValueError until `n_components` samples were seen.

    References
    ----------
    D. Ross, J. Lim, R. Lin, M. Yang, "Incremental learning for robust visual tracking",
    Int. J. Computer Vision 77, 2008. For the merges see `dask_exa.summaries.svd` and
    `dask_exa.summaries.moments`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((1000, 8)) * np.arange(8, 0, -1)
    >>> whole = IncrementalPCA(n_components=2).fit(X)
    >>> stream = IncrementalPCA(n_components=2)
    >>> for batch in np.array_split(X, 30):
    ...     stream = stream.partial_fit(batch)
    >>> here, there = IncrementalPCA(2).fit(X[:400]), IncrementalPCA(2).fit(X[400:])
    >>> np.allclose(whole.components_, stream.components_)
    True
    >>> np.allclose(whole.components_, (here | there).components_)
    True
    """

    components_ = Fitted("Principal axes.", leading=("component",))
    mean_ = Fitted("Mean of every feature.", leading=())
    var_ = Fitted("Variance of every feature.", leading=())
    singular_values_ = Fitted("Singular values of the centred data.")
    explained_variance_ = Fitted("Variance along every component.")
    explained_variance_ratio_ = Fitted("Share of the total variance of every component.")
    noise_variance_ = Fitted("Mean variance of the directions left out.")
    n_components_ = Fitted("Number of components.")
    truncation_error_ = Fitted("Bound of the relative error that truncation has cost.")

    _state_params = (
        "n_components",
        "layout",
        "solver",
        "tol",
        "oversampling",
        "forgetting_factor",
    )
    _accept_sparse = ("csr", "csc", "lil")

    def __init__(
        self,
        n_components: int | float | None = None,
        *,
        whiten: bool = False,
        copy: bool = True,
        batch_size: int | None = None,
        layout: str = "auto",
        solver: str = "auto",
        tol: float | None = None,
        oversampling: int | None = None,
        forgetting_factor: float = 1.0,
        sample_dims: Any = None,
    ) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.copy = copy
        self.batch_size = batch_size
        self.layout = layout
        self.solver = solver
        self.tol = tol
        self.oversampling = oversampling
        self.forgetting_factor = forgetting_factor
        self.sample_dims = sample_dims

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def transform(self, X: Any) -> Any:
        """Project samples on the components.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples, n_components_)
            In the kind of `X`: lazy for Dask, labelled for xarray.
        """
        model = self._model
        samples = self._validate(X, reset=False, finite=True)
        scale = np.sqrt(model.explained_variance) if self.whiten else None
        projected = _projection.project(samples, model.components, model.mean, scale)
        return samples.label(projected, "component")

    def inverse_transform(self, X: Any) -> Any:
        """Return the fields that belong to coefficients.

        Parameters
        ----------
        X : array of shape (n_samples, n_components_), or labelled array with a dimension
            ``component``

        Returns
        -------
        array of shape (n_samples, n_features)
            Lazy where `X` or the components are, labelled where `X` is.
        """
        model = self._model
        scale = np.sqrt(model.explained_variance) if self.whiten else None
        return _projection.reconstruct(X, model.components, model.mean, scale, self._state.labels)

    def get_covariance(self) -> Array:
        """Return the covariance of the features as the probabilistic model has it.

        ``components_.T @ diag(explained_variance_ - noise_variance_) @ components_ +
        noise_variance_ I`` (C. Bishop, "Pattern Recognition and Machine Learning", 12.2.1).
        """
        return gaussian_law(self._model, "get_covariance").covariance()

    def get_precision(self) -> Array:
        """Return the inverse of `get_covariance`, by the matrix inversion lemma."""
        return gaussian_law(self._model, "get_precision").precision()

    def score_samples(self, X: Any) -> Any:
        """Return the log-likelihood of every sample under the probabilistic model.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples,), float64
            Lazy for Dask, labelled for xarray.
        """
        samples = self._validate(X, reset=False, finite=True)
        return samples.label(self._likelihoods(samples))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean log-likelihood of samples, by which a search can choose `n_components`.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            Computed.
        y : None
            Ignored.
        sample_weight : array of shape (n_samples,), optional
        """
        samples = self._validate(X, reset=False, finite=True)
        likelihoods = self._likelihoods(samples).reshape(-1)
        if sample_weight is None:
            return float(likelihoods.mean())
        weight = checked_sample_weight(sample_weight, samples)
        return float((likelihoods * weight).sum() / weight.sum())

    def _likelihoods(self, samples: Samples) -> Any:
        law = gaussian_law(self._model, "score_samples")
        check_density(law)
        return map_samples(law.log_likelihood, samples)

    def _check_fit(self, samples: Samples) -> None:
        _learning.check_enough(self, samples.n_samples)

    def _check_fitted(self, state: State) -> None:
        _model.check_variance(state.summary)

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        _learning.check_parameters(self, samples.n_features)
        if self.forgetting_factor < 1:
            sample_weight = _learning.decay(sample_weight, samples, self.forgetting_factor)
            if start is not None:
                start = self._forget_summary(start, self.forgetting_factor**samples.n_samples)
        return _learning.learn(self, samples, sample_weight, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return _learning.merge(self, summaries, self.n_features_in_, dtype)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        if isinstance(summary, SlabSummary):
            return _columns.forget(summary, factor)
        algebra = svd if isinstance(summary, SVDSummary) else moments
        return algebra.forget(summary, factor)

    def _coordinates(self) -> Coordinates | None:
        return _projection.coordinates(self._model, whiten=self.whiten)

    def _finalize(self, state: State) -> PCAModel:
        return _model.finalize(state, self.n_features_in_)
