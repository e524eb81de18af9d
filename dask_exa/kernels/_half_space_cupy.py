"""Counting rows in the leaves of half-space trees on a GPU; the twin of `_half_space_numba`.

One thread a row, which goes through all trees and adds its weight where it ends. Sums of whole
numbers are exact in any order; others may differ in the last digits from run to run.
"""

from __future__ import annotations

import functools
from typing import Any

from dask_exa.kernels.forest import Forest

SOURCE = r"""
template <typename T>
__global__ void leaf_counts(const T* X, const long long n_rows, const long long n_features,
                            const double* weight, const int is_weighted,
                            const unsigned* feature, const float* threshold,
                            const unsigned char* missing_left,
                            const unsigned n_trees, const unsigned n_leaves, double* counts) {
    const long long row = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (row >= n_rows) return;
    const T* x = X + row * n_features;
    const double own = is_weighted ? weight[row] : 1.0;
    for (unsigned tree = 0; tree < n_trees; ++tree) {
        const unsigned long long first = (unsigned long long)tree * n_leaves;
        unsigned node = 1;
        while (node < n_leaves) {
            const float value = (float)x[feature[first + node]];
            const unsigned right = value != value ? !missing_left[first + node]
                                                  : value > threshold[first + node];
            node = 2 * node + right;
        }
        atomicAdd(counts + first + (node - n_leaves), own);
    }
}
"""
INSTANCES = {"float32": "leaf_counts<float>", "float64": "leaf_counts<double>"}
_THREADS = 256


def leaf_counts(X: Any, sample_weight: Any, forest: Forest) -> Any:
    """See `dask_exa.kernels.leaf_counts`."""
    import cupy

    X = cupy.ascontiguousarray(X)
    is_weighted = sample_weight is not None
    weight = cupy.ascontiguousarray(cupy.asarray(sample_weight if is_weighted else 0.0))
    arrays = [cupy.ascontiguousarray(cupy.asarray(field)) for field in forest[:3]]
    n_trees, n_leaves = forest.threshold.shape
    counts = cupy.zeros((n_trees, n_leaves))
    kernel = _module().get_function(INSTANCES[str(X.dtype)])
    sizes = [cupy.int64(X.shape[0]), cupy.int64(X.shape[1])]
    weights = [weight, cupy.int32(is_weighted)]
    shape = [cupy.uint32(n_trees), cupy.uint32(n_leaves)]
    grid = (-(-X.shape[0] // _THREADS),)
    kernel(grid, (_THREADS,), (X, *sizes, *weights, *arrays, *shape, counts))
    return counts


@functools.cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(
        code=SOURCE, options=("--std=c++17",), name_expressions=tuple(INSTANCES.values())
    )
