"""Octrees by looking at every leaf: boxes that overlap, and nothing of Morton codes."""

import itertools

import numpy as np


def morton(coordinates):
    """Return the number whose bits are those of x, y (and z) in turn, x lowest."""
    code = 0
    for bit in range(32):
        for axis, value in enumerate(coordinates):
            code |= ((int(value) >> bit) & 1) << (bit * len(coordinates) + axis)
    return code


def grow_leaves(rng, roots, max_level, chance=0.45):
    """Return corners (n, ndim) in units of a root and levels of leaves split at random.

    Neighbours differ by any number of levels.
    """
    ndim = len(roots)
    open_nodes = [(np.array(at, dtype=float), 0) for at in itertools.product(*map(range, roots))]
    leaves = []
    while open_nodes:
        corner, level = open_nodes.pop()
        if level == max_level or rng.random() > chance:
            leaves.append((corner, level))
            continue
        half = 0.5 ** (level + 1)
        for offset in itertools.product((0, half), repeat=ndim):
            open_nodes.append((corner + offset, level + 1))
    corners, levels = zip(*leaves, strict=True)
    order = rng.permutation(len(levels))
    return np.array(corners)[order], np.array(levels)[order]


def cells_of(corners, levels, block, root):
    """Return lower and upper corners of all cells of leaves, (n_leaves * n_block, ndim).

    `block` in the order of axes of a field, ([z,] y, x); cells in its order.
    """
    size = root * 0.5 ** levels[:, None]
    counts = np.array(block[::-1])
    lower = [
        corner * root + np.array(at[::-1]) * own / counts
        for corner, own in zip(corners, size, strict=True)
        for at in itertools.product(*map(range, block))
    ]
    lower = np.array(lower)
    return lower, lower + np.repeat(size / counts, np.prod(block), axis=0)


def mean_in_box(low, high, lower, upper, values):
    """Return the mean over a box of a field that is constant in every cell."""
    overlap = np.clip(np.minimum(high, upper) - np.maximum(low, lower), 0, None).prod(axis=1)
    return overlap @ values / overlap.sum()


def pasted(lower, upper, values, extent, shape):
    """Return the means over the cells of a uniform grid of shape ([z,] y, x) from the origin."""
    out = np.empty(shape)
    step = extent / np.array(shape[::-1])
    for at in np.ndindex(*shape):
        low = np.array(at[::-1]) * step
        out[at] = mean_in_box(low, low + step, lower, upper, values)
    return out


def beside(cell, axis, side, lower, upper, values, extent, periodic):
    """Return value and centre of what is across a face of a cell; None beyond the edge."""
    low, high = lower[cell].copy(), upper[cell].copy()
    width = high - low
    shift = np.zeros(len(low))
    shift[axis] = side * width[axis]
    low, high = low + shift, high + shift
    middle = 0.5 * (low + high)
    wrap = np.zeros(len(low))
    if not 0 < middle[axis] < extent[axis]:
        if not periodic:
            return None
        wrap[axis] = -side * extent[axis]
    low, high, middle = low + wrap, high + wrap, middle + wrap
    around = np.flatnonzero(((lower < middle) & (middle < upper)).all(axis=1))
    if len(around) and (upper[around[0]] - lower[around[0]] > 1.5 * width).all():
        found = around[0]
        return values[found], 0.5 * (lower[found] + upper[found]) - wrap
    return mean_in_box(low, high, lower, upper, values), middle - wrap


def gradient_and_contrast(cell, lower, upper, values, extent, periodic):
    """Return the least-squares gradient with weights 1 / r², and the largest contrast."""
    ndim = lower.shape[1]
    center = 0.5 * (lower[cell] + upper[cell])
    rows, rises, contrast = [], [], 0.0
    for axis in range(ndim):
        found = [
            beside(cell, axis, side, lower, upper, values, extent, periodic) for side in (-1, 1)
        ]
        for side, what in zip((-1, 1), found, strict=True):
            other = found[0] if side > 0 else found[1]
            if what is None and other is None:
                what = values[cell], center + np.eye(ndim)[axis]
            elif what is None:  # the field goes on as inside
                offset = np.zeros(ndim)
                offset[axis] = side * (upper[cell] - lower[cell])[axis]
                what = 2 * values[cell] - other[0], center + offset
            else:
                larger = max(abs(what[0]), abs(values[cell]))
                contrast = max(contrast, abs(what[0] - values[cell]) / larger if larger else 0.0)
            rows.append(what[1] - center)
            rises.append(what[0] - values[cell])
    rows, rises = np.array(rows), np.array(rises)
    weights = 1 / np.linalg.norm(rows, axis=1)
    gradient = np.linalg.lstsq(rows * weights[:, None], rises * weights, rcond=None)[0]
    return gradient, contrast
