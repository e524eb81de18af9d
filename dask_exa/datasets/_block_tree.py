"""A periodic box of blocks of cells that refine: who is whose neighbour, and how blocks split.

Coordinates are in the order of the axes of the fields, ([z,] y, x).
"""

import itertools
from typing import NamedTuple

import numpy as np

from dask_exa.kernels.octree import encode


class GhostPlan(NamedTuple):
    """Where the ghost cells of padded blocks come from; cells are counted over all blocks."""

    copied: tuple[np.ndarray, np.ndarray]
    """Ghost cells, and the cells of the same level that lie there."""
    averaged: tuple[np.ndarray, np.ndarray]
    """Ghost cells, and the 2^d finer cells (n, 2^d) that lie there."""
    interpolated: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    """Per level from coarse to fine: ghost cells, the coarser cells around them, and on which side
    of its middle along each axis (n, d), -1 or 1."""


class FluxPlan(NamedTuple):
    """Faces of blocks whose flux is that of finer blocks, along one axis."""

    coarse: np.ndarray
    fine: np.ndarray
    """(n, 2^(d-1))."""


class Transfer(NamedTuple):
    """Which blocks of a new tree are made of which of the old one."""

    kept: tuple[np.ndarray, np.ndarray]
    """New and old numbers."""
    split: tuple[np.ndarray, np.ndarray, np.ndarray]
    """New numbers, old numbers, and which half along each axis (n, d)."""
    joined: tuple[np.ndarray, np.ndarray]
    """New numbers, and old ones (n, 2^d) in the order of `BlockTree.halves`."""


