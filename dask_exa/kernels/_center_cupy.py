"""Centring on a GPU; the twin of `_center_numba`.

One thread a column: the threads of a warp read neighbouring entries of a row together.
"""

from __future__ import annotations

import functools
from typing import Any

SOURCE = r"""
template <typename T>
__global__ void center(const T* X, const long long n_samples, const long long n_features,
                       const long long first, const long long n_columns, const double* weights,
                       double* out, double* mean, double* m2) {
    const long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (j >= n_columns) return;
    const T* column = X + first + j;
    const double origin = n_samples ? (double)column[0] : 0.0;
    double sum = 0.0, total = 0.0;
    for (long long i = 0; i < n_samples; ++i) {
        const double weight = weights ? weights[i] : 1.0;
        total += weight;
        sum += weight * ((double)column[i * n_features] - origin);
    }
    const double center = total == 0.0 ? 0.0 : origin + sum / total;
    double squares = 0.0;
    for (long long i = 0; i < n_samples; ++i) {
        const double root = weights ? sqrt(weights[i]) : 1.0;
        const double difference = root * ((double)column[i * n_features] - center);
        out[i * n_columns + j] = difference;
        squares += difference * difference;
    }
    mean[j] = center;
    m2[j] = squares;
}
"""
INSTANCES = {"float32": "center<float>", "float64": "center<double>"}
_THREADS = 256


def center(X: Any, columns: slice, sample_weight: Any, out: Any) -> tuple[Any, Any]:
    """See `dask_exa.kernels.center`."""
    import cupy

    X = cupy.ascontiguousarray(X)
    n_samples, n_columns = out.shape
    mean, m2 = cupy.empty(n_columns), cupy.empty(n_columns)
    weights = 0 if sample_weight is None else cupy.ascontiguousarray(sample_weight)
    contiguous = out if out.flags.c_contiguous else cupy.empty(out.shape)
    kernel = _module().get_function(INSTANCES[str(X.dtype)])
    grid = (-(-n_columns // _THREADS),)
    sizes = (n_samples, X.shape[1], columns.start, n_columns)
    kernel(grid, (_THREADS,), (X, *sizes, weights, contiguous, mean, m2))
    if contiguous is not out:
        out[...] = contiguous
    return mean, m2


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(
        code=SOURCE, options=("--std=c++17",), name_expressions=tuple(INSTANCES.values())
    )
