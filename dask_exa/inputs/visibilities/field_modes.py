"""What a steady sky within a field of view can look like on a baseline, in frequency and time.

A source at an angle θ from the phase centre reaches the two stations of a baseline of length b
with a delay of at most τ = b sin(θ) / c, which moves at most as fast as the Earth turns. Nothing
known of the sky but the radius of the field, its visibilities are a Gaussian process with a flat
spectrum of delays within ±τ and of fringe rates within ±ω τ f, f the frequency.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.constants import speed_of_light

from dask_exa.kernels.visibilities import Fit

EARTH_ROTATION = 7.292115e-5
"""rad/s."""
DYNAMIC_RANGE = 1e3
"""Variance of the sky relative to that of the noise, of one visibility, that is expected."""
_LEAST_VARIANCE = 0.1
"""Modes whose expected variance is less, relative to the noise, are not needed."""
_N_GROUPS = 8
_MOST_BRIGHT = 100.0
"""Variance of the sky beyond which expectations are not sharpened: they would rely on differences
of dumps of ever higher order."""
_MOST_LOST = 1.0
"""Variance of the sky between the channels that are used, relative to the noise of one channel."""


class FieldModes(NamedTuple):
    """Modes in frequency of all baselines, which share them in groups of similar length."""

    group: np.ndarray
    """(n_baselines,), int32."""
    n_modes: np.ndarray
    """(n_groups,), int32."""
    modes: np.ndarray
    """(n_groups, max_modes, n_channels), float64, orthonormal; zero where there are fewer."""
    variance: np.ndarray
    """(n_groups, max_modes): expected of a coefficient, where the noise is 1."""
    fringe_rate: np.ndarray
    """(n_groups,), Hz: the largest that a source in the field has."""


def field_modes(uvw: np.ndarray, frequency: np.ndarray, radius: float) -> FieldModes:
    """Return the modes of a field of view on every baseline.

    The modes are discrete prolate spheroidal sequences, the principal components of delays within
    the field [1]_. Baselines are put into up to 8 groups of equal size by their length; the
    longest of a group decides on its modes.

    Parameters
    ----------
    uvw : array of shape (n_baselines, 3)
        In metres.
    frequency : array of shape (n_channels,)
        In Hz, equally spaced.
    radius : float
        Of the field, in radians.

    Returns
    -------
    FieldModes

    References
    ----------
    .. [1] D. Slepian, "Prolate spheroidal wave functions, Fourier analysis, and uncertainty. V",
       Bell Syst. Tech. J. 57, 1978; for visibilities: A. Ewall-Wice et al., "DAYENU: a simple
       filter of smooth foregrounds for intensity mapping", MNRAS 500, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> uvw = np.array([[10.0, 0, 0], [3000.0, 0, 0]])
    >>> field_modes(uvw, 140e6 + 1e5 * np.arange(64), radius=0.05).n_modes
    array([ 2, 11], dtype=int32)
    """
    length = np.linalg.norm(uvw, axis=1)
    order = np.argsort(length, kind="stable")
    members = np.array_split(order, min(_N_GROUPS, len(order)))
    group = np.empty(len(length), dtype=np.int32)
    for number, baselines in enumerate(members):
        group[baselines] = number
    delay = np.array([length[m].max() for m in members]) * np.sin(radius) / speed_of_light
    offset = np.subtract.outer(frequency, frequency)
    found = [_slepian(offset * tau) for tau in delay]
    n_modes = np.array([len(variance) for variance, _ in found], dtype=np.int32)
    modes = np.zeros((len(members), n_modes.max(), len(frequency)))
    variance = np.zeros(modes.shape[:2])
    for number, (values, vectors) in enumerate(found):
        variance[number, : len(values)] = values
        modes[number, : len(values)] = vectors
    return FieldModes(group, n_modes, modes, variance, EARTH_ROTATION * delay * frequency.max())


def _slepian(phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return variances and vectors of the modes, the largest first; one channel stays free."""
    values, vectors = np.linalg.eigh(np.sinc(2 * phase))
    n_modes = int(np.sum(DYNAMIC_RANGE * values > _LEAST_VARIANCE))
    n_modes = max(1, min(n_modes, len(values) - 1))
    values, vectors = values[::-1][:n_modes], vectors.T[::-1][:n_modes]
    return DYNAMIC_RANGE * np.maximum(values, 1e-12), vectors