class BlockTree:
    """The leaves of an octree or quadtree over the periodic unit box; each is a block of cells.

    Neighbours, also across edges and corners, differ by one level at most.

    Parameters
    ----------
    level : array_like of shape (n_blocks,), int
    coords : array_like of shape (n_blocks, ndim), int
        In units of blocks of that level, of which there are 2^level along a side.
    block : int
        Cells along a side of a block, even.
    max_level : int

    Attributes
    ----------
    level, coords : ndarray
        In Morton order, x fastest.
    halves : ndarray of shape (2^ndim, ndim)
        Which half of a block its children are, along each axis.
    """

    def __init__(self, level, coords, block, max_level):
        level, coords = np.asarray(level), np.asarray(coords)
        finest = coords << (max_level - level)[:, None]
        self.order = np.argsort(encode(np.ascontiguousarray(finest[:, ::-1])))
        self.level, self.coords = level[self.order], coords[self.order]
        self.block, self.max_level, self.ndim = block, max_level, coords.shape[1]
        self.halves = np.array(list(itertools.product((0, 1), repeat=self.ndim)))
        self._levels = np.unique(self.level).tolist()
        self._maps = {}
        for at in self._levels:
            here = np.flatnonzero(self.level == at)
            self._maps[at] = np.full((1 << at,) * self.ndim, -1)
            self._maps[at][tuple(self.coords[here].T)] = here

    @classmethod
    def uniform(cls, level, ndim, block, max_level):
        """Return a tree whose blocks have all the same level."""
        coords = np.indices((1 << level,) * ndim).reshape(ndim, -1).T
        return cls(np.full(len(coords), level), coords, block, max_level)

    def __len__(self):
        return len(self.level)

    @property
    def cell_size(self):
        """Side of the cells of each block, in units of the box."""
        return 1.0 / (self.block * (1 << self.level))

    def find(self, level, coords):
        """Return the numbers of the blocks of a level at some places, -1 where there is none."""
        if level not in self._maps:
            return np.full(coords.shape[:-1], -1)
        return self._maps[level][tuple(np.moveaxis(coords % (1 << level), -1, 0))]

    def _neighbours(self, numbers, level):
        """Yield the places of the 3^d - 1 neighbours of blocks of a level."""
        for offset in itertools.product((-1, 0, 1), repeat=self.ndim):
            if any(offset):
                yield (self.coords[numbers] + offset) % (1 << level)

    def ghosts(self, width):
        """Return where the ghost cells come from when blocks are padded by some cells."""
        side = self.block + 2 * width
        inside = np.zeros((side,) * self.ndim, dtype=bool)
        inside[(slice(width, -width),) * self.ndim] = True
        local = np.argwhere(~inside) - width
        copied, averaged, interpolated = [], [], []
        for level in self._levels:
            numbers = np.flatnonzero(self.level == level)
            cells = self.coords[numbers, None] * self.block + local
            target = self._flat(numbers[:, None], local, side, width)
            same = self.find(level, cells // self.block)
            at = same >= 0
            copied.append((target[at], self._flat(same[at], cells[at] % self.block, side, width)))
            target, cells = target[~at], cells[~at] % (self.block << level)
            coarse = self.find(level - 1, cells // 2 // self.block)
            at = coarse >= 0
            source = self._flat(coarse[at], cells[at] // 2 % self.block, side, width)
            interpolated.append((target[at], source, 2 * (cells[at] % 2) - 1))
            children = 2 * cells[~at][:, None] + self.halves
            fine = self.find(level + 1, children // self.block)
            averaged.append((target[~at], self._flat(fine, children % self.block, side, width)))
        return GhostPlan(_together(copied), _together(averaged), tuple(interpolated))

    def _flat(self, numbers, local, side, width):
        """Return the places of cells among those of all padded blocks."""
        flat = numbers
        for axis in range(self.ndim):
            flat = flat * side + local[..., axis] + width
        return flat

    def coarse_faces(self, axis):
        """Return the faces normal to an axis behind which blocks are finer, and theirs.

        Faces are counted over arrays (n_blocks, …) with one more along the axis than cells.
        """
        b, shape = self.block, [self.block] * self.ndim
        shape[axis] += 1
        across = [half for half in self.halves if half[axis] == 0]
        found = []
        for level, side in itertools.product(self._levels, (0, 1)):
            numbers = np.flatnonzero(self.level == level)
            face = np.argwhere(np.ones([1 if a == axis else b for a in range(self.ndim)]))
            cells = self.coords[numbers, None] * b + face
            cells[..., axis] = self.coords[numbers, None, axis] * b + (b if side else -1)
            is_fine = self.find(level, cells // b) < 0
            is_fine &= self.find(level - 1, cells // (2 * b)) < 0
            face[:, axis] = b if side else 0
            coarse = self._face(numbers[:, None], face, shape)[is_fine]
            children = 2 * (cells[is_fine] % (b << level))[:, None] + np.array(across)
            children[..., axis] += 1 - side  # the nearer half
            fine = self.find(level + 1, children // b)
            nearest = children % b
            nearest[..., axis] += 1 - side  # its upper face, if it lies below
            found.append((coarse, self._face(fine, nearest, shape)))
        return FluxPlan(*_together(found))

    def _face(self, numbers, local, shape):
        flat = numbers
        for axis in range(self.ndim):
            flat = flat * shape[axis] + local[..., axis]
        return flat

    def beside(self, marked):
        """Return which blocks have a marked neighbour of their level or of the coarser one.

        Parameters
        ----------
        marked : ndarray of shape (n_blocks,), bool

        Returns
        -------
        ndarray of shape (n_blocks,), bool
        """
        found = np.zeros(len(self), dtype=bool)
        for level in self._levels:
            numbers = np.flatnonzero(self.level == level)
            for places in self._neighbours(numbers, level):
                there = self.find(level, places)
                there = np.where(there < 0, self.find(level - 1, places // 2), there)
                found[numbers] |= (there >= 0) & marked[there]
        return found

    def adapt(self, refine, coarsen, min_level):
        """Return a tree with some blocks split and some joined, and what is made of what.

        Blocks that would be more than a level coarser than a neighbour are split, too; blocks are
        joined where all of their parent may be, and no neighbour is finer.

        Parameters
        ----------
        refine, coarsen : ndarray of shape (n_blocks,), bool
        min_level : int

        Returns
        -------
        tree : BlockTree
        transfer : Transfer
        """
        refine = self._balanced(refine & (self.level < self.max_level))
        joined = self._joined(refine, coarsen & ~refine & (self.level > min_level))
        split = np.flatnonzero(refine)
        stays = ~refine
        stays[joined.ravel()] = False
        kept = np.flatnonzero(stays)
        halves = np.tile(self.halves, (len(split), 1))
        parents = np.repeat(split, len(self.halves))
        level = [self.level[kept], self.level[parents] + 1, self.level[joined[:, 0]] - 1]
        coords = [
            self.coords[kept],
            2 * self.coords[parents] + halves,
            self.coords[joined[:, 0]] // 2,
        ]
        tree = BlockTree(np.concatenate(level), np.concatenate(coords), self.block, self.max_level)
        number = np.empty(len(tree), dtype=int)
        number[tree.order] = np.arange(len(tree))
        new = np.split(number, np.cumsum([len(kept), len(parents)]))
        return tree, Transfer((new[0], kept), (new[1], parents, halves), (new[2], joined))

    def _balanced(self, refine):
        for level in reversed(self._levels):
            numbers = np.flatnonzero(refine & (self.level == level))
            for places in self._neighbours(numbers, level):
                missing = self.find(level, places) < 0
                coarse = self.find(level - 1, places[missing] // 2)
                refine[coarse[coarse >= 0]] = True
        return refine

    def _joined(self, refine, coarsen):
        """Return the blocks (n, 2^d) that become one each."""
        found = [np.empty((0, len(self.halves)), dtype=int)]
        for level in self._levels:
            is_first = np.all(self.coords % 2 == 0, axis=1)
            first = np.flatnonzero(coarsen & is_first & (self.level == level))
            families = self.find(level, self.coords[first, None] + self.halves)
            families = families[np.all((families >= 0) & coarsen[families], axis=1)]
            if not len(families):
                continue
            members = families.ravel()
            may = np.ones(len(members), dtype=bool)
            for places in self._neighbours(members, level):
                same = self.find(level, places)
                is_finer = (same < 0) & (self.find(level - 1, places // 2) < 0)
                may &= ~is_finer & ~((same >= 0) & refine[same])
            found.append(families[may.reshape(families.shape).all(axis=1)])
        return np.concatenate(found)


def _together(parts):
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
