"""The Morton order of octrees on a GPU; the twin of `_octree_numba`. One thread a leaf or point."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

DEVICE = r"""
// what all kernels of octrees share; a lattice is the eleven numbers of `octree.Lattice`
typedef unsigned long long code_t;
struct Lattice { long long ndim, depth, roots[3], block[3], wraps[3]; };

__device__ inline Lattice lattice_of(const long long* n) {
    return Lattice{n[0], n[1], {n[2], n[3], n[4]}, {n[5], n[6], n[7]}, {n[8], n[9], n[10]}};
}

__device__ inline code_t spread_2(code_t x) {
    x &= 0xFFFFFFFFull;
    x = (x | x << 16) & 0x0000FFFF0000FFFFull;
    x = (x | x << 8) & 0x00FF00FF00FF00FFull;
    x = (x | x << 4) & 0x0F0F0F0F0F0F0F0Full;
    x = (x | x << 2) & 0x3333333333333333ull;
    return (x | x << 1) & 0x5555555555555555ull;
}

__device__ inline code_t spread_3(code_t x) {
    x &= 0x1FFFFFull;
    x = (x | x << 32) & 0x001F00000000FFFFull;
    x = (x | x << 16) & 0x001F0000FF0000FFull;
    x = (x | x << 8) & 0x100F00F00F00F00Full;
    x = (x | x << 4) & 0x10C30C30C30C30C3ull;
    return (x | x << 2) & 0x1249249249249249ull;
}

__device__ inline code_t gather_2(code_t x) {
    x &= 0x5555555555555555ull;
    x = (x | x >> 1) & 0x3333333333333333ull;
    x = (x | x >> 2) & 0x0F0F0F0F0F0F0F0Full;
    x = (x | x >> 4) & 0x00FF00FF00FF00FFull;
    x = (x | x >> 8) & 0x0000FFFF0000FFFFull;
    return (x | x >> 16) & 0xFFFFFFFFull;
}

__device__ inline code_t gather_3(code_t x) {
    x &= 0x1249249249249249ull;
    x = (x | x >> 2) & 0x10C30C30C30C30C3ull;
    x = (x | x >> 4) & 0x100F00F00F00F00Full;
    x = (x | x >> 8) & 0x001F0000FF0000FFull;
    x = (x | x >> 16) & 0x001F00000000FFFFull;
    return (x | x >> 32) & 0x1FFFFFull;
}

__device__ inline code_t encode_one(long long x, long long y, long long z, long long ndim) {
    if (ndim == 2) return spread_2(x) | spread_2(y) << 1;
    return spread_3(x) | spread_3(y) << 1 | spread_3(z) << 2;
}

__device__ inline void decode_one(code_t code, long long ndim, long long* at) {
    if (ndim == 2) {
        at[0] = gather_2(code);
        at[1] = gather_2(code >> 1);
        at[2] = 0;
        return;
    }
    at[0] = gather_3(code);
    at[1] = gather_3(code >> 1);
    at[2] = gather_3(code >> 2);
}

__device__ inline long long locate_one(code_t code, const code_t* codes, const long long* starts,
                                       long long shift) {
    const long long bucket = code >> shift;
    long long low = starts[bucket], high = starts[bucket + 1];
    while (low < high) {
        const long long middle = (low + high) >> 1;
        if (codes[middle] <= code) low = middle + 1;
        else high = middle;
    }
    return low - 1;
}

__device__ inline long long thread_number() {
    return blockIdx.x * (long long)blockDim.x + threadIdx.x;
}
"""
SOURCE = (
    DEVICE
    + r"""
__global__ void encode(const long long n, const long long ndim, const long long* coordinates,
                       code_t* codes) {
    const long long i = thread_number();
    if (i >= n) return;
    const long long* at = coordinates + i * ndim;
    codes[i] = encode_one(at[0], at[1], ndim == 3 ? at[2] : 0, ndim);
}

__global__ void decode(const long long n, const long long ndim, const code_t* codes,
                       long long* coordinates) {
    const long long i = thread_number();
    if (i >= n) return;
    long long at[3];
    decode_one(codes[i], ndim, at);
    for (int axis = 0; axis < ndim; ++axis) coordinates[i * ndim + axis] = at[axis];
}

