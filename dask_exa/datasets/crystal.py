"""A polycrystal under load: stress and strain of every increment, by Fourier homogenisation."""

import dataclasses

import numpy as np
import xarray as xr

from dask_exa._parameters import check_choice
from dask_exa.datasets._crystal_grains import (
    from_mandel,
    random_rotations,
    to_mandel,
    voronoi_grains,
)
from dask_exa.datasets._crystal_parameters import CrystalInjection, CrystalParameters
from dask_exa.datasets._crystal_slip import SlippingCrystal
from dask_exa.datasets._equilibrium import CompatibleStrains, solve, solve_by_descent
from dask_exa.datasets._injection import injections_by_timestep
from dask_exa.datasets._simulation import ON_NAN, Simulation

_DIMS = ("x", "y", "z")
_LONG_NAMES = {"strain": "strain", "stress": "Cauchy stress", "slip": "accumulated plastic slip"}
_MAX_DESCENT = 200


class Crystal(Simulation):
    """Small-strain simulation of a periodic polycrystal, one load increment at a time.

    Grains are Voronoi cells of random orientation, cubic in elasticity and with the slip systems
    of face-centred cubic metals, which yield by a power law and harden. The mean strain is given,
    and goes back and forth; strains are compatible and forces in balance, by conjugate gradients on
    the projected equation (Fourier-Galerkin).

    Parameters
    ----------
    parameters : CrystalParameters, optional
    seed : int, default=0
        Of grains and orientations. The same seed gives the same fields.
    grain : array_like of int, optional
        Which grain every cell belongs to, in place of the Voronoi cells.
    rotations : array_like of shape (n_grains, 3, 3), optional
        Orientations, in place of random ones: columns are the axes of the crystal.
    on_nan : {"raise", "yield"}, default="raise"
        What to do with an increment that is not finite: raise FloatingPointError, or go on with
        frames of NaN.
    inject : CrystalInjection, dict, or sequence of them, optional
        What goes wrong on purpose. Every frame has the attribute ``injected``: the kind, or "".
    workers : int, default=1
        Threads of each Fourier transform.
    **changes
        Fields of `CrystalParameters` to change.

    Attributes
    ----------
    parameters : CrystalParameters
    grain : ndarray of shape `parameters.shape`
    rotations : ndarray of shape (n_grains, 3, 3)
    timestep : int
        Number of increments so far.

    References
    ----------
    Moulinec, Suquet, Comput. Methods Appl. Mech. Eng. 157, 69 (1998).
    Zeman, de Geus, Vondrejc, Peerlings, Geers, Int. J. Num. Methods Eng. 111, 903 (2017).

    Examples
    --------
    >>> from dask_exa.datasets import Crystal
    >>> crystal = Crystal(shape=(7, 7, 7), n_grains=4)
    >>> increment = crystal.advance()
    >>> increment.stress.dims, increment.stress.shape
    (('x', 'y', 'z', 'i', 'j'), (7, 7, 7, 3, 3))
    >>> increment.attrs["imbalance"] <= crystal.parameters.tolerance
    True
    >>> bool(abs(increment.strain[..., 0, 0].mean() - 5e-4) < 1e-15)
    True
    """

    def __init__(
        self,
        parameters=None,
        *,
        seed=0,
        grain=None,
        rotations=None,
        on_nan="raise",
        inject=None,
        workers=1,
        **changes,
    ):
        check_choice("on_nan", on_nan, ON_NAN)
        self.parameters = dataclasses.replace(parameters or CrystalParameters(), **changes)
        self.on_nan, self.timestep = on_nan, 0
        shape, n_grains = self.parameters.shape, self.parameters.n_grains
        self.grain = voronoi_grains(shape, n_grains, seed) if grain is None else np.array(grain)
        if rotations is None:
            rotations = random_rotations(n_grains, seed)
        self.rotations = np.array(rotations, dtype=np.float64)
        self._check_grains()
        self._crystal = self._made_of(self.rotations)
        self._space = CompatibleStrains(shape, workers=workers)
        self._memory = self._crystal.rest()
        self._strain = np.zeros((6, *shape))
        self._change = np.zeros((6, *shape))
        self._injections = injections_by_timestep(inject, CrystalInjection)
        for injection in self._injections.values():
            if injection.is_patch:  # tried now, so that a wrong patch is not found after hours
                self._corrupt(self._tensors(self._strain, self._memory), injection)

    def _check_grains(self):
        n_grains, shape = self.parameters.n_grains, self.parameters.shape
        if self.grain.shape != shape or self.grain.dtype.kind not in "iu":
            raise ValueError(
                f"grain has the shape {self.grain.shape} and the type {self.grain.dtype}; pass "
                f"integers of shape {shape}."
            )
        if self.grain.min() < 0 or self.grain.max() >= n_grains:
            raise ValueError(
                f"grain goes from {self.grain.min()} to {self.grain.max()}; with n_grains="
                f"{n_grains} it must stay between 0 and {n_grains - 1}."
            )
        turns = self.rotations
        if turns.shape != (n_grains, 3, 3) or not np.allclose(
            turns @ np.swapaxes(turns, -1, -2), np.eye(3)
        ):
            raise ValueError(
                f"rotations of shape {turns.shape} must be orthogonal matrices of shape "
                f"({n_grains}, 3, 3)."
            )

    def _made_of(self, rotations):
        return SlippingCrystal(self.parameters.material, self.grain.ravel(), rotations)

    @property
    def time(self):
        """float: time of the last increment, in s."""
        return self.timestep * self.parameters.interval

    @property
    def fields(self):
        """xarray.Dataset: the state as a frame; an injection into the output is not in it."""
        stress = _to_field(self._memory.stress, self.parameters.shape)
        label = {"injected": "", "imbalance": self._space.imbalance(stress)}
        return self._frame(self._tensors(self._strain, self._memory), label)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # told by on_nan instead
    def advance(self):
        """Go on by one load increment.

        Returns
        -------
        xarray.Dataset
            ``strain``, ``stress`` (MPa) on (x, y, z, i, j) and ``slip`` on (x, y, z); coordinates
            ``grain`` on (x, y, z), ``time``, ``timestep``; attributes ``mean_strain`` and
            ``mean_stress`` (nine numbers, i slowest), ``imbalance`` (of the solution),
            ``n_iterations``, ``injected``.

        Raises
        ------
        FloatingPointError
            When the fields are no longer finite and ``on_nan="raise"``. The state is still that
            of the last increment.
        """
        injection = self._injections.get(self.timestep + 1)
        solution, memory = self._faulty_increment(injection)
        if self.on_nan == "raise" and not np.isfinite(solution.stress).all():
            raise FloatingPointError(
                f"stresses are not finite in increment {self.timestep + 1}; the state is that of "
                f"increment {self.timestep}. Lower strain_increment="
                f"{self.parameters.strain_increment}, or pass on_nan='yield'."
            )
        tensors = self._tensors(solution.strain, memory)
        label = {"injected": ""} if injection is None else self._corrupt(tensors, injection)
        work = {"imbalance": solution.imbalance, "n_iterations": solution.n_iterations}
        if injection is not None and injection.is_computed and injection.into == "output":
            solution, memory = self._increment(self._crystal)
        self._keep(solution.strain, memory)
        return self._frame(tensors, {**label, **work})

    def _faulty_increment(self, injection):
        """Return an increment as it is computed when something goes wrong, or nothing."""
        if injection is not None and injection.kind == "unconverged":
            return self._increment(self._crystal, stop_at=injection.share)
        if injection is not None and injection.kind == "orientation":
            turned = self.rotations.copy()
            turned[self._grain_of(injection)] = random_rotations(1, self._seed_of(injection))[0]
            return self._increment(self._made_of(turned))
        return self._increment(self._crystal)

    def _increment(self, crystal, stop_at=None):
        """Return the next solution, and what the cells remember then.

        With `stop_at`, an imbalance, nothing of the last solution is used, and a slow solver stops
        there.
        """
        parameters, shape = self.parameters, self.parameters.shape

        def respond(strain):
            stress, tangent = crystal.respond(_to_cells(strain), self._memory, parameters.interval)
            return _to_field(stress, shape), tangent

        if stop_at is None:
            start, tolerance = self._first_guess(), parameters.tolerance
            limits = {"tolerance": tolerance, "max_iterations": parameters.max_iterations}
            solution = solve(self._space, respond, start, **limits)
        else:
            start = np.broadcast_to(self._mean(1), self._strain.shape)
            limits = {"tolerance": stop_at, "max_iterations": _MAX_DESCENT}
            solution = solve_by_descent(self._space, respond, start, **limits)
        stress = _to_cells(solution.stress)
        return solution, crystal.remember(stress, self._memory, parameters.interval)

    def _first_guess(self):
        """Return the last strain plus its last change, unless the load turns back, for new load."""
        before, now, then = (self._mean(ahead) for ahead in (-1, 0, 1))
        goes_on = self.timestep > 0 and np.vdot(then - now, now - before) > 0
        guess = self._strain + self._change if goes_on else self._strain
        cells = tuple(range(1, guess.ndim))
        return guess + then - np.mean(guess, axis=cells, keepdims=True)

    def _mean(self, ahead):
        """Return the mean strain some increments ahead, to be broadcast over the cells."""
        mean = to_mandel(self.parameters.load(self.timestep + ahead))
        return mean.reshape(6, *(1,) * len(self.parameters.shape))

    def _seed_of(self, injection):
        return injection.seed + injection.timestep

    def _grain_of(self, injection):
        random = np.random.default_rng(self._seed_of(injection))
        return int(random.choice(np.unique(self.grain)))

    def _corrupt(self, tensors, injection):
        """Corrupt the output, if the increment itself is not; return the truth label."""
        if injection.is_patch:
            return injection.apply(tensors, n_dims=len(self.parameters.shape))
        label = {"injected": injection.kind, "injected_field": injection.field}
        if injection.kind == "orientation":
            return {**label, "injected_grain": self._grain_of(injection)}
        if injection.kind == "nonsymmetric":
            stress = tensors["stress"]
            odd = np.random.default_rng(self._seed_of(injection)).normal(size=(3, 3))
            odd -= odd.T
            size = np.linalg.norm(stress, axis=(-1, -2), keepdims=True)
            stress += injection.share * size * odd / np.linalg.norm(odd)
        return label

    def _keep(self, strain, memory):
        self._change = strain - self._strain
        self._strain, self._memory = strain, memory
        self.timestep += 1

    def _tensors(self, strain, memory):
        shape = self.parameters.shape
        return {
            "strain": from_mandel(np.moveaxis(strain, 0, -1)),
            "stress": from_mandel(memory.stress).reshape(*shape, 3, 3),
            "slip": memory.slip.reshape(shape).copy(),
        }

    def _frame(self, tensors, attributes):
        dims = _DIMS[: len(self.parameters.shape)]
        data = {}
        for name, values in tensors.items():
            attrs = {"units": "MPa" if name == "stress" else "", "long_name": _LONG_NAMES[name]}
            own_dims = dims if values.ndim == len(dims) else (*dims, "i", "j")
            data[name] = (own_dims, values, attrs)
        sides = {
            dim: (dim, (np.arange(n) + 0.5) / n, {"units": "box"})
            for dim, n in zip(dims, self.parameters.shape, strict=True)
        }
        cells = tuple(range(len(dims)))
        means = {
            f"mean_{name}": tensors[name].mean(axis=cells).ravel().tolist()
            for name in ("strain", "stress")
        }
        return xr.Dataset(
            data,
            coords={
                **sides,
                "grain": (dims, self.grain),
                "time": ((), self.time, {"units": "s"}),
                "timestep": ((), self.timestep),
            },
            attrs={"model": "crystal", **means, **attributes},
        )


def _to_cells(field):
    """Return a field (6, *shape) as (n_cells, 6)."""
    return np.moveaxis(field, 0, -1).reshape(-1, 6)


def _to_field(cells, shape):
    """Return cells (n_cells, 6) as a field (6, *shape)."""
    return np.moveaxis(cells.reshape(*shape, 6), -1, 0)
