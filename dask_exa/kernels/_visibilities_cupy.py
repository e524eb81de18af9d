"""Fit of the modes of a field of view on a GPU; the twin of `_visibilities_numba`.

A block of threads has one baseline, its visibilities in shared memory. Sums over baselines are
added by atomic operations, in any order: they may differ in the last digits from run to run.
"""

from __future__ import annotations

import functools
from typing import Any

SOURCE = r"""
__device__ float block_sum(float value, float* buffer) {
    for (int step = 16; step; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
    const int warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    __syncthreads();
    if (threadIdx.x % 32 == 0) buffer[warp] = value;
    __syncthreads();
    float total = 0.0f;
    for (int i = 0; i < n_warps; ++i) total += buffer[i];
    return total;
}

extern "C" __global__ void fit(
    const float2* visibility, const float2* prior, const int* group, const int* n_modes,
    const float* modes, const float* solver, const float* precision, const float* weight,
    const int* antenna1, const int* antenna2, const float* scale, const bool* is_sound,
    const bool* is_used, const float cap, const int n_channels, const int max_modes,
    const int n_stations, float2* coefficients, double* power, double* channels, double* stations,
    float* largest, float2* residual) {
    extern __shared__ float shared[];
    float *re = shared, *im = shared + n_channels;
    float2* found = (float2*)(shared + 2 * n_channels);
    __shared__ float buffer[32];
    const long long b = blockIdx.x;
    const int g = group[b], n = n_modes[g], first = antenna1[b], second = antenna2[b];
    const float2* data = visibility + b * n_channels;
    const float2* expected = prior + b * max_modes;
    const float* own_modes = modes + (long long)g * max_modes * n_channels;
    const float* own_solver = solver + (long long)g * max_modes * n_channels;
    float here = 0.0f;
    for (int c = threadIdx.x; c < n_channels; c += blockDim.x)
        here += data[c].x != 0.0f || data[c].y != 0.0f;
    const bool is_dead = block_sum(here, buffer) == 0.0f;
    for (int c = threadIdx.x; c < n_channels; c += blockDim.x) {
        const bool present = !is_dead && isfinite(data[c].x) && isfinite(data[c].y);
        float x = present ? data[c].x : 0.0f, y = present ? data[c].y : 0.0f;
        if (present)
            for (int k = 0; k < n; ++k) {
                x -= expected[k].x * own_modes[k * n_channels + c];
                y -= expected[k].y * own_modes[k * n_channels + c];
            }
        re[c] = x;
        im[c] = y;
    }
    __syncthreads();
    for (int k = 0; k < n; ++k) {
        float x = 0.0f, y = 0.0f;
        for (int c = threadIdx.x; c < n_channels; c += blockDim.x) {
            x += own_solver[k * n_channels + c] * re[c];
            y += own_solver[k * n_channels + c] * im[c];
        }
        x = block_sum(x, buffer);
        y = block_sum(y, buffer);
        if (threadIdx.x == 0) found[k] = make_float2(x, y);
    }
    __syncthreads();
    for (int k = threadIdx.x; k < max_modes; k += blockDim.x)
        coefficients[b * max_modes + k] =
            k < n ? make_float2(expected[k].x + found[k].x, expected[k].y + found[k].y)
                  : make_float2(0.0f, 0.0f);
    const bool counts = is_sound[first] && is_sound[second];
    float vote = 0.0f, total_power = 0.0f, total = 0.0f;
    for (int c = threadIdx.x; c < n_channels; c += blockDim.x) {
        const bool present = !is_dead && isfinite(data[c].x) && isfinite(data[c].y);
        float x = re[c], y = im[c];
        for (int k = 0; k < n; ++k) {
            x -= found[k].x * own_modes[k * n_channels + c];
            y -= found[k].y * own_modes[k * n_channels + c];
        }
        const float normalised =
            (x * x + y * y) * (precision[(long long)g * n_channels + c] * scale[b]);
        const float w = present ? weight[(long long)g * n_channels + c] : 0.0f;
        const float vote_here = w * fminf(normalised, cap);
        largest[b * n_channels + c] = present ? normalised : NAN;
        if (residual)
            residual[b * n_channels + c] = present ? make_float2(x, y) : make_float2(NAN, NAN);
        if (is_used[c]) {
            vote += vote_here;
            total_power += w * normalised;
            total += w;
        }
        if (counts) {
            atomicAdd(channels + c, (double)vote_here);
            atomicAdd(channels + n_channels + c, (double)w);
            atomicAdd(channels + 2 * n_channels + c, (double)(w * w));
        }
    }
    vote = block_sum(vote, buffer);
    total_power = block_sum(total_power, buffer);
    total = block_sum(total, buffer);
    if (threadIdx.x) return;
    power[2 * b] = total_power;
    power[2 * b + 1] = total;
    if (is_sound[second]) {
        atomicAdd(stations + first, (double)vote);
        atomicAdd(stations + n_stations + first, (double)total);
    }
    if (is_sound[first]) {
        atomicAdd(stations + second, (double)vote);
        atomicAdd(stations + n_stations + second, (double)total);
    }
}

extern "C" __global__ void expect(
    const float2* history, const float* weights, const int* pattern, const int* group,
    const int* n_modes, const int n_dumps, const long long n_baselines, const int n_groups,
    const int max_modes, float2* expected) {
    const long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= n_baselines * max_modes) return;
    const long long b = place / max_modes;
    const int k = (int)(place % max_modes), g = group[b];
    float2 sum = make_float2(0.0f, 0.0f);
    for (int dump = 0; dump < n_dumps && k < n_modes[g]; ++dump) {
        const long long row = ((long long)pattern[b] * n_dumps + dump) * n_groups + g;
        const float w = weights[row * max_modes + k];
        const float2 value = history[(dump * n_baselines + b) * max_modes + k];
        sum.x += w * value.x;
        sum.y += w * value.y;
    }
    expected[place] = sum;
}
"""
INSTANCES = {"fit": "fit", "expect": "expect"}
_THREADS = 128


