"""One pass over a distribution function on a GPU; the twin of `_phase_space_numba`.

A block of threads goes through its rows, a thread through every so many velocities. Each block has
a row of partial sums of its own, which are added in their order: the result is always the same.
"""

from __future__ import annotations

import functools
from typing import Any

SOURCE = r"""
__device__ double over_block(double value, double* shared, const int operation) {
    const int lane = threadIdx.x;
    shared[lane] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (lane < half) {
            const double a = shared[lane], b = shared[lane + half];
            shared[lane] = operation == 0 ? a + b : (operation == 1 ? fmax(a, b) : fmin(a, b));
        }
        __syncthreads();
    }
    const double found = shared[0];
    __syncthreads();
    return found;
}

template <typename T>
__global__ void reduce_rows(const T* f, const long long n_points, const int n_velocities,
                            const double* columns, const int n_columns,
                            const double* point_weights, const double* velocity_weights,
                            double* projected, double* marginals, double* totals) {
    extern __shared__ double shared[];
    double* marginal = marginals + (long long)blockIdx.x * n_velocities;
    double absolute = 0.0, squares = 0.0, largest = -INFINITY, smallest = INFINITY;
    for (long long i = blockIdx.x; i < n_points; i += gridDim.x) {
        const T* row = f + i * n_velocities;
        const double weight = point_weights[i];
        for (int j = threadIdx.x; j < n_velocities; j += blockDim.x) {
            const double value = (double)row[j], share = weight * value;
            marginal[j] += share;
            absolute += velocity_weights[j] * fabs(share);
            squares += velocity_weights[j] * share * value;
            largest = fmax(largest, value);
            smallest = fmin(smallest, value);
        }
        for (int k = 0; k < n_columns; ++k) {
            double sum = 0.0;
            for (int j = threadIdx.x; j < n_velocities; j += blockDim.x)
                sum += (double)row[j] * columns[(long long)k * n_velocities + j];
            sum = over_block(sum, shared, 0);
            if (threadIdx.x == 0) projected[i * n_columns + k] = sum;
        }
    }
    absolute = over_block(absolute, shared, 0);
    squares = over_block(squares, shared, 0);
    largest = over_block(largest, shared, 1);
    smallest = over_block(smallest, shared, 2);
    if (threadIdx.x == 0) {
        double* total = totals + 4LL * blockIdx.x;
        total[0] = absolute; total[1] = squares; total[2] = largest; total[3] = smallest;
    }
}
"""
INSTANCES = {"float32": "reduce_rows<float>", "float64": "reduce_rows<double>"}
_THREADS = 128
_MAX_BLOCKS = 2048


def reduce_rows(f: Any, columns: Any, point_weights: Any, velocity_weights: Any) -> tuple[Any, ...]:
    """See `dask_exa.kernels.phase_space.reduce_phase_space`."""
    import cupy

    f = cupy.ascontiguousarray(f)
    n_points, n_velocities = f.shape
    columns, point_weights, velocity_weights = (
        cupy.ascontiguousarray(cupy.asarray(given), dtype=cupy.float64)
        for given in (columns, point_weights, velocity_weights)
    )
    n_blocks = max(1, min(_MAX_BLOCKS, n_points))
    projected = cupy.empty((n_points, len(columns)))
    marginals, totals = cupy.zeros((n_blocks, n_velocities)), cupy.empty((n_blocks, 4))
    kernel = _module().get_function(INSTANCES[str(f.dtype)])
    sizes = (cupy.int64(n_points), cupy.int32(n_velocities))
    arguments = (f, *sizes, columns, cupy.int32(len(columns)), point_weights, velocity_weights)
    outputs = (projected, marginals, totals)
    kernel((n_blocks,), (_THREADS,), arguments + outputs, shared_mem=8 * _THREADS)
    absolute, squares = totals[:, :2].sum(axis=0).get().tolist()
    largest, smallest = float(totals[:, 2].max()), float(totals[:, 3].min())
    return projected, marginals.sum(axis=0), absolute, squares, largest, smallest


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(
        code=SOURCE, options=("--std=c++17",), name_expressions=tuple(INSTANCES.values())
    )
