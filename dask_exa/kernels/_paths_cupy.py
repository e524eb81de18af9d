"""Walking samples through a forest on a GPU; the twin of `_paths_numba`.

One thread a row. The threads of a block take the trees one after the other into shared memory;
trees that are too large for that are read where they are.
"""

from __future__ import annotations

import functools
from typing import Any

from dask_exa.kernels.forest import Forest

SOURCE = r"""
template <typename T>
__global__ void mean_leaves(const T* X, const long long n_rows, const long long n_features,
                            const unsigned* feature, const float* threshold,
                            const unsigned char* missing_left, const float* leaf,
                            const unsigned n_trees, const unsigned n_leaves, const int staged,
                            double* out) {
    extern __shared__ unsigned char memory[];
    const long long row = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    const T* x = X + row * n_features;
    double total = 0.0;
    for (unsigned tree = 0; tree < n_trees; ++tree) {
        const unsigned long long first = (unsigned long long)tree * n_leaves;
        const unsigned* f = feature + first;
        const float* t = threshold + first;
        const unsigned char* m = missing_left + first;
        const float* v = leaf + first;
        if (staged) {
            unsigned* own_f = (unsigned*)memory;
            float* own_t = (float*)(own_f + n_leaves);
            float* own_v = own_t + n_leaves;
            unsigned char* own_m = (unsigned char*)(own_v + n_leaves);
            __syncthreads();
            for (unsigned i = threadIdx.x; i < n_leaves; i += blockDim.x) {
                own_f[i] = f[i];
                own_t[i] = t[i];
                own_v[i] = v[i];
                own_m[i] = m[i];
            }
            __syncthreads();
            f = own_f; t = own_t; v = own_v; m = own_m;
        }
        if (row < n_rows) {
            unsigned node = 1;
            while (node < n_leaves) {
                const float value = (float)x[f[node]];
                const unsigned right = value != value ? !m[node] : value > t[node];
                node = 2 * node + right;
            }
            total += v[node - n_leaves];
        }
    }
    if (row < n_rows) out[row] = total / n_trees;
}
"""
INSTANCES = {"float32": "mean_leaves<float>", "float64": "mean_leaves<double>"}
_THREADS = 256
_NODE_BYTES = 13
_SHARED_BYTES = 48 << 10


def mean_leaves(X: Any, forest: Forest) -> Any:
    """See `dask_exa.kernels.mean_leaves`."""
    import cupy

    X = cupy.ascontiguousarray(X)
    arrays = [cupy.ascontiguousarray(cupy.asarray(field)) for field in forest]
    n_trees, n_leaves = forest.leaf.shape
    out = cupy.empty(X.shape[0])
    n_bytes = _NODE_BYTES * n_leaves
    staged = n_bytes <= _SHARED_BYTES
    kernel = _module().get_function(INSTANCES[str(X.dtype)])
    sizes = [cupy.int64(X.shape[0]), cupy.int64(X.shape[1])]
    counts = [cupy.uint32(n_trees), cupy.uint32(n_leaves), cupy.int32(staged)]
    grid = (-(-X.shape[0] // _THREADS),)
    shared_mem = n_bytes if staged else 0
    kernel(grid, (_THREADS,), (X, *sizes, *arrays, *counts, out), shared_mem=shared_mem)
    return out


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(
        code=SOURCE, options=("--std=c++17",), name_expressions=tuple(INSTANCES.values())
    )
