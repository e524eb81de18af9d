"""An adaptive mesh in memory: its leaves in Morton order, and their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import xarray as xr

from dask_exa._array import Array, namespace
from dask_exa._parameters import check_count
from dask_exa._samples import is_dask
from dask_exa.inputs.amr import building
from dask_exa.inputs.amr.drawing import AXES, draw_points
from dask_exa.inputs.amr.leaves import Leaves
from dask_exa.kernels import octree as kernels
from dask_exa.kernels.octree import Lattice, Tree


class Octree(Leaves):
    """The leaves of an octree (3D) or quadtree (2D) in Morton order, with fields.

    Made by `from_cells`, `from_patches` or `from_uniform`. A domain is a grid of roots; a leaf of
    level ℓ is a root halved ℓ times along every axis. Neighbours may differ by any number of
    levels. A leaf is one cell, or a block of as many cells as every other leaf (a patch); a
    uniform grid is a tree of a single leaf. The leaves that a node was refined into lie one after
    the other, so that a region is a slice.

    Parameters
    ----------
    lattice : Lattice
    tree : Tree
    origin, root : numpy.ndarray of shape (ndim,)
        Lower corner of the domain and size of a root, in the order x, y, z.
    fields : mapping of str to array of shape (n_leaves, [z,] y, x)
        Cells of the leaves, in the order of `tree`; NumPy or CuPy, float32 or float64.

    Attributes
    ----------
    level : array of shape (n_leaves,), uint8
    fields : dict of str to array

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.inputs.amr import Octree
    >>> centers = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [1.25, 1.25], [1.75, 1.25],
    ...                     [1.25, 1.75], [1.75, 1.75]])
    >>> sizes = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5])
    >>> tree = Octree.from_cells(centers, sizes, {"rho": np.arange(7.0)})
    >>> tree
    <Octree of 7 leaves, levels 1 to 2: rho>
    >>> tree.to_uniform(1)["rho"].values
    array([[0. , 1. ],
           [2. , 4.5]])
    """

    def __init__(
        self,
        lattice: Lattice,
        tree: Tree,
        origin: np.ndarray,
        root: np.ndarray,
        fields: Mapping[str, Array],
    ) -> None:
        super().__init__(lattice, tree, origin, root)
        self.fields = dict(fields)

    @classmethod
    def from_cells(
        cls,
        centers: Array,
        sizes: Array,
        fields: Mapping[str, Array],
        *,
        periodic: bool | Sequence[bool] = False,
    ) -> Self:
        """Build a tree from leaves in any order, without knowing the code that wrote them.

        Parameters
        ----------
        centers : array of shape (n_leaves, ndim)
            In the order x, y, z; two or three dimensions.
        sizes : array of shape (n_leaves,) or (n_leaves, ndim)
            Full widths. Leaves have equal proportions, those of the domain need not be the same.
        fields : mapping of str to array of shape (n_leaves,) or (n_leaves, [z,] y, x)
            Values of cells, or of blocks of cells.
        periodic : bool or sequence of bool, default=False
            Whether what leaves on one side comes back on the other, along x, y, z.

        Raises
        ------
        ValueError
            When leaves overlap, leave gaps in their bounding box, or are off the lattice that
            halving it gives.
        """
        built = building.build(centers, sizes, fields, periodic)
        return cls(built.lattice, built.tree, built.origin, built.root, built.fields)

    @classmethod
    def from_patches(cls, patches: xr.Dataset, *, periodic: Any = None) -> Self:
        """Build a tree from a step of a reader, such as `dask_exa.inputs.dyablo.open_dyablo`.

        Parameters
        ----------
        patches : xarray.Dataset
            Variables on (oct, [z,] y, x), coordinates ``position`` (lower corner) and ``size``
            on (oct, axis). Nothing is copied if patches are in Morton order, as codes write them.
        periodic : bool or sequence of bool, optional
            By default what the data set says in its attribute ``periodic``, else False.
        """
        missing = [name for name in ("position", "size") if name not in patches.coords]
        if missing:
            raise ValueError(
                f"patches have no coordinates {missing}; they have {list(patches.coords)}."
            )
        if periodic is None:
            periodic = [bool(wraps) for wraps in np.atleast_1d(patches.attrs.get("periodic", 0))]
            periodic = periodic[0] if len(periodic) == 1 else periodic
        if any(is_dask(field.data) for field in patches.data_vars.values()):
            patches = patches.compute()
        size = patches["size"].values
        centers = patches["position"].values + 0.5 * size
        fields = {str(name): field.data for name, field in patches.data_vars.items()}
        return cls.from_cells(centers, size, fields, periodic=periodic)

    @classmethod
    def from_uniform(
        cls,
        fields: Mapping[str, Array],
        *,
        origin: Any = 0.0,
        extent: Any = 1.0,
        periodic: bool | Sequence[bool] = False,
    ) -> Self:
        """Take a uniform grid as a tree of one leaf, without a copy.

        Parameters
        ----------
        fields : mapping of str to array of shape ([n_z,] n_y, n_x)
        origin, extent : float or sequence of float
            Lower corner and full width of the domain, along x, y, z.
        """
        xp = namespace(*fields.values())
        shapes = {tuple(field.shape) for field in fields.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) not in (2, 3):
            raise ValueError(f"fields have shapes {sorted(shapes)}; pass one shape, (z, y, x).")
        ndim = len(next(iter(shapes)))
        origin, extent = (np.broadcast_to(np.asarray(v, float), ndim) for v in (origin, extent))
        if not (np.isfinite(origin).all() and (extent > 0).all() and np.isfinite(extent).all()):
            raise ValueError(f"extent={extent.tolist()} and origin must be finite, extent above 0.")
        center = xp.asarray(origin + 0.5 * extent)[None, :]
        blocks = {name: field[None] for name, field in fields.items()}
        return cls.from_cells(center, xp.asarray(extent)[None, :], blocks, periodic=periodic)

    def values(self, name: str, positions: Array) -> Array:
        """Return the values of the cells that points are in, (n,); NaN outside of the domain."""
        xp = namespace(self.level)
        positions = xp.asarray(positions)
        leaf = self.find(positions)
        inside = leaf >= 0
        leaf = xp.where(inside, leaf, 0)
        share = (positions - self.position[leaf]) / self.size[leaf]
        share = xp.where(inside[:, None], share, 0.0)
        cell = leaf
        for n, axis in zip(self.block, range(self.ndim - 1, -1, -1), strict=True):
            at = xp.astype(xp.clip(share[:, axis] * n, 0, n - 1), xp.int64)
            cell = cell * n + at
        found = xp.astype(self._field(name), xp.float64, copy=False).reshape(-1)[cell]
        return xp.where(inside, found, xp.nan)

    def split(self, side: int) -> Octree:
        """Return the same cells as a tree whose leaves are blocks of `side` cells along each axis.

        Parameters
        ----------
        side : int
            1 makes a leaf of every cell. Divides the number of cells of a block by a power of 2.
        """
        check_count("side", side)
        ratio = [n / side for n in self.block]
        times = round(ratio[0])
        if any(r != times for r in ratio) or times & (times - 1):
            raise ValueError(
                f"side={side} must divide the block {self.block} by one power of 2 on all axes."
            )
        xp = namespace(self.level)
        blocks = [side] * self.ndim
        n_sub = times**self.ndim
        sub = xp.asarray([i for n in self.block for i in (n // side, side)])
        sub_codes = kernels.decode(xp.arange(n_sub, dtype=xp.uint64), self.ndim)
        finer = times.bit_length() - 1
        level = xp.repeat(self.level + np.uint8(finer), n_sub)
        depth = self.lattice.depth + finer
        bits = np.uint64(self.ndim * finer)
        steps = xp.astype(self.lattice.depth - xp.astype(self.level, xp.int64), xp.uint64)
        inner = (
            xp.arange(n_sub, dtype=xp.uint64)[None, :] << (steps * np.uint64(self.ndim))[:, None]
        )
        codes = ((self.tree.codes << bits)[:, None] + inner).reshape(-1)
        lattice = building.make_lattice(depth, self.roots, blocks, self._wraps)
        tree = building.check_and_index(lattice, codes, level)
        morton = tuple(sub_codes[:, axis] for axis in range(self.ndim))[::-1]
        odd, even = range(1, 2 * self.ndim, 2), range(2, 2 * self.ndim + 1, 2)
        fields = {}
        for name, field in self.fields.items():
            parts = field.reshape((len(self), *(int(n) for n in sub)))
            parts = parts.transpose((0, *odd, *even))  # (leaf, which block, cell)
            fields[name] = parts[(slice(None), *morton)].reshape((len(codes), *blocks))
        return Octree(lattice, tree, self.origin, self.root, fields)

    def to_patches(self, halo: int = 0) -> xr.Dataset:
        """Return the leaves as patches of equal shape, with level, position and size.

        Parameters
        ----------
        halo : int, default=0
            Cells around each patch, of its own size: means of finer neighbours, copies of coarser
            ones; at an edge of the domain that is not periodic, the outermost cell again.

        Returns
        -------
        xarray.Dataset
            (oct, [z,] y, x) and coordinates ``level`` (oct), ``position`` (lower corner) and
            ``size`` (oct, axis), of the patches without halo. Without halo nothing is copied.
        """
        check_count("halo", halo, least=0)
        xp = namespace(self.level)
        dims = ("oct", *AXES[: self.ndim][::-1])
        data = {}
        for name, field in self.fields.items():
            if halo:
                shape = (len(self), *(n + 2 * halo for n in self.block))
                padded = xp.empty(shape, dtype=field.dtype)
                kernels.fill_halo(self.tree, self.lattice, field, halo, padded)
                field = padded
            data[name] = (dims, field)
        coords = {
            "level": ("oct", self.level),
            "position": (("oct", "axis"), self.position),
            "size": (("oct", "axis"), self.size),
            "axis": list(AXES[: self.ndim]),
        }
        return xr.Dataset(data, coords=coords, attrs={"periodic": list(map(int, self._wraps))})

    def to_uniform(
        self, level: int | None = None, *, names: Sequence[str] | None = None, dtype: Any = None
    ) -> xr.Dataset:
        """Return fields on a uniform grid: copies of coarser cells, means of finer ones.

        The integral over any cell of the grid is that of the tree, to rounding.

        Parameters
        ----------
        level : int, optional
            The grid has the cells of leaves of this level: roots × block × 2**level. By default
            that of the finest leaf.
        names : sequence of str, optional
            Fields; by default all.
        dtype : dtype, optional
            By default that of the field where cells are only copied, else float64.

        Returns
        -------
        xarray.Dataset
            ([z,] y, x), with the centres of cells as coordinates.
        """
        level = self.lattice.depth if level is None else level
        check_count("level", level, least=0)
        xp = namespace(self.level)
        blocks = zip(self.roots[::-1], self.block, strict=True)
        shape = tuple((n_roots * n) << level for n_roots, n in blocks)
        dims = AXES[: self.ndim][::-1]
        data = {}
        for name in self.fields if names is None else names:
            field = self._field(name)
            kept = field.dtype if level >= self.lattice.depth else np.float64
            out = xp.empty(shape, dtype=kept if dtype is None else dtype)
            kernels.paste(self.tree, self.lattice, field, level, out)
            data[name] = (dims, out)
        coords = {}
        for axis, dim in enumerate(AXES[: self.ndim]):
            n = shape[self.ndim - 1 - axis]
            coords[dim] = self.origin[axis] + self.extent[axis] * (np.arange(n) + 0.5) / n
        return xr.Dataset(data, coords=coords)

    def integral(self, name: str) -> float:
        """Return the integral of a field over the domain: the mass, of a density."""
        xp = namespace(self.level)
        field = xp.astype(self._field(name), xp.float64, copy=False)
        return float(self.cell_volume @ xp.sum(field.reshape((len(self), -1)), axis=1))

    def gradient(self, name: str) -> Array:
        """Return the gradient in every cell, (n_leaves, [z,] y, x, ndim); exact if linear."""
        found, _ = kernels.stencils(self.tree, self.lattice, self._field(name), self._cell_root)
        return found.reshape((len(self), *self.block, self.ndim))

    def sample(self, n: int, weights: Any = "mixture", **options: Any) -> xr.Dataset:
        """Draw points, see `dask_exa.inputs.amr.sample`."""
        return draw_points(self, n, weights, **options)

    def volumes(self) -> Array:
        """Return the volume of every cell, (n_cells,), in the order of fields."""
        return namespace(self.level).repeat(self.cell_volume, int(np.prod(self.block)))

    def steepness(self, name: str) -> Array:
        """Return the modulus of the gradient in every cell, (n_cells,); 0 if it is not finite."""
        return kernels.steepness(self.tree, self.lattice, self._field(name), self._cell_root)

    def draw(self, cumulative: Array, n: int, seed: int) -> tuple[Array, Array, Array]:
        """Return drawn cells, places in them and positions, see `draw_points`."""
        cells, places = kernels.draw(cumulative, n, self.ndim, seed)
        origin = namespace(self.level).asarray(self.origin)
        where = (origin, self._cell_root, cells, places)
        return cells, places, kernels.locate_points(self.tree, self.lattice, *where)

    def interpolated(self, name: str, cells: Array, places: Array) -> tuple[Array, Array]:
        """Return values and gradients at places in cells, see `draw_points`."""
        field = self._field(name)
        return kernels.interpolate(self.tree, self.lattice, field, self._cell_root, cells, places)

    def _field(self, name: str) -> Array:
        if name not in self.fields:
            raise ValueError(f"name={name!r} is no field; there are {', '.join(self.fields)}.")
        return self.fields[name]

    def __repr__(self) -> str:
        low, high = int(self.level.min()), int(self.level.max())
        block = "" if max(self.block) == 1 else f" of {'×'.join(map(str, self.block))} cells"
        levels = f"level {low}" if low == high else f"levels {low} to {high}"
        return f"<Octree of {len(self)} leaves{block}, {levels}: {', '.join(self.fields)}>"
