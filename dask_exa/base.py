"""The estimator shell: scikit-learn's methods over a state that merges."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import metadata_routing
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from dask_exa._array import Array, is_host, namespace
from dask_exa._samples import Samples, as_samples, as_series, is_dask
from dask_exa._state import State
from dask_exa.summaries.affine import Change, Coordinates, carry
from dask_exa.summaries.moments import checked_weight

_COMPLEX = ("complex64", "complex128")


class MergeableEstimator(BaseEstimator):
    """Base of all estimators: parameters and a state that merges.

    ``fit`` forgets, then learns; ``partial_fit`` learns more; ``merge`` takes over what other
    models have learnt. Nothing else changes the state, and a call that raises leaves everything
    as it was.

    A subclass names the parameters that shape its state (`_state_params`) and gives
    `_learn` (a summary from samples), `_merge_summaries`, `_forget_summary` and `_finalize` (the
    fitted attributes from a state).
    """

    _state_params: tuple[str, ...] = ()
    _accept_sparse: tuple[str, ...] = ()
    _moves_samples: bool = True
    """Whether `transform` puts a sample elsewhere once more was learnt."""
    # scikit-learn is to route weights to partial_fit, and not check_input
    __metadata_request__partial_fit = {"check_input": metadata_routing.UNUSED}  # noqa: RUF012
    _state: Any

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from all samples of `X`, forgetting what was learnt before.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            NumPy and CuPy arrays and pandas frames are learnt at once, Dask arrays and frames
            chunk by chunk where their chunks are, `xarray.DataArray` by its dimensions. Never
            modified.
        y : None
            Ignored.
        sample_weight : array of shape (n_samples,), optional

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            self.__dict__.pop("_state", None)
            samples = self._validate(X, reset=True)
            self._check_fit(samples)
            self._absorb_all(samples, sample_weight)
            self._check_fitted(self._state)
        return self

    def partial_fit(
        self, X: Any, y: Any = None, check_input: bool = True, sample_weight: Any = None
    ) -> Self:
        """Learn from more samples.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            Any number of samples, a single one too. Never modified.
        y : None
            Ignored.
        check_input : bool, default=True
            Kept for scikit-learn; input is always checked, which costs no pass over the data.
        sample_weight : array of shape (n_samples,), optional

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            samples = self._validate(X, reset=not self._is_fitted())
            self._absorb(samples, sample_weight)
        return self

    def merge(self, *others: Self) -> Self:
        """Take over what other models have learnt from other samples of the same features.

        Parameters
        ----------
        *others : estimators of the same class and parameters
            They stay as they are. Those that have not learnt anything change nothing.

        Returns
        -------
        self
        """
        fitted = [model for model in (self, *others) if self._check_mergeable(model)]
        if not fitted:
            return self
        for model in fitted:  # this one may have no features yet
            fitted[0]._check_mergeable(model)
        with self._unchanged_on_error():
            states = [model._state for model in fitted]
            for name in ("n_features_in_", "feature_names_in_"):
                if name in fitted[0].__dict__:
                    setattr(self, name, getattr(fitted[0], name))
            dtype = functools.reduce(np.promote_types, [state.dtype for state in states])
            merged = states[0].summary
            if len(states) > 1:
                merged = self._merge_summaries([state.summary for state in states], str(dtype))
            self._state = State(merged, states[0].params, dtype, states[0].labels)
        return self

    def __or__(self, other: Self) -> Self:
        """Return a new model that has learnt what both have: ``(a | b)``."""
        if not isinstance(other, MergeableEstimator):
            return NotImplemented
        return copy.copy(self).merge(other)

    def forget(self, factor: float) -> Self:
        """Scale the weight of all that was learnt so far.

        Parameters
        ----------
        factor : float in (0, 1]
            Half-life h in samples or steps: ``0.5 ** (1 / h)`` before each of them.
        """
        check_is_fitted(self)
        if not 0 < factor <= 1:
            raise ValueError(f"factor={factor!r} must be in (0, 1]; 1 forgets nothing.")
        state = self._state
        summary = self._forget_summary(state.summary, factor)
        self._state = State(summary, state.params, state.dtype, state.labels)
        return self

    def save(self, path: Any) -> None:
        """Write parameters and state to a zarr group, replacing what was there at the end.

        Parameters
        ----------
        path : str or path-like
            A folder. An interruption or a full disk leaves the earlier one intact.
        """
        from dask_exa import _checkpoint

        check_is_fitted(self)
        _checkpoint.save(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Return the estimator that `save` wrote, ready for more `partial_fit`."""
        from dask_exa import _checkpoint

        return _checkpoint.load(cls, path)

    @property
    def n_samples_seen_(self) -> int:
        """Number of samples seen, by this model and by those merged into it."""
        if not self._is_fitted():
            raise AttributeError(
                f"This {type(self).__name__} has no n_samples_seen_ before it is fitted."
            )
        summary = self._state.summary
        return getattr(summary, "moments", summary).n_samples

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what kinds of data the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(self._accept_sparse)
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn whether anything was learnt."""
        return self._is_fitted()

    def _is_fitted(self) -> bool:
        return self.__dict__.get("_state") is not None

    @property
    def _model(self) -> Any:
        check_is_fitted(self)
        return self._state.model(self._finalize)

    def _absorb_all(self, samples: Samples, sample_weight: Any) -> None:
        """Learn the samples of `fit`: as those of a stream, unless a subclass has a better way."""
        self._absorb(samples, sample_weight)

    def _fits_as_a_stream(self) -> bool:
        return type(self)._absorb_all is MergeableEstimator._absorb_all

    def _absorb(self, samples: Samples, sample_weight: Any, learn: Any = None) -> None:
        """Learn samples, by `_learn` or what is given in its place."""
        state = self.__dict__.get("_state")
        params = {name: getattr(self, name) for name in self._state_params}
        if state is not None:
            _check_params(state.params, params)
        dtype = _dtype(samples.array)
        if state is not None:
            dtype = np.promote_types(dtype, state.dtype)
        weight = checked_sample_weight(sample_weight, samples)
        known = None if state is None else state.summary
        summary = (learn or self._learn)(samples, weight, known)
        labels = samples.labels and samples.labels.stored() if state is None else state.labels
        self._state = State(summary, params, dtype, labels)

    def _validate(
        self, X: Any, *, reset: bool, finite: bool = False, named: bool = True
    ) -> Samples:
        """Check an input and bring it into the form of samples and features.

        Learning sees non-finite values in what it accumulates; only others ask for `finite`.
        Values that a transformer has made need not have the names of its features (`named`).
        """
        sample_dims, feature_dims = getattr(self, "sample_dims", None), None
        if not reset and self._state.labels is not None:
            sample_dims = sample_dims or self._state.labels.sample_dims
            feature_dims = self._state.labels.feature_dims
        samples = as_samples(X, sample_dims, feature_dims)
        array = samples.array
        if not is_dask(array) and str(getattr(array, "dtype", "")).endswith(_COMPLEX):
            raise ValueError(
                f"Complex data not supported: X has dtype {array.dtype}; pass real and imaginary "
                "parts as features."
            )
        if is_dask(array) or not _is_plain(array):
            self._check_n_features(samples.n_features, reset=reset)
            if named:
                check_names(self, samples, reset=reset)
            return samples if is_dask(array) else samples._replace(array=_checked_array(array))
        if not (reset or finite or hasattr(self, "feature_names_in_")) and _is_checked(array):
            self._check_n_features(array.shape[1], reset=False)
            return samples
        check: dict[str, Any] = {
            "dtype": [np.float64, np.float32],
            "accept_sparse": list(self._accept_sparse) or False,
            "ensure_all_finite": finite,
        }
        if named:
            return samples._replace(array=validate_data(self, array, reset=reset, **check))
        array = check_array(array, estimator=self, input_name="X", **check)
        self._check_n_features(array.shape[1], reset=reset)
        return samples._replace(array=array)

    def _coordinates(self) -> Coordinates | None:
        """Return where `transform` puts samples; None where that is no affine map."""
        return None

    def _carry_summary(self, summary: Any, change: Change) -> Any:
        """Return the summary of the same samples after they have moved; None where none can be."""
        return carry(summary, change)

    def _carry(self, change: Change) -> bool:
        """Take what was learnt to where the samples have moved, or say that it stays behind."""
        state = self._state
        summary = self._carry_summary(state.summary, change)
        if summary is None:
            return False
        self._state = State(summary, state.params, state.dtype, state.labels)
        return True

    def _check_fit(self, samples: Samples) -> None:
        """Raise where `fit`, unlike a stream, can know that samples will never be enough."""

    def _check_fitted(self, state: State) -> None:
        """Raise where all that `fit` has seen determines nothing."""

    def _check_n_features(self, n_features: int, *, reset: bool) -> None:
        if n_features == 0:
            raise ValueError("Found array with 0 feature(s) while a minimum of 1 is required.")
        if reset:
            self.n_features_in_ = n_features
        elif n_features != self.n_features_in_:
            raise ValueError(
                f"X has {n_features} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )

    def _check_mergeable(self, model: Any) -> bool:
        if type(model) is not type(self):
            raise TypeError(
                f"cannot merge a {type(model).__name__} into a {type(self).__name__}; pass "
                "models of the same class."
            )
        if not model._is_fitted():
            return False
        reference = self if self._is_fitted() else model
        for what, features in (("features", _n_features), ("names", _names), ("fields", _fields)):
            if features(model) != features(reference):
                raise ValueError(
                    f"cannot merge a model whose {what} are {features(model)} into one whose "
                    f"{what} are {features(reference)}; fit both on the same features."
                )
        params = {name: getattr(self, name) for name in self._state_params}
        _check_params(model._state.params, params)
        return True

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise


def check_names(estimator: Any, samples: Samples, *, reset: bool) -> None:
    """Learn (`reset`) or check the names of the features of samples, and their number.

    As scikit-learn does it: names that differ are refused, names that are missing on one side are
    warned of.
    """
    columns = samples.columns
    if columns is None:  # as many features without names
        columns = np.broadcast_to(0.0, (1, samples.n_features))
    validate_data(estimator, columns, reset=reset, skip_check_array=True)


def _n_features(model: Any) -> int:
    return model.n_features_in_


def _names(model: Any) -> list[str] | None:
    return [*model.feature_names_in_] if hasattr(model, "feature_names_in_") else None


def _fields(model: Any) -> list[tuple[Any, int]] | None:
    labels = model._state.labels
    if labels is None:
        return None
    return list(zip(labels.feature_dims, labels.feature_sizes, strict=True))


def _is_plain(array: Any) -> bool:
    """Whether scikit-learn's own validation takes the input: all but arrays of other devices."""
    return is_host(array) or not hasattr(array, "__array_namespace__")


def _is_checked(array: Any) -> bool:
    """Whether there is nothing to convert in an array.

    scikit-learn then need not look, which in a stream of small batches takes longer than to learn.
    """
    is_matrix = type(array) is np.ndarray and array.ndim == 2 and array.shape[0] > 0
    return is_matrix and array.dtype in (np.float64, np.float32)


def _dtype(array: Any) -> np.dtype:
    return np.dtype(np.float32 if str(array.dtype).endswith("float32") else np.float64)


def _checked_array(X: Array) -> Array:
    xp = namespace(X)
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got an array of shape {X.shape} instead.")
    if X.shape[0] == 0:
        raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
    return X if X.dtype in (xp.float32, xp.float64) else xp.astype(X, xp.float64)


def checked_sample_weight(sample_weight: Any, samples: Samples) -> Any:
    """Return one weight per sample, of any kind, as an array; a lazy one is not looked at."""
    if sample_weight is None:
        return None
    sample_weight = as_series(sample_weight)
    if not (is_dask(sample_weight) or hasattr(sample_weight, "__array_namespace__")):
        sample_weight = np.asarray(sample_weight, dtype=np.float64)
    if sample_weight.shape != (samples.n_samples,):
        raise ValueError(
            f"sample_weight has shape {sample_weight.shape}; X has {samples.n_samples} samples."
        )
    if is_dask(sample_weight):
        return sample_weight
    sample_weight = checked_weight(sample_weight)
    if float(namespace(sample_weight).sum(sample_weight)) == 0:
        raise ValueError("sample_weight is zero for every sample; weight some of them.")
    return sample_weight


def _check_params(fitted: dict[str, Any], given: dict[str, Any]) -> None:
    for name, value in fitted.items():
        if given[name] != value:
            raise ValueError(
                f"{name}={given[name]!r} but the model was fitted with {name}={value!r}; set it "
                "back, or fit anew."
            )
