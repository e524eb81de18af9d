"""Fields that are unlike all combinations of those seen before, and where they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.anomaly import _contributions, _subspace
from dask_exa.anomaly._detector import AnomalyDetector, check_shared_parameters
from dask_exa.anomaly._subspace import SubspaceModel
from dask_exa.decomposition import _learning, _model
from dask_exa.reduction.samplewise import map_samples
from dask_exa.summaries import Summary, subspace


class Statistics(NamedTuple):
    """Both statistics of samples, or of features or regions of them."""

    spe: Any
    """Squared prediction error Q."""
    t2: Any
    """Hotelling's T²."""


class SubspaceDetector(AnomalyDetector):
    """Anomalies are far from the subspace of normal samples, or far out within it.

    Principal components are learnt from a stream, as by `dask_exa.decomposition.IncrementalPCA`.
    A sample has a squared distance from their subspace (Q, the squared prediction error), and one
    within it, in units of the variance of every component (Hotelling's T²). Both are sums over
    features, so that a field tells where it is wrong.

    Parameters
    ----------
    n_components : int or float in (0, 1), default=0.95
        Number of components, or share of the variance that they explain.
    score_by : {"combined", "spe", "t2"}, default="combined"
        ``combined`` adds Q and T², each divided by its limit.
    confidence : float in (0, 1), default=0.99
        Share of normal samples within the limits.
    contamination : "auto" or float in (0, 0.5], default="auto"
        "auto" flags what is beyond the limit; a share flags that many of the samples that the
        model has kept (1024, fewer if they take more than 4 MB, but at least 16). May be changed
        at any time.
    solver, oversampling, batch_size, forgetting_factor
        As in `IncrementalPCA`. Every sample is whole on one worker (its layout ``rows``).
    nan : {"score", "raise"}, default="score"
        ``score`` gives samples with NaN or infinity the score -inf and does not learn them,
        ``raise`` refuses them.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    components_ : array of shape (n_components_, n_features)
    mean_ : array of shape (n_features,)
    explained_variance_ : array of shape (n_components_,)
    spe_limit_, t2_limit_ : float
        What normal samples stay below with the probability `confidence`, if they are Gaussian.
    offset_ : float
        ``decision_function = score_samples - offset_``; -1 is the limit.
    n_components_, n_samples_seen_ : int

    Notes
    -----
    The limits are those of Gaussian samples that are many more than their features. With fewer
    samples, those learnt are closer to the subspace than new ones will ever be; score new samples
    before learning them and give the scores to `StreamingThreshold`.

    References
    ----------
    J. E. Jackson, G. S. Mudholkar, Technometrics 21(3), 1979. H. H. Yue, S. J. Qin, Ind. Eng. Chem.
    Res. 40(20), 2001. For the limits see `dask_exa.summaries.subspace`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((2000, 3)) @ rng.standard_normal((3, 20))
    >>> X += 0.1 * rng.standard_normal(X.shape)
    >>> detector = SubspaceDetector(n_components=3).fit(X)
    >>> broken = X[:1].copy()
    >>> broken[0, 7] += 2
    >>> detector.predict(broken)
    array([-1])
    >>> int(detector.contributions(broken).spe.argmax())
    7
    """

    components_ = Fitted("Principal axes.", leading=("component",))
    mean_ = Fitted("Mean of every feature.", leading=())
    explained_variance_ = Fitted("Variance along every component.")
    n_components_ = Fitted("Number of components.")
    spe_limit_ = Fitted("What Q of normal samples stays below.")
    t2_limit_ = Fitted("What T² of normal samples stays below.")

    _state_params = (
        "n_components",
        "solver",
        "oversampling",
        "forgetting_factor",
        "confidence",
        "score_by",
    )
    layout, tol = "rows", None  # of IncrementalPCA, whose learning this is

    def __init__(
        self,
        n_components: int | float = 0.95,
        *,
        score_by: str = "combined",
        confidence: float = 0.99,
        contamination: str | float = "auto",
        solver: str = "auto",
        oversampling: int | None = None,
        batch_size: int | None = None,
        forgetting_factor: float = 1.0,
        nan: str = "score",
        sample_dims: Any = None,
    ) -> None:
        self.n_components = n_components
        self.score_by = score_by
        self.confidence = confidence
        self.contamination = contamination
        self.solver = solver
        self.oversampling = oversampling
        self.batch_size = batch_size
        self.forgetting_factor = forgetting_factor
        self.nan = nan
        self.sample_dims = sample_dims

    def statistics(self, X: Any) -> Statistics:
        """Return Q and T² of every sample, lazy for Dask, labelled for xarray."""
        model, samples = self._model, self._samples(X)
        scorers = model.scorer(-1.0, 0.0), model.scorer(0.0, -1.0)
        return Statistics(*(samples.label(map_samples(scorer, samples)) for scorer in scorers))

    def contributions(self, X: Any) -> Statistics:
        """Return what every feature adds to Q and to T² of every sample.

        Returns
        -------
        Statistics
            Of arrays of the shape of `X`, lazy for Dask, labelled for xarray. Those to T² may be
            negative.
        """
        model, samples = self._model, self._samples(X)
        scorers = model.scorer(1.0, 0.0), model.scorer(0.0, 1.0)
        return Statistics(*(_contributions.contributions(samples, scorer) for scorer in scorers))

    def region_contributions(self, X: Any, regions: Mapping[Hashable, int]) -> Statistics:
        """Return what every region adds to Q and to T² of every sample.

        Parameters
        ----------
        X : xarray.DataArray
        regions : mapping of dimension to int
            Lengths of the regions, for instance ``{"y": 32, "x": 32}``; other dimensions stay as
            they are.
        """
        return Statistics(
            *(_contributions.by_region(part, regions) for part in self.contributions(X))
        )

    def _samples(self, X: Any) -> Samples:
        return self._validate(X, reset=False, finite=self.nan == "raise")

    def _check_fit(self, samples: Samples) -> None:
        _learning.check_enough(self, samples.n_samples)

    def _check_fitted(self, state: State) -> None:
        _model.check_variance(state.summary.basis)

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        _learning.check_parameters(self, samples.n_features)
        check_shared_parameters(self)
        if not (isinstance(self.confidence, float) and 0 < self.confidence < 1):
            raise ValueError(f"confidence={self.confidence!r} must be a float between 0 and 1.")
        if self.score_by not in ("combined", "spe", "t2"):
            raise ValueError(f"score_by={self.score_by!r} is none of 'combined', 'spe', 't2'.")
        return _subspace.learn(self, samples, sample_weight, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return _subspace.merged(self, summaries, self.n_features_in_, dtype)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return subspace.forget(summary, factor)

    def _finalize(self, state: State) -> SubspaceModel:
        params = {**state.params, "tol": None}
        state = State(state.summary, params, state.dtype, state.labels)
        return SubspaceModel(state, self.n_features_in_, self.confidence, self.score_by)
