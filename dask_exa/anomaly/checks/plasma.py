"""Drift-plane turbulence: the stability of its advection, and growth that nothing drives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import (
    Check,
    Evidence,
    Failure,
    log_quotient,
    missing,
    quotient,
    stack,
)

RK4_LIMIT = 2.0 * math.sqrt(2.0)
"""Where the imaginary axis leaves the stability region of the classical Runge-Kutta method."""


@dataclass(frozen=True)
class Courant(Check):
    """Advection by the electric drift stays within what the time step can follow.

    The number of an explicit pseudo-spectral solver is dt (|v_x| k_x + |v_y| k_y) at the Nyquist
    wavenumbers k = pi / dx, with v = (-d_y phi, d_x phi). A packet of such waves is some cells
    wide: the number is averaged over windows, and the largest average counts.

    Parameters
    ----------
    variable : str, default="potential"
        phi, on two dimensions (y, x) with even coordinates.
    limit : float, default=2.83
        2 sqrt(2) for the classical Runge-Kutta method of fourth order.
    window : int, default=8
        Side of the windows, in cells.
    """

    variable: str = "potential"
    limit: float = RK4_LIMIT
    window: int = 8
    quantities = ("log Courant number", "Courant number")
    n_features = 1
    operations = ("max",)

    def measure(self, block: BlockFields) -> Any:
        """Return the largest window average in the block."""
        potential = block[self.variable]
        if min(potential.shape) < 2:
            return (np.nan,)
        dy, dx = block.spacing(self.variable)
        along_y, along_x = np.gradient(potential, dy, dx)
        rate = np.pi * (np.abs(along_y) / dx + np.abs(along_x) / dy)
        return (block.clock.time_step * _largest_average(rate, self.window),)

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the number, and its logarithm."""
        number = measures[..., 0]
        return stack(log_quotient(number, 1.0), number)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail in the block where the number is largest, if that is too large."""
        number = evidence.now[1]
        if not number > self.limit:
            return []
        reason = (
            f"the time step is too large for the drift in {self.variable}: the Courant number is "
            f"{number:.3g} and the solver is stable up to {self.limit:.3g}."
        )
        worst = int(np.nanargmax(evidence.blocks[:, 1]))
        return [self.failure(0, number / self.limit, reason, worst)]


@dataclass(frozen=True)
class DrivenGrowth(Check):
    """Kinetic energy of the drift grows only where density drives it.

    In the interchange and in the drift-wave model alike, all that feeds the kinetic energy
    <|grad phi|^2> / 2 is the flux <-n d_y phi> or a positive <n phi>; advection conserves it.
    Growth against the sign of both comes from the solver, such as from a parallel coupling that
    is too stiff for the time step.

    Parameters
    ----------
    density, potential : str
    growth : float, default=1.5
        Factor of the kinetic energy from step to step that fails.
    against : float, default=0.5
        Least anticorrelation of density and potential that fails.
    flux : float, default=0.2
        Correlation of density and radial velocity below which there is no drive.
    """

    density: str = "density"
    potential: str = "potential"
    growth: float = 1.5
    against: float = 0.5
    flux: float = 0.2
    quantities = ("correlation", "flux correlation", "kinetic energy growth")
    n_features = 2
    operations = ("sum",) * 9

    @property
    def variables(self) -> tuple[str, ...]:
        """Density and potential."""
        return self.density, self.potential

    def measure(self, block: BlockFields) -> Any:
        """Return the count and sums of n, phi, n^2, phi^2, n phi, v_x^2, n v_x, |v|^2."""
        n, phi = block[self.density], block[self.potential]
        if min(phi.shape) < 2:
            return [np.nan] * 9
        dy, dx = block.spacing(self.potential)
        along_y, along_x = np.gradient(phi, dy, dx)
        sums = [np.vdot(a, b) for a, b in ((n, n), (phi, phi), (n, phi))]
        radial = np.vdot(along_y, along_y)
        kinetic = radial + np.vdot(along_x, along_x)
        flux = -np.vdot(n - np.mean(n), along_y)
        return [n.size, np.sum(n), np.sum(phi), *sums, radial, flux, kinetic]

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the two correlations and the growth of the kinetic energy."""
        count, n, phi, nn, pp, cross, radial, flux, kinetic = np.moveaxis(measures, -1, 0)
        variances = [quotient(a, count) - quotient(b, count) ** 2 for a, b in ((nn, n), (pp, phi))]
        n_spread, phi_spread = (np.sqrt(np.maximum(v, 0.0)) for v in variances)
        covariance = quotient(cross, count) - quotient(n, count) * quotient(phi, count)
        correlation = np.clip(quotient(covariance, n_spread * phi_spread), -1.0, 1.0)
        speed = np.sqrt(quotient(radial, count))
        flux = np.clip(quotient(quotient(flux, count), n_spread * speed), -1.0, 1.0)
        growth = missing(kinetic) if before is None else quotient(kinetic, before[..., 8])
        return stack(correlation, flux, growth)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where the whole field grows against its drive."""
        correlation, flux, growth = evidence.now
        grows = growth > self.growth and correlation < -self.against
        if not (grows and abs(flux) < self.flux):
            return []
        reason = (
            f"the kinetic energy grows by a factor of {growth:.3g} in one step, more than "
            f"{self.growth:.3g}, and nothing drives it: density and potential have the correlation "
            f"{correlation:.3g}, density and radial drift {flux:.2g}."
        )
        return [self.failure(2, growth / self.growth, reason)]


def _largest_average(values: np.ndarray, window: int) -> float:
    """Return the largest mean over windows that lie inside, or over all of a smaller array."""
    sides = [min(window, size) for size in values.shape]
    averages = uniform_filter(values, sides, mode="nearest")
    inside = [
        slice(side // 2, size - (side - 1) // 2)
        for side, size in zip(sides, values.shape, strict=True)
    ]
    return float(np.max(averages[tuple(inside)]))
