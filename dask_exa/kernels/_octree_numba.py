"""The Morton order of octrees on the CPU; the twin of `_octree_cupy`."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from dask_exa._threads import available_threads, map_threads

njit = functools.partial(numba.njit, nogil=True, cache=True, error_model="numpy", _nrt=False)
"""These kernels allocate nothing. That arrays are not counted where one kernel hands them to the
next makes them three times faster."""

_MAX_BUCKETS = 1 << 22
_MASKS_2 = tuple(
    np.uint64(mask)
    for mask in (
        0x0000FFFF0000FFFF,
        0x00FF00FF00FF00FF,
        0x0F0F0F0F0F0F0F0F,
        0x3333333333333333,
        0x5555555555555555,
    )
)
_MASKS_3 = tuple(
    np.uint64(mask)
    for mask in (
        0x001F00000000FFFF,
        0x001F0000FF0000FF,
        0x100F00F00F00F00F,
        0x10C30C30C30C30C3,
        0x1249249249249249,
    )
)
_SHIFTS_2 = tuple(np.uint64(shift) for shift in (16, 8, 4, 2, 1))
_SHIFTS_3 = tuple(np.uint64(shift) for shift in (32, 16, 8, 4, 2))
_LOW_32, _LOW_21 = np.uint64(0xFFFFFFFF), np.uint64(0x1FFFFF)
_ONE = np.uint64(1)
_TWO = np.uint64(2)


def spans(n: int, least: int = 4096) -> list[tuple[int, int]]:
    """Return the parts of a range that the threads take: a few each, of some size at least."""
    n_parts = max(1, min(4 * available_threads(), n // least))
    edges = np.linspace(0, n, n_parts + 1).astype(np.int64).tolist()
    return list(itertools.pairwise(edges))


def sweep(kernel: Callable[..., Any], n: int, *arguments: Any, least: int = 4096) -> None:
    """Call ``kernel(first, last, *arguments)`` for parts of a range, on this task's threads."""
    map_threads(lambda span: kernel(*span, *arguments), spans(n, max(1, least)))