def fit_visibilities(
    visibility: Any,
    prior: Any,
    fit: Any,
    baselines: Any,
    is_used: Any,
    cap: float,
    with_residual: bool,
) -> tuple[Any, ...]:
    """See `dask_exa.kernels.visibilities.fit_visibilities`; returns what are `Residuals`."""
    import cupy

    visibility = cupy.ascontiguousarray(visibility, dtype=cupy.complex64)
    prior = cupy.ascontiguousarray(prior, dtype=cupy.complex64)
    n_baselines, n_channels = visibility.shape
    n_stations, max_modes = len(baselines.is_sound), prior.shape[1]
    coefficients = cupy.empty_like(prior)
    power = cupy.empty((n_baselines, 2))
    channels, stations = cupy.zeros((3, n_channels)), cupy.zeros((2, n_stations))
    largest = cupy.empty(visibility.shape, dtype=cupy.float32)
    residual = cupy.empty_like(visibility) if with_residual else None
    fitted = [cupy.ascontiguousarray(cupy.asarray(part)) for part in (*fit, *baselines)]
    sizes = (cupy.int32(n_channels), cupy.int32(max_modes), cupy.int32(n_stations))
    out = (coefficients, power, channels, stations, largest, 0 if residual is None else residual)
    given = (visibility, prior, *fitted, cupy.asarray(is_used), cupy.float32(cap))
    shared = 8 * (n_channels + max_modes)
    kernel = _module().get_function("fit")
    kernel((n_baselines,), (_THREADS,), (*given, *sizes, *out), shared_mem=shared)
    return coefficients, power, channels, stations, largest, residual


def expect_coefficients(history: Any, weights: Any, pattern: Any, group: Any, n_modes: Any) -> Any:
    """See `dask_exa.kernels.visibilities.expect_coefficients`."""
    import cupy

    n_dumps, n_baselines, max_modes = history.shape
    expected = cupy.empty(history.shape[1:], dtype=cupy.complex64)
    given = [
        cupy.ascontiguousarray(cupy.asarray(part))
        for part in (history, weights, pattern, group, n_modes)
    ]
    sizes = (
        cupy.int32(n_dumps),
        cupy.int64(n_baselines),
        cupy.int32(given[1].shape[2]),
        cupy.int32(max_modes),
    )
    grid = (-(-expected.size // _THREADS),)
    _module().get_function("expect")(grid, (_THREADS,), (*given, *sizes, expected))
    return expected


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(code=SOURCE, options=("--std=c++17",))
