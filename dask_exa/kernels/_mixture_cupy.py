"""Squares and normalised probabilities on a GPU; the twin of `_mixture_numba`."""

from __future__ import annotations

import functools
from typing import Any

SOURCE = r"""
template <typename T, typename S>
__global__ void quadratic_features(const T* X, const S* origin, const long long n_samples,
                                   const long long n_features, S* out) {
    const long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= n_samples * n_features) return;
    const long long i = place / n_features, j = place % n_features;
    const S offset = (S)X[place] - origin[j];
    S* row = out + i * (2 * n_features + 1);
    row[j] = offset;
    row[n_features + j] = offset * offset;
    if (j == 0) row[2 * n_features] = 1;
}

template <typename T, typename S>
__global__ void quadratic_pairs(const T* X, const S* origin, const long long n_samples,
                                const long long n_features, S* out) {
    const long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= n_samples * n_features) return;
    const long long i = place / n_features, j = place % n_features;
    const long long n_pairs = n_features * (n_features + 1) / 2;
    const T* x = X + i * n_features;
    S* row = out + i * (n_features + n_pairs + 1);
    S* products = row + n_features + j * n_features - j * (j - 1) / 2 - j;
    const S offset = (S)x[j] - origin[j];
    row[j] = offset;
    for (long long k = j; k < n_features; ++k) products[k] = offset * ((S)x[k] - origin[k]);
    if (j == 0) row[n_features + n_pairs] = 1;
}

template <typename T>
__global__ void normalize_log(T* log_joint, const long long n_samples,
                              const long long n_components, T* log_norm) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n_samples) return;
    T* row = log_joint + i * n_components;
    T top = row[0], total = 0;
    for (long long k = 1; k < n_components; ++k) top = row[k] > top ? row[k] : top;
    for (long long k = 0; k < n_components; ++k) {
        row[k] = exp(row[k] - top);
        total += row[k];
    }
    for (long long k = 0; k < n_components; ++k) row[k] /= total;
    log_norm[i] = top + log(total);
}
"""
INSTANCES = {
    "quadratic_features float32 float32": "quadratic_features<float, float>",
    "quadratic_features float32 float64": "quadratic_features<float, double>",
    "quadratic_features float64 float64": "quadratic_features<double, double>",
    "quadratic_pairs float32 float32": "quadratic_pairs<float, float>",
    "quadratic_pairs float32 float64": "quadratic_pairs<float, double>",
    "quadratic_pairs float64 float64": "quadratic_pairs<double, double>",
    "normalize_log float32": "normalize_log<float>",
    "normalize_log float64": "normalize_log<double>",
}
_THREADS = 256


def quadratic_features(X: Any, origin: Any, out: Any, *, pairs: bool = False) -> None:
    """See `dask_exa.kernels.quadratic_features`."""
    import cupy

    X, origin = cupy.ascontiguousarray(X), cupy.ascontiguousarray(origin)
    name = INSTANCES[f"quadratic_{'pairs' if pairs else 'features'} {X.dtype} {out.dtype}"]
    _launch(name, X.size, (X, origin, *X.shape, out))


def normalize_log(log_joint: Any) -> Any:
    """See `dask_exa.kernels.normalize_log`."""
    import cupy

    n_samples, n_components = log_joint.shape
    log_norm = cupy.empty(n_samples, dtype=log_joint.dtype)
    name = INSTANCES[f"normalize_log {log_joint.dtype}"]
    _launch(name, n_samples, (log_joint, n_samples, n_components, log_norm))
    return log_norm


def _launch(name: str, n_threads: int, arguments: tuple[Any, ...]) -> None:
    _module().get_function(name)((-(-n_threads // _THREADS),), (_THREADS,), arguments)


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(
        code=SOURCE, options=("--std=c++17",), name_expressions=tuple(INSTANCES.values())
    )
