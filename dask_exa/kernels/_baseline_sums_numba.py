"""Sums over the visibilities of baselines on the CPU; the twin of `_baseline_sums_cupy`."""

from __future__ import annotations

import numba
import numpy as np

from dask_exa._threads import available_threads, map_threads

_N_SUMS = 12


def baseline_sums(visibility: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.baseline_sums`; both in C order. Returns (n_baselines, 12)."""
    n_baselines = visibility.shape[1]
    sums = np.zeros((n_baselines, _N_SUMS))
    edges = np.linspace(0, n_baselines, available_threads() + 1).astype(np.int64)
    map_threads(
        lambda i: _add_up(visibility, weight, edges[i], edges[i + 1], sums),
        range(len(edges) - 1),
    )
    return sums


@numba.njit(nogil=True, cache=True)
def _add_up(visibility, weight, first, last, sums):  # pragma: no cover  (compiled)
    n_times, _, n_channels, n_polarisations = visibility.shape
    for b in range(first, last):
        total = np.zeros(_N_SUMS)
        for t in range(n_times):
            for f in range(n_channels):
                for p in range(n_polarisations):
                    w = np.float64(weight[t, b, f, p])
                    if w == 0:
                        continue
                    value = visibility[t, b, f, p]
                    re, im = np.float64(value.real), np.float64(value.imag)
                    power = re * re + im * im
                    total[0] += 1
                    total[1] += w
                    total[2] += w * np.sqrt(power)
                    total[3] += w * power
                    total[4] += w * re
                    total[5] += w * im
                    total[6] += power
                    total[7] += power * power
                    if t > 0:
                        before = np.float64(weight[t - 1, b, f, p])
                        if before > 0:
                            other = visibility[t - 1, b, f, p]
                            total[8] += w * before * (re * other.real + im * other.imag)
                            total[9] += w * before * (im * other.real - re * other.imag)
                    if f > 0:
                        before = np.float64(weight[t, b, f - 1, p])
                        if before > 0:
                            other = visibility[t, b, f - 1, p]
                            total[10] += w * before * (re * other.real + im * other.imag)
                            total[11] += w * before * (im * other.real - re * other.imag)
        sums[b] = total
