"""The shell of estimators that answer as the one that they wrap would."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import dask
import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier, is_regressor
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from dask_exa._samples import Samples, as_samples, as_series, is_dask
from dask_exa.base import MergeableEstimator, check_names
from dask_exa.reduction.samplewise import map_samples


def _wrapped_has(name: str) -> Any:
    return available_if(lambda self: self._answers(name))


def _judges(model: Any) -> bool:
    """Whether predictions can be right or wrong."""
    return is_classifier(model.estimator) or is_regressor(model.estimator)


class Predictor(MetaEstimatorMixin, BaseEstimator):
    """Base of estimators with parameters ``estimator`` and ``sample_dims``.

    A subclass gives `_answerer`, and `fit`. Answers are lazy for Dask and labelled for xarray.
    """

    estimator: Any
    sample_dims: Any
    _unchanged_on_error = MergeableEstimator._unchanged_on_error

    @_wrapped_has("predict")
    def predict(self, X: Any) -> Any:
        """Return the prediction for every sample, shape (n_samples,).

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
        """
        return self._ask(X, "predict")

    @_wrapped_has("predict_proba")
    def predict_proba(self, X: Any) -> Any:
        """Return the probability of every class, shape (n_samples, n_classes)."""
        return self._ask(X, "predict_proba")

    @_wrapped_has("decision_function")
    def decision_function(self, X: Any) -> Any:
        """Return the decisions on every sample, (n_samples,) or (n_samples, n_classes)."""
        return self._ask(X, "decision_function")

    @_wrapped_has("score_samples")
    def score_samples(self, X: Any) -> Any:
        """Return the score of every sample, shape (n_samples,)."""
        return self._ask(X, "score_samples")

    @available_if(_judges)
    def score(self, X: Any, y: Any) -> float:
        """Return the share of correct answers of a classifier, or the R² of a regressor."""
        metric = accuracy_score if is_classifier(self) else r2_score
        y, found = dask.compute(as_series(y), as_series(self.predict(X)))
        return float(metric(np.asarray(y).reshape(-1), found.reshape(-1)))

    def __or__(self, other: Self) -> Self:
        """Return a new model that is both: ``(a | b)``."""
        if not isinstance(other, Predictor):
            return NotImplemented
        return copy.copy(self).merge(other)

    def merge(self, *others: Self) -> Self:
        """Take over what other models have learnt."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that the kind is that of the wrapped estimator."""
        tags, wrapped = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = wrapped.estimator_type
        tags.classifier_tags, tags.regressor_tags = wrapped.classifier_tags, wrapped.regressor_tags
        if tags.classifier_tags is not None:
            tags.classifier_tags = replace(tags.classifier_tags, multi_label=False)
        tags.target_tags.required = wrapped.target_tags.required
        tags.input_tags.allow_nan = wrapped.input_tags.allow_nan
        tags.non_deterministic = wrapped.non_deterministic
        return tags

    def _answers(self, method: str) -> bool:
        """Whether there are answers of this kind."""
        return hasattr(self.estimator, method)

    def _answerer(self, method: str) -> Callable[[Any], Any]:
        """Return what answers for samples in memory, (n_samples,) or (n_samples, n_classes)."""
        raise NotImplementedError

    def _ask(self, X: Any, method: str) -> Any:
        check_is_fitted(self)
        samples = self._samples(X, reset=False)
        function = self._answerer(method)
        if samples.is_lazy:
            blank = function(np.zeros((1, samples.n_features), dtype=samples.array.dtype))
            n_answers = None if blank.ndim == 1 else blank.shape[1]
            answers = map_samples(function, samples, n_answers, blank.dtype)
        else:
            answers = blank = function(samples.array)
        if blank.ndim == 1:
            return samples.label(answers)
        return samples.label(answers, "class", getattr(self, "classes_", None))

    def _samples(self, X: Any, *, reset: bool) -> Samples:
        """Check samples."""
        samples = as_samples(X, self.sample_dims)
        if samples.is_lazy:
            check_names(self, samples, reset=reset)
            return samples
        return samples._replace(array=validate_data(self, samples.array, **self._check(reset)))

    def _samples_and_targets(self, X: Any, y: Any, *, reset: bool) -> tuple[Samples, Any]:
        """Check samples, and what is known of each; lazy if the samples are."""
        if y is None:
            if _judges(self):
                raise ValueError(
                    f"{type(self).__name__} of a {type(self.estimator).__name__} requires y to be "
                    "passed, but the target y is None."
                )
            return self._samples(X, reset=reset), None
        samples, y = as_samples(X, self.sample_dims), as_series(y)
        if samples.is_lazy:
            check_names(self, samples, reset=reset)
            return samples, _aligned(samples, y)
        if is_dask(y):
            y = y.compute()
        numeric = is_regressor(self.estimator)
        array, y = validate_data(self, samples.array, y, y_numeric=numeric, **self._check(reset))
        if is_classifier(self.estimator):
            check_classification_targets(y)
        return samples._replace(array=array), y

    def _check(self, reset: bool) -> dict[str, Any]:
        finite = not get_tags(self.estimator).input_tags.allow_nan
        return {"reset": reset, "dtype": [np.float64, np.float32], "ensure_all_finite": finite}

    def _take_features(self, model: Any) -> None:
        """Take over what is known of the features of another model."""
        for name in ("n_features_in_", "feature_names_in_"):
            if name in vars(model):
                setattr(self, name, getattr(model, name))


def _aligned(samples: Samples, y: Any) -> Any:
    """Return the targets of lazy samples; raise ValueError where their chunks are not the same."""
    y = y if is_dask(y) else np.asarray(y)
    if y.shape != (samples.n_samples,):
        raise ValueError(
            f"y has shape {y.shape} but X has {samples.n_samples} samples; pass one value per "
            "sample."
        )
    chunks = samples.array.chunks[0]
    if is_dask(y) and samples.n_sample_axes == 1 and y.chunks[0] != chunks:
        raise ValueError(
            f"y has chunks of {_shown(y.chunks[0])} samples but X has chunks of {_shown(chunks)}; "
            "pass y.rechunk((X.chunks[0],)), so that no samples have to move."
        )
    return y


def _shown(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes[:4])) + (", …" if len(sizes) > 4 else "")
