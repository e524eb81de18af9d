"""Visibilities against what a field of view allows: which twin fits the sky and sums what is left.

In one dump, the sky seen by a baseline is a smooth function of frequency, a sum of a few modes;
interference and faults are not. One pass over the dump fits the modes and reduces what they leave
to sums over baselines for every channel, and over channels for every station. Such sums of parts
of the baselines add up to those of all.
"""

from __future__ import annotations

from typing import NamedTuple

from dask_exa._array import Array, is_cupy


class Fit(NamedTuple):
    """How the modes are fitted, for each group of baselines that share their modes."""

    group: Array
    """(n_baselines,), int32: which group a baseline is in."""
    n_modes: Array
    """(n_groups,), int32, at most ``max_modes``."""
    modes: Array
    """(n_groups, max_modes, n_channels), float32: what is subtracted, times its coefficient."""
    solver: Array
    """(n_groups, max_modes, n_channels), float32: from visibilities to coefficients."""
    precision: Array
    """(n_groups, n_channels), float32: one over the variance of a residual, where that of a
    visibility is 1."""
    weight: Array
    """(n_groups, n_channels), float32: of a residual in the sums."""


class Baselines(NamedTuple):
    """Which stations a baseline has, and how noisy it is."""

    antenna1: Array
    """(n_baselines,), int32, from 0."""
    antenna2: Array
    precision: Array
    """(n_baselines,), float32: one over the variance of a visibility, both parts together."""
    is_sound: Array
    """(n_stations,), bool: others do not count in the sums over channels."""


class Residuals(NamedTuple):
    """What the fit leaves. A vote is the power of a residual in units of its variance, capped."""

    coefficients: Array
    """(n_baselines, max_modes), complex64, of the modes."""
    power: Array
    """(n_baselines, 2), float64: sums of the normalised power times `Fit.weight` over the channels
    that are used, and of the weights."""
    channels: Array
    """(3, n_channels), float64: sums over baselines of sound stations of weight × vote, of weight
    and of squared weight."""
    stations: Array
    """(2, n_stations), float64: sums of weight × vote and of weight over the channels used and over
    the baselines with stations that are sound, but perhaps for the station itself."""
    largest: Array
    """(n_baselines, n_channels), float32: normalised power, not capped; NaN where missing."""
    residual: Array | None
    """(n_baselines, n_channels), complex64; None unless asked for."""


def fit_visibilities(
    visibility: Array,
    prior: Array,
    fit: Fit,
    baselines: Baselines,
    is_used: Array,
    cap: float,
    *,
    with_residual: bool = False,
) -> Residuals:
    """Fit the modes of a field of view to one dump, and sum what they leave.

    A visibility that is NaN is missing: the fit sees the prior in its place, and it has no vote. A
    baseline whose visibilities are all exactly zero is missing, too.

    Parameters
    ----------
    visibility : array of shape (n_baselines, n_channels), complex64
    prior : array of shape (n_baselines, max_modes), complex64
        Coefficients that are expected. ``solver @ (visibility - prior @ modes)`` is added.
    fit : Fit
    baselines : Baselines
    is_used : array of shape (n_channels,), bool
        Channels that count in the sums over channels; the solver knows them already.
    cap : float
        Largest vote of one visibility.
    with_residual : bool, default=False

    Returns
    -------
    Residuals
        The twins agree to 1e-4 of a vote: they add float32 in another order.

    Examples
    --------
    >>> import numpy as np
    >>> ones = np.ones((1, 1, 4), np.float32)
    >>> fit = Fit(np.zeros(1, np.int32), np.ones(1, np.int32), ones, ones / 4, ones[0], ones[0])
    >>> pair = Baselines(*np.array([[0], [1]], np.int32), np.ones(1, np.float32), np.ones(2, bool))
    >>> visibility = np.array([[2, 2, 2, 6]], np.complex64)
    >>> prior, is_used = np.zeros((1, 1), np.complex64), np.ones(4, bool)
    >>> fit_visibilities(visibility, prior, fit, pair, is_used, cap=5.0).channels[0]
    array([1., 1., 1., 5.])
    """
    if is_cupy(visibility):
        from dask_exa.kernels._visibilities_cupy import fit_visibilities as twin
    else:
        from dask_exa.kernels._visibilities_numba import fit_visibilities as twin
    return Residuals(*twin(visibility, prior, fit, baselines, is_used, cap, with_residual))


def expect_coefficients(
    history: Array, weights: Array, pattern: Array, group: Array, n_modes: Array
) -> Array:
    """Return the coefficients that are expected of a dump: weighted sums of those before it.

    Parameters
    ----------
    history : array of shape (n_dumps, n_baselines, max_modes), complex64
    weights : array of shape (n_patterns, n_dumps, n_groups, max_modes), float32
    pattern : array of shape (n_baselines,), int32
        Which weights a baseline has: those for the dumps that it was present in.
    group, n_modes : array
        As of `Fit`.

    Returns
    -------
    array of shape (n_baselines, max_modes), complex64
    """
    if is_cupy(history):
        from dask_exa.kernels._visibilities_cupy import expect_coefficients as twin
    else:
        from dask_exa.kernels._visibilities_numba import expect_coefficients as twin
    return twin(history, weights, pattern, group, n_modes)
