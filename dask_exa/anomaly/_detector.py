"""The detector shell: scikit-learn's outlier methods over a model that scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import OutlierMixin

from dask_exa.anomaly import _scoring
from dask_exa.base import MergeableEstimator
from dask_exa.reduction.samplewise import map_samples


class AnomalyDetector(OutlierMixin, MergeableEstimator):
    """Base of all detectors: scores, an offset, a verdict.

    A subclass has the parameters `contamination` and `nan`. What its `_finalize` returns, the
    model, has the following.

    - ``score_block(X)``: the scores (n_samples,) of samples (n_samples, n_features) in memory, the
      lower the more abnormal. It is sent to wherever the samples are, so it must be picklable and
      small.
    - ``kept_scores``: scores of a uniform sample of all that was learnt, shape (n_kept,).
    - ``offset``: the `offset_` that ``contamination="auto"`` stands for.
    """

    contamination: str | float
    nan: str

    @property
    def offset_(self) -> float:
        """Score below which samples are flagged."""
        if not self._is_fitted():
            raise AttributeError(f"This {type(self).__name__} has no offset_ before it is fitted.")
        check_contamination(self.contamination)
        if isinstance(self.contamination, str):  # "auto"
            return self._model.offset
        return float(np.percentile(self._model.kept_scores, 100.0 * self.contamination))

    def score_samples(self, X: Any) -> Any:
        """Return how normal samples are: the lower, the more abnormal.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples,), float64
            Lazy for Dask, labelled for xarray.
        """
        model = self._model
        samples = self._validate(X, reset=False, finite=self.nan == "raise")
        return samples.label(map_samples(model.score_block, samples))

    def decision_function(self, X: Any) -> Any:
        """Return ``score_samples(X) - offset_``: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Any:
        """Return -1 for outliers and 1 for inliers, in the kind of `X`."""
        return _scoring.verdict(self.decision_function(X))

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what kinds of data the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.nan == "score"
        return tags


def check_shared_parameters(params: Any) -> None:
    """Raise ValueError for a contamination or a NaN policy that make no sense."""
    check_contamination(params.contamination)
    if params.nan not in ("score", "raise"):
        raise ValueError(f"nan={params.nan!r} is neither 'score' nor 'raise'.")


def check_contamination(contamination: Any) -> None:
    """Raise ValueError for a share of outliers that is neither "auto" nor in (0, 0.5]."""
    is_number = isinstance(contamination, float | int | np.number)
    if contamination != "auto" and not (is_number and 0 < contamination <= 0.5):
        raise ValueError(f"contamination={contamination!r} must be 'auto' or in (0, 0.5].")
