"""A blast wave on a mesh that refines around it: Euler's equations on an octree of blocks."""

import dataclasses

import numpy as np
import xarray as xr

from dask_exa._parameters import check_choice
from dask_exa.datasets import _euler
from dask_exa.datasets._amr_blast_parameters import AmrBlastParameters, BlastInjection
from dask_exa.datasets._block_tree import BlockTree
from dask_exa.datasets._injection import injections_by_timestep
from dask_exa.datasets._simulation import ON_NAN, Simulation

_AXES = ("x", "y", "z")
_GHOSTS = 2
_STEPS_PER_MESH = 2
"""A shock crosses one cell a step at most, and refines a block from its two ghost cells on."""


class AmrBlast(Simulation):
    """Simulation of a point explosion in a gas, on blocks of cells that refine and coarsen.

    A periodic box of gas at rest with all energy in a small ball in its middle. A shock runs
    outward, as Sedov and Taylor found, meets its images at the walls, and leaves turbulence. The
    mesh is a quadtree or octree whose leaves are blocks of equal numbers of cells; blocks with
    steep density or pressure are refined, and neighbours differ by one level at most. Fluxes
    between levels are those of the finer one, so that mass, momentum and energy are conserved to
    rounding.

    A step has what a snapshot of Dyablo has, and in the same form.

    Parameters
    ----------
    parameters : AmrBlastParameters, optional
    on_nan : {"raise", "yield"}, default="raise"
        What to do with a frame that is not finite: raise FloatingPointError, or go on with frames
        of NaN.
    inject : BlastInjection, dict, or sequence of them, optional
        What goes wrong on purpose. Every frame has the attribute ``injected``: the kind, or "".
    seed : int, default=0
        Of the perturbation of the gas, where there is one.
    **changes
        Fields of `AmrBlastParameters` to change.

    Attributes
    ----------
    parameters : AmrBlastParameters
    timestep : int
        Number of the last frame.
    time : float
        Of the last frame.
    iteration : int
        Steps of the solver so far.
    tree : BlockTree
    conserved : ndarray of shape (n_variables, n_blocks, [z,] y, x)

    References
    ----------
    Sedov, *Similarity and Dimensional Methods in Mechanics* (1959).
    Berger, Colella, J. Comput. Phys. 82, 64 (1989).

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.datasets import AmrBlast
    >>> blast = AmrBlast(max_level=4)
    >>> for step in blast.run(2):
    ...     print(int(step.timestep), step.rho.dims, step.rho.shape, np.unique(step.level))
    1 ('oct', 'y', 'x') (40, 8, 8) [2 3 4]
    2 ('oct', 'y', 'x') (40, 8, 8) [2 3 4]
    """

    def __init__(self, parameters=None, *, on_nan="raise", inject=None, seed=0, **changes):
        check_choice("on_nan", on_nan, ON_NAN)
        self.parameters = dataclasses.replace(parameters or AmrBlastParameters(), **changes)
        self.on_nan, self.seed = on_nan, seed
        self.timestep, self.iteration, self.time, self._dt = 0, 0, 0.0, np.nan
        self._injections = injections_by_timestep(inject, BlastInjection)
        self._courant, self._fault = self.parameters.courant, ""
        self.tree = self._initial_tree()
        self.conserved = self._initial_state()
        self._plan_mesh()
        for injection in self._injections.values():
            if injection.is_patch:  # tried now, so that a wrong field is not found after hours
                injection.apply(self._arrays(self.conserved.copy()))

    @property
    def names(self):
        """Names of the variables."""
        momenta = (f"rho_v{axis}" for axis in _AXES[: self.parameters.ndim])
        return ("rho", *momenta, "e_tot")

    def _initial_tree(self):
        """Return a tree that is as fine as can be where the energy is."""
        parameters = self.parameters
        limits = (parameters.block, parameters.max_level)
        tree = BlockTree.uniform(parameters.min_level, parameters.ndim, *limits)
        for _ in range(parameters.max_level - parameters.min_level):
            side = 1.0 / (1 << tree.level)[:, None]
            nearest = np.clip(0.5, tree.coords * side, (tree.coords + 1) * side)
            near = np.linalg.norm(nearest - 0.5, axis=1) < 2 * parameters.radius
            tree, _ = tree.adapt(near, np.zeros_like(near), parameters.min_level)
        return tree

    def _initial_state(self):
        parameters, ndim = self.parameters, self.parameters.ndim
        size = self.tree.cell_size.reshape(-1, *(1,) * ndim)
        cells = np.indices((parameters.block,) * ndim)[:, None] + 0.5
        corners = self.tree.coords.T.reshape(ndim, -1, *(1,) * ndim) * parameters.block
        positions = (corners + cells) * size
        hot = np.sum((positions - 0.5) ** 2, axis=0) < parameters.radius**2
        volume = np.sum(hot * size**ndim)
        primitive = np.zeros((ndim + 2, *hot.shape))
        primitive[0] = parameters.density * self._lumps(positions)
        energy = parameters.energy / volume
        primitive[-1] = parameters.pressure + np.where(hot, (parameters.gamma - 1.0) * energy, 0.0)
        return _euler.to_conserved(primitive, parameters.gamma)

    def _lumps(self, positions):
        """Return a density of mean one with a few long waves of random phase."""
        if not self.parameters.lumps:
            return 1.0
        random = np.random.default_rng(self.seed)
        waves = random.integers(-3, 4, size=(8, self.parameters.ndim))
        phases = random.uniform(0, 2 * np.pi, size=8)
        angles = 2 * np.pi * np.tensordot(waves, positions, 1)
        total = np.sum(np.cos(angles + phases.reshape(8, *(1,) * (angles.ndim - 1))), axis=0)
        return np.exp(self.parameters.lumps * total / 2.0)

    @property
    def fields(self):
        """xarray.Dataset: the state as a frame; an injection into the output is not in it."""
        return self._frame(self.conserved.copy(), {"injected": self._fault})

    @np.errstate(all="ignore")  # told by on_nan instead
    def advance(self):
        """Go on by ``steps_per_frame`` steps of the solver.

        Returns
        -------
        xarray.Dataset
            ``rho``, momenta ``rho_vx``, …, and ``e_tot`` on (oct, [z,] y, x). Coordinates of
            octs: ``level``, ``position`` (lower corner) and ``size`` on (oct, axis). Scalars:
            ``time``, ``timestep``, ``dt`` (of the last step of the solver), ``iteration``.

        Raises
        ------
        FloatingPointError
            When the fields are no longer finite and ``on_nan="raise"``. The state is still that
            of the last frame.
        """
        before = dict(self.__dict__)
        injection = self._injections.get(self.timestep + 1)
        if injection is not None and injection.kind == "courant":
            self._courant, self._fault = injection.factor, "courant"
        for _ in range(self.parameters.steps_per_frame):
            self._step()
            if not np.isfinite(self.conserved).all():
                break
            if self.iteration % _STEPS_PER_MESH == 0:
                self._adapt()
        self.timestep += 1
        if self.on_nan == "raise" and not np.isfinite(self.conserved).all():
            frame, time, courant = self.timestep, self.time, self._courant
            self.__dict__.update(before)
            raise FloatingPointError(
                f"fields are not finite in frame {frame}, after time {time:.6g}; the state is that "
                f"of frame {self.timestep}. Lower courant={courant}, or pass on_nan='yield'."
            )
        output, label = self.conserved.copy(), {"injected": self._fault}
        if injection is not None and injection.is_patch:
            label = injection.apply(self._arrays(output))
            if injection.into == "state":
                self.conserved = self._with_floor(output)
        return self._frame(output, label)

    def _step(self):
        """Take one step of the solver."""
        parameters, ndim = self.parameters, self.parameters.ndim
        size = self.tree.cell_size
        primitive = _euler.to_primitive(self.conserved, parameters.gamma)
        rate = _euler.crossing_rate(primitive, size, parameters.gamma)
        if not np.isfinite(rate):
            self.conserved = np.full_like(self.conserved, np.nan)
            return
        self._dt = self._courant / rate
        padded = self._padded(self.conserved)
        ratio = self._dt / size
        fluxes = _euler.face_fluxes(padded, ratio, parameters.gamma, parameters.floor)
        for axis, flux in enumerate(fluxes):
            coarse, fine = self._coarse_faces[axis]
            flat = flux.reshape(len(flux), -1)
            flat[:, coarse] = np.mean(flat[:, fine], axis=-1)
            change = np.diff(flux, axis=axis - ndim)
            self.conserved = self.conserved - ratio.reshape(-1, *(1,) * ndim) * change
        self.conserved = self._with_floor(self.conserved)
        self.time += self._dt
        self.iteration += 1

    def _with_floor(self, conserved):
        """Return fields with positive density and pressure; themselves where they have both."""
        primitive = _euler.to_primitive(conserved, self.parameters.gamma)
        floored = _euler.with_floor(primitive, self.parameters.floor)
        if floored is primitive:
            return conserved
        return _euler.to_conserved(floored, self.parameters.gamma)

    def _padded(self, fields):
        """Return blocks with ghost cells."""
        ndim, n = self.parameters.ndim, self.parameters.block
        width = ((0, 0), (0, 0), *((_GHOSTS, _GHOSTS),) * ndim)
        padded = np.pad(fields, width)
        flat = padded.reshape(len(padded), -1)
        target, source = self._ghosts.copied
        flat[:, target] = flat[:, source]
        target, source = self._ghosts.averaged
        flat[:, target] = np.mean(flat[:, source], axis=-1)
        strides = [(n + 2 * _GHOSTS) ** (ndim - 1 - axis) for axis in range(ndim)]
        for target, source, side in self._ghosts.interpolated:
            middle = flat[:, source]
            value = middle.copy()
            for axis, stride in enumerate(strides):
                below, above = middle - flat[:, source - stride], flat[:, source + stride] - middle
                value += 0.25 * side[:, axis] * _euler.minmod(below, above)
            flat[:, target] = value
        return padded

    def _plan_mesh(self):
        self._ghosts = self.tree.ghosts(_GHOSTS)
        self._coarse_faces = [self.tree.coarse_faces(axis) for axis in range(self.tree.ndim)]

    def _adapt(self):
        """Refine where density or pressure is steep, and coarsen where neither is."""
        parameters, ndim = self.parameters, self.parameters.ndim
        padded = self._padded(self.conserved)
        primitive = _euler.to_primitive(padded, parameters.gamma)[[0, -1]]
        typical = self._means(primitive[(..., *(slice(_GHOSTS, -_GHOSTS),) * ndim)])
        steepness = np.zeros(len(self.tree))
        for axis in range(-ndim, 0):
            low, high = [slice(None)] * (ndim + 2), [slice(None)] * (ndim + 2)
            low[axis], high[axis] = slice(None, -2), slice(2, None)
            below, above = primitive[tuple(low)], primitive[tuple(high)]
            contrast = np.abs(above - below) / (above + below + typical)
            steepness = np.maximum(steepness, np.max(contrast, axis=(0, *range(2, ndim + 2))))
        steep = steepness > parameters.refine_above
        # a larger block would see what is steep in the one beside it, and be split again
        smooth = (steepness < parameters.coarsen_below) & ~self.tree.beside(steep)
        tree, transfer = self.tree.adapt(steep, smooth, parameters.min_level)
        if np.array_equal(tree.level, self.tree.level):
            return
        self.conserved = self._transferred(padded, len(tree), transfer)
        self.tree = tree
        self._plan_mesh()

    def _means(self, fields):
        """Return the means over the box, to be broadcast over padded blocks."""
        volume = self.tree.cell_size**self.parameters.ndim
        sums = np.sum(fields, axis=tuple(range(2, fields.ndim))) @ volume
        return sums.reshape(-1, *(1,) * (fields.ndim - 1))

    def _transferred(self, padded, n_blocks, transfer):
        """Return the fields on a new tree, with the same integrals."""
        ndim, n = self.parameters.ndim, self.parameters.block
        new = np.empty((len(padded), n_blocks, *(n,) * ndim))
        target, source = transfer.kept
        new[:, target] = self.conserved[:, source]
        target, source, halves = transfer.split
        for half in self.tree.halves:
            here = np.all(halves == half, axis=1)
            new[:, target[here]] = self._child(padded[:, source[here]], half)
        target, source = transfer.joined
        for half, numbers in zip(self.tree.halves, source.T, strict=True):
            part = tuple(slice(h * n // 2, (h + 1) * n // 2) for h in half)
            parts = self.conserved[:, numbers].reshape(
                len(padded), len(numbers), *(n // 2, 2) * ndim
            )
            new[(slice(None), target, *part)] = parts.mean(axis=tuple(range(3, 2 * ndim + 2, 2)))
        return new

    def _child(self, padded, half):
        """Return one of the children of padded blocks, by limited linear interpolation."""
        ndim, n = self.parameters.ndim, self.parameters.block
        part = tuple(slice(h * n // 2, (h + 1) * n // 2) for h in half)
        inner = (slice(None), slice(None), *(slice(1, -1),) * ndim)
        values = padded[inner][inner][(..., *part)]
        for axis in range(ndim):
            values = np.repeat(values, 2, axis=axis + 2)
        for axis in range(ndim):
            slope = _euler.limited_slopes(padded, axis - ndim)[inner][(..., *part)]
            for other in range(ndim):
                slope = np.repeat(slope, 2, axis=other + 2)
            side = np.tile([-0.25, 0.25], n // 2)
            values = values + slope * side.reshape([n if a == axis else 1 for a in range(ndim)])
        return values

    def _arrays(self, conserved):
        return dict(zip(self.names, conserved, strict=True))

    def _frame(self, conserved, label):
        tree, ndim = self.tree, self.parameters.ndim
        size = (1.0 / (1 << tree.level))[:, None] * np.ones(ndim)
        dims = ("oct", *_AXES[:ndim][::-1])
        return xr.Dataset(
            {name: (dims, values) for name, values in self._arrays(conserved).items()},
            coords={
                "level": ("oct", tree.level.astype(np.uint8)),
                "position": (("oct", "axis"), tree.coords[:, ::-1] * size),
                "size": (("oct", "axis"), size),
                "axis": list(_AXES[:ndim]),
                "time": self.time,
                "timestep": self.timestep,
                "iteration": self.iteration,
                "dt": ((), self._dt, {"long_name": "time step of the solver"}),
            },
            attrs={"model": "amr-blast", "periodic": [1] * ndim, **label},
        )