__global__ void place(const long long n, const double* centers, const double* sizes,
                      const long long n_sizes, const double* origin, const double* root,
                      const long long* numbers, code_t* codes, unsigned char* level,
                      unsigned char* misplaced) {
    const long long i = thread_number();
    if (i >= n) return;
    const Lattice lattice = lattice_of(numbers);
    const long long ndim = lattice.ndim;
    const long long own = (long long)rint(log2(root[0] / sizes[i * n_sizes]));
    bool is_fit = 0 <= own && own <= lattice.depth;
    long long at[3] = {0, 0, 0};
    for (int axis = 0; axis < ndim && is_fit; ++axis) {
        const double size = root[axis] / (double)(1ll << own);
        const double where = (centers[i * ndim + axis] - origin[axis]) / size - 0.5;
        const long long node = (long long)rint(where);
        const double given = sizes[i * n_sizes + (axis < n_sizes ? axis : n_sizes - 1)];
        is_fit = fabs(where - (double)node) < 0.1 && 0 <= node &&
                 node < (lattice.roots[axis] << own) && fabs(given / size - 1.0) < 0.1;
        at[axis] = node << (lattice.depth - own);
    }
    misplaced[i] = !is_fit;
    codes[i] = is_fit ? encode_one(at[0], at[1], at[2], ndim) : 0;
    level[i] = is_fit ? own : 0;
}

__global__ void locate(const long long n, const code_t* codes, const long long* starts,
                       const long long shift, const long long* numbers,
                       const long long* coordinates, long long* leaves) {
    const long long i = thread_number();
    if (i >= n) return;
    const long long ndim = numbers[0];
    const long long* at = coordinates + i * ndim;
    const code_t code = encode_one(at[0], at[1], ndim == 3 ? at[2] : 0, ndim);
    leaves[i] = locate_one(code, codes, starts, shift);
}

__global__ void neighbors(const long long n, const code_t* codes, const unsigned char* level,
                          const long long* starts, const long long shift,
                          const long long* numbers, long long* found) {
    const long long i = thread_number();
    if (i >= n) return;
    const Lattice lattice = lattice_of(numbers);
    const long long ndim = lattice.ndim, own = level[i], finer = lattice.depth - own;
    long long corner[3];
    decode_one(codes[i], ndim, corner);
    for (int face = 0; face < 2 * ndim; ++face) {
        const int axis = face >> 1;
        const long long n_nodes = lattice.roots[axis] << own;
        long long node = (corner[axis] >> finer) + (face & 1 ? 1 : -1);
        long long* out = found + i * 2 * ndim + face;
        if (node < 0 || node >= n_nodes) {
            if (!lattice.wraps[axis]) {
                *out = -1;
                continue;
            }
            node = node < 0 ? n_nodes - 1 : 0;
        }
        long long at[3] = {corner[0], corner[1], corner[2]};
        at[axis] = node << finer;
        const long long leaf =
            locate_one(encode_one(at[0], at[1], at[2], ndim), codes, starts, shift);
        *out = level[leaf] <= own ? leaf : -2;
    }
}
"""
)
INSTANCES = {name: name for name in ("encode", "decode", "place", "locate", "neighbors")}
_THREADS = 256
_MAX_BUCKETS = 1 << 22


def launch(module: Any, name: str, n: int, *arguments: Any) -> None:
    """Run a kernel in `n` threads; its first argument is `n`."""
    import cupy

    if n:
        given = tuple(cupy.int64(a) if isinstance(a, int) else a for a in arguments)
        kernel = module.get_function(name)
        kernel((-(-n // _THREADS),), (_THREADS,), (cupy.int64(n), *given))


def numbers(lattice: Any) -> Any:
    """Return a lattice in the memory of the GPU."""
    import cupy

    return cupy.asarray(list(lattice), dtype=cupy.int64)


def encode(coordinates: Any) -> Any:
    """See `dask_exa.kernels.octree.encode`."""
    import cupy

    n, ndim = coordinates.shape
    codes = cupy.empty(n, dtype=cupy.uint64)
    given = cupy.ascontiguousarray(coordinates, dtype=cupy.int64)
    launch(_module(), "encode", n, ndim, given, codes)
    return codes


def decode(codes: Any, ndim: int) -> Any:
    """See `dask_exa.kernels.octree.decode`."""
    import cupy

    coordinates = cupy.empty((len(codes), ndim), dtype=cupy.int64)
    launch(_module(), "decode", len(codes), ndim, cupy.ascontiguousarray(codes), coordinates)
    return coordinates


def extents(centers: Any, sizes: Any) -> Any:
    """See `dask_exa.kernels.octree.extents`."""
    import cupy

    centers, sizes = (a.astype(cupy.float64, copy=False) for a in (centers, sizes))
    sizes = cupy.broadcast_to(sizes, centers.shape)
    low, high = (centers - 0.5 * sizes).min(axis=0), (centers + 0.5 * sizes).max(axis=0)
    return cupy.stack([low, high, sizes.min(axis=0), sizes.max(axis=0)])


def place(centers: Any, sizes: Any, origin: Any, root: Any, lattice: Any) -> tuple[Any, Any, int]:
    """See `dask_exa.kernels.octree.place`."""
    import cupy

    n = len(centers)
    centers, sizes, origin, root = (
        cupy.ascontiguousarray(cupy.asarray(a), dtype=cupy.float64)
        for a in (centers, sizes, origin, root)
    )
    codes = cupy.empty(n, dtype=cupy.uint64)
    level, misplaced = cupy.empty(n, dtype=cupy.uint8), cupy.empty(n, dtype=cupy.uint8)
    where = (centers, sizes, sizes.shape[1], origin, root, numbers(lattice))
    launch(_module(), "place", n, *where, codes, level, misplaced)
    return codes, level, int(misplaced.argmax()) if bool(misplaced.any()) else -1


def sort(codes: Any, n_bits: int) -> Any:
    """See `dask_exa.kernels.octree.sort`; CuPy's sort is stable."""
    import cupy

    if not bool((codes[1:] < codes[:-1]).any()):
        return None
    return cupy.argsort(codes)


