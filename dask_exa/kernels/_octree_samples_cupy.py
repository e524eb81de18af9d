"""Gradients and samples of fields on octrees on a GPU; the twin of `_octree_samples_numba`."""

from __future__ import annotations

import functools
from typing import Any

from dask_exa.kernels._octree_cupy import DEVICE, launch, numbers
from dask_exa.kernels._octree_fields_cupy import MEANS

SOURCE = (
    DEVICE
    + MEANS
    + r"""
struct Stencil { double gradient[3], share, contrast; };

__device__ inline code_t mix(code_t bits) {  // those of _hash_numba
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9ull;
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EBull;
    return bits ^ bits >> 31;
}

__device__ inline code_t drawn(code_t base, code_t number) {
    return mix(base + 0x9E3779B97F4A7C15ull * (number + 1));
}

__device__ inline double unit(code_t bits) {
    return ((double)(bits >> 11) + 1.0) * 0x1.0p-53;
}

__device__ inline long long cell_of(long long cell, const Lattice& lattice, long long* within) {
    for (int axis = 0; axis < 3; ++axis) {
        within[axis] = cell % lattice.block[axis];
        cell /= lattice.block[axis];
    }
    return cell;
}

// how far the centre of the larger cell around a cell is from its centre, in cells
__device__ inline double off(long long x, long long coarser) {
    return ((double)(x >> coarser) + 0.5) * (double)(1ll << coarser) - (double)x - 0.5;
}

// the gradient that fits the differences best where there are larger neighbours
__device__ void fit(double value, const double* others, const long long* coarser,
                    const long long* at, const double* per, int ndim, double* gradient) {
    double m[6] = {0, 0, 0, 0, 0, 0}, r[3] = {0, 0, 0};  // m: 00 11 22 01 02 12
    for (int face = 0; face < 2 * ndim; ++face) {
        const long long k = coarser[face] > 0 ? coarser[face] : 0;
        double d[3] = {0, 0, 0}, square = 0;
        for (int axis = 0; axis < ndim; ++axis) {
            const long long s = axis == face >> 1 ? 2 * (face & 1) - 1 : 0;
            d[axis] = (off(at[axis] + s, k) + (double)s) / per[axis];
            square += d[axis] * d[axis];
        }
        const double weight = 1.0 / square, rise = weight * (others[face] - value);
        for (int axis = 0; axis < 3; ++axis) {
            m[axis] += weight * d[axis] * d[axis];
            r[axis] += rise * d[axis];
        }
        m[3] += weight * d[0] * d[1];
        m[4] += weight * d[0] * d[2];
        m[5] += weight * d[1] * d[2];
    }
    if (ndim == 2) m[2] = 1.0;
    const double c00 = m[1] * m[2] - m[5] * m[5], c01 = m[4] * m[5] - m[3] * m[2];
    const double c02 = m[3] * m[5] - m[4] * m[1], c11 = m[0] * m[2] - m[4] * m[4];
    const double c12 = m[3] * m[4] - m[0] * m[5], c22 = m[0] * m[1] - m[3] * m[3];
    const double determinant = m[0] * c00 + m[3] * c01 + m[4] * c02;
    gradient[0] = (c00 * r[0] + c01 * r[1] + c02 * r[2]) / determinant;
    gradient[1] = (c01 * r[0] + c11 * r[1] + c12 * r[2]) / determinant;
    gradient[2] = (c02 * r[0] + c12 * r[1] + c22 * r[2]) / determinant;
}

template <typename T>
__device__ Stencil stencil(long long cell, const code_t* codes, const unsigned char* level,
                           const long long* starts, long long shift, const Lattice& lattice,
                           const T* field, const double* size) {
    const int ndim = (int)lattice.ndim;
    long long within[3], at[3], coarser[6] = {-1, -1, -1, -1, -1, -1};
    const long long leaf = cell_of(cell, lattice, within), own = level[leaf];
    decode_one(codes[leaf], ndim, at);
    double per[3] = {1, 1, 1}, others[6];
    for (int axis = 0; axis < ndim; ++axis) {
        at[axis] = (at[axis] >> (lattice.depth - own)) * lattice.block[axis] + within[axis];
        per[axis] = (double)(1ll << own) / size[axis];
    }
    const double value = (double)field[cell];
    double lowest = value, steepest = 0.0, largest = 1.0, up = 0.0, down = 0.0, extent = 0.0;
    long long most = -1;
    for (int face = 0; face < 2 * ndim; ++face) {
        const int axis = face >> 1;
        const long long n_cells = (lattice.roots[axis] * lattice.block[axis]) << own;
        long long to[3] = {at[0], at[1], at[2]};
        to[axis] += 2 * (face & 1) - 1;
        if (to[axis] < 0 || to[axis] >= n_cells) {
            if (!lattice.wraps[axis]) continue;
            to[axis] = to[axis] < 0 ? n_cells - 1 : 0;
        }
        others[face] =
            mean_at(to[0], to[1], to[2], own, codes, level, starts, shift, lattice, field);
        const code_t code =
            encode_one(to[0] / lattice.block[0], to[1] / lattice.block[1],
                       to[2] / lattice.block[2], ndim)
            << (ndim * (lattice.depth - own));
        const long long k = own - (long long)level[locate_one(code, codes, starts, shift)];
        coarser[face] = k > 0 ? k : 0;
        most = most > coarser[face] ? most : coarser[face];
        lowest = fmin(lowest, others[face]);
        const double difference = fabs(others[face] - value);
        const double larger = fmax(fabs(value), fabs(others[face]));
        if (difference * largest > steepest * larger) {
            steepest = difference;
            largest = larger;
        }
    }
    Stencil found = {{0.0, 0.0, 0.0}, 1.0, steepest / largest};
    for (int axis = 0; axis < ndim; ++axis) {  // at the edge of the domain it goes on as inside
        double &a = others[2 * axis], &b = others[2 * axis + 1];
        if (coarser[2 * axis] < 0) a = coarser[2 * axis + 1] >= 0 ? 2.0 * value - b : value;
        if (coarser[2 * axis + 1] < 0) b = 2.0 * value - a;
        found.gradient[axis] = 0.5 * (b - a) * per[axis];
        up += fmax(fmax(a - value, b - value), 0.0);
        down += fmax(fmax(value - a, value - b), 0.0);
    }
    if (most > 0) fit(value, others, coarser, at, per, ndim, found.gradient);
    for (int axis = 0; axis < ndim; ++axis) extent += fabs(found.gradient[axis]) / per[axis];
    if (lowest >= 0.0) down = fmin(down, 2.0 * value);
    const double bound = fmin(up, down);
    if (!(extent <= bound)) found.share = bound / extent;
    return found;
}

template <typename T>
__global__ void stencils(const long long n, const code_t* codes, const unsigned char* level,
                         const long long* starts, const long long shift,
                         const long long* numbers, const T* field, const double* size,
                         double* gradient, double* contrast) {
    const long long i = thread_number();
    if (i >= n) return;
    const Lattice lattice = lattice_of(numbers);
    const Stencil found = stencil(i, codes, level, starts, shift, lattice, field, size);
    for (int axis = 0; axis < lattice.ndim; ++axis)
        gradient[i * lattice.ndim + axis] = found.gradient[axis];
    contrast[i] = found.contrast;
}

template <typename T>
__global__ void steepness(const long long n, const code_t* codes, const unsigned char* level,
                          const long long* starts, const long long shift,
                          const long long* numbers, const T* field, const double* size,
                          double* steep) {
    const long long i = thread_number();
    if (i >= n) return;
    const Lattice lattice = lattice_of(numbers);
    const Stencil found = stencil(i, codes, level, starts, shift, lattice, field, size);
    const double* g = found.gradient;
    const double modulus = sqrt(g[0] * g[0] + g[1] * g[1] + g[2] * g[2]);
    steep[i] = modulus < INFINITY ? modulus : 0.0;
}

__global__ void draw(const long long n, const double* cumulative, const long long n_cells,
                     const long long ndim, const code_t seed, long long* cells, double* places) {
    const long long i = thread_number();
    if (i >= n) return;
    const code_t base = drawn(seed, i);
    const double wanted = cumulative[n_cells - 1] * (((double)i + unit(base)) / (double)n);
    long long low = 0, high = n_cells - 1;
    while (low < high) {
        const long long middle = (low + high) >> 1;
        if (cumulative[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    cells[i] = low;
    for (int axis = 0; axis < ndim; ++axis)
        places[i * ndim + axis] = unit(drawn(base, axis)) - 0.5;
}

__global__ void locate_points(const long long n, const code_t* codes, const unsigned char* level,
                              const long long* numbers, const double* origin, const double* size,
                              const long long* cells, const double* places, double* positions) {
    const long long i = thread_number();
    if (i >= n) return;
    const Lattice lattice = lattice_of(numbers);
    long long within[3], corner[3];
    const long long leaf = cell_of(cells[i], lattice, within), own = level[leaf];
    decode_one(codes[leaf], lattice.ndim, corner);
    for (int axis = 0; axis < lattice.ndim; ++axis) {
        const long long node = corner[axis] >> (lattice.depth - own), j = i * lattice.ndim + axis;
        const double at = (double)(node * lattice.block[axis] + within[axis]) + 0.5 + places[j];
        positions[j] = origin[axis] + at * size[axis] / (double)(1ll << own);
    }
}

template <typename T>
__global__ void interpolate(const long long n, const code_t* codes, const unsigned char* level,
                            const long long* starts, const long long shift,
                            const long long* numbers, const T* field, const double* size,
                            const long long* cells, const double* places, double* values,
                            double* gradient) {
    const long long i = thread_number();
    if (i >= n) return;
    const Lattice lattice = lattice_of(numbers);
    const Stencil found = stencil(cells[i], codes, level, starts, shift, lattice, field, size);
    const long long leaf =
        cells[i] / (lattice.block[0] * lattice.block[1] * lattice.block[2]);
    double rise = 0.0;
    for (int axis = 0; axis < lattice.ndim; ++axis) {
        const long long j = i * lattice.ndim + axis;
        rise += found.gradient[axis] * places[j] * size[axis];
        gradient[j] = found.gradient[axis];
    }
    values[i] = (double)field[cells[i]] + found.share * rise / (double)(1ll << level[leaf]);
}
"""
)
INSTANCES = {
    "draw": "draw",
    "locate_points": "locate_points",
    "stencils float32": "stencils<float>",
    "stencils float64": "stencils<double>",
    "steepness float32": "steepness<float>",
    "steepness float64": "steepness<double>",
    "interpolate float32": "interpolate<float>",
    "interpolate float64": "interpolate<double>",
}