class Certainty(NamedTuple):
    """How well a fit knows its coefficients."""

    is_determined: np.ndarray
    """(n_groups,), bool: whether the sky is known well enough in the channels that are not used;
    other coefficients cannot be compared with those of other dumps."""
    noise: np.ndarray
    """(n_groups, max_modes): variance of the coefficients by noise, which has 1."""
    gain: np.ndarray
    """(n_groups, max_modes, max_modes): from a change of the coefficients to that of the fit."""


def make_fit(field: FieldModes, is_used: np.ndarray) -> tuple[Fit, Certainty]:
    """Return how coefficients are fitted to the channels that are used.

    The fit is the mean of the coefficients given the visibilities and their expected variance. A
    residual at a channel that is not used tells of interference there as surely as the modes are
    known there, one at a channel that is used less so the more the fit has taken from it. Both
    become its weight.

    Parameters
    ----------
    field : FieldModes
    is_used : array of shape (n_channels,), bool

    Returns
    -------
    fit : Fit
    certainty : Certainty
    """
    used = is_used.astype(float)
    chosen = field.modes * used
    known = chosen @ np.swapaxes(field.modes, 1, 2)
    prior = np.where(field.variance > 0, field.variance, 1.0)
    scatter = known + np.einsum("gk,kl->gkl", 1 / prior, np.eye(prior.shape[1]))
    solver = np.linalg.solve(scatter, chosen)
    taken = np.einsum("gkc,gkc->gc", field.modes, np.linalg.solve(scatter, field.modes))
    left = np.maximum(1 - taken, 1e-3)
    precision = np.where(is_used, 1 / left, 1 / (1 + taken))
    weight = np.where(is_used, left, 1 / (1 + taken))
    fit = Fit(
        field.group,
        field.n_modes,
        *(part.astype(np.float32) for part in (field.modes, solver, precision, weight)),
    )
    lost = np.sum(taken * ~is_used, axis=1)
    is_determined = lost <= _MOST_LOST * np.sum(~is_used)
    noise = np.einsum("gkc,gkc->gk", solver, solver)  # of channels that are used, all of variance 1
    return fit, Certainty(is_determined, noise, np.linalg.solve(scatter, known))


class Expectation(NamedTuple):
    """How the coefficients of the next dump follow from those of the last ones."""

    weights: np.ndarray
    """(n_dumps, n_groups, max_modes), float32; zero for dumps that are missing."""
    variance: np.ndarray
    """(n_groups, max_modes), of the true coefficient about the expected one; the noise has 1."""


def expect(
    field: FieldModes, interval: float, present: tuple[bool, ...], sky_variance: float = 1.0
) -> Expectation:
    """Return how to expect coefficients, by regression of a Gaussian process on the last dumps.

    The weights are those for a sky a thousand times as bright: shrinking towards zero, though
    best for one baseline, would leave the same share of every source on all of them.

    Parameters
    ----------
    field : FieldModes
    interval : float
        Between dumps, in seconds.
    present : tuple of bool
        Whether each of the last dumps is known, the oldest first.
    sky_variance : float
        Relative to the noise, of one visibility.

    Returns
    -------
    Expectation

    Examples
    --------
    A source at the phase centre does not move: the mean of what is known is expected.

    >>> import numpy as np
    >>> field = field_modes(np.array([[0.0, 10, 0]]), 140e6 + 1e5 * np.arange(8), radius=1e-6)
    >>> expect(field, 8.0, (True, False, True)).weights[:, 0, 0].round(3)
    array([0.5, 0. , 0.5], dtype=float32)
    """
    times = np.arange(len(present) + 1) * interval
    correlation = np.sinc(2 * field.fringe_rate[:, None, None] * np.subtract.outer(times, times))
    prior = np.where(field.variance > 0, field.variance, 1.0)
    prior *= np.clip(sky_variance, 1, _MOST_BRIGHT)
    known = np.flatnonzero(present)
    among, towards = correlation[:, None, known[:, None], known], correlation[:, None, known, -1]
    solved = np.linalg.solve(
        among + np.eye(len(known)) / prior[:, :, None, None], towards[..., None]
    )[..., 0]
    weights = np.zeros((len(present), *field.variance.shape), dtype=np.float32)
    weights[known] = np.moveaxis(solved, -1, 0)
    missed = 1 - 2 * np.sum(solved * towards, axis=-1)
    missed += np.einsum("gki,gij,gkj->gk", solved, among[:, 0], solved)
    scale = sky_variance / DYNAMIC_RANGE
    variance = scale * field.variance * np.maximum(missed, 0) + np.sum(solved**2, axis=-1)
    return Expectation(weights, variance)
