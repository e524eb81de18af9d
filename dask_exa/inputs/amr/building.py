"""From leaves in any order to a tree: where they are, and whether they fill the domain once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dask_exa._array import Array, namespace, to_host
from dask_exa.kernels import octree as kernels
from dask_exa.kernels.octree import Lattice, Tree

_TOLERANCE = 0.05
"""Of a cell, by which coordinates may be off: single precision, at depth."""


class Built(NamedTuple):
    """A tree, where it is, and its fields in its order."""

    lattice: Lattice
    tree: Tree
    origin: np.ndarray
    root: np.ndarray
    """Size of a root, (ndim,)."""
    fields: dict[str, Array]
    order: Array | None
    """Which leaf as given each leaf is; None if all are where they were."""


def build(
    centers: Array,
    sizes: Array,
    fields: Mapping[str, Array],
    periodic: bool | Sequence[bool] = False,
) -> Built:
    """Build a tree from leaves, see `Octree.from_cells`."""
    centers, sizes = _checked_leaves(centers, sizes)
    n, ndim = centers.shape
    found = to_host(kernels.extents(centers, sizes))
    if not np.isfinite(found).all() or (found[2] <= 0).any():
        raise ValueError(
            "centers and sizes must be finite, sizes above zero; leave out cells that have none."
        )
    lowest, highest, smallest, largest = found
    roots, coarsest = _roots((highest - lowest) / largest)
    root = (highest - lowest) / roots
    depth = round(math.log2(root[0] / smallest[0]))
    block = _block_of(fields, n, ndim)
    lattice = make_lattice(depth, roots.tolist(), block, periodic)
    codes, level, misplaced = kernels.place(centers, sizes, lowest, root, lattice)
    if misplaced >= 0:
        where = to_host(centers[misplaced]).tolist()
        raise ValueError(
            f"the leaf {misplaced} at {where} of size {to_host(sizes[misplaced]).tolist()} is not "
            f"where halving the domain from {lowest.tolist()} to {highest.tolist()} leads, "
            f"{coarsest} times for the largest leaves; pass the cells of one octree, all of "
            "equal proportions."
        )
    order = kernels.sort(codes, lattice.n_bits)
    if order is not None:
        codes, level = codes[order], level[order]
    tree = check_and_index(lattice, codes, level)
    kept = {name: _in_order(field, order, block) for name, field in fields.items()}
    return Built(lattice, tree, lowest, root, kept, order)


def make_lattice(
    depth: int,
    roots: Sequence[int],
    block: Sequence[int],
    periodic: bool | Sequence[bool] = False,
) -> Lattice:
    """Return the integers of a tree; `roots` in the order x, y, z, `block` in that of a field.

    Raises
    ------
    ValueError
        When the finest lattice has too many points for a code of 64 bits.
    """
    ndim = len(block)
    wraps = (periodic,) * ndim if isinstance(periodic, bool | np.bool_) else tuple(periodic)
    if len(wraps) != ndim:
        raise ValueError(f"periodic={periodic!r} must be a bool, or one for each of {ndim} axes.")
    pad = (1,) * (3 - ndim)
    wraps_3 = (*(int(w) for w in wraps), *(0 for _ in pad))
    lattice = Lattice(
        ndim, int(depth), *(int(r) for r in roots), *pad, *(int(b) for b in block[::-1]), *pad,
        *wraps_3,
    )  # fmt: skip
    if lattice.n_bits > ndim * kernels.MAX_BITS[ndim]:
        most = kernels.MAX_BITS[ndim]
        raise ValueError(
            f"a tree of {tuple(roots)} roots and {depth} levels needs {lattice.n_bits // ndim} "
            f"bits an axis, {most} fit; leave out the finest cells, or split the domain."
        )
    return lattice


def check_and_index(lattice: Lattice, codes: Array, level: Array) -> Tree:
    """Return sorted leaves as a tree that can be searched.

    Raises
    ------
    ValueError
        When they overlap, or leave gaps.
    """
    fault, volume = kernels.first_fault(codes, level, lattice)
    if fault >= 0:
        corner = to_host(kernels.decode(codes[fault : fault + 2], lattice.ndim)).tolist()
        raise ValueError(
            f"two leaves overlap: one of level {int(level[fault])} at {corner[0]} and one of level "
            f"{int(level[fault + 1])} at {corner[1]}, in finest leaves; pass leaves only, each "
            "once, without the cells that they refine or the ghost cells of other ranks."
        )
    roots = lattice.roots_x * lattice.roots_y * lattice.roots_z
    whole = roots << (lattice.ndim * lattice.depth)
    if volume != whole:
        raise ValueError(
            f"the leaves fill {volume / whole:.6g} of the domain, not all of it; pass the leaves "
            "of all ranks, and those of masked regions too."
        )
    starts, shift = kernels.buckets(codes, lattice.n_bits)
    return Tree(codes, level, starts, shift)


def _checked_leaves(centers: Array, sizes: Array) -> tuple[Array, Array]:
    xp = namespace(centers)
    if centers.ndim != 2 or centers.shape[1] not in (2, 3) or not centers.shape[0]:
        raise ValueError(
            f"centers has shape {tuple(centers.shape)}; pass (n_leaves, 2) or (n_leaves, 3) with "
            "one leaf at least."
        )
    sizes = xp.asarray(sizes)
    if sizes.ndim == 0:
        sizes = xp.broadcast_to(sizes, (centers.shape[0],))
    if sizes.ndim == 1:
        sizes = sizes[:, None]
    if sizes.shape not in ((centers.shape[0], 1), tuple(centers.shape)):
        raise ValueError(
            f"sizes has shape {tuple(sizes.shape)} for centers of {tuple(centers.shape)}; pass "
            "one size a leaf, or one along every axis."
        )
    return _contiguous_floats(centers), _contiguous_floats(sizes)


def _contiguous_floats(array: Array) -> Array:
    xp = namespace(array)
    if array.dtype not in (xp.float32, xp.float64):
        array = xp.astype(array, xp.float64)
    return xp.asarray(array, order="C")


def _roots(ratio: np.ndarray) -> tuple[np.ndarray, int]:
    """Return how many roots a domain has along x, y, z, and the level of its largest leaves."""
    counts = np.rint(ratio).astype(np.int64)
    if (np.abs(ratio - counts) > _TOLERANCE).any():
        raise ValueError(
            f"the domain is {ratio.tolist()} of the largest leaves wide, which is no whole number; "
            "pass leaves that fill a box, of equal proportions."
        )
    level = 0
    while not (counts % 2).any():
        counts, level = counts // 2, level + 1
    return counts, level


def _block_of(fields: Mapping[str, Array], n: int, ndim: int) -> tuple[int, ...]:
    shapes = {tuple(field.shape) for field in fields.values()} or {(n,)}
    if len(shapes) > 1:
        raise ValueError(f"fields have different shapes {sorted(shapes)}; pass one for all.")
    wrong = [name for name, field in fields.items() if field.dtype.kind not in "fiub"]
    if wrong:
        raise ValueError(f"fields {wrong} are not real numbers; pass their parts.")
    (shape,) = shapes
    block = shape[1:] or (1,) * ndim
    if shape[:1] != (n,) or len(block) != ndim or 0 in block:
        raise ValueError(
            f"fields have shape {shape} for {n} leaves in {ndim} dimensions; pass (n_leaves,), or "
            "a block of cells of every leaf, (n_leaves, [z,] y, x)."
        )
    return block


def _in_order(field: Array, order: Array | None, block: tuple[int, ...]) -> Array:
    """Return a field in the order of the tree, as blocks; without a copy if it has that order."""
    field = _contiguous_floats(field)
    if order is not None:
        field = namespace(field).take(field, order, axis=0)
    return field.reshape((field.shape[0], *block))
