"""Where the leaves of an adaptive mesh are, and which of them are beside each other."""

from __future__ import annotations

import numpy as np

from dask_exa._array import Array, namespace, to_host
from dask_exa.kernels import octree as kernels
from dask_exa.kernels.octree import Lattice, Tree


class Leaves:
    """The leaves of an octree or quadtree in Morton order, without fields.

    Parameters
    ----------
    lattice : Lattice
    tree : Tree
    origin, root : numpy.ndarray of shape (ndim,)
        Lower corner of the domain and size of a root, in the order x, y, z.
    """

    def __init__(self, lattice: Lattice, tree: Tree, origin: np.ndarray, root: np.ndarray) -> None:
        self.lattice, self.tree = lattice, tree
        self.origin, self.root = origin, root

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return self.lattice.ndim

    @property
    def level(self) -> Array:
        """Level of every leaf; 0 is a root."""
        return self.tree.level

    @property
    def block(self) -> tuple[int, ...]:
        """Cells of a leaf, ([z,] y, x)."""
        return (self.lattice.block_z, self.lattice.block_y, self.lattice.block_x)[-self.ndim :]

    @property
    def roots(self) -> tuple[int, ...]:
        """Number of roots along x, y[, z]."""
        return (self.lattice.roots_x, self.lattice.roots_y, self.lattice.roots_z)[: self.ndim]

    @property
    def extent(self) -> np.ndarray:
        """Width of the domain along x, y[, z]."""
        return self.root * self.roots

    @property
    def position(self) -> Array:
        """Lower corner of every leaf, (n_leaves, ndim), in the order x, y, z."""
        xp = namespace(self.level)
        corner = kernels.decode(self.tree.codes, self.ndim)
        finest = xp.asarray(self.root) / (1 << self.lattice.depth)
        return xp.asarray(self.origin) + corner * finest

    @property
    def size(self) -> Array:
        """Widths of every leaf, (n_leaves, ndim)."""
        xp = namespace(self.level)
        halvings = xp.astype(self.level, xp.float64)[:, None]
        return xp.asarray(self.root)[None, :] * 0.5**halvings

    @property
    def cell_volume(self) -> Array:
        """Volume of a cell of every leaf, (n_leaves,)."""
        xp = namespace(self.level)
        of_root = float(np.prod(self.root)) / float(np.prod(self.block))
        return of_root * 0.5 ** (self.ndim * xp.astype(self.level, xp.float64))

    @property
    def cell_root(self) -> np.ndarray:
        """Size of a cell of level 0, (ndim,)."""
        return self.root / np.asarray(self.block[::-1])

    def centers(self) -> Array:
        """Return the centres of all cells, (n_leaves, [z,] y, x, ndim), in the order x, y, z."""
        xp = namespace(self.level)
        halves = [(xp.arange(n, dtype=xp.float64) + 0.5) / n for n in self.block[::-1]]
        grid = xp.meshgrid(*halves[::-1], indexing="ij")
        shares = xp.stack(grid[::-1], axis=-1)
        shape = (len(self), *(1,) * self.ndim, self.ndim)
        return self.position.reshape(shape) + shares[None] * self.size.reshape(shape)

    def find(self, positions: Array) -> Array:
        """Return which leaf points are in, (n,), int64; -1 outside of the domain.

        Parameters
        ----------
        positions : array of shape (n, ndim)
            In the order x, y, z. Points on a face belong to the leaf above it.
        """
        xp = namespace(self.level)
        positions = xp.asarray(positions)
        if positions.ndim != 2 or positions.shape[1] != self.ndim:
            raise ValueError(
                f"positions has shape {tuple(positions.shape)}; pass (n_points, {self.ndim})."
            )
        finest = xp.asarray(self.root) / (1 << self.lattice.depth)
        at = xp.floor((positions - xp.asarray(self.origin)) / finest)
        n = xp.asarray(np.asarray(self.roots) << self.lattice.depth)
        inside = xp.all((at >= 0) & (at < n), axis=1)
        at = xp.astype(xp.where(inside[:, None], at, 0.0), xp.int64)
        return xp.where(inside, kernels.locate(self.tree, self.lattice, at), -1)

    def contains(self, positions: Array) -> Array:
        """Whether points are inside of the domain, (n,)."""
        return self.find(positions) >= 0

    def neighbors(self) -> Array:
        """Return the leaf across every face, (n_leaves, 2 * ndim): -x, +x, -y, +y[, -z, +z].

        Of the same size or larger; -1 at an edge of the domain, -2 where there are smaller ones
        (which have this leaf as theirs).
        """
        return kernels.neighbors(self.tree, self.lattice)

    def node(self, leaf: int, level: int | None = None) -> slice:
        """Return the leaves in a node around a leaf: by default its parent, else that of a level.

        Examples
        --------
        >>> from dask_exa.inputs.amr import Octree
        >>> tree = Octree.from_uniform({"f": np.zeros((4, 4))}).split(1)
        >>> len(tree), tree.node(5), tree.node(5, 0)
        (16, slice(4, 8, None), slice(0, 16, None))
        """
        own = int(self.level[leaf])
        level = max(own - 1, 0) if level is None else min(level, own)
        bits = np.uint64(self.ndim * (self.lattice.depth - level))
        codes = self.tree.codes
        first = (np.uint64(int(codes[leaf])) >> bits) << bits
        edges = np.array([first, first + (np.uint64(1) << bits)], dtype=np.uint64)
        found = to_host(namespace(codes).searchsorted(codes, namespace(codes).asarray(edges)))
        return slice(int(found[0]), int(found[1]))

    @property
    def _wraps(self) -> tuple[bool, ...]:
        lattice = self.lattice
        return tuple(map(bool, (lattice.wraps_x, lattice.wraps_y, lattice.wraps_z)))[: self.ndim]

    @property
    def _cell_root(self) -> Array:
        return namespace(self.level).asarray(self.cell_root)

    def __len__(self) -> int:
        return int(self.tree.codes.shape[0])
