"""Stress and strain: sign of volumes, balance of moments, balance of forces, compatibility."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import Check, Evidence, Failure, log_quotient, quotient, stack

_UNIFORM = 1e-7
"""Amplitude of waves relative to the field, below which they are rounding."""
_UNLOADED = 1e-9
"""Root mean square of F - 1, below which stresses are nothing but rounding."""


@dataclass(frozen=True)
class Determinant(Check):
    """The deformation gradient turns no volume inside out: det F > 0.

    Parameters
    ----------
    variable : str, default="F"
    """

    variable: str = "F"
    quantities = ("smallest determinant", "largest determinant")
    n_features = 2
    operations = ("min", "max")

    def measure(self, block: BlockFields) -> Any:
        """Return the smallest and the largest determinant."""
        determinants = np.linalg.det(block[self.variable])
        return np.min(determinants), np.max(determinants)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail in every block with a volume that is not positive."""
        smallest = evidence.blocks[:, 0]
        return [
            self.failure(
                0,
                1.0 - smallest[i],
                f"det {self.variable} falls to {smallest[i]:.3g}; it must be above 0.",
                int(i),
            )
            for i in np.flatnonzero(smallest <= 0)
        ]


@dataclass(frozen=True)
class Symmetry(Check):
    """The Kirchhoff stress P F^T is symmetric: balance of angular momentum.

    Parameters
    ----------
    stress, gradient : str
        First Piola-Kirchhoff stress P and deformation gradient F. Without a gradient, "", the
        stress itself is symmetric, as it is at small strain.
    limit : float, default=1e-3
        Norm of the antisymmetric part, relative to that of the stress.
    """

    stress: str = "P"
    gradient: str = "F"
    limit: float = 1e-3
    quantities = ("log asymmetry", "asymmetry")
    n_features = 1
    operations = ("sum", "sum")

    @property
    def variables(self) -> tuple[str, ...]:
        """Stress and deformation gradient."""
        return tuple(name for name in (self.stress, self.gradient) if name)

    def measure(self, block: BlockFields) -> Any:
        """Return squared norms of the antisymmetric part and of the stress."""
        kirchhoff = block[self.stress]
        if self.gradient:
            kirchhoff = kirchhoff @ np.swapaxes(block[self.gradient], -1, -2)
        odd = (kirchhoff - np.swapaxes(kirchhoff, -1, -2)) / 2.0
        return np.vdot(odd, odd), np.vdot(kirchhoff, kirchhoff)

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the relative norm, and its logarithm."""
        share = np.sqrt(quotient(measures[..., 0], measures[..., 1]))
        return stack(np.log(np.fmax(share, 1e-16)) + 0.0 * share, share)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where the whole field is too asymmetric."""
        share = evidence.now[1]
        if not share > self.limit:
            return []
        about = f"{self.stress} {self.gradient}^T" if self.gradient else self.stress
        reason = (
            f"{about} is not symmetric: its antisymmetric part is "
            f"{share:.3g} of it, more than {self.limit:.3g}."
        )
        return [self.failure(0, share / self.limit, reason)]


