"""Leaves of octrees and quadtrees in Morton order: which twin sorts, finds, pastes and samples.

A tree has roots side by side, a grid of them; each is halved along every axis as often as its
leaves say. A leaf is a block of cells, often of one. What all functions here are given:

- the code of a leaf: of its lower corner on the lattice of the finest leaves, the bits of x, y
  (and z) interleaved, x lowest. Sorted by it, the leaves of any node are neighbours in memory;
- a `Lattice` and a `Tree`, small records of what the kernels read;
- fields of shape (n_leaves, [block_z,] block_y, block_x), in C order, float32 or float64.

References
----------
G. M. Morton, "A computer oriented geodetic data base", IBM, 1966. C. Burstedde, L. C. Wilcox and
O. Ghattas, "p4est: scalable algorithms for parallel adaptive mesh refinement on forests of
octrees", SIAM J. Sci. Comput. 33, 2011.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dask_exa._array import Array, is_cupy

MAX_BITS = {2: 31, 3: 21}
"""Of one coordinate of the finest lattice, by the number of dimensions."""
OUTSIDE, FINER = -1, -2
"""In place of a neighbour: beyond the edge of the domain; several smaller leaves."""


class Lattice(NamedTuple):
    """Integers that say where a code is; z of a quadtree has one root and one cell."""

    ndim: int
    depth: int
    """Level of the finest leaves; level 0 is a root."""
    roots_x: int
    roots_y: int
    roots_z: int
    block_x: int
    """Cells of a leaf along x."""
    block_y: int
    block_z: int
    wraps_x: int
    """1 where the domain is periodic along x."""
    wraps_y: int
    wraps_z: int

    @property
    def n_bits(self) -> int:
        """Number of bits of a code."""
        largest = max(self.roots_x, self.roots_y, self.roots_z) << self.depth
        return self.ndim * max(1, (largest - 1).bit_length())


class Tree(NamedTuple):
    """Leaves in Morton order, and a table by which they are found."""

    codes: Array
    """(n_leaves,), uint64, sorted."""
    level: Array
    """(n_leaves,), uint8."""
    starts: Array
    """Number of leaves that begin before each bucket of codes, int64."""
    shift: int
    """A bucket holds 2**shift codes."""


def encode(coordinates: Array) -> Array:
    """Return Morton codes.

    Parameters
    ----------
    coordinates : array of shape (n, ndim), int64
        Below 2**31 in two dimensions, 2**21 in three.

    Returns
    -------
    array of shape (n,), uint64

    Examples
    --------
    >>> import numpy as np
    >>> encode(np.array([[1, 0], [0, 1], [3, 3]]))
    array([ 1,  2, 15], dtype=uint64)
    """
    return _twin(coordinates).encode(coordinates)


def decode(codes: Array, ndim: int) -> Array:
    """Return the coordinates of Morton codes, shape (n, ndim), int64."""
    return _twin(codes).decode(codes, ndim)


def extents(centers: Array, sizes: Array) -> Array:
    """Return lowest and highest face, smallest and largest size along every axis, (4, ndim).

    Parameters
    ----------
    centers : array of shape (n, ndim)
    sizes : array of shape (n, 1) or (n, ndim)
        What is not finite gives NaN.
    """
    return _twin(centers).extents(centers, sizes)


def place(
    centers: Array, sizes: Array, origin: Array, root: Array, lattice: Lattice
) -> tuple[Array, Array, int]:
    """Return codes and levels of leaves, and the first that is not on the lattice, or -1.

    Parameters
    ----------
    centers, sizes
        As for `extents`; a tenth of a leaf may be missing to its place and size.
    origin, root : arrays of shape (ndim,), float64
        Lower corner of the domain, and size of a root.
    """
    return _twin(centers).place(centers, sizes, origin, root, lattice)


def sort(codes: Array, n_bits: int) -> Array | None:
    """Return the order that sorts codes of some bits, stable; None if they are sorted."""
    return _twin(codes).sort(codes, n_bits)


def buckets(codes: Array, n_bits: int) -> tuple[Array, int]:
    """Return `Tree.starts` and `Tree.shift` of sorted codes."""
    return _twin(codes).buckets(codes, n_bits)


def first_fault(codes: Array, level: Array, lattice: Lattice) -> tuple[int, int]:
    """Return which leaf overlaps the next one, or -1, and the volume of all in finest leaves."""
    return _twin(codes).first_fault(codes, level, lattice)


def locate(tree: Tree, lattice: Lattice, coordinates: Array) -> Array:
    """Return the leaf at points of the finest lattice of leaves, shape (n,), int64."""
    return _twin(tree.codes).locate(tree, lattice, coordinates)


def neighbors(tree: Tree, lattice: Lattice) -> Array:
    """Return the leaf across every face: of the same size or larger, else `OUTSIDE` or `FINER`.

    Returns
    -------
    array of shape (n_leaves, 2 * ndim), int64
        Faces in the order -x, +x, -y, +y[, -z, +z].
    """
    return _twin(tree.codes).neighbors(tree, lattice)


def paste(tree: Tree, lattice: Lattice, field: Array, level: int, out: Array) -> None:
    """Write a field on the grid of cells of a level: copies of coarser cells, means of finer ones.

    Parameters
    ----------
    field : array of shape (n_leaves, [block_z,] block_y, block_x)
    level : int
        0 is the grid of the roots' own blocks.
    out : array of shape ([n_z,] n_y, n_x)
        Of roots × block × 2**level cells; all are overwritten.
    """
    _fields_twin(field).paste(tree, lattice, field, level, out)


def fill_halo(tree: Tree, lattice: Lattice, field: Array, halo: int, out: Array) -> None:
    """Write blocks with `halo` cells around them.

    Cells around are of the size of the leaf's own: means of smaller ones, copies of larger ones.
    Beyond the edge of a domain that is not periodic, the cell at the edge is repeated.

    Parameters
    ----------
    out : array of shape (n_leaves, [block_z + 2 halo,] block_y + 2 halo, block_x + 2 halo)
    """
    _fields_twin(field).fill_halo(tree, lattice, field, halo, out)


def stencils(tree: Tree, lattice: Lattice, field: Array, size: Array) -> tuple[Array, Array]:
    """Return the gradient in every cell, and its contrast with its neighbours.

    The gradient fits the differences from the cells across all faces best, weighted by 1 / r²:
    central differences among equal cells, exact for linear fields everywhere. Contrast is the
    largest ``|a - b| / max(|a|, |b|)`` across a face.

    Parameters
    ----------
    size : array of shape (ndim,), float64
        Physical size of a cell of level 0.

    Returns
    -------
    gradient : array of shape (n_cells, ndim), float64
        Cells in the order of `field`.
    contrast : array of shape (n_cells,), float64
    """
    return _samples_twin(field).stencils(tree, lattice, field, size)


def steepness(tree: Tree, lattice: Lattice, field: Array, size: Array) -> Array:
    """Return the modulus of the gradient of `stencils` in every cell; 0 if it is not finite.

    Returns
    -------
    array of shape (n_cells,), float64
    """
    return _samples_twin(field).steepness(tree, lattice, field, size)


def draw(cumulative: Array, n: int, ndim: int, seed: int) -> tuple[Array, Array]:
    """Draw cells, one in each of `n` equal strata of a cumulative sum, and places in them.

    Parameters
    ----------
    cumulative : array of shape (n_cells,), float64
        Cumulative sum of what the chances of cells are proportional to.

    Returns
    -------
    cells : array of shape (n,), int64
        Ascending.
    places : array of shape (n, ndim), float64
        In (-0.5, 0.5], in sizes of the cell from its centre. A function of `seed` and of the
        number of the point alone.
    """
    return _samples_twin(cumulative).draw(cumulative, n, ndim, seed)


def locate_points(
    tree: Tree, lattice: Lattice, origin: Array, size: Array, cells: Array, places: Array
) -> Array:
    """Return the positions of places in cells, (n, ndim), in the order x, y, z."""
    return _samples_twin(places).locate_points(tree, lattice, origin, size, cells, places)


def interpolate(
    tree: Tree, lattice: Lattice, field: Array, size: Array, cells: Array, places: Array
) -> tuple[Array, Array]:
    """Return a field at places in cells, and the gradients of these cells.

    Linear in a cell, with the gradient of `stencils` scaled down where it would lead beyond what
    the neighbours allow; positive fields stay positive. The mean over a cell is its value.

    Returns
    -------
    values : array of shape (n,), float64
    gradient : array of shape (n, ndim), float64
    """
    return _samples_twin(field).interpolate(tree, lattice, field, size, cells, places)


def _twin(array: Array) -> Any:
    if is_cupy(array):
        import dask_exa.kernels._octree_cupy as on_gpu

        return on_gpu
    import dask_exa.kernels._octree_numba as on_cpu

    return on_cpu


def _fields_twin(array: Array) -> Any:
    if is_cupy(array):
        import dask_exa.kernels._octree_fields_cupy as on_gpu

        return on_gpu
    import dask_exa.kernels._octree_fields_numba as on_cpu

    return on_cpu


def _samples_twin(array: Array) -> Any:
    if is_cupy(array):
        import dask_exa.kernels._octree_samples_cupy as on_gpu

        return on_gpu
    import dask_exa.kernels._octree_samples_numba as on_cpu

    return on_cpu
