"""Power spectra of fields in bins of wavenumbers.

With F the discrete Fourier transform of a field f of N points, the mode of wavenumber k has the
power ``|F_k|² / N²``, so that by Parseval's theorem the powers of all modes add up to the mean of
``|f|²``. A bin has the sum, or the mean, of the powers of the modes whose wavenumber it holds.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import get_window

from dask_exa._array import Array, as_float64, is_host, namespace
from dask_exa._threads import map_threads
from dask_exa.summaries.moments import Moments

_BLOCK_BYTES = 8 << 20
"""Fields are transformed in blocks of this size."""
_ROUNDING = 1e-10
"""Relative distance below an edge that still counts as on it."""


class Spectra(NamedTuple):
    """Moments of the spectra of all samples, and the box and bins that they belong to."""

    moments: Moments
    sizes: Array
    """Points along every feature axis, shape (n_axes,)."""
    axes: Array
    """Feature axes that are transformed."""
    steps: Array
    """Distance of neighbouring points along every transformed axis."""
    edges: Array
    """Edges of the bins, shape (n_bins + 1,)."""
    direction: int
    """Axis of the box whose wavenumber counts; -1 for the modulus of the wave vector."""
    is_complex: bool


@dataclass(frozen=True)
class Box:
    """The points that are transformed, and which of their wavenumbers counts."""

    shape: tuple[int, ...]
    steps: tuple[float, ...]
    """Distance of neighbouring points along every axis."""
    direction: int | None = None
    """Axis whose wavenumber counts; None for the modulus of the wave vector."""
    is_complex: bool = False
    """Whether fields are complex. The modes of real ones come in pairs, of which one is kept."""

    @property
    def fundamentals(self) -> np.ndarray:
        """Smallest wavenumber 2π / L along every axis that counts, of more than one point."""
        found = [
            2 * math.pi / (n * step)
            for axis, (n, step) in enumerate(zip(self.shape, self.steps, strict=True))
            if n > 1 and self.direction in (None, axis)
        ]
        return np.array(found)

    def wavenumbers(self) -> np.ndarray:
        """Return the wavenumber of every mode, of the shape of the transform."""
        parts = []
        for axis, (n, step) in enumerate(zip(self.shape, self.steps, strict=True)):
            is_half = axis == len(self.shape) - 1 and not self.is_complex
            frequencies = (np.fft.rfftfreq if is_half else np.fft.fftfreq)(n, step)
            counts = self.direction in (None, axis)
            parts.append(2 * math.pi * frequencies * counts)
        return np.sqrt(sum(k * k for k in np.meshgrid(*parts, indexing="ij", sparse=True)))

    def multiplicities(self) -> np.ndarray:
        """Return how many modes each of those kept stands for, along the last axis."""
        n = self.shape[-1]
        if self.is_complex:
            return np.ones(n)
        times = np.full(n // 2 + 1, 2.0)
        times[0] = 1.0
        if n % 2 == 0:
            times[-1] = 1.0
        return times


@dataclass(frozen=True)
class Spectrum:
    """Binned power of fields (n_samples, n_features); small, picklable and equal by value."""

    sizes: tuple[int, ...]
    """Points along every feature axis."""
    axes: tuple[int, ...]
    """Feature axes that are transformed; the others tell fields apart."""
    box: Box
    edges: tuple[float, ...]
    """Bins hold ``edges[i] <= k < edges[i + 1]``, the last one its upper edge too."""
    include_mean: bool = True
    average: bool = False
    window: Any = None

    @property
    def n_fields(self) -> int:
        """Number of fields in a sample."""
        return math.prod(self.sizes) // math.prod(self.box.shape)

    @property
    def n_outputs(self) -> int:
        """Number of powers of a sample."""
        return self.n_fields * len(binned_modes(self).counts)

    def power(self, X: Array) -> Array:
        """Return the powers (n_samples, n_fields * n_bins) of samples, in float64."""
        n_samples, n_features = X.shape
        step = max(1, _BLOCK_BYTES // (16 * n_features))
        starts = range(0, n_samples, step)
        if len(starts) <= 1:
            return self._block_power(X)
        parts = map_threads(
            lambda start: self._block_power(X[start : min(start + step, n_samples), :]), starts
        )
        return namespace(X).concat(parts)

    def log_power(self, X: Array) -> Array:
        """Return the decimal logarithms of the powers; of zero, of the smallest number."""
        xp = namespace(X)
        return xp.log10(self.power(X) + np.finfo(np.float64).tiny)

    def _block_power(self, X: Array) -> Array:
        xp = namespace(X)
        n_samples = X.shape[0]
        fields = self._fields(X)
        axes = tuple(range(2, fields.ndim))
        if not self.include_mean:
            fields = fields - xp.mean(fields, axis=axes, keepdims=True)
        if self.window is not None:
            fields = fields * xp.asarray(_taper(self.window, self.box.shape))
        with np.errstate(invalid="ignore", over="ignore"):  # who learns from it says what is wrong
            modes = (xp.fft.fftn if self.box.is_complex else xp.fft.rfftn)(fields, axes=axes)
            squares = xp.real(modes) ** 2 + xp.imag(modes) ** 2
            squares = squares * xp.asarray(
                self.box.multiplicities() / math.prod(self.box.shape) ** 2
            )
            powers = _sum_bins(xp.reshape(squares, (n_samples * self.n_fields, -1)), self)
        return xp.reshape(powers, (n_samples, self.n_outputs))

    def _fields(self, X: Array) -> Array:
        """Return samples as (n_samples, n_fields, *box), real or complex, in float64."""
        xp = namespace(X)
        others = tuple(i for i in range(len(self.sizes)) if i not in self.axes)
        order = (0, *(1 + i for i in (*others, *self.axes)))
        if self.box.is_complex:
            parts = xp.reshape(as_float64(X), (X.shape[0], *self.sizes, 2))
            fields = parts[..., 0] + 1j * parts[..., 1]
        else:
            fields = xp.reshape(as_float64(X), (X.shape[0], *self.sizes))
        fields = xp.permute_dims(fields, order)
        return xp.reshape(fields, (X.shape[0], self.n_fields, *self.box.shape))


class BinnedModes(NamedTuple):
    """Which bin every mode is in."""

    bins: np.ndarray
    """Bin of every mode, shape (n_modes,), ``len(counts)`` for those in none."""
    counts: np.ndarray
    """Modes in every bin."""
    wavenumbers: np.ndarray
    """Mean wavenumber of the modes in every bin."""
    limits: np.ndarray
    """Lower and upper edge of every bin, shape (n_bins, 2)."""


@functools.lru_cache(maxsize=16)
def binned_modes(spectrum: Spectrum) -> BinnedModes:
    """Sort all modes of a box into bins; where k = 0 counts, it has a bin of its own in front."""
    box = spectrum.box
    k = box.wavenumbers()
    times = np.broadcast_to(box.multiplicities(), k.shape).ravel().copy()
    k = k.ravel()
    is_zero = k == 0
    if not spectrum.include_mean:
        times[0] = 0.0  # the mode of the mean
    bins = np.where(is_zero, 0, 1 + _bin_of(k, np.array(spectrum.edges)))
    n_bins = len(spectrum.edges)
    bins[times == 0] = n_bins
    limits = np.array([(0.0, 0.0), *zip(spectrum.edges[:-1], spectrum.edges[1:], strict=True)])
    if not np.any(times[is_zero]):
        bins, n_bins, limits = np.where(bins == 0, n_bins, bins) - 1, n_bins - 1, limits[1:]
    counts = np.bincount(bins, weights=times, minlength=n_bins + 1)[:n_bins]
    total = np.bincount(bins, weights=times * k, minlength=n_bins + 1)[:n_bins]
    return BinnedModes(bins, counts, total / np.maximum(counts, 1.0), limits)


def _bin_of(k: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of every wavenumber, ``len(edges) - 1`` for none."""
    n_bins = len(edges) - 1
    found = np.searchsorted(edges, k * (1 + _ROUNDING), side="right") - 1
    found[(found == n_bins) & (k <= edges[-1] * (1 + _ROUNDING))] = n_bins - 1
    found[found < 0] = n_bins
    return found


