"""The mesh of a distribution function: which dimensions are velocities, and volumes of cells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import xarray as xr

_VELOCITY = re.compile(r"v(_?[xyz]|_?par(a|allel)?|_?perp)?|mu")
_RADIUS = "r"
MAGNETIC_MOMENT = "mu"


@dataclass(frozen=True)
class PhaseSpace:
    """Mesh of a distribution function.

    `PhaseSpace.of` makes one from the names and the coordinates of a function.

    Parameters
    ----------
    space, velocity : tuple of str
        Dimensions of position and of velocity.
    points : mapping of str to ndarray
        Coordinate of every point along each dimension.
    weights : mapping of str to ndarray
        Volume that belongs to every point along each dimension: what integrals are sums with.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from dask_exa.inputs.velocity_space import PhaseSpace
    >>> mesh = {"x": np.arange(4) * 0.5, "vpar": np.linspace(-2, 2, 5), "mu": [0.0, 1.0]}
    >>> space = PhaseSpace.of(xr.DataArray(np.ones((4, 5, 2)), mesh, ("x", "vpar", "mu")))
    >>> space.space, space.velocity, space.components
    (('x',), ('vpar', 'mu'), ('vpar',))
    >>> space.weights["vpar"].tolist()
    [0.5, 1.0, 1.0, 1.0, 0.5]
    """

    space: tuple[str, ...]
    velocity: tuple[str, ...]
    points: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        f: xr.DataArray,
        velocity: Sequence[str] | None = None,
        weights: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """Return the mesh of a distribution function.

        Parameters
        ----------
        f : xarray.DataArray
            Without dimensions that count samples. Where a dimension has no coordinate, its points
            are one apart, velocities about zero.
        velocity : sequence of str, optional
            Dimensions of velocity, among them ``mu``, the magnetic moment. Default: those called
            v, vx, vy, vz, vpar, v_parallel, vperp and the like, and mu.
        weights : mapping of str to array_like, optional
            Quadrature weights, with the Jacobian if there is one. Default: the trapezoidal rule
            along velocities and along uneven positions; even positions count equally, as in a
            periodic box; times the radius along ``r``.

        Raises
        ------
        ValueError
            When no dimension is a velocity, or weights do not fit.
        """
        dims = [str(dim) for dim in f.dims]
        chosen = velocity_dims(dims) if velocity is None else list(velocity)
        unknown = [dim for dim in [*chosen, *weights] if dim not in dims]
        if unknown or not chosen:
            raise ValueError(
                f"velocity={chosen} and weights={list(weights)} must name dimensions of f, one "
                f"velocity or more; f has {dims}."
            )
        empty = [dim for dim in dims if not f.sizes[dim]]
        if empty:
            raise ValueError(f"f has no points along {empty}; leave such parts out.")
        points = {dim: _points(f, dim, dim in chosen) for dim in dims}
        default = {dim: _weights(points[dim], dim, dim in chosen) for dim in dims}
        given = {dim: np.asarray(values, dtype=np.float64) for dim, values in weights.items()}
        space = tuple(dim for dim in dims if dim not in chosen)
        _check_weights(points, {**default, **given})
        return cls(space, tuple(d for d in dims if d in chosen), points, {**default, **given})

    @property
    def dims(self) -> tuple[str, ...]:
        """All dimensions, those of velocity last."""
        return (*self.space, *self.velocity)

    @property
    def components(self) -> tuple[str, ...]:
        """Dimensions of velocity that are components of it: all but mu."""
        return tuple(dim for dim in self.velocity if dim != MAGNETIC_MOMENT)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of points along each dimension."""
        return {dim: len(self.points[dim]) for dim in self.dims}

    def part(self, start: Mapping[str, int], sizes: Mapping[str, int]) -> PhaseSpace:
        """Return the mesh of a slab.

        Parameters
        ----------
        start : mapping of str to int
            First index of the slab along the dimensions that are split.
        sizes : mapping of str to int
            Its number of points along every dimension.

        Raises
        ------
        ValueError
            When the slab does not lie in the mesh.
        """
        parts = {dim: slice(start.get(dim, 0), start.get(dim, 0) + sizes[dim]) for dim in self.dims}
        for dim, part in parts.items():
            if part.start < 0 or part.stop > self.sizes[dim]:
                raise ValueError(
                    f"f has points {part.start} to {part.stop} along {dim!r}, of a mesh of "
                    f"{self.sizes[dim]}; pass the mesh of the whole, and start= of this part."
                )
        points, weights = (
            {dim: given[dim][parts[dim]] for dim in self.dims}
            for given in (self.points, self.weights)
        )
        return PhaseSpace(self.space, self.velocity, points, weights)

    def volumes(self, dims: Sequence[str]) -> np.ndarray:
        """Return the product of the weights along some dimensions, flat in C order."""
        product = np.ones(1)
        for dim in dims:
            product = np.multiply.outer(product, self.weights[dim]).ravel()
        return product

    def velocities(self) -> np.ndarray:
        """Return every component of the velocity at all points of velocity space.

        Returns
        -------
        ndarray of shape (n_components, n_velocities)
        """
        axes = [self.points[dim] for dim in self.velocity]
        meshed = dict(zip(self.velocity, np.meshgrid(*axes, indexing="ij"), strict=True))
        if not self.components:
            return np.empty((0, math.prod(map(len, axes))))
        return np.stack([meshed[dim].ravel() for dim in self.components])


def velocity_dims(dims: Iterable[str]) -> list[str]:
    """Return the dimensions that are velocities by their names, or the magnetic moment.

    Examples
    --------
    >>> from dask_exa.inputs.velocity_space.mesh import velocity_dims
    >>> velocity_dims(["species", "tor1", "vpar", "mu", "vx", "v_perp", "volume"])
    ['vpar', 'mu', 'vx', 'v_perp']
    """
    return [dim for dim in dims if _VELOCITY.fullmatch(dim)]


def _check_weights(points: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> None:
    for dim, values in weights.items():
        if values.shape != points[dim].shape:
            raise ValueError(
                f"weights of {dim!r} have the shape {values.shape}, its points "
                f"{points[dim].shape}; pass one weight a point."
            )
        if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
            raise ValueError(f"weights of {dim!r} must be finite, not negative, and not all zero.")


def _points(f: xr.DataArray, dim: str, is_velocity: bool) -> np.ndarray:
    if dim in f.coords and f[dim].dtype.kind in "fiu":
        points = np.asarray(f[dim].values, dtype=np.float64)
        if not np.isfinite(points).all():
            raise ValueError(f"the coordinate {dim!r} has values that are not finite.")
        return points
    index = np.arange(f.sizes[dim], dtype=np.float64)
    return index - index.mean() if is_velocity and dim != MAGNETIC_MOMENT else index


def _weights(points: np.ndarray, dim: str, is_velocity: bool) -> np.ndarray:
    if len(points) == 1:
        return np.ones(1)
    steps = np.abs(np.diff(points))
    is_even = np.allclose(steps, steps.mean(), rtol=1e-6, atol=0.0)
    if is_even and not is_velocity:
        weights = np.full(len(points), steps.mean())
    else:
        weights = np.zeros(len(points))
        weights[:-1] += steps / 2
        weights[1:] += steps / 2
    return weights * np.abs(points) if dim == _RADIUS and not is_velocity else weights
