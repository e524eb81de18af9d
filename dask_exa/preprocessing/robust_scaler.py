"""Features of median zero whose middle half has width one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.preprocessing import _scaling
from dask_exa.preprocessing._scaling import Affine, Scaler
from dask_exa.preprocessing._sketching import Sketching
from dask_exa.summaries import Summary, sketch


class _Model(NamedTuple):
    affine: Affine
    center: np.ndarray | None
    scale: np.ndarray | None
    rank_error: float


class RobustScaler(Sketching, Scaler):
    """Features of median zero whose middle half has width one, learnt in pieces, anywhere.

    A drop-in for `sklearn.preprocessing.RobustScaler` whose fitted state merges: a sketch of the
    quantiles of every feature. Up to `capacity` samples it keeps them all and equals
    scikit-learn; beyond, ranks are off by `rank_error_` at most.

    Parameters
    ----------
    with_centering : bool, default=True
        Subtract the median.
    with_scaling : bool, default=True
        Divide by the distance of the two quantiles.
    quantile_range : tuple (q_min, q_max), 0 <= q_min < q_max <= 100, default=(25.0, 75.0)
    copy : bool, default=True
        Kept for scikit-learn; `X` is never written to.
    unit_variance : bool, default=False
        Scale so that normally distributed features have variance 1.
    capacity : int, default=2048
        Values of every feature that the state keeps, at least 16: that many rows of memory. The
        rank error is below ``16 / capacity`` with a probability of 99 %, mostly a quarter of it.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features, and fitted attributes come back labelled with them.

    Attributes
    ----------
    center_ : array of shape (n_features,), float64, or None
        Median.
    scale_ : array of shape (n_features,), float64, or None
        Distance of the quantiles; 1 where that is zero but for rounding errors of the values.
    rank_error_ : float
        The share of the samples by which the rank of a quantile of a feature is off at most, with
        a probability of 99 %; 0 where all samples are kept.
    n_samples_seen_ : int

    Notes
    -----
    NaN and infinity are refused, where scikit-learn leaves NaN out. Weights count as repetitions.
    What counts as zero is in proportion to the values, as for `MinMaxScaler`.

    References
    ----------
    Z. Karnin, K. Lang, E. Liberty, "Optimal quantile approximation in streams", FOCS 2016. For
    what is different here see `dask_exa.summaries.sketch`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, -2.0, 2.0], [-2.0, 1.0, 3.0], [4.0, 1.0, -2.0]])
    >>> scaler = RobustScaler().fit(X)
    >>> scaler.transform(X)
    array([[ 0. , -2. ,  0. ],
           [-1. ,  0. ,  0.4],
           [ 1. ,  0. , -1.6]])
    >>> here, there = RobustScaler().fit(X[:1]), RobustScaler().fit(X[1:])
    >>> (here | there).center_
    array([1., 1., 2.])
    >>> many = np.random.default_rng(0).standard_normal((100_000, 1))
    >>> scaler = RobustScaler(unit_variance=True).fit(many)
    >>> bool(abs(scaler.scale_[0] - 1) < 0.02)
    True
    """

    center_ = Fitted("Median of every feature.", leading=())
    scale_ = Fitted("What every feature is divided by.", leading=())

    _state_params = (
        "with_centering",
        "with_scaling",
        "quantile_range",
        "unit_variance",
        "capacity",
    )

    def __init__(
        self,
        *,
        with_centering: bool = True,
        with_scaling: bool = True,
        quantile_range: tuple[float, float] = (25.0, 75.0),
        copy: bool = True,
        unit_variance: bool = False,
        capacity: int = 2048,
        sample_dims: Any = None,
    ) -> None:
        self.with_centering = with_centering
        self.with_scaling = with_scaling
        self.quantile_range = quantile_range
        self.copy = copy
        self.unit_variance = unit_variance
        self.capacity = capacity
        self.sample_dims = sample_dims

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        low, high = self.quantile_range
        if not 0 <= low < high <= 100:
            raise ValueError(
                f"quantile_range={self.quantile_range!r} must increase within 0 to 100; the "
                "default is (25.0, 75.0)."
            )
        if self.unit_variance and not 0 < low < high < 100:
            raise ValueError(
                f"unit_variance=True needs quantiles that a normal law has, but quantile_range is "
                f"{self.quantile_range!r}; leave out 0 and 100."
            )
        return super()._learn(samples, sample_weight, start)

    def _finalize(self, state: State) -> _Model:
        params = state.params
        levels = np.array([params["quantile_range"][0], 50.0, params["quantile_range"][1]]) / 100
        low, center, high = sketch.quantiles(state.summary, levels)
        largest = np.maximum(abs(low), abs(high))
        scale = _scaling.divisor(high - low, largest, state.dtype)
        if params["unit_variance"]:
            scale = scale / (ndtri(levels[2]) - ndtri(levels[0]))
        zeros = np.zeros_like(center)
        with_centering, with_scaling = params["with_centering"], params["with_scaling"]
        return _Model(
            Affine(
                center if with_centering else zeros, scale if with_scaling else zeros + 1, zeros
            ),
            center if with_centering else None,
            scale if with_scaling else None,
            sketch.rank_error(state.summary),
        )