def stencils(tree: Any, lattice: Any, field: Any, size: Any) -> tuple[Any, Any]:
    """See `dask_exa.kernels.octree.stencils`."""
    import cupy

    gradient, contrast = cupy.empty((field.size, lattice.ndim)), cupy.empty(field.size)
    name = INSTANCES[f"stencils {field.dtype}"]
    given = (*tree, numbers(lattice), field, cupy.asarray(size))
    launch(_module(), name, field.size, *given, gradient, contrast)
    return gradient, contrast


def steepness(tree: Any, lattice: Any, field: Any, size: Any) -> Any:
    """See `dask_exa.kernels.octree.steepness`."""
    import cupy

    steep = cupy.empty(field.size)
    name = INSTANCES[f"steepness {field.dtype}"]
    launch(_module(), name, field.size, *tree, numbers(lattice), field, cupy.asarray(size), steep)
    return steep


def draw(cumulative: Any, n: int, ndim: int, seed: int) -> tuple[Any, Any]:
    """See `dask_exa.kernels.octree.draw`."""
    import cupy

    cells, places = cupy.empty(n, dtype=cupy.int64), cupy.empty((n, ndim))
    given = (cumulative, len(cumulative), ndim, cupy.uint64(seed))
    launch(_module(), "draw", n, *given, cells, places)
    return cells, places


def locate_points(tree: Any, lattice: Any, origin: Any, size: Any, cells: Any, places: Any) -> Any:
    """See `dask_exa.kernels.octree.locate_points`."""
    import cupy

    positions = cupy.empty(places.shape)
    given = (tree.codes, tree.level, numbers(lattice), cupy.asarray(origin), cupy.asarray(size))
    launch(_module(), "locate_points", len(cells), *given, cells, places, positions)
    return positions


def interpolate(
    tree: Any, lattice: Any, field: Any, size: Any, cells: Any, places: Any
) -> tuple[Any, Any]:
    """See `dask_exa.kernels.octree.interpolate`."""
    import cupy

    values, gradient = cupy.empty(len(cells)), cupy.empty((len(cells), lattice.ndim))
    name = INSTANCES[f"interpolate {field.dtype}"]
    given = (*tree, numbers(lattice), field, cupy.asarray(size), cells, places)
    launch(_module(), name, len(cells), *given, values, gradient)
    return values, gradient


@functools.cache
def _module() -> Any:
    import cupy

    names = tuple(INSTANCES.values())
    return cupy.RawModule(code=SOURCE, options=("--std=c++17",), name_expressions=names)
