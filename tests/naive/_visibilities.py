"""Fit and votes of visibilities, one at a time in double precision."""

import numpy as np


def fit_visibilities(visibility, prior, fit, baselines, is_used, cap):
    """Return coefficients, power, channels, stations, largest and residual of one dump."""
    n_baselines, n_channels = visibility.shape
    n_stations = len(baselines.is_sound)
    coefficients = np.zeros(prior.shape, complex)
    power, largest = np.zeros((n_baselines, 2)), np.full(visibility.shape, np.nan)
    channels, stations = np.zeros((3, n_channels)), np.zeros((2, n_stations))
    residual = np.full(visibility.shape, np.nan + 1j * np.nan)
    for b in range(n_baselines):
        group = fit.group[b]
        n_modes = fit.n_modes[group]
        modes, solver = fit.modes[group, :n_modes].astype(float), fit.solver[group, :n_modes]
        data, expected = visibility[b].astype(complex), prior[b, :n_modes].astype(complex)
        is_here = np.isfinite(data) & bool(np.any(data != 0))
        news = np.where(is_here, data - expected @ modes, 0)
        found = solver.astype(float) @ news
        coefficients[b, :n_modes] = expected + found
        left = news - found @ modes
        first, second = baselines.antenna1[b], baselines.antenna2[b]
        for c in np.flatnonzero(is_here):
            residual[b, c] = left[c]
            scale = float(baselines.precision[b]) * float(fit.precision[group, c])
            largest[b, c] = abs(left[c]) ** 2 * scale
            weight = float(fit.weight[group, c])
            vote = weight * min(largest[b, c], cap)
            if baselines.is_sound[first] and baselines.is_sound[second]:
                channels[:, c] += vote, weight, weight**2
            if is_used[c]:
                power[b] += weight * largest[b, c], weight
                for station, other in ((first, second), (second, first)):
                    if baselines.is_sound[other]:
                        stations[:, station] += vote, weight
    return coefficients, power, channels, stations, largest, residual


def expect_coefficients(history, weights, pattern, group, n_modes):
    """Return weighted sums of the coefficients of several dumps."""
    expected = np.zeros(history.shape[1:], complex)
    for b in range(history.shape[1]):
        for k in range(n_modes[group[b]]):
            for dump in range(len(history)):
                weight = float(weights[pattern[b], dump, group[b], k])
                expected[b, k] += weight * complex(history[dump, b, k])
    return expected
