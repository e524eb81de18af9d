"""Nearest centres on a GPU; the twin of `_distances_numba`.

The products are cuBLAS's. A warp searches the centres of a sample, measures all those again that
rounding errors leave in question, and adds the sample to the sums of the nearest one. Additions
from different warps come in any order: sums may differ in the last digits from run to run.
"""

from __future__ import annotations

import functools
import math
from typing import Any

SOURCE = r"""
template <typename T>
__global__ void assign(const T* X, const T* near, const T* squares, const T* norms,
                       const double* centers, const double* weights, const double slack,
                       const double reach, const long long n_rows, const long long n_features,
                       const int n_centers, const int with_sums, int* labels, double* distances,
                       double* counts, double* sums) {
    const long long row = blockIdx.x * (long long)(blockDim.x / 32) + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (row >= n_rows) return;
    const T* x = X + row * n_features;
    const T* products = near + row * n_centers;
    double smallest = INFINITY;
    for (int j = lane; j < n_centers; j += 32)
        smallest = fmin(smallest, (double)(squares[j] - 2 * products[j]));
    for (int step = 16; step; step /= 2)
        smallest = fmin(smallest, __shfl_xor_sync(0xffffffffu, smallest, step));
    const double extent = (double)norms[row] + reach;
    const double limit = smallest + slack * extent * extent;
    const bool bounded = limit < INFINITY;
    int nearest = 0;
    double distance = INFINITY;
    for (int first = 0; first < n_centers; first += 32) {
        const int j = first + lane;
        const bool in_question =
            j < n_centers && !(bounded && !(squares[j] - 2 * products[j] <= limit));
        unsigned open = __ballot_sync(0xffffffffu, in_question);
        for (; open; open &= open - 1) {
            const int candidate = first + __ffs(open) - 1;
            const double* center = centers + candidate * n_features;
            double measured = 0.0;
            for (long long f = lane; f < n_features; f += 32) {
                const double offset = (double)x[f] - center[f];
                measured += offset * offset;
            }
            for (int step = 16; step; step /= 2)
                measured += __shfl_xor_sync(0xffffffffu, measured, step);
            if (measured < distance || !(measured == measured)) {
                nearest = measured < distance ? candidate : nearest;
                distance = measured;
            }
        }
    }
    const double own = weights ? weights[row] : 1.0;
    if (lane == 0) {
        labels[row] = nearest;
        distances[row] = distance;
        if (with_sums) atomicAdd(counts + nearest, own);
    }
    if (!with_sums) return;
    for (long long f = lane; f < n_features; f += 32) {
        const long long place = nearest * n_features + f;
        atomicAdd(sums + place, own * ((double)x[f] - centers[place]));
    }
}
"""
INSTANCES = {"float32": "assign<float>", "float64": "assign<double>"}
_WARPS = 8
_BLOCK_BYTES = 256 << 20


def nearest_centers(X: Any, centers: Any) -> tuple[Any, Any]:
    """See `dask_exa.kernels.nearest_centers`."""
    labels, distances, _, _ = _assign(X, centers, None, with_sums=False)
    return labels, distances


def sum_nearest(X: Any, centers: Any, sample_weight: Any) -> tuple[Any, Any, Any, float]:
    """See `dask_exa.kernels.sum_nearest`; returns labels and what is `Attracted`."""
    labels, distances, counts, sums = _assign(X, centers, sample_weight, with_sums=True)
    weighted = distances if sample_weight is None else distances * sample_weight
    return labels, counts, sums, float(weighted.sum())


def _assign(
    X: Any, centers: Any, sample_weight: Any, *, with_sums: bool
) -> tuple[Any, Any, Any, Any]:
    import cupy

    X = cupy.ascontiguousarray(X)
    centers = cupy.ascontiguousarray(cupy.asarray(centers, dtype=cupy.float64))
    n_centers, n_features = centers.shape
    origin = centers.mean(axis=0).astype(X.dtype)
    shifted = (centers - origin).astype(X.dtype)
    squares = cupy.sum(shifted * shifted, axis=1)
    reach = math.sqrt(float(squares.max()))
    slack = float((8 + 4 * math.sqrt(n_features)) * cupy.finfo(X.dtype).eps)
    labels = cupy.empty(X.shape[0], dtype=cupy.int32)
    distances = cupy.empty(X.shape[0])
    counts, sums = cupy.zeros(n_centers), cupy.zeros(centers.shape if with_sums else (1, 1))
    weights: Any = 0 if sample_weight is None else cupy.ascontiguousarray(sample_weight)
    kernel = _module().get_function(INSTANCES[str(X.dtype)])
    step = max(1, _BLOCK_BYTES // (X.itemsize * max(n_centers, n_features)))
    for start in range(0, X.shape[0], step):
        rows = slice(start, min(start + step, X.shape[0]))
        block = X[rows] - origin
        near, norms = block @ shifted.T, cupy.sqrt(cupy.sum(block * block, axis=1))
        own = 0 if sample_weight is None else weights[rows]
        given = (X[rows], near, squares, norms, centers, own)
        bounds = (cupy.float64(slack), cupy.float64(reach))
        sizes = (cupy.int64(block.shape[0]), cupy.int64(n_features), cupy.int32(n_centers))
        out = (cupy.int32(with_sums), labels[rows], distances[rows], counts, sums)
        grid = (-(-block.shape[0] // _WARPS),)
        kernel(grid, (32 * _WARPS,), (*given, *bounds, *sizes, *out))
    return labels, distances, counts, sums


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(
        code=SOURCE, options=("--std=c++17",), name_expressions=tuple(INSTANCES.values())
    )