@dataclass(frozen=True)
class WaveBalance(Check):
    """A tensor field balances in its longest waves: a divergence or a curl vanishes.

    The weak form of the balance, with the waves of one period a side as test functions. Their
    Fourier coefficients are sums over the domain: every block adds its own, and nothing but the
    coefficients leaves it. A solver that has converged balances every wave of a periodic field.

    Parameters
    ----------
    variable : str
    operator : {"div", "curl"}
        "div": d_j P_ij, the balance of forces; "curl": d_k F_il - d_l F_ik, without which there
        is no displacement.
    gradient : str, optional
        The deformation gradient: where it is 1, there is no load and nothing to balance.
    limit : float, default=0.01
        Norm of what is left over, relative to |k| times that of the field. Solvers stop at
        1e-3 to 1e-7.
    """

    variable: str = "P"
    operator: str = "div"
    gradient: str = ""
    limit: float = 0.01
    n_features = 1
    is_whole = True

    @property
    def variables(self) -> tuple[str, ...]:
        """The field, and the deformation gradient if there is one."""
        return tuple(dict.fromkeys(name for name in (self.variable, self.gradient) if name))

    @property
    def quantities(self) -> tuple[str, ...]:  # type: ignore[override]
        """The relative norm, its logarithm, and whether there is a load."""
        return f"log relative {self.operator}", f"relative {self.operator}", "load"

    @property
    def operations(self) -> tuple[str, ...]:  # type: ignore[override]
        """Coefficients are added; lengths are the same in all blocks."""
        return ("max",) * 6 + ("sum",) * (3 + 2 * 13 * 9)

    def measure(self, block: BlockFields) -> Any:
        """Return periods, points, load, squares, count, and coefficients of thirteen waves."""
        values, dims = block[self.variable], block.dims[self.variable]
        points = [block.place.sizes[dim] for dim in dims]
        steps = [block.place.spacing.get(dim, 0.0) for dim in dims]
        periods = [n * step for n, step in zip(points, steps, strict=True)]
        if not all(periods):
            periods = [0.0] * len(dims)
        waves = values
        for axis, dim in enumerate(dims):
            index = np.arange(block.place.start[dim], block.place.stop[dim])
            phases = np.exp(-2j * np.pi / points[axis] * np.outer([-1, 0, 1], index))
            waves = np.moveaxis(np.tensordot(phases, waves, (1, axis)), 0, axis)
        waves = waves.reshape(27, 9)[14:]  # the other half are their conjugates
        load = 0.0
        if self.gradient:
            strain = block[self.gradient] - np.eye(3)
            load = float(np.vdot(strain, strain))
        sizes = [load, np.vdot(values, values), values.size]
        parts = [waves.real.ravel(), waves.imag.ravel()]
        return np.concatenate([periods, points, sizes, *parts])

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the relative norm, for the period that suits best where none is given."""
        periods, points = measures[..., :3], measures[..., 3:6]
        load, size = (np.sqrt(quotient(measures[..., i], measures[..., 8])) for i in (6, 7))
        real, imaginary = np.split(measures[..., 9:], 2, axis=-1)
        waves = (real + 1j * imaginary).reshape(*measures.shape[:-1], 13, 3, 3)
        given = np.all(periods > 0, axis=-1)
        guesses = [_remainder(waves, length, self.operator) for length in (0 * points + 1, points)]
        stated = _remainder(waves, np.where(given[..., None], periods, 1.0), self.operator)
        share = np.where(given, stated, np.fmin(*guesses))
        height = quotient(np.sqrt(np.sum(np.abs(waves) ** 2, axis=(-1, -2, -3))), measures[..., 8])
        share = np.where(height > _UNIFORM * size, share, np.nan)
        return stack(log_quotient(share + 1e-16, 1.0), share, load)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where the longest waves do not balance."""
        _, share, load = evidence.now
        if not share > self.limit or (self.gradient and load < _UNLOADED):
            return []
        reason = (
            f"{self.operator} {self.variable} does not vanish: its longest waves are off by "
            f"{share:.3g} of what they could be, more than {self.limit:.3g}; the solver has not "
            "converged."
        )
        return [self.failure(0, share / self.limit, reason)]


def _remainder(waves: np.ndarray, periods: np.ndarray, operator: str) -> np.ndarray:
    """Return the norm of a divergence or curl over that of all first derivatives."""
    numbers = np.array(list(itertools.product((-1, 0, 1), repeat=3))[14:], dtype=float)
    k = numbers / periods[..., None, :]
    every = np.sum(np.abs(waves) ** 2, axis=(-1, -2)) * np.sum(k**2, axis=-1)
    along = np.einsum("...wij,...wj->...wi", waves, k)
    left = np.sum(np.abs(along) ** 2, axis=-1)
    left = left if operator == "div" else np.maximum(every - left, 0.0)  # |k x F|^2
    return np.sqrt(quotient(np.sum(left, axis=-1), np.sum(every, axis=-1)))
