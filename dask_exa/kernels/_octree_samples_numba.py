"""Gradients and samples of fields on octrees on the CPU; the twin of `_octree_samples_cupy`."""

from __future__ import annotations

from typing import Any

import numpy as np

from dask_exa.kernels._hash_numba import drawn, unit
from dask_exa.kernels._octree_fields_numba import mean_at
from dask_exa.kernels._octree_numba import decode_one, encode_one, locate_one, njit, sweep


def stencils(
    tree: Any, lattice: Any, field: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """See `dask_exa.kernels.octree.stencils`."""
    gradient, contrast = np.empty((field.size, lattice.ndim)), np.empty(field.size)
    sweep(_stencils, field.size, *tree, lattice, field.reshape(-1), size, gradient, contrast)
    return gradient, contrast


def steepness(tree: Any, lattice: Any, field: np.ndarray, size: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.octree.steepness`."""
    steep = np.empty(field.size)
    sweep(_steepness, field.size, *tree, lattice, field.reshape(-1), size, steep)
    return steep


def draw(cumulative: np.ndarray, n: int, ndim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """See `dask_exa.kernels.octree.draw`."""
    cells, places = np.empty(n, dtype=np.int64), np.empty((n, ndim))
    sweep(_draw, n, cumulative, np.uint64(seed), cells, places)
    return cells, places


def locate_points(
    tree: Any,
    lattice: Any,
    origin: np.ndarray,
    size: np.ndarray,
    cells: np.ndarray,
    places: np.ndarray,
) -> np.ndarray:
    """See `dask_exa.kernels.octree.locate_points`."""
    positions = np.empty(places.shape)
    given = (tree.codes, tree.level, lattice, origin, size, cells, places, positions)
    sweep(_locate_points, len(cells), *given)
    return positions


def interpolate(
    tree: Any,
    lattice: Any,
    field: np.ndarray,
    size: np.ndarray,
    cells: np.ndarray,
    places: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """See `dask_exa.kernels.octree.interpolate`."""
    values, gradient = np.empty(len(cells)), np.empty((len(cells), lattice.ndim))
    given = (field.reshape(-1), size, cells, places)
    sweep(_interpolate, len(cells), *tree, lattice, *given, values, gradient)
    return values, gradient


@njit(inline="always")
def _across(
    axis, side, cell, within, node, own, codes, level, starts, shift, lattice, field
):  # pragma: no cover  (compiled)
    """Return what is across a face of a cell, and by how many levels it is larger; -1 if nothing.

    Of smaller cells, the mean over a cell of the own size.
    """
    ndim = lattice.ndim
    block = (lattice.block_x, lattice.block_y, lattice.block_z)
    roots = (lattice.roots_x, lattice.roots_y, lattice.roots_z)
    wraps = (lattice.wraps_x, lattice.wraps_y, lattice.wraps_z)
    strides = (1, block[0], block[0] * block[1])
    if 0 <= within[axis] + side < block[axis]:
        return np.float64(field[cell + side * strides[axis]]), np.int64(0)
    n_nodes = roots[axis] << own
    place = node[axis] + side
    if place < 0 or place >= n_nodes:
        if not wraps[axis]:
            return 0.0, np.int64(-1)
        place = n_nodes - 1 if place < 0 else np.int64(0)
    x = place if axis == 0 else node[0]
    y = place if axis == 1 else node[1]
    z = place if axis == 2 else node[2]
    code = encode_one(x, y, z, ndim) << np.uint64(ndim * (lattice.depth - own))
    found = locate_one(code, codes, starts, shift)
    coarser = own - np.int64(level[found])
    n_block = block[0] * block[1] * block[2]
    last = 0 if side > 0 else block[axis] - 1
    ix = last if axis == 0 else within[0]
    iy = last if axis == 1 else within[1]
    iz = last if axis == 2 else within[2]
    if coarser == 0:
        cell = found * n_block + ix + strides[1] * iy + strides[2] * iz
        return np.float64(field[cell]), np.int64(0)
    x, y, z = x * block[0] + ix, y * block[1] + iy, z * block[2] + iz
    value = mean_at(x, y, z, own, codes, level, starts, shift, lattice, field)
    return value, max(coarser, np.int64(0))


@njit()
def _stencil(cell, codes, level, starts, shift, lattice, field, size):  # pragma: no cover
    """Return the gradient in a cell, the share of it that interpolation may use, the contrast."""
    ndim = lattice.ndim
    leaf, within = _cell_of(cell, lattice)
    own = np.int64(level[leaf])
    node = decode_one(codes[leaf] >> np.uint64(ndim * (lattice.depth - own)), ndim)
    a, k_a = _across(0, -1, cell, within, node, own, codes, level, starts, shift, lattice, field)
    b, k_b = _across(0, 1, cell, within, node, own, codes, level, starts, shift, lattice, field)
    c, k_c = _across(1, -1, cell, within, node, own, codes, level, starts, shift, lattice, field)
    d, k_d = _across(1, 1, cell, within, node, own, codes, level, starts, shift, lattice, field)
    e, k_e, f, k_f = 0.0, np.int64(-1), 0.0, np.int64(-1)
    if ndim == 3:
        e, k_e = _across(
            2, -1, cell, within, node, own, codes, level, starts, shift, lattice, field
        )
        f, k_f = _across(2, 1, cell, within, node, own, codes, level, starts, shift, lattice, field)
    value = np.float64(field[cell])
    fineness = np.float64(np.int64(1) << own)
    per = (fineness / size[0], fineness / size[1], fineness / size[ndim - 1])
    lowest, steep = _faces(value, (a, b, c, d, e, f), (k_a, k_b, k_c, k_d, k_e, k_f))
    a, b = _going_on(value, a, b, k_a, k_b)
    c, d = _going_on(value, c, d, k_c, k_d)
    e, f = _going_on(value, e, f, k_e, k_f)
    if max(k_a, k_b, k_c, k_d, k_e, k_f) <= 0:
        g0, g1, g2 = 0.5 * (b - a) * per[0], 0.5 * (d - c) * per[1], 0.5 * (f - e) * per[2]
    else:
        at = (
            node[0] * lattice.block_x + within[0],
            node[1] * lattice.block_y + within[1],
            node[2] * lattice.block_z + within[2],
        )
        g0, g1, g2 = _fit(value, (a, b, c, d, e, f), (k_a, k_b, k_c, k_d, k_e, k_f), at, per, ndim)
    up = max(a - value, b - value, 0.0) + max(c - value, d - value, 0.0)
    down = max(value - a, value - b, 0.0) + max(value - c, value - d, 0.0)
    up += max(e - value, f - value, 0.0)
    down += max(value - e, value - f, 0.0)
    if lowest >= 0.0:
        down = min(down, 2.0 * value)
    extent = abs(g0) / per[0] + abs(g1) / per[1] + abs(g2) / per[2]
    share = 1.0 if extent <= min(up, down) else min(up, down) / extent
    return g0, g1, g2, share, steep


@njit(inline="always")
def _faces(value, others, coarser):  # pragma: no cover  (compiled)
    """Return the lowest value of a cell and those around it, and the largest contrast."""
    lowest, steepest, largest = value, 0.0, 1.0
    for face in range(6):
        if coarser[face] < 0:
            continue
        other = others[face]
        difference, larger = abs(other - value), max(abs(value), abs(other))
        lowest = min(lowest, other)
        if difference * largest > steepest * larger:
            steepest, largest = difference, larger
    return lowest, steepest / largest


@njit(inline="always")
def _going_on(value, left, right, k_left, k_right):  # pragma: no cover  (compiled)
    """Return both sides along an axis; at the edge of the domain a field goes on as inside."""
    if k_left < 0:
        left = 2.0 * value - right if k_right >= 0 else value
    if k_right < 0:
        right = 2.0 * value - left
    return left, right


@njit()
def _fit(value, others, coarser, at, per, ndim):  # pragma: no cover  (compiled)
    """Return the gradient that fits the differences best where there are larger neighbours."""
    m00, m11, m22, m01, m02, m12 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    r0, r1, r2 = 0.0, 0.0, 0.0
    for face in range(2 * ndim):
        axis, side = face >> 1, 2 * (face & 1) - 1
        k = max(coarser[face], 0)
        s0, s1, s2 = side * (axis == 0), side * (axis == 1), side * (axis == 2)
        d0 = (_off(at[0] + s0, k) + s0) / per[0]
        d1 = (_off(at[1] + s1, k) + s1) / per[1]
        d2 = (_off(at[2] + s2, k) + s2) / per[2] if ndim == 3 else 0.0
        weight = 1.0 / (d0 * d0 + d1 * d1 + d2 * d2)
        m00, m11, m22 = m00 + weight * d0 * d0, m11 + weight * d1 * d1, m22 + weight * d2 * d2
        m01, m02, m12 = m01 + weight * d0 * d1, m02 + weight * d0 * d2, m12 + weight * d1 * d2
        rise = weight * (others[face] - value)
        r0, r1, r2 = r0 + rise * d0, r1 + rise * d1, r2 + rise * d2
    if ndim == 2:
        m22 = 1.0
    c00, c01, c02 = m11 * m22 - m12 * m12, m02 * m12 - m01 * m22, m01 * m12 - m02 * m11
    c11, c12, c22 = m00 * m22 - m02 * m02, m01 * m02 - m00 * m12, m00 * m11 - m01 * m01
    determinant = m00 * c00 + m01 * c01 + m02 * c02
    return (
        (c00 * r0 + c01 * r1 + c02 * r2) / determinant,
        (c01 * r0 + c11 * r1 + c12 * r2) / determinant,
        (c02 * r0 + c12 * r1 + c22 * r2) / determinant,
    )


@njit(inline="always")
def _cell_of(cell, lattice):  # pragma: no cover  (compiled)
    """Return the leaf of a cell, and its place in the block."""
    n_x, n_y, n_z = lattice.block_x, lattice.block_y, lattice.block_z
    if n_x * n_y * n_z == 1:
        return cell, (np.int64(0), np.int64(0), np.int64(0))
    rest, ix = cell // n_x, cell % n_x
    rest, iy = rest // n_y, rest % n_y
    return rest // n_z, (ix, iy, rest % n_z)


@njit(inline="always")
def _off(x, coarser):  # pragma: no cover  (compiled)
    """Return how far the centre of the larger cell around a cell is from its centre, in cells."""
    return ((x >> coarser) + 0.5) * (np.int64(1) << coarser) - x - 0.5


@njit()
def _stencils(
    first, last, codes, level, starts, shift, lattice, field, size, gradient, contrast
):  # pragma: no cover  (compiled)
    for cell in range(first, last):
        g0, g1, g2, _, contrast[cell] = _stencil(
            cell, codes, level, starts, shift, lattice, field, size
        )
        gradient[cell, 0] = g0
        gradient[cell, 1] = g1
        if lattice.ndim == 3:
            gradient[cell, 2] = g2


@njit()
def _steepness(
    first, last, codes, level, starts, shift, lattice, field, size, steep
):  # pragma: no cover  (compiled)
    for cell in range(first, last):
        g0, g1, g2, _, _ = _stencil(cell, codes, level, starts, shift, lattice, field, size)
        modulus = np.sqrt(g0 * g0 + g1 * g1 + g2 * g2)
        steep[cell] = modulus if modulus < np.inf else 0.0


@njit()
def _draw(first, last, cumulative, seed, cells, places):  # pragma: no cover  (compiled)
    n, ndim = places.shape
    total = cumulative[-1]
    low = 0
    for i in range(first, last):
        base = drawn(seed, i)
        wanted = total * ((i + unit(base)) / n)
        step = 1
        while low + step < len(cumulative) and cumulative[low + step] < wanted:
            step *= 2  # the next cell is near, or far: look ever farther
        lower, upper = low, min(low + step, len(cumulative) - 1)
        while lower < upper:
            middle = (lower + upper) >> 1
            if cumulative[middle] < wanted:
                lower = middle + 1
            else:
                upper = middle
        low = lower
        cells[i] = low
        for axis in range(ndim):
            places[i, axis] = unit(drawn(base, axis)) - 0.5


@njit()
def _interpolate(
    first, last, codes, level, starts, shift, lattice, field, size, cells, places, values, gradient
):  # pragma: no cover  (compiled)
    ndim = lattice.ndim
    n_block = lattice.block_x * lattice.block_y * lattice.block_z
    for i in range(first, last):
        cell = cells[i]
        g0, g1, g2, share, _ = _stencil(cell, codes, level, starts, shift, lattice, field, size)
        scale = 1.0 / (1 << np.int64(level[cell // n_block]))
        rise = g0 * places[i, 0] * size[0] + g1 * places[i, 1] * size[1]
        gradient[i, 0] = g0
        gradient[i, 1] = g1
        if ndim == 3:
            rise += g2 * places[i, 2] * size[2]
            gradient[i, 2] = g2
        values[i] = field[cell] + share * scale * rise


@njit()
def _locate_points(
    first, last, codes, level, lattice, origin, size, cells, places, positions
):  # pragma: no cover  (compiled)
    ndim = lattice.ndim
    block = (lattice.block_x, lattice.block_y, lattice.block_z)
    for i in range(first, last):
        leaf, within = _cell_of(cells[i], lattice)
        own = np.int64(level[leaf])
        node = decode_one(codes[leaf] >> np.uint64(ndim * (lattice.depth - own)), ndim)
        scale = 1.0 / (np.int64(1) << own)
        for axis in range(ndim):
            at = node[axis] * block[axis] + within[axis] + 0.5 + places[i, axis]
            positions[i, axis] = origin[axis] + at * size[axis] * scale
