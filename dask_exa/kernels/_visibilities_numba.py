"""Fit of the modes of a field of view on the CPU; the twin of `_visibilities_cupy`.

A baseline at a time: its channels stay in the first cache, their real and imaginary parts side by
side in two arrays, so that every loop over channels is one of plain float32.
"""

from __future__ import annotations

import itertools
from typing import Any

import numba
import numpy as np

from dask_exa._threads import map_threads

_PART = 1 << 19
"""Visibilities that are worth a thread of their own."""
_MAX_PARTS = 32
_FLUSH = 64
"""Baselines whose votes are added in float32 before they go to float64."""
_FAST = {"reassoc", "contract", "nsz"}
_NO_RESIDUAL = np.empty((0, 0), dtype=np.complex64)


def fit_visibilities(
    visibility: np.ndarray,
    prior: np.ndarray,
    fit: Any,
    baselines: Any,
    is_used: np.ndarray,
    cap: float,
    with_residual: bool,
) -> tuple[Any, ...]:
    """See `dask_exa.kernels.visibilities.fit_visibilities`; returns what are `Residuals`."""
    visibility = np.ascontiguousarray(visibility, dtype=np.complex64)
    n_baselines, n_channels = visibility.shape
    prior = np.ascontiguousarray(prior, dtype=np.complex64)
    coefficients = np.empty_like(prior)
    power = np.empty((n_baselines, 2))
    largest = np.empty(visibility.shape, dtype=np.float32)
    residual = np.empty_like(visibility) if with_residual else _NO_RESIDUAL
    used = is_used.astype(np.float32)

    def run(part: slice) -> tuple[np.ndarray, np.ndarray]:
        channels = np.zeros((3, n_channels))
        stations = np.zeros((2, len(baselines.is_sound)))
        _fit(
            visibility, prior, fit.group, fit.n_modes, fit.modes, fit.solver, fit.precision,
            fit.weight, baselines.antenna1, baselines.antenna2, baselines.precision,
            baselines.is_sound, used, np.float32(cap), part.start, part.stop,
            coefficients, power, channels, stations, largest, residual,
        )  # fmt: skip
        return channels, stations

    n_parts = max(1, min(visibility.size // _PART, _MAX_PARTS))
    edges = [n_baselines * i // n_parts for i in range(n_parts + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(edges)]
    found = [run(parts[0])] if n_parts == 1 else map_threads(run, parts)
    channels = np.sum([sums for sums, _ in found], axis=0)
    stations = np.sum([sums for _, sums in found], axis=0)
    kept = residual if with_residual else None
    return coefficients, power, channels, stations, largest, kept


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _load(visibility, b, re, im):  # pragma: no cover  (compiled)
    """Split the parts of a baseline; return whether one is missing, which NaN shows in the sum."""
    for c in range(re.size):
        re[c] = visibility[b, c].real
        im[c] = visibility[b, c].imag
    total = np.float32(0)
    for c in range(re.size):
        total += re[c] * re[c] + im[c] * im[c]
    return not (total > 0 and total < np.inf)


@numba.njit(nogil=True, cache=True)
def _fill(prior, b, modes, g, n_modes, re, im, present):  # pragma: no cover  (compiled)
    """Put what is expected in place of what is missing."""
    is_dead = True
    for c in range(re.size):
        is_dead = is_dead and re[c] == 0 and im[c] == 0
    for c in range(re.size):
        is_here = not is_dead and abs(re[c]) < np.inf and abs(im[c]) < np.inf
        present[c] = is_here
        if is_here:
            continue
        re[c] = im[c] = 0
        for k in range(n_modes):
            re[c] += prior[b, k].real * modes[g, k, c]
            im[c] += prior[b, k].imag * modes[g, k, c]


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _add_modes(coefficients, sign, modes, g, n_modes, re, im):  # pragma: no cover  (compiled)
    """Add the sum of all modes times their coefficients, four modes in a sweep."""
    k = 0
    while k + 4 <= n_modes:
        a0, b0 = sign * coefficients[k].real, sign * coefficients[k].imag
        a1, b1 = sign * coefficients[k + 1].real, sign * coefficients[k + 1].imag
        a2, b2 = sign * coefficients[k + 2].real, sign * coefficients[k + 2].imag
        a3, b3 = sign * coefficients[k + 3].real, sign * coefficients[k + 3].imag
        u0, u1, u2, u3 = modes[g, k], modes[g, k + 1], modes[g, k + 2], modes[g, k + 3]
        for c in range(re.size):
            re[c] += (a0 * u0[c] + a1 * u1[c]) + (a2 * u2[c] + a3 * u3[c])
            im[c] += (b0 * u0[c] + b1 * u1[c]) + (b2 * u2[c] + b3 * u3[c])
        k += 4
    while k < n_modes:
        a0, b0 = sign * coefficients[k].real, sign * coefficients[k].imag
        u0 = modes[g, k]
        for c in range(re.size):
            re[c] += a0 * u0[c]
            im[c] += b0 * u0[c]
        k += 1


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _solve(solver, g, n_modes, re, im, found):  # pragma: no cover  (compiled)
    for k in range(n_modes):
        row = solver[g, k]
        a = np.float32(0)
        b = np.float32(0)
        for c in range(re.size):
            a += row[c] * re[c]
            b += row[c] * im[c]
        found[k] = complex(a, b)


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _vote(re, im, precision, scale, weight, cap, raw, votes):  # pragma: no cover  (compiled)
    """Normalise the power of what is left, and weigh what it has to say."""
    for c in range(re.size):
        x = (re[c] * re[c] + im[c] * im[c]) * (precision[c] * scale)
        raw[c] = x
        votes[c] = weight[c] * min(x, cap)


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _sums(votes, raw, weight, used):  # pragma: no cover  (compiled)
    vote, power, total = np.float32(0), np.float32(0), np.float32(0)
    for c in range(votes.size):
        w = used[c] * weight[c]
        vote += used[c] * votes[c]
        power += w * raw[c]
        total += w
    return vote, power, total


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _add(totals, votes, weight):  # pragma: no cover  (compiled)
    for c in range(votes.size):
        totals[0, c] += votes[c]
        totals[1, c] += weight[c]
        totals[2, c] += weight[c] * weight[c]


@numba.njit(nogil=True, cache=True)
def _fit(
    visibility, prior, group, n_modes, modes, solver, precision, weight,
    antenna1, antenna2, scale, is_sound, used, cap, start, stop,
    coefficients, power, channels, stations, largest, residual,
):  # fmt: skip  # pragma: no cover  (compiled)
    n_channels = visibility.shape[1]
    re, im = np.empty(n_channels, np.float32), np.empty(n_channels, np.float32)
    votes, own = np.empty(n_channels, np.float32), np.empty(n_channels, np.float32)
    present = np.empty(n_channels, np.bool_)
    found = np.empty(prior.shape[1], np.complex64)
    totals = np.zeros((3, n_channels), np.float32)
    for b in range(start, stop):
        g, first, second = group[b], antenna1[b], antenna2[b]
        n, weights, raw = n_modes[g], weight[g], largest[b]
        is_missing = _load(visibility, b, re, im)
        if is_missing:
            _fill(prior, b, modes, g, n, re, im, present)
            for c in range(n_channels):
                own[c] = weights[c] if present[c] else 0
            weights = own
        _add_modes(prior[b], np.float32(-1), modes, g, n, re, im)
        _solve(solver, g, n, re, im, found)
        _add_modes(found, np.float32(-1), modes, g, n, re, im)
        for k in range(prior.shape[1]):
            coefficients[b, k] = prior[b, k] + found[k] if k < n else 0
        _vote(re, im, precision[g], scale[b], weights, cap, raw, votes)
        vote, total_power, total = _sums(votes, raw, weights, used)
        power[b, 0], power[b, 1] = total_power, total
        if is_sound[first] and is_sound[second]:
            _add(totals, votes, weights)
        for station, other in ((first, second), (second, first)):
            if is_sound[other]:
                stations[0, station] += vote
                stations[1, station] += total
        if is_missing:
            for c in range(n_channels):
                if not present[c]:
                    raw[c], re[c], im[c] = np.nan, np.nan, np.nan
        for c in range(residual.shape[1]):
            residual[b, c] = complex(re[c], im[c])
        if (b - start) % _FLUSH == _FLUSH - 1 or b == stop - 1:
            channels += totals
            totals[:] = 0


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def expect_coefficients(history, weights, pattern, group, n_modes):  # pragma: no cover  (compiled)
    """See `dask_exa.kernels.visibilities.expect_coefficients`."""
    expected = np.zeros(history.shape[1:], np.complex64)
    for dump in range(history.shape[0]):
        for b in range(history.shape[1]):
            row = weights[pattern[b], dump, group[b]]
            for k in range(n_modes[group[b]]):
                expected[b, k] += row[k] * history[dump, b, k]
    return expected
