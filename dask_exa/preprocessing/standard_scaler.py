"""Features of mean zero and variance one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array, namespace
from dask_exa._state import Fitted, State
from dask_exa.preprocessing._scaling import Affine, Scaler
from dask_exa.summaries import Reducer, Summary, moments
from dask_exa.summaries.moments import Moments

_REDUCER = Reducer(moments.summarize, moments.merge)
_ROUNDED_SAMPLES = 1024
"""Rounding errors of a mean grow with the number of samples up to here; then sums are merged."""


class _Model(NamedTuple):
    affine: Affine
    mean: Array | None
    var: Array | None
    scale: Array | None


class StandardScaler(Scaler):
    """Features of mean zero and variance one, learnt in pieces, anywhere.

    A drop-in for `sklearn.preprocessing.StandardScaler` whose fitted state merges exactly: an
    array in memory, the chunks of a Dask array, the steps of a stream and the models of other
    ranks give the same mean and variance.

    Parameters
    ----------
    copy : bool, default=True
        Kept for scikit-learn; `X` is never written to.
    with_mean : bool, default=True
        Subtract the mean.
    with_std : bool, default=True
        Divide by the standard deviation.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features, and fitted attributes come back labelled with them.

    Attributes
    ----------
    mean_ : array of shape (n_features,), float64, or None
        None where neither mean nor standard deviation is used.
    var_ : array of shape (n_features,), float64, or None
        Variance, Σ w (x - mean)² / Σ w.
    scale_ : array of shape (n_features,), float64, or None
        Standard deviation; 1 for a feature that is constant but for rounding errors.
    n_samples_seen_ : int
        Samples seen, whatever they weigh.

    Notes
    -----
    NaN and infinity are refused, where scikit-learn leaves NaN out: a mean over the samples that
    happen to be there is one over a different sample for every feature, and a broken simulation
    would go unnoticed. Sparse matrices are not taken.

    `float32` samples are accumulated, centred and divided in float64 and come back as float32.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance: Analysis
    and recommendations", The American Statistician 37(3), 1983. For the merge see
    `dask_exa.summaries.moments`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 10.0], [0.0, 30.0], [1.0, 10.0], [1.0, 30.0]])
    >>> scaler = StandardScaler().fit(X)
    >>> scaler.mean_, scaler.scale_
    (array([ 0.5, 20. ]), array([ 0.5, 10. ]))
    >>> scaler.transform([[2.0, 20.0]])
    array([[3., 0.]])
    >>> here, there = StandardScaler().fit(X[:1]), StandardScaler().fit(X[1:])
    >>> (here | there).var_
    array([  0.25, 100.  ])
    """

    mean_ = Fitted("Mean of every feature.", leading=())
    var_ = Fitted("Variance of every feature.", leading=())
    scale_ = Fitted("What every feature is divided by.", leading=())

    _join = staticmethod(moments.join)
    _state_params = ("with_mean", "with_std")

    def __init__(
        self,
        *,
        copy: bool = True,
        with_mean: bool = True,
        with_std: bool = True,
        sample_dims: Any = None,
    ) -> None:
        self.copy = copy
        self.with_mean = with_mean
        self.with_std = with_std
        self.sample_dims = sample_dims

    def _reducer(self) -> Reducer:
        return _REDUCER

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return moments.merge(summaries)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return moments.forget(summary, factor)

    def _finalize(self, state: State) -> _Model:
        summary = state.summary
        xp = namespace(summary.mean)
        zeros = xp.zeros_like(summary.mean)
        var = summary.m2 / summary.weight
        scale = xp.where(_is_constant(summary, var), 1.0, xp.sqrt(var))
        with_mean, with_std = state.params["with_mean"], state.params["with_std"]
        return _Model(
            Affine(summary.mean if with_mean else zeros, scale if with_std else zeros + 1, zeros),
            summary.mean if with_mean or with_std else None,
            var if with_std else None,
            scale if with_std else None,
        )


def _is_constant(summary: Moments, var: Array) -> Array:
    """Return which features vary by no more than rounding errors of their mean (Chan et al.)."""
    n_samples = min(summary.n_samples, _ROUNDED_SAMPLES)
    bound = n_samples * float(np.finfo(np.float64).eps)
    return var <= bound * var + (bound * summary.mean) ** 2
