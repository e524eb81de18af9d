"""Sums over the visibilities of baselines on a GPU; the twin of `_baseline_sums_numba`.

A block of threads has one baseline, whose channels lie side by side: the threads of a warp read
neighbours. What they have added up is joined in shared memory, in a fixed order.
"""

from __future__ import annotations

import functools
from typing import Any

SOURCE = r"""
const int N_SUMS = 12;
const int THREADS = 128;

template <typename T>
__global__ void baseline_sums(const T* visibility, const T* weight, const long long n_times,
                              const long long n_baselines, const long long n_channels,
                              const long long n_polarisations, double* sums) {
    __shared__ double parts[THREADS];
    const long long b = blockIdx.x;
    const long long row = n_channels * n_polarisations, stride = n_baselines * row;
    double total[N_SUMS] = {0.0};
    for (long long i = threadIdx.x; i < n_times * row; i += THREADS) {
        const long long t = i / row, place = i % row;
        const long long at = t * stride + b * row + place;
        const double w = (double)weight[at];
        if (w == 0.0) continue;
        const double re = (double)visibility[2 * at], im = (double)visibility[2 * at + 1];
        const double power = re * re + im * im;
        const double plain[8] = {1.0,    w,      w * sqrt(power), w * power,
                                 w * re, w * im, power,           power * power};
        for (int k = 0; k < 8; ++k) total[k] += plain[k];
        const long long earlier[2] = {at - stride, at - n_polarisations};
        const bool is_there[2] = {t > 0, place >= n_polarisations};
        for (int k = 0; k < 2; ++k) {
            if (!is_there[k]) continue;
            const double before = (double)weight[earlier[k]];
            if (before == 0.0) continue;
            const double x = (double)visibility[2 * earlier[k]];
            const double y = (double)visibility[2 * earlier[k] + 1];
            total[8 + 2 * k] += w * before * (re * x + im * y);
            total[9 + 2 * k] += w * before * (im * x - re * y);
        }
    }
    for (int k = 0; k < N_SUMS; ++k) {
        parts[threadIdx.x] = total[k];
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
            __syncthreads();
        }
        if (threadIdx.x == 0) sums[b * N_SUMS + k] = parts[0];
        __syncthreads();
    }
}
"""
INSTANCES = {"float32": "baseline_sums<float>", "float64": "baseline_sums<double>"}
_THREADS, _N_SUMS = 128, 12


def baseline_sums(visibility: Any, weight: Any) -> Any:
    """See `dask_exa.kernels.baseline_sums`. Returns (n_baselines, 12)."""
    import cupy

    real = "float32" if visibility.dtype == cupy.complex64 else "float64"
    visibility = cupy.ascontiguousarray(visibility)
    weight = cupy.ascontiguousarray(weight, dtype=real)
    sums = cupy.empty((visibility.shape[1], _N_SUMS))
    if sums.size:
        kernel = _module().get_function(INSTANCES[real])
        kernel((len(sums),), (_THREADS,), (visibility, weight, *visibility.shape, sums))
    return sums


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(
        code=SOURCE, options=("--std=c++17",), name_expressions=tuple(INSTANCES.values())
    )
