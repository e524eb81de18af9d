"""The self-similar blast wave of Sedov and Taylor, by integrating its two equations inwards."""

from typing import NamedTuple

import numpy as np
from scipy.integrate import solve_ivp


class Blast(NamedTuple):
    """A point explosion in a gas at rest without pressure."""

    xi: np.ndarray
    """Radius relative to that of the shock, increasing."""
    density: np.ndarray
    """Relative to that of the gas at rest."""
    energy: float
    """E t^2 / (rho R^(d+2)), whose inverse gives the radius from the energy."""
    second_moment: float
    """Of the displaced mass, int (rho / rho_0 - 1) r^2 dV / R^(d+2)."""


def sedov(ndim, gamma):
    """Return the solution in 2 (a line) or 3 dimensions (a point).

    With xi = r / R(t), delta = 2 / (d + 2), velocity delta (r / t) V and squared sound speed
    (delta r / t)^2 Z, the energy integral makes Z a function of V alone; continuity and entropy
    give V and the density as functions of ln xi (Landau, Lifshitz, Fluid Mechanics, section 106).
    """

    def sound(v):
        return gamma * (gamma - 1) * (1 - v) * v**2 / (2 * (gamma * v - 1))

    def slope(_, state):
        v, _ = state
        steepness = -1 / (1 - v) + 2 / v - gamma / (gamma * v - 1)
        right = (ndim + 2 - 2 * v - (gamma - 1) * ndim * v) / (v - 1)
        change = right / (steepness + (gamma - 1) / (v - 1))
        return change, -(change + ndim * v) / (v - 1)

    start = 2 / (gamma + 1), np.log((gamma + 1) / (gamma - 1))
    depth = np.linspace(0, -4, 20001)
    found = solve_ivp(slope, (0, -4), start, t_eval=depth, rtol=1e-10, atol=1e-14, method="LSODA")
    v, density = found.y[0][::-1], np.exp(found.y[1][::-1])
    xi = np.exp(found.t[::-1])
    surface = {2: 2 * np.pi, 3: 4 * np.pi}[ndim]
    delta = 2 / (ndim + 2)
    per_mass = 0.5 * v**2 + sound(v) / (gamma * (gamma - 1))
    energy = surface * delta**2 * np.trapezoid(density * per_mass * xi ** (ndim + 1), xi)
    moment = surface * np.trapezoid((density - 1) * xi ** (ndim + 1), xi)
    return Blast(xi, density, float(energy), float(moment))
