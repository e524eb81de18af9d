"""Fields on octrees on the CPU; the twin of `_octree_fields_cupy`."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from dask_exa.kernels._octree_numba import decode_one, encode_one, locate_one, njit, sweep

_CELLS_TO_COPY = 1 << 16
"""Fewer are not worth a thread."""


def paste(tree: Any, lattice: Any, field: np.ndarray, level: int, out: np.ndarray) -> None:
    """See `dask_exa.kernels.octree.paste`."""
    blocks = field.reshape(len(field), lattice.block_z, lattice.block_y, lattice.block_x)
    grid = out.reshape(-1, *out.shape[-2:])
    given = (tree.codes, tree.level, lattice, blocks, level, grid)
    sweep(_paste, len(blocks), *given, least=_CELLS_TO_COPY // blocks[0].size)


def fill_halo(tree: Any, lattice: Any, field: np.ndarray, halo: int, out: np.ndarray) -> None:
    """See `dask_exa.kernels.octree.fill_halo`."""
    padded = out if lattice.ndim == 3 else out[:, None]
    given = (*tree, lattice, field.reshape(-1), halo, padded)
    sweep(_fill_halo, len(field), *given, least=4096 // padded[0].size)


@numba.njit(nogil=True, cache=True)
def _paste(first, last, codes, level, lattice, field, wanted, out):  # pragma: no cover
    ndim, depth = lattice.ndim, lattice.depth
    n_z, n_y, n_x = field.shape[1:]
    means = np.zeros((n_z, n_y, n_x))
    i = first
    while i < last:
        if level[i] <= wanted:
            _copy(codes[i], level[i], lattice, field[i], wanted, out)
            i += 1
            continue
        span = np.uint64(1) << np.uint64(ndim * (depth - wanted))
        if codes[i] & (span - np.uint64(1)):  # whoever has the first leaf of a node writes it
            i += 1
            continue
        node = codes[i]
        means[:] = 0.0
        while i < len(codes) and codes[i] - node < span:
            _add(codes[i] - node, level[i], lattice, field[i], wanted, means)
            i += 1
        _copy(node, wanted, lattice, means, wanted, out)


@njit(inline="always")
def _copy(code, level, lattice, block, wanted, out):  # pragma: no cover  (compiled)
    """Write the cells of a block, each as often as the grid is finer."""
    x, y, z = decode_one(code, lattice.ndim)
    n_z, n_y, n_x = block.shape
    k = lattice.depth - level
    finer = wanted - level
    finer_z = finer if lattice.ndim == 3 else 0
    x, y, z = ((x >> k) * n_x) << finer, ((y >> k) * n_y) << finer, ((z >> k) * n_z) << finer_z
    times, times_z, width = 1 << finer, 1 << finer_z, n_x << finer
    for a in range(n_z):
        for b in range(n_y):
            z_0, y_0 = z + (a << finer_z), y + (b << finer)
            for c in range(n_x):
                value = block[a, b, c]
                for d in range(c << finer, (c + 1) << finer):
                    out[z_0, y_0, x + d] = value
            for copy in range(1, times * times_z):  # the other rows of the same cells
                z_1, y_1 = z_0 + (copy >> finer), y_0 + (copy & (times - 1))
                for d in range(width):
                    out[z_1, y_1, x + d] = out[z_0, y_0, x + d]


@njit(inline="always")
def _add(offset, level, lattice, block, wanted, means):  # pragma: no cover  (compiled)
    """Add the cells of a leaf to the means of the larger cells that they are part of."""
    x, y, z = decode_one(offset, lattice.ndim)
    n_z, n_y, n_x = block.shape
    k, coarser = lattice.depth - level, level - wanted
    share = 1.0 / (np.int64(1) << (lattice.ndim * coarser))
    x, y, z = (x >> k) * n_x, (y >> k) * n_y, (z >> k) * n_z
    coarser_z = coarser if lattice.ndim == 3 else 0
    for a in range(n_z):
        for b in range(n_y):
            for c in range(n_x):
                means[(z + a) >> coarser_z, (y + b) >> coarser, (x + c) >> coarser] += (
                    share * block[a, b, c]
                )


@njit()
def mean_at(x, y, z, own, codes, level, starts, shift, lattice, field):  # pragma: no cover
    """Return the mean in a cell of level `own`, or what is there if that is a larger cell.

    Smaller cells are met along the Morton curve inside of it.
    """
    ndim, depth = lattice.ndim, lattice.depth
    k = depth - own
    k_z = k if ndim == 3 else 0
    volume = np.int64(1) << (ndim * k)
    done = np.int64(0)
    total = 0.0
    while done < volume:
        dx, dy, dz = decode_one(done, ndim)
        dx, dy, dz = (x << k) + dx, (y << k) + dy, (z << k_z) + dz
        at = encode_one(dx // lattice.block_x, dy // lattice.block_y, dz // lattice.block_z, ndim)
        leaf = locate_one(at, codes, starts, shift)
        j = depth - level[leaf]
        ox, oy, oz = decode_one(codes[leaf], ndim)
        ix = (dx >> j) - (ox >> j) * lattice.block_x
        iy = (dy >> j) - (oy >> j) * lattice.block_y
        iz = (dz >> (j if ndim == 3 else 0)) - (oz >> j) * lattice.block_z
        cell = ((leaf * lattice.block_z + iz) * lattice.block_y + iy) * lattice.block_x + ix
        value = np.float64(field[cell])
        if level[leaf] <= own:
            return value
        part = np.int64(1) << (ndim * j)
        total += value * part
        done += part
    return total / volume


@njit()
def _fill_halo(
    first, last, codes, level, starts, shift, lattice, field, halo, out
):  # pragma: no cover  (compiled)
    ndim = lattice.ndim
    block = (lattice.block_x, lattice.block_y, lattice.block_z)
    halo_z = halo if ndim == 3 else 0
    for leaf in range(first, last):
        k = lattice.depth - level[leaf]
        x, y, z = decode_one(codes[leaf], ndim)
        x, y, z = (x >> k) * block[0], (y >> k) * block[1], (z >> k) * block[2]
        own = np.int64(level[leaf])
        n_x = (lattice.roots_x * block[0]) << own
        n_y = (lattice.roots_y * block[1]) << own
        n_z = (lattice.roots_z * block[2]) << (own if ndim == 3 else 0)
        for a in range(out.shape[1]):
            for b in range(out.shape[2]):
                for c in range(out.shape[3]):
                    iz, iy, ix = a - halo_z, b - halo, c - halo
                    inside = 0 <= iz < block[2] and 0 <= iy < block[1] and 0 <= ix < block[0]
                    if inside:
                        cell = ((leaf * block[2] + iz) * block[1] + iy) * block[0] + ix
                        out[leaf, a, b, c] = field[cell]
                        continue
                    cx = _inside(x + ix, n_x, lattice.wraps_x)
                    cy = _inside(y + iy, n_y, lattice.wraps_y)
                    cz = _inside(z + iz, n_z, lattice.wraps_z)
                    out[leaf, a, b, c] = mean_at(
                        cx, cy, cz, own, codes, level, starts, shift, lattice, field
                    )


@njit(inline="always")
def _inside(at, size, wraps):  # pragma: no cover  (compiled)
    if wraps:
        return (at + size * (1 + abs(at) // size)) % size
    return min(max(at, 0), size - 1)
