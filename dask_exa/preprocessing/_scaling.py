"""The shell of the scalers: a map of every feature by itself, there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin

from dask_exa import kernels
from dask_exa._array import Array, namespace
from dask_exa._samples import Samples
from dask_exa.base import MergeableEstimator
from dask_exa.reduction.features import reduce_features
from dask_exa.reduction.samples import reduce_samples
from dask_exa.reduction.samplewise import map_features
from dask_exa.summaries import Reducer, Summary, affine
from dask_exa.summaries.affine import Coordinates

_RANGE_SIZE = 1 << 20


class Maps(NamedTuple):
    """How every feature is mapped, and back."""

    forward: Callable[[Array, Array], Array]
    """``forward(X, values)`` of samples (n_samples, n_features) and `values`."""
    backward: Callable[[Array, Array], Array]
    values: Array
    """What belongs to the features, shape (n_values, n_features), float64."""


class FeatureMap(OneToOneFeatureMixin, TransformerMixin, MergeableEstimator):
    """Base of the transformers that map every feature by itself.

    A subclass gives `_reducer`, `_join` and `_maps`, beside what every mergeable estimator does.
    """

    _max_ranges = 8
    """Ranges of samples in memory that are summarized side by side."""
    _join: Any
    """``join(summaries, place)`` of blocks of features, see `dask_exa.reduction.features`."""

    def transform(self, X: Any) -> Any:
        """Map every feature of samples.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            Never modified. NaN and infinity are refused in memory; a Dask array is not looked at,
            and NaN stays NaN there.

        Returns
        -------
        array of shape (n_samples, n_features)
            In the kind and dtype of `X`: lazy for Dask, chunked alike; labelled for xarray.
        """
        maps = self._maps()
        samples = self._validate(X, reset=False, finite=True)
        return _apply(maps.forward, samples, maps.values)

    def inverse_transform(self, X: Any) -> Any:
        """Return the samples that `transform` maps to these values.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples, n_features)
            In the kind and dtype of `X`, as of `transform`.
        """
        maps = self._maps()
        samples = self._validate(X, reset=False, finite=True, named=False)
        return _apply(maps.backward, samples, maps.values)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that float32 stays float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _maps(self) -> Maps:
        raise NotImplementedError

    def _reducer(self) -> Reducer:
        raise NotImplementedError

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        n_ranges = min(self._max_ranges, 1 + samples.n_samples * samples.n_features // _RANGE_SIZE)
        reducer, X = self._reducer(), samples.array
        if samples.is_lazy and max(X.numblocks[samples.n_sample_axes :]) > 1:
            summary = reduce_features(reducer, samples, sample_weight, self._join)
            summary = summary if start is None else reducer.merge([start, summary])
        else:
            summary = reduce_samples(reducer, samples, sample_weight, start, n_ranges=n_ranges)
        if summary.weight == 0:  # lazy weights, which nobody has seen together before
            raise ValueError("sample_weight is zero for every sample; weight some of them.")
        return summary


class Affine(NamedTuple):
    """The map ``(x - origin) / unit + start`` of every feature.

    Subtracted before it is divided: the origin may be much larger than the differences.
    """

    origin: Array
    """Shape (n_features,), float64, as the others."""
    unit: Array
    start: Array


class Scaler(FeatureMap):
    """Base of the scalers: what `_finalize` returns has an attribute ``affine``, an `Affine`."""

    def _maps(self) -> Maps:
        parts = self._model.affine
        return Maps(_forward, _backward, namespace(parts.unit).stack(list(parts)))

    def _coordinates(self) -> Coordinates | None:
        origin, unit, start = self._model.affine
        return affine.scaling(1 / unit, origin, start)


def divisor(spread: Array, largest: Array, dtype: np.dtype) -> Array:
    """Return the spread of features, 1 for those that are constant but for rounding errors.

    Parameters
    ----------
    spread, largest : arrays of shape (n_features,), float64
        How far apart values are, and the largest absolute value among them.
    dtype : dtype
        Of the data, whose rounding errors count.
    """
    least = float(np.finfo(np.float64).tiny)  # of smaller ones, the inverse is infinite
    rounding = 10 * (float(np.finfo(dtype).eps) * largest + least)
    return namespace(spread).where(spread <= rounding, 1.0, spread)


def _apply(function: Callable[[Array, Array], Array], samples: Samples, values: Array) -> Any:
    mapped = map_features(function, samples, values, samples.array.dtype)
    return samples.label_features(mapped)


def _forward(X: Array, values: Array) -> Array:
    return kernels.scale(X, values[0, :], values[1, :], values[2, :])


def _backward(X: Array, values: Array) -> Array:
    return kernels.unscale(X, values[0, :], values[1, :], values[2, :])