def buckets(codes: Any, n_bits: int) -> tuple[Any, int]:
    """See `dask_exa.kernels.octree.buckets`."""
    import cupy

    wanted = min(_MAX_BUCKETS, 1 << max(0, len(codes) - 1).bit_length())
    shift = max(0, n_bits - (wanted.bit_length() - 1))
    edges = cupy.arange((1 << max(0, n_bits - shift)) + 1, dtype=cupy.uint64)
    starts = cupy.searchsorted(codes, edges << np.uint64(shift))
    return starts.astype(cupy.int64, copy=False), shift


def first_fault(codes: Any, level: Any, lattice: Any) -> tuple[int, int]:
    """See `dask_exa.kernels.octree.first_fault`."""
    import cupy

    finer = (lattice.ndim * (lattice.depth - level.astype(cupy.int64))).astype(cupy.uint64)
    volume = cupy.uint64(1) << finer
    overlaps = codes[1:] < codes[:-1] + volume[:-1]
    return int(overlaps.argmax()) if bool(overlaps.any()) else -1, int(volume.sum())


def locate(tree: Any, lattice: Any, coordinates: Any) -> Any:
    """See `dask_exa.kernels.octree.locate`."""
    import cupy

    leaves = cupy.empty(len(coordinates), dtype=cupy.int64)
    given = cupy.ascontiguousarray(coordinates, dtype=cupy.int64)
    search = (tree.codes, tree.starts, tree.shift, numbers(lattice))
    launch(_module(), "locate", len(leaves), *search, given, leaves)
    return leaves


def neighbors(tree: Any, lattice: Any) -> Any:
    """See `dask_exa.kernels.octree.neighbors`."""
    import cupy

    found = cupy.empty((len(tree.codes), 2 * lattice.ndim), dtype=cupy.int64)
    launch(_module(), "neighbors", len(found), *tree, numbers(lattice), found)
    return found


@functools.cache
def _module() -> Any:
    import cupy

    names = tuple(INSTANCES.values())
    return cupy.RawModule(code=SOURCE, options=("--std=c++17",), name_expressions=names)