def encode(coordinates: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.octree.encode`."""
    codes = np.empty(len(coordinates), dtype=np.uint64)
    sweep(_encode, len(codes), np.ascontiguousarray(coordinates, dtype=np.int64), codes)
    return codes


def decode(codes: np.ndarray, ndim: int) -> np.ndarray:
    """See `dask_exa.kernels.octree.decode`."""
    coordinates = np.empty((len(codes), ndim), dtype=np.int64)
    sweep(_decode, len(codes), codes, coordinates)
    return coordinates


def sort(codes: np.ndarray, n_bits: int) -> np.ndarray | None:
    """See `dask_exa.kernels.octree.sort`: least digits first, each thread its part of the keys."""
    if _is_sorted(codes):
        return None
    n = len(codes)
    n_passes = -(-n_bits // 11)
    width = -(-n_bits // n_passes)
    now = codes, np.arange(n, dtype=np.uint32 if n < 2**32 else np.uint64)
    then = np.empty_like(now[0]), np.empty_like(now[1])
    for digit in range(n_passes):
        _sort_by_digit(now, then, np.uint64(digit * width), width)
        spare = (np.empty_like(codes), now[1]) if digit == 0 else now  # the caller's stay as given
        now, then = then, spare
    return now[1]


def _sort_by_digit(now: Any, then: Any, shift: np.uint64, width: int) -> None:
    """Write keys and their order, sorted by some bits; each thread counts and moves its parts."""
    (keys, order), (keys_to, order_to) = now, then
    parts = spans(len(keys))
    counts = np.empty((len(parts), 1 << width), dtype=np.int64)
    map_threads(lambda k: _count(*parts[k], keys, shift, counts[k]), range(len(parts)))
    totals = np.cumsum(counts.T.ravel())
    starts = np.concatenate([[0], totals[:-1]]).reshape(counts.shape[::-1]).T.copy()
    map_threads(
        lambda k: _scatter(*parts[k], keys, order, keys_to, order_to, shift, starts[k]),
        range(len(parts)),
    )


def buckets(codes: np.ndarray, n_bits: int) -> tuple[np.ndarray, int]:
    """See `dask_exa.kernels.octree.buckets`."""
    wanted = min(_MAX_BUCKETS, 1 << max(0, len(codes) - 1).bit_length())
    shift = max(0, n_bits - (wanted.bit_length() - 1))
    starts = np.empty((1 << max(0, n_bits - shift)) + 1, dtype=np.int64)
    sweep(_fill_buckets, len(codes) + 1, codes, np.uint64(shift), starts)
    return starts, shift


def extents(centers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.octree.extents`."""
    parts = spans(len(centers))
    found = np.empty((len(parts), 4, centers.shape[1]))
    map_threads(lambda k: _extents(*parts[k], centers, sizes, found[k]), range(len(parts)))
    lowest, highest, smallest, largest = found.transpose(1, 0, 2)
    return np.stack([lowest.min(0), highest.max(0), smallest.min(0), largest.max(0)])


def place(
    centers: np.ndarray, sizes: np.ndarray, origin: np.ndarray, root: np.ndarray, lattice: Any
) -> tuple[np.ndarray, np.ndarray, int]:
    """See `dask_exa.kernels.octree.place`."""
    codes, level = np.empty(len(centers), dtype=np.uint64), np.empty(len(centers), dtype=np.uint8)
    out = (origin, root, lattice, codes, level)
    found = map_threads(lambda span: _place(*span, centers, sizes, *out), spans(len(centers)))
    misplaced = [i for i in found if i >= 0]
    return codes, level, min(misplaced) if misplaced else -1


def first_fault(codes: np.ndarray, level: np.ndarray, lattice: Any) -> tuple[int, int]:
    """See `dask_exa.kernels.octree.first_fault`."""
    parts = spans(len(codes))
    found = map_threads(lambda span: _first_overlap(*span, codes, level, lattice), parts)
    overlaps = [i for i, _ in found if i >= 0]
    return (min(overlaps) if overlaps else -1), sum(int(volume) for _, volume in found)


def locate(tree: Any, lattice: Any, coordinates: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.octree.locate`."""
    leaves = np.empty(len(coordinates), dtype=np.int64)
    given = np.ascontiguousarray(coordinates, dtype=np.int64)
    sweep(_locate, len(leaves), *tree[:1], *tree[2:], lattice, given, leaves)
    return leaves


def neighbors(tree: Any, lattice: Any) -> np.ndarray:
    """See `dask_exa.kernels.octree.neighbors`."""
    found = np.empty((len(tree.codes), 2 * lattice.ndim), dtype=np.int64)
    sweep(_neighbors, len(found), *tree, lattice, found)
    return found


@njit(inline="always")
def _spread_2(x):  # pragma: no cover  (compiled)
    x &= _LOW_32
    x = (x | (x << _SHIFTS_2[0])) & _MASKS_2[0]
    x = (x | (x << _SHIFTS_2[1])) & _MASKS_2[1]
    x = (x | (x << _SHIFTS_2[2])) & _MASKS_2[2]
    x = (x | (x << _SHIFTS_2[3])) & _MASKS_2[3]
    return (x | (x << _SHIFTS_2[4])) & _MASKS_2[4]


@njit(inline="always")
def _spread_3(x):  # pragma: no cover  (compiled)
    x &= _LOW_21
    x = (x | (x << _SHIFTS_3[0])) & _MASKS_3[0]
    x = (x | (x << _SHIFTS_3[1])) & _MASKS_3[1]
    x = (x | (x << _SHIFTS_3[2])) & _MASKS_3[2]
    x = (x | (x << _SHIFTS_3[3])) & _MASKS_3[3]
    return (x | (x << _SHIFTS_3[4])) & _MASKS_3[4]


@njit(inline="always")
def _gather_2(code):  # pragma: no cover  (compiled)
    x = code & _MASKS_2[4]
    x = (x | (x >> _SHIFTS_2[4])) & _MASKS_2[3]
    x = (x | (x >> _SHIFTS_2[3])) & _MASKS_2[2]
    x = (x | (x >> _SHIFTS_2[2])) & _MASKS_2[1]
    x = (x | (x >> _SHIFTS_2[1])) & _MASKS_2[0]
    return (x | (x >> _SHIFTS_2[0])) & _LOW_32


@njit(inline="always")
def _gather_3(code):  # pragma: no cover  (compiled)
    x = code & _MASKS_3[4]
    x = (x | (x >> _SHIFTS_3[4])) & _MASKS_3[3]
    x = (x | (x >> _SHIFTS_3[3])) & _MASKS_3[2]
    x = (x | (x >> _SHIFTS_3[2])) & _MASKS_3[1]
    x = (x | (x >> _SHIFTS_3[1])) & _MASKS_3[0]
    return (x | (x >> _SHIFTS_3[0])) & _LOW_21


@njit(inline="always")
def encode_one(x, y, z, ndim):  # pragma: no cover  (compiled)
    """Return the code of a point of the finest lattice."""
    if ndim == 2:
        return _spread_2(np.uint64(x)) | (_spread_2(np.uint64(y)) << _ONE)
    low = _spread_3(np.uint64(x)) | (_spread_3(np.uint64(y)) << _ONE)
    return low | (_spread_3(np.uint64(z)) << _TWO)


@njit(inline="always")
def decode_one(code, ndim):  # pragma: no cover  (compiled)
    """Return the point of the finest lattice that has a code."""
    code = np.uint64(code)
    if ndim == 2:
        return np.int64(_gather_2(code)), np.int64(_gather_2(code >> _ONE)), np.int64(0)
    x, y = np.int64(_gather_3(code)), np.int64(_gather_3(code >> _ONE))
    return x, y, np.int64(_gather_3(code >> _TWO))


@njit(inline="always")
def locate_one(code, codes, starts, shift):  # pragma: no cover  (compiled)
    """Return the leaf that has a code in it: the last one that does not begin after it."""
    bucket = np.int64(code >> np.uint64(shift))
    low, high = starts[bucket], starts[bucket + 1]
    while low < high:
        middle = (low + high) >> 1
        if codes[middle] <= code:
            low = middle + 1
        else:
            high = middle
    return low - 1


@njit()
def _encode(first, last, coordinates, codes):  # pragma: no cover  (compiled)
    ndim = coordinates.shape[1]
    for i in range(first, last):
        z = coordinates[i, 2] if ndim == 3 else 0
        codes[i] = encode_one(coordinates[i, 0], coordinates[i, 1], z, ndim)


@njit()
def _decode(first, last, codes, coordinates):  # pragma: no cover  (compiled)
    ndim = coordinates.shape[1]
    for i in range(first, last):
        x, y, z = decode_one(codes[i], ndim)
        coordinates[i, 0] = x
        coordinates[i, 1] = y
        if ndim == 3:
            coordinates[i, 2] = z


@njit()
def _extents(first, last, centers, sizes, found):  # pragma: no cover  (compiled)
    """Write the outermost faces and the extreme sizes; NaN anywhere gives NaN."""
    ndim, n_sizes = centers.shape[1], sizes.shape[1]
    for axis in range(ndim):
        lowest, highest, smallest, largest = np.inf, -np.inf, np.inf, -np.inf
        broken = 0.0
        for i in range(first, last):
            size = np.float64(sizes[i, min(axis, n_sizes - 1)])
            center = np.float64(centers[i, axis])
            lowest, highest = min(lowest, center - 0.5 * size), max(highest, center + 0.5 * size)
            smallest, largest = min(smallest, size), max(largest, size)
            broken += 0.0 * center * size
        found[0, axis] = lowest + broken
        found[1, axis] = highest + broken
        found[2, axis] = smallest + broken
        found[3, axis] = largest + broken


@njit()
def _place(first, last, centers, sizes, origin, root, lattice, codes, level):  # pragma: no cover
    """Write where leaves are; return the first that is not on the lattice, or -1."""
    ndim, n_sizes = lattice.ndim, sizes.shape[1]
    roots = (lattice.roots_x, lattice.roots_y, lattice.roots_z)
    misplaced = -1
    for i in range(first, last):
        own = np.int64(np.rint(np.log2(root[0] / sizes[i, 0])))
        is_fit = 0 <= own <= lattice.depth
        x, y, z = np.int64(0), np.int64(0), np.int64(0)
        for axis in range(ndim if is_fit else 0):
            size = root[axis] / (np.int64(1) << own)
            at = (centers[i, axis] - origin[axis]) / size - 0.5
            node = np.int64(np.rint(at))
            is_fit &= abs(at - node) < 0.1 and 0 <= node < (roots[axis] << own)
            is_fit &= abs(sizes[i, min(axis, n_sizes - 1)] / size - 1.0) < 0.1
            node = node << (lattice.depth - own)
            x = node if axis == 0 else x
            y = node if axis == 1 else y
            z = node if axis == 2 else z
        if not is_fit:
            misplaced = i if misplaced < 0 else misplaced
            continue
        codes[i] = encode_one(x, y, z, ndim)
        level[i] = own
    return misplaced


@njit()
def _is_sorted(codes):  # pragma: no cover  (compiled)
    for i in range(1, len(codes)):  # noqa: SIM110  (compiled)
        if codes[i] < codes[i - 1]:
            return False
    return True


@njit()
def _count(first, last, keys, shift, counts):  # pragma: no cover  (compiled)
    counts[:] = 0
    mask = np.uint64(len(counts) - 1)
    for i in range(first, last):
        counts[np.int64((keys[i] >> shift) & mask)] += 1


@njit()
def _scatter(first, last, keys, order, keys_to, order_to, shift, starts):  # pragma: no cover
    mask = np.uint64(len(starts) - 1)
    for i in range(first, last):
        digit = np.int64((keys[i] >> shift) & mask)
        place = starts[digit]
        starts[digit] = place + 1
        keys_to[place] = keys[i]
        order_to[place] = order[i]


@njit()
def _fill_buckets(first, last, codes, shift, starts):  # pragma: no cover  (compiled)
    """Leaf i fills the buckets after that of the leaf before it, up to its own."""
    n = len(codes)
    for i in range(first, last):
        low = np.int64(0) if i == 0 else np.int64(codes[i - 1] >> shift) + 1
        high = len(starts) - 1 if i == n else np.int64(codes[i] >> shift)
        for bucket in range(low, high + 1):
            starts[bucket] = i


@njit()
def _first_overlap(first, last, codes, level, lattice):  # pragma: no cover  (compiled)
    volume = np.uint64(0)
    for i in range(first, last):
        own = _ONE << np.uint64(lattice.ndim * (lattice.depth - level[i]))
        volume += own
        if i + 1 < len(codes) and codes[i + 1] < codes[i] + own:
            return i, volume
    return -1, volume


@njit()
def _locate(first, last, codes, starts, shift, lattice, coordinates, leaves):  # pragma: no cover
    ndim = lattice.ndim
    for i in range(first, last):
        z = coordinates[i, 2] if ndim == 3 else 0
        code = encode_one(coordinates[i, 0], coordinates[i, 1], z, ndim)
        leaves[i] = locate_one(code, codes, starts, shift)


@njit()
def _neighbors(first, last, codes, level, starts, shift, lattice, found):  # pragma: no cover
    ndim = lattice.ndim
    roots = (lattice.roots_x, lattice.roots_y, lattice.roots_z)
    wraps = (lattice.wraps_x, lattice.wraps_y, lattice.wraps_z)
    for i in range(first, last):
        finer = lattice.depth - level[i]
        corner = decode_one(codes[i], ndim)
        for face in range(2 * ndim):
            axis = face >> 1
            n_nodes = roots[axis] << level[i]
            node = (corner[axis] >> finer) + (1 if face & 1 else -1)
            if node < 0 or node >= n_nodes:
                if not wraps[axis]:
                    found[i, face] = -1
                    continue
                node = (node + n_nodes) % n_nodes
            at = node << finer
            x = at if axis == 0 else corner[0]
            y = at if axis == 1 else corner[1]
            z = at if axis == 2 else corner[2]
            leaf = locate_one(encode_one(x, y, z, ndim), codes, starts, shift)
            found[i, face] = leaf if level[leaf] <= level[i] else -2
