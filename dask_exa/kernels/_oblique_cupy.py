"""Walking samples through oblique trees on a GPU; the twin of `_oblique_numba`.

One thread a row. Products are rounded before they are added, as on the CPU: the twins agree on
which side of every cut a row is.
"""

from __future__ import annotations

import functools
from typing import Any

from dask_exa.kernels.forest import BOUND, ObliqueForest

SOURCE = r"""
template <typename T>
__global__ void mean_leaves(const T* X, const long long n_rows, const long long n_features,
                            const unsigned* feature, const float* normal, const float* threshold,
                            const float* missing, const float* leaf, const unsigned n_trees,
                            const unsigned n_leaves, const unsigned n_own, const unsigned n_cut,
                            const float bound, double* out) {
    const long long row = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (row >= n_rows) return;
    const T* x = X + row * n_features;
    double total = 0.0;
    for (unsigned tree = 0; tree < n_trees; ++tree) {
        const unsigned long long first = (unsigned long long)tree * n_leaves;
        const unsigned long long own = (unsigned long long)tree * n_own;
        const float* fill = missing + (unsigned long long)tree * n_features;
        unsigned node = 1;
        while (node < n_leaves) {
            const unsigned* f = feature + (own + (n_own > 1 ? node : 0)) * n_cut;
            const float* factor = normal + (first + node) * n_cut;
            float sum = 0.0f;
            for (unsigned k = 0; k < n_cut; ++k) {
                const float read = (float)x[f[k]];
                const float value = read != read ? fill[f[k]] : fminf(fmaxf(read, -bound), bound);
                sum = __fadd_rn(sum, __fmul_rn(factor[k], value));
            }
            node = 2 * node + (sum > threshold[first + node]);
        }
        total += leaf[first + node - n_leaves];
    }
    out[row] = total / n_trees;
}
"""
INSTANCES = {"float32": "mean_leaves<float>", "float64": "mean_leaves<double>"}
_THREADS = 256


def mean_leaves(X: Any, forest: ObliqueForest) -> Any:
    """See `dask_exa.kernels.mean_leaves`."""
    import cupy

    X = cupy.ascontiguousarray(X)
    arrays = [cupy.ascontiguousarray(cupy.asarray(field)) for field in forest]
    n_trees, n_leaves, n_cut = forest.normal.shape
    out = cupy.empty(X.shape[0])
    sizes = [cupy.int64(X.shape[0]), cupy.int64(X.shape[1])]
    counts = [cupy.uint32(n) for n in (n_trees, n_leaves, forest.feature.shape[1], n_cut)]
    kernel = _module().get_function(INSTANCES[str(X.dtype)])
    grid = (-(-X.shape[0] // _THREADS),)
    kernel(grid, (_THREADS,), (X, *sizes, *arrays, *counts, cupy.float32(BOUND), out))
    return out


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(
        code=SOURCE, options=("--std=c++17",), name_expressions=tuple(INSTANCES.values())
    )
