"""Every baseline as a row of features: amplitude, phase, spectral kurtosis, fringe rate, delay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, TransformerMixin

from dask_exa.inputs.visibilities.block import Block, read_block
from dask_exa.kernels.baseline_sums import BaselineSums, baseline_sums


class _Measured(NamedTuple):
    """What features are made of."""

    block: Block
    sums: BaselineSums


def _amplitude(found: _Measured) -> np.ndarray:
    return np.sqrt(_ratio(found.sums.power, found.sums.weight))


def _variation(found: _Measured) -> np.ndarray:
    """Return the standard deviation of the amplitudes over their mean."""
    sums = found.sums
    mean = _ratio(sums.amplitude, sums.weight)
    variance = _ratio(sums.power, sums.weight) - mean**2
    return _ratio(np.sqrt(np.maximum(variance, 0)), mean)


def _coherence(found: _Measured) -> np.ndarray:
    """Return the modulus of the mean over the mean of the moduli: 1 where no phase turns."""
    return _ratio(np.abs(found.sums.visibility), found.sums.amplitude)


def _phase(found: _Measured) -> np.ndarray:
    return np.angle(found.sums.visibility)


def _kurtosis(found: _Measured) -> np.ndarray:
    """Return the spectral kurtosis, which is 1 for noise (Nita & Gary, eq. 8, for n = 1)."""
    count, first, second = found.sums.count, found.sums.plain_power, found.sums.plain_square
    kurtosis = _ratio((count + 1) * (count * second - first**2), (count - 1) * first**2)
    return np.where(count > 1, kurtosis, np.nan)


def _fringe_rate(found: _Measured) -> np.ndarray:
    """Return turns of the phase per second, from each dump to the next."""
    time = found.block.time
    if len(time) < 2:
        raise ValueError(
            "features 'fringe_rate' takes two dumps or more; pass windows of a stream, "
            "stream.windows(2), or leave it out."
        )
    return np.angle(found.sums.next_dump) / (2 * np.pi) / np.median(np.diff(time))


def _delay(found: _Measured) -> np.ndarray:
    """Return turns of the phase per hertz, from each channel to the next: a delay in s."""
    frequency = found.block.frequency
    if len(frequency) < 2:
        raise ValueError("features 'delay' takes two channels or more; leave it out.")
    return np.angle(found.sums.next_channel) / (2 * np.pi) / np.median(np.diff(frequency))


def _flagged(found: _Measured) -> np.ndarray:
    n_times, _, *others = found.block.weight.shape
    return 1 - found.sums.count / (n_times * np.prod(others))


_FEATURES: dict[str, Callable[[_Measured], np.ndarray]] = {
    "amplitude": _amplitude,
    "variation": _variation,
    "coherence": _coherence,
    "phase": _phase,
    "kurtosis": _kurtosis,
    "fringe_rate": _fringe_rate,
    "delay": _delay,
    "flagged": _flagged,
}
_UNITS = {"amplitude": "Jy", "phase": "rad", "fringe_rate": "Hz", "delay": "s"}
_OF_ONE_DUMP = tuple(name for name in _FEATURES if name != "fringe_rate")


def baseline_features(data: xr.Dataset, features: Sequence[str] | None = None) -> xr.DataArray:
    """Return statistics of every baseline over the dumps, channels and polarisations of a block.

    Parameters
    ----------
    data : xarray.Dataset
        A step of a stream, or a window of several; flags, NaN and weights are heeded.
    features : sequence of str, optional
        Some of: "amplitude" (root of the mean square, Jy); "variation" (standard deviation of
        the amplitude over its mean); "coherence" (modulus of the mean visibility over the mean
        amplitude); "phase" (of the mean visibility, rad); "kurtosis" (spectral kurtosis of the
        powers: 1 for noise, 0 for a constant, more for bursts); "fringe_rate" (Hz); "delay" (s);
        "flagged" (share that must not be used). Default: all, without the fringe rate for one dump.

    Returns
    -------
    xarray.DataArray of shape (baseline, feature)
        float64. A baseline without any visibility that may be used has 0 in all but "flagged", and
        NaN as kurtosis.

    Raises
    ------
    ValueError
        When a feature is unknown or takes more dumps or channels.

    References
    ----------
    Nita, Gary, MNRAS 406, L60 (2010), for the spectral kurtosis.

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.inputs.visibilities import baseline_features
    >>> window = next(open_stream("interferometer").windows(4))
    >>> table = baseline_features(window)
    >>> table.sizes["baseline"], table.feature.values.tolist()[:3]
    (120, ['amplitude', 'variation', 'coherence'])
    """
    block = read_block(data)
    names = _choose(features, len(block.time))
    found = _Measured(block, baseline_sums(block.visibility, block.weight))
    columns = [np.asarray(_FEATURES[name](found), dtype=np.float64) for name in names]
    coords: dict[str, Any] = {"feature": list(names)}
    for name in ("antenna1", "antenna2"):
        if name in data:
            coords[name] = data[name]
    units = {"units": ", ".join(_UNITS.get(name, "1") for name in names)}
    return xr.DataArray(np.stack(columns, axis=1), coords, ("baseline", "feature"), attrs=units)


class BaselineFeatures(TransformerMixin, BaseEstimator):
    """The baselines of a block of visibilities as rows of features, for any estimator.

    Nothing is learnt: `fit` takes down which features there are.

    Parameters
    ----------
    features : sequence of str, optional
        See `baseline_features`.
    log_amplitude : bool, default=True
        Decimal logarithm of the amplitude, which goes over decades.

    Attributes
    ----------
    names_ : tuple of str

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.inputs.visibilities import BaselineFeatures
    >>> window = next(open_stream("interferometer").windows(4))
    >>> rows = BaselineFeatures(["amplitude", "kurtosis"]).fit_transform(window)
    >>> rows.shape
    (120, 2)
    """

    def __init__(
        self, features: Sequence[str] | None = None, *, log_amplitude: bool = True
    ) -> None:
        self.features = features
        self.log_amplitude = log_amplitude

    def fit(self, X: xr.Dataset, y: Any = None) -> Self:
        """Take down which features there are.

        Parameters
        ----------
        X : xarray.Dataset
            A step of a stream, or a window of several.
        y : None
            Ignored.
        """
        self.names_ = _choose(self.features, X.sizes.get("time", 1))
        return self

    def transform(self, X: xr.Dataset) -> np.ndarray:
        """Return a row for every baseline, float64 (n_baselines, n_features); NaN becomes 0."""
        if not hasattr(self, "names_"):
            self.fit(X)
        rows = np.nan_to_num(baseline_features(X, self.names_).values)
        if self.log_amplitude and "amplitude" in self.names_:
            column = self.names_.index("amplitude")
            rows[:, column] = np.log10(np.maximum(rows[:, column], np.finfo(np.float32).tiny))
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features."""
        return np.array(self.names_, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that visibilities are no matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        return tags


def _choose(features: Sequence[str] | None, n_dumps: int) -> tuple[str, ...]:
    if features is None:
        return tuple(_FEATURES) if n_dumps > 1 else _OF_ONE_DUMP
    names = (features,) if isinstance(features, str) else tuple(features)
    unknown = [name for name in names if name not in _FEATURES]
    if unknown or not names:
        raise ValueError(f"features={list(names)} must be some of {', '.join(_FEATURES)}.")
    return names


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return a ratio that is 0 where there is nothing to divide by."""
    is_there = np.asarray(below) != 0
    return np.where(is_there, above / np.where(is_there, below, 1), 0)
