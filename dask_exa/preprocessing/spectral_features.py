"""Binned power spectra as features."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import get_window
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from dask_exa._array import Array, namespace, to_host
from dask_exa._parameters import check_choice, check_count
from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.base import MergeableEstimator
from dask_exa.preprocessing import _spectral_layout as layout
from dask_exa.reduction.samples import reduce_samples
from dask_exa.reduction.samplewise import map_samples
from dask_exa.summaries import Reducer, moments
from dask_exa.summaries.moments import Moments
from dask_exa.summaries.spectrum import Box, Spectra, Spectrum, binned_modes


class _Model(NamedTuple):
    spectrum: Spectrum
    wavenumbers: np.ndarray
    bin_edges: np.ndarray
    n_modes: np.ndarray
    mean_spectrum: Any
    var_spectrum: Any


class SpectralFeatures(TransformerMixin, MergeableEstimator):
    """Binned power spectra of fields or signals, and their mean over all that was seen.

    A sample becomes the powers of its Fourier modes, added up in bins of the wavenumber. They add
    up to the mean square of the sample (Parseval's theorem), to the last digits.

    Parameters
    ----------
    dims : hashable or sequence of hashable, optional
        Feature dimensions over which to transform, by default all of them. Every position along
        the others has a spectrum of its own.
    direction : hashable, optional
        One of `dims` whose wavenumber alone is binned, such as "y" for a spectrum in k_y. By
        default the modulus of the wave vector.
    bins : int or sequence of float, optional
        Number of bins, or their edges: ``edges[i] <= k < edges[i + 1]``. By default shells as wide
        as the largest fundamental wavenumber 2π / L, so that in one dimension each mode has its
        bin; two bins an octave for ``spacing="log"``.
    spacing : {"linear", "log"}, default="linear"
        Of bins that are not given by their edges. Logarithmic ones without a mode join the next.
    average : bool, default=False
        Mean of the powers of a bin instead of their sum: the spectral density in modes.
    log : bool, default=False
        Decimal logarithms of the powers; `mean_spectrum_` is of the powers all the same.
    include_mean : bool, default=True
        Whether the mean of a sample counts. Wavenumber 0 has a bin of its own, the first one.
        Without it the powers add up to the variance.
    window : str or tuple, optional
        For fields that are not periodic, a window of `scipy.signal.get_window` such as "hann",
        scaled to a mean square of 1: powers add up to the mean square of the windowed field.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one.

    Attributes
    ----------
    wavenumbers_ : ndarray of shape (n_bins,)
        Mean wavenumber 2π n / L of the modes of every bin, in radians per unit of the coordinates
        (datetimes: per second); per point where there are none.
    bin_edges_ : ndarray of shape (n_bins, 2)
        Lower and upper edge of every bin.
    n_modes_ : ndarray of shape (n_bins,)
        Number of modes in every bin.
    mean_spectrum_, var_spectrum_ : arrays of shape (n_features_out,)
        Weighted mean and variance of the powers over all samples, exact in any merge; labelled
        for labelled samples.
    n_samples_seen_ : int

    Notes
    -----
    Rows (n_samples, n_features) are signals, a point a feature. Labelled samples may be complex,
    such as visibilities: k and -k then share a bin. Coordinates must be uniform; the length L of
    the box is that of its points times their distance. A transform needs the whole field: chunks
    that split feature dimensions are joined. float32 is transformed in float64 and comes back as
    float32. The spectrum loses the phases, so there is no inverse.

    References
    ----------
    U. Frisch, "Turbulence", Cambridge University Press, 1995, section 4.5.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(64) / 64
    >>> X = np.stack([3 + np.sin(2 * np.pi * 4 * t), 2 * np.cos(2 * np.pi * 9 * t)])
    >>> spectra = SpectralFeatures().fit(X)
    >>> P = spectra.transform(X)
    >>> np.flatnonzero(P[0] > 1e-9), np.flatnonzero(P[1] > 1e-9)
    (array([0, 4]), array([9]))
    >>> bool(np.allclose(P.sum(axis=1), np.mean(X**2, axis=1)))
    True
    >>> here, there = SpectralFeatures().fit(X[:1]), SpectralFeatures().fit(X[1:])
    >>> bool(np.allclose((here | there).mean_spectrum_, P.mean(axis=0)))
    True
    """

    wavenumbers_ = Fitted("Mean wavenumber of the modes of every bin.")
    bin_edges_ = Fitted("Lower and upper edge of every bin.")
    n_modes_ = Fitted("Number of modes in every bin.")
    mean_spectrum_ = Fitted("Mean of the powers over all samples.")
    var_spectrum_ = Fitted("Variance of the powers over all samples.")

    _moves_samples = False
    _state_params = ("dims", "direction", "average", "include_mean", "window")

    def __init__(
        self,
        *,
        dims: Hashable | Sequence[Hashable] | None = None,
        direction: Hashable | None = None,
        bins: int | Sequence[float] | None = None,
        spacing: str = "linear",
        average: bool = False,
        log: bool = False,
        include_mean: bool = True,
        window: Any = None,
        sample_dims: Any = None,
    ) -> None:
        self.dims = dims
        self.direction = direction
        self.bins = bins
        self.spacing = spacing
        self.average = average
        self.log = log
        self.include_mean = include_mean
        self.window = window
        self.sample_dims = sample_dims

    def transform(self, X: Any) -> Any:
        """Return the powers of samples.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array

        Returns
        -------
        array of shape (n_samples, n_features_out)
            In the kind and floating dtype of `X`: lazy for Dask, one task a chunk of samples;
            labelled for xarray, with the dimensions that are not transformed and ``wavenumber``.
        """
        model, params = self._model, self._state.params
        samples = self._validate(X, reset=False, finite=True)
        sizes, axes, box = layout.find_box(samples, params["dims"], params["direction"])
        layout.check_same(model.spectrum, sizes, box, "X")
        function = _Powers(model.spectrum, self.log)
        powers = map_samples(function, samples, model.spectrum.n_outputs, samples.array.dtype)
        if samples.labels is None:
            return powers
        labels = layout.label_powers(samples.labels, axes, model.wavenumbers)
        return samples._replace(labels=labels).label_features(powers)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the powers: the wavenumber, after the position of their field."""
        check_is_fitted(self)
        model = self._model
        direction = self._state.params["direction"]
        symbol = "k" if direction is None else f"k_{direction}"
        names = [f"{symbol}={k:.6g}" for k in model.wavenumbers]
        if model.spectrum.n_fields > 1:
            names = [f"{i} {name}" for i in range(model.spectrum.n_fields) for name in names]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that float32 stays float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validate(self, X: Any, **how: Any) -> Samples:
        return super()._validate(layout.as_parts(X), **how)

    def _learn(self, samples: Samples, sample_weight: Any, start: Spectra | None) -> Spectra:
        _check_parameters(self)
        sizes, axes, box = layout.find_box(samples, self.dims, self.direction)
        edges = layout.choose_edges(box, self.bins, self.spacing)
        how = {name: getattr(self, name) for name in ("include_mean", "average", "window")}
        spectrum = Spectrum(sizes, axes, box, edges, **how)
        layout.check_bins(self.bins, spectrum)
        if start is not None:
            layout.check_same(_spectrum(start, self._state.params), sizes, box, "X", edges)
        reducer = Reducer(functools.partial(_summarize, spectrum), moments.merge)
        known = None if start is None else start.moments
        found = reduce_samples(reducer, samples, sample_weight, known)
        axis = -1 if box.direction is None else box.direction
        return Spectra(
            found,
            np.array(sizes),
            np.array(axes),
            np.array(box.steps),
            np.array(edges),
            axis,
            box.is_complex,
        )

    def _merge_summaries(self, summaries: Sequence[Spectra], dtype: str) -> Spectra:
        first, *others = summaries
        spectrum = _spectrum(first, self._params())
        for other in others:
            found = _spectrum(other, self._params())
            layout.check_same(spectrum, found.sizes, found.box, "a model to merge", found.edges)
        return first._replace(moments=moments.merge([part.moments for part in summaries]))

    def _forget_summary(self, summary: Spectra, factor: float) -> Spectra:
        return summary._replace(moments=moments.forget(summary.moments, factor))

    def _finalize(self, state: State) -> _Model:
        spectrum = _spectrum(state.summary, state.params)
        modes, seen = binned_modes(spectrum), state.summary.moments
        mean, var = seen.mean, seen.m2 / seen.weight
        if state.labels is not None:
            labels = layout.label_powers(state.labels, spectrum.axes, modes.wavenumbers)
            mean, var = (labels.wrap(to_host(values)) for values in (mean, var))
        return _Model(spectrum, modes.wavenumbers, modes.limits, modes.counts, mean, var)

    def _params(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._state_params}


@dataclass(frozen=True)
class _Powers:
    """The powers of samples in their own dtype; small and picklable."""

    spectrum: Spectrum
    log: bool

    def __call__(self, X: Array) -> Array:
        powers = self.spectrum.log_power(X) if self.log else self.spectrum.power(X)
        return namespace(X).astype(powers, X.dtype, copy=False)


def _summarize(spectrum: Spectrum, X: Array, sample_weight: Array | None) -> Moments:
    return moments.summarize(spectrum.power(X), sample_weight)


def _spectrum(summary: Spectra, params: dict[str, Any]) -> Spectrum:
    """Return what transforms samples, from what a fitted model knows."""
    sizes, axes = tuple(summary.sizes.tolist()), tuple(summary.axes.tolist())
    shape = tuple(sizes[axis] for axis in axes)
    direction = None if summary.direction < 0 else summary.direction
    box = Box(shape, tuple(summary.steps.tolist()), direction, summary.is_complex)
    how = {name: params[name] for name in ("include_mean", "average", "window")}
    return Spectrum(sizes, axes, box, tuple(summary.edges.tolist()), **how)


def _check_parameters(params: SpectralFeatures) -> None:
    check_choice("spacing", params.spacing, ("linear", "log"))
    if params.bins is None or np.ndim(params.bins) == 0:
        if params.bins is not None:
            check_count("bins", params.bins)
    else:
        edges = np.asarray(params.bins, dtype=np.float64)
        rises = edges.ndim == 1 and len(edges) > 1 and np.all(np.diff(edges) > 0)
        if not (rises and edges[0] >= 0 and np.all(np.isfinite(edges))):
            raise ValueError(
                f"bins={params.bins!r} must be a number of bins, or two or more finite edges that "
                "increase from 0 or above."
            )
    try:
        if params.window is not None:
            get_window(params.window, 8)
    except ValueError as error:
        raise ValueError(
            f"window={params.window!r} is none of scipy.signal.get_window ({error}); pass a name "
            "such as 'hann', or None for periodic fields."
        ) from error
