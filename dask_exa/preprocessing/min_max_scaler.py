"""Features between two given numbers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from dask_exa._array import Array, namespace
from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.preprocessing import _scaling
from dask_exa.preprocessing._scaling import Affine, Maps, Scaler
from dask_exa.summaries import Reducer, Summary, ranges
from dask_exa.summaries.affine import Coordinates

_REDUCER = Reducer(ranges.summarize, ranges.merge)


class _Model(NamedTuple):
    affine: Affine
    data_min: Array
    data_max: Array
    data_range: Array
    scale: Array
    min: Array


class MinMaxScaler(Scaler):
    """Features between two given numbers, learnt in pieces, anywhere.

    A drop-in for `sklearn.preprocessing.MinMaxScaler` whose fitted state, the smallest and the
    largest value of every feature, merges exactly.

    Parameters
    ----------
    feature_range : tuple (min, max), default=(0, 1)
        What the smallest and the largest value that were seen are mapped to.
    copy : bool, default=True
        Kept for scikit-learn; `X` is never written to.
    clip : bool, default=False
        Map values outside of what was seen to the ends of `feature_range`.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features, and fitted attributes come back labelled with them.

    Attributes
    ----------
    data_min_, data_max_, data_range_ : arrays of shape (n_features,), float64
        Smallest and largest value, and how far apart they are.
    scale_, min_ : arrays of shape (n_features,), float64
        ``transform(X)`` is ``X * scale_ + min_``. Where a feature is constant but for rounding
        errors of its values, its range counts as 1.
    n_samples_seen_ : int

    Notes
    -----
    NaN and infinity are refused, where scikit-learn leaves NaN out. Of sample weights only counts
    whether they are zero. One outlier decides about a feature for ever: `forget` is refused, as
    extremes have no weight that could fade; use `RobustScaler` for data that drift.

    scikit-learn counts a range below 2.2e-15 as constant, whatever the values; here, one below
    2.2e-15 times the largest of them. Currents and charges in SI units are thus scaled, too.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[-1.0, 2.0], [-0.5, 6.0], [0.0, 10.0], [1.0, 18.0]])
    >>> MinMaxScaler().fit(X).transform([[2.0, 2.0]])
    array([[1.5, 0. ]])
    >>> here, there = MinMaxScaler().fit(X[:1]), MinMaxScaler().fit(X[1:])
    >>> (here | there).data_range_
    array([ 2., 16.])
    """

    data_min_ = Fitted("Smallest value of every feature.", leading=())
    data_max_ = Fitted("Largest value of every feature.", leading=())
    data_range_ = Fitted("How far apart they are.", leading=())
    scale_ = Fitted("What every feature is multiplied by.", leading=())
    min_ = Fitted("What is then added.", leading=())

    _join = staticmethod(ranges.join)
    _state_params = ("feature_range", "clip")

    def __init__(
        self,
        feature_range: tuple[float, float] = (0, 1),
        *,
        copy: bool = True,
        clip: bool = False,
        sample_dims: Any = None,
    ) -> None:
        self.feature_range = feature_range
        self.copy = copy
        self.clip = clip
        self.sample_dims = sample_dims

    def _reducer(self) -> Reducer:
        return _REDUCER

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        low, high = self.feature_range
        if not low < high:
            raise ValueError(
                f"feature_range={self.feature_range!r} must have a minimum below its maximum; "
                "swap them."
            )
        return super()._learn(samples, sample_weight, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return ranges.merge(summaries)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        if factor == 1:
            return summary
        raise TypeError(
            f"factor={factor!r}: a MinMaxScaler cannot forget, as extremes have no weight that "
            "could fade; use RobustScaler or StandardScaler, or fit anew."
        )

    def _maps(self) -> Maps:
        maps = super()._maps()
        params = self._state.params
        if not params["clip"]:
            return maps
        low, high = params["feature_range"]
        forward = functools.partial(_clipped, maps.forward, float(low), float(high))
        return maps._replace(forward=forward)

    def _coordinates(self) -> Coordinates | None:
        return None if self._state.params["clip"] else super()._coordinates()

    def _finalize(self, state: State) -> _Model:
        data_min, data_max = state.summary.minimum, state.summary.maximum
        xp = namespace(data_min)
        low, high = (float(end) for end in state.params["feature_range"])
        data_range = data_max - data_min
        largest = xp.maximum(xp.abs(data_min), xp.abs(data_max))
        span = _scaling.divisor(data_range, largest, state.dtype)
        scale = (high - low) / span
        return _Model(
            Affine(data_min, span / (high - low), xp.full_like(data_min, low)),
            data_min,
            data_max,
            data_range,
            scale,
            low - data_min * scale,
        )


def _clipped(forward: Any, low: float, high: float, X: Array, values: Array) -> Array:
    return namespace(X).clip(forward(X, values), low, high)
