"""One block of a step: its arrays, its place in the field, and what several checks need of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import to_host


class Place(NamedTuple):
    """Where a block is. All mappings are by the names of the dimensions that are split."""

    start: Mapping[str, int]
    """First index of the block."""
    stop: Mapping[str, int]
    """Index after its last one."""
    sizes: Mapping[str, int]
    """Length of the dimension in the whole field."""
    spacing: Mapping[str, float]
    """Distance of neighbouring points, of the dimensions that have an even coordinate."""
    coords: Mapping[str, np.ndarray]
    """Coordinates of the block, of the dimensions that have any."""

    def owns(self, dims: tuple[str, ...]) -> bool:
        """Whether a variable on `dims` is measured in this block.

        A variable that lacks a dimension is the same for all blocks along it; the first has it.
        """
        return all(first == 0 for dim, first in self.start.items() if dim not in dims)


class BlockFields:
    """Variables of one block, in float64.

    Parameters
    ----------
    arrays : mapping of str to array
        The dimensions that are split come first, components of a tensor last.
    dims : mapping of str to tuple of str
        The dimensions that are split, of every variable.
    place : Place
    clock : Clock
        Numbers of the step.
    carried : mapping of tuple of str to ndarray, optional
        What checks have kept of the step before, by the names of their quantities.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        dims: Mapping[str, tuple[str, ...]],
        place: Place,
        clock: Any,
        carried: Mapping[tuple[str, ...], np.ndarray] | None = None,
    ) -> None:
        self._arrays, self.dims, self.place, self.clock = arrays, dims, place, clock
        self.carried = carried or {}
        self._fields: dict[str, np.ndarray] = {}
        self._carry: dict[tuple[str, ...], np.ndarray] = {}
        self._finite: dict[str, bool] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a variable; not to be written to."""
        if name not in self._fields:
            values = to_host(self._arrays[name])
            self._fields[name] = np.ascontiguousarray(values, dtype=np.float64)
        return self._fields[name]

    def carry(self, check: Any) -> np.ndarray:
        """Return what a check keeps for the next step, computed once."""
        if check.names not in self._carry:
            self._carry[check.names] = check.carry(self)
        return self._carry[check.names]

    def finite(self, name: str) -> bool:
        """Whether all of a variable is finite."""
        if name not in self._finite:
            with np.errstate(over="ignore", invalid="ignore"):
                squares = np.vdot(self[name], self[name])  # one bad value shows in it
            self._finite[name] = bool(np.isfinite(squares) or np.isfinite(self[name]).all())
        return self._finite[name]

    def spacing(self, name: str) -> list[float]:
        """Return the distance of neighbours along each dimension of a variable, 1 if unknown."""
        return [self.place.spacing.get(dim, 1.0) for dim in self.dims[name]]

    def volume(self, name: str) -> np.ndarray | float:
        """Return the volume of a cell, to be broadcast over a variable, up to a common factor.

        Cells of an octree have 2^-(d level), those of cylindrical coordinates r; others are equal.
        """
        dims = self.dims[name]
        if "level" in self._arrays and self.dims["level"] == dims:
            n_dims = 3 if "rho_vz" in self._arrays else 2
            return 2.0 ** (-n_dims * self["level"])
        if "r" in dims and "r" in self.place.coords:
            shape = [-1 if dim == "r" else 1 for dim in dims]
            return np.abs(self.place.coords["r"]).reshape(shape)
        return 1.0

    def integral(self, name: str, values: np.ndarray) -> float:
        """Return the integral over the block of values that lie where a variable does."""
        weighted = values * self.volume(name)
        return math.fsum(np.sum(weighted, axis=tuple(range(1, weighted.ndim))).ravel())
