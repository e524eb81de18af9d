"""Fields on octrees on a GPU; the twin of `_octree_fields_numba`.

One thread a cell that is written: it looks for what is there, where the twin goes through the
leaves and writes where they are. The means are of the same numbers, in the same order.
"""

from __future__ import annotations

import functools
from typing import Any

from dask_exa.kernels._octree_cupy import DEVICE, launch, numbers

MEANS = r"""
// the mean in a cell of level `own`, or what is there if that is a larger cell
template <typename T>
__device__ double mean_at(long long x, long long y, long long z, long long own,
                          const code_t* codes, const unsigned char* level,
                          const long long* starts, long long shift, const Lattice& lattice,
                          const T* field) {
    const long long ndim = lattice.ndim, depth = lattice.depth;
    const long long k = depth - own, k_z = ndim == 3 ? k : 0;
    const long long volume = 1ll << (ndim * k);
    double total = 0.0;
    for (long long done = 0; done < volume;) {
        long long at[3], corner[3];
        decode_one(done, ndim, at);
        at[0] += x << k;
        at[1] += y << k;
        at[2] += z << k_z;
        const code_t code = encode_one(at[0] / lattice.block[0], at[1] / lattice.block[1],
                                       at[2] / lattice.block[2], ndim);
        const long long leaf = locate_one(code, codes, starts, shift);
        const long long j = depth - level[leaf];
        decode_one(codes[leaf], ndim, corner);
        const long long ix = (at[0] >> j) - (corner[0] >> j) * lattice.block[0];
        const long long iy = (at[1] >> j) - (corner[1] >> j) * lattice.block[1];
        const long long iz =
            (at[2] >> (ndim == 3 ? j : 0)) - (corner[2] >> j) * lattice.block[2];
        const long long cell =
            ((leaf * lattice.block[2] + iz) * lattice.block[1] + iy) * lattice.block[0] + ix;
        const double value = (double)field[cell];
        if (level[leaf] <= own) return value;
        const long long part = 1ll << (ndim * j);
        total += value * (double)part;
        done += part;
    }
    return total / (double)volume;
}
"""
SOURCE = (
    DEVICE
    + MEANS
    + r"""
template <typename T, typename Out>
__global__ void paste(const long long n, const code_t* codes, const unsigned char* level,
                      const long long* starts, const long long shift, const long long* numbers,
                      const T* field, const long long wanted, Out* out) {
    const long long i = thread_number();
    if (i >= n) return;
    const Lattice lattice = lattice_of(numbers);
    const long long n_x = (lattice.roots[0] * lattice.block[0]) << wanted;
    const long long n_y = (lattice.roots[1] * lattice.block[1]) << wanted;
    long long x = i % n_x, y = i / n_x % n_y, z = i / (n_x * n_y), own = wanted;
    if (wanted > lattice.depth) {  // finer than all leaves
        const long long times = wanted - lattice.depth;
        x >>= times;
        y >>= times;
        z >>= lattice.ndim == 3 ? times : 0;
        own = lattice.depth;
    }
    out[i] = (Out)mean_at(x, y, z, own, codes, level, starts, shift, lattice, field);
}

template <typename T>
__global__ void fill_halo(const long long n, const code_t* codes, const unsigned char* level,
                          const long long* starts, const long long shift,
                          const long long* numbers, const T* field, const long long halo, T* out) {
    const long long i = thread_number();
    if (i >= n) return;
    const Lattice lattice = lattice_of(numbers);
    const long long halos[3] = {halo, halo, lattice.ndim == 3 ? halo : 0};
    long long rest = i, at[3], corner[3];
    for (int axis = 0; axis < 3; ++axis) {
        const long long side = lattice.block[axis] + 2 * halos[axis];
        at[axis] = rest % side - halos[axis];
        rest /= side;
    }
    const long long own = level[rest], k = lattice.depth - own;
    decode_one(codes[rest], lattice.ndim, corner);
    for (int axis = 0; axis < 3; ++axis) {
        const long long finer = axis < 2 || lattice.ndim == 3 ? own : 0;
        const long long size = (lattice.roots[axis] * lattice.block[axis]) << finer;
        long long cell = (corner[axis] >> k) * lattice.block[axis] + at[axis];
        if (lattice.wraps[axis]) cell = (cell % size + size) % size;
        at[axis] = cell < 0 ? 0 : cell >= size ? size - 1 : cell;
    }
    out[i] = (T)mean_at(at[0], at[1], at[2], own, codes, level, starts, shift, lattice, field);
}
"""
)
_C_TYPES = {"float32": "float", "float64": "double"}
INSTANCES = {
    **{
        f"paste {one} {two}": f"paste<{_C_TYPES[one]}, {_C_TYPES[two]}>"
        for one in _C_TYPES
        for two in _C_TYPES
    },
    **{f"fill_halo {one}": f"fill_halo<{_C_TYPES[one]}>" for one in _C_TYPES},
}


def paste(tree: Any, lattice: Any, field: Any, level: int, out: Any) -> None:
    """See `dask_exa.kernels.octree.paste`."""
    name = INSTANCES[f"paste {field.dtype} {out.dtype}"]
    launch(_module(), name, out.size, *tree, numbers(lattice), field, level, out)


def fill_halo(tree: Any, lattice: Any, field: Any, halo: int, out: Any) -> None:
    """See `dask_exa.kernels.octree.fill_halo`."""
    name = INSTANCES[f"fill_halo {field.dtype}"]
    launch(_module(), name, out.size, *tree, numbers(lattice), field, halo, out)


@functools.cache
def _module() -> Any:
    import cupy

    names = tuple(INSTANCES.values())
    return cupy.RawModule(code=SOURCE, options=("--std=c++17",), name_expressions=names)