@functools.lru_cache(maxsize=16)
def shell_edges(box: Box) -> tuple[float, ...]:
    """Return edges halfway between the multiples of the largest fundamental wavenumber.

    For a cubic box these are the usual shells, and for one axis every mode has its own bin.
    """
    if not len(box.fundamentals):
        return (0.0,)
    unit = box.fundamentals.max()
    n_shells = max(1, math.floor(box.wavenumbers().max() / unit * (1 + _ROUNDING) + 0.5))
    return (0.0, *(unit * (np.arange(1, n_shells + 1) + 0.5)).tolist())


@functools.lru_cache(maxsize=16)
def spaced_edges(box: Box, n_bins: int | None, *, log: bool) -> tuple[float, ...]:
    """Return evenly or geometrically spaced edges of all wavenumbers but 0.

    Bins without a mode are joined with the next one. By default two bins an octave.
    """
    k = box.wavenumbers().ravel()
    k = k[k > 0]
    if not len(k):
        return (0.0,)
    low, high = float(k.min()), float(k.max())
    if low == high:
        return (low, 2 * low)
    if n_bins is None:
        n_bins = math.ceil(2 * math.log2(high / low))
    edges = np.geomspace(low, high, n_bins + 1) if log else np.linspace(0.0, high, n_bins + 1)
    filled = np.bincount(_bin_of(k, edges), minlength=n_bins)[:n_bins] > 0
    return (float(edges[0]), *edges[1:][filled].tolist())


def _sum_bins(squares: Array, spectrum: Spectrum) -> Array:
    """Add up the powers (n_fields, n_modes) of the modes of every bin."""
    xp = namespace(squares)
    modes = binned_modes(spectrum)
    n_bins = len(modes.counts)
    if is_host(squares):
        sums = np.stack(
            [np.bincount(modes.bins, weights=row, minlength=n_bins)[:n_bins] for row in squares]
        )
    else:
        members = [xp.asarray(np.flatnonzero(modes.bins == i)) for i in range(n_bins)]
        sums = xp.stack([xp.sum(xp.take(squares, at, axis=1), axis=1) for at in members], axis=1)
    return sums / xp.asarray(np.maximum(modes.counts, 1.0)) if spectrum.average else sums


@functools.lru_cache(maxsize=16)
def _taper(window: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the window over all axes, scaled to a mean square of 1."""
    weights = np.ones(())
    for n in shape:
        line = get_window(window, n)
        weights = weights[..., None] * (line / np.sqrt(np.mean(line**2)))
    return weights
