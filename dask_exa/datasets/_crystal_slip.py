"""How a crystal answers to a strain: cubic elasticity, and slip by a power law that hardens."""

from typing import NamedTuple

import numpy as np

from dask_exa.datasets._crystal_grains import cubic_stiffness, fcc_slip_systems

_MAX_ITERATIONS = 80
_TOLERANCE = 1e-13
"""Of the strain, which is 1e-5 to 1e-2."""
_GROWTH = 1.1
"""How far an iteration may go beyond the resistance: a factor 7 of the rate, for exponent 20."""


class Material(NamedTuple):
    """What a crystal is made of."""

    stiffness: object
    """C11, C12, C44 in MPa: (3,), or (n_grains, 3)."""
    resistance: float
    """Initial slip resistance, in MPa; infinite for an elastic crystal."""
    saturation: float
    """Slip resistance in the end, in MPa."""
    hardening: float
    """Initial growth of the resistance with accumulated slip, in MPa."""
    reference_rate: float
    """Slip rate where the shear stress is the resistance, in 1/s."""
    rate_exponent: float


class CrystalMemory(NamedTuple):
    """What a cell remembers from one increment to the next."""

    stress: np.ndarray
    """(n_cells, 6), in MPa."""
    plastic_strain: np.ndarray
    """(n_cells, 6)."""
    resistance: np.ndarray
    """(n_cells,), in MPa; the same for all systems of a cell."""
    slip: np.ndarray
    """(n_cells,): accumulated over all systems."""


class SlippingCrystal:
    """Single crystals at every cell, integrated by the implicit Euler method.

    The slip rate of system a is ``reference_rate |tau_a / g|^n sign(tau_a)`` with the resolved
    shear stress tau_a and the resistance g, which grows by
    ``hardening (1 - g / saturation) sum_a |slip rate|``. The resistance within an increment is
    that at its start.

    Parameters
    ----------
    material : Material
    grain : ndarray of shape (n_cells,), int
    rotations : ndarray of shape (n_grains, 3, 3)

    References
    ----------
    Peirce, Asaro, Needleman, Acta Metall. 31, 1951 (1983).
    """

    def __init__(self, material, grain, rotations):
        self.material = material
        stiffness = cubic_stiffness(material.stiffness, rotations)
        self.stiffness = stiffness[grain]
        self._compliance = np.linalg.inv(stiffness)[grain]
        self._systems = fcc_slip_systems(rotations)[grain]

    @property
    def is_elastic(self):
        """Whether nothing ever slips."""
        return np.isinf(self.material.resistance)

    def rest(self):
        """Return the memory of cells that have never been loaded."""
        n_cells = len(self.stiffness)
        zeros = np.zeros((n_cells, 6))
        resistance = np.full(n_cells, self.material.resistance)
        return CrystalMemory(zeros, zeros.copy(), resistance, np.zeros(n_cells))

    def respond(self, strain, memory, interval):
        """Return stress and tangent after a time, in which the strain becomes a given one.

        Parameters
        ----------
        strain : ndarray of shape (n_cells, 6)
            At the end.
        memory : CrystalMemory
            At the start.
        interval : float
            In s.

        Returns
        -------
        stress : ndarray of shape (n_cells, 6)
        tangent : ndarray of shape (n_cells, 6, 6)
            Derivative of the stress by the strain: symmetric and positive definite, as the stress
            minimises a convex energy. Both are NaN where that is too large to be computed.
        """
        if self.is_elastic:
            return _apply(self.stiffness, strain - memory.plastic_strain), self.stiffness
        stress = memory.stress
        systems = self._systems
        for _ in range(_MAX_ITERATIONS):
            load = _apply(systems, stress) / memory.resistance[:, None]
            rate, slope = self._slip_rate(load)
            slope /= memory.resistance[:, None]
            excess = _apply(self._compliance, stress) + memory.plastic_strain - strain
            excess += interval * _apply(np.swapaxes(systems, 1, 2), rate)
            softness = self._compliance + interval * (
                np.swapaxes(systems, 1, 2) @ (slope[..., None] * systems)
            )
            try:
                tangent = np.linalg.inv(softness)
            except np.linalg.LinAlgError:  # rates beyond what numbers can hold
                return np.full_like(stress, np.nan), np.full_like(softness, np.nan)
            if not np.max(np.abs(excess)) > _TOLERANCE:
                break
            change = -_apply(tangent, excess)
            change_of_load = _apply(systems, change) / memory.resistance[:, None]
            stress = stress + _damping(load, change_of_load)[:, None] * change
        return stress, tangent

    def remember(self, stress, memory, interval):
        """Return the memory at the end of an increment in which the stress became a given one."""
        if self.is_elastic:
            return memory._replace(stress=stress)
        rate, _ = self._slip_rate(_apply(self._systems, stress) / memory.resistance[:, None])
        slipped = interval * np.sum(np.abs(rate), axis=1)
        room = 1.0 - memory.resistance / self.material.saturation
        plastic = interval * _apply(np.swapaxes(self._systems, 1, 2), rate)
        return CrystalMemory(
            stress,
            memory.plastic_strain + plastic,
            memory.resistance + self.material.hardening * room * slipped,
            memory.slip + slipped,
        )

    def _slip_rate(self, load):
        """Return slip rates and their derivatives by the load, the stress by the resistance."""
        n, reference = self.material.rate_exponent, self.material.reference_rate
        slope = reference * np.abs(load) ** (n - 1.0)
        return slope * load, n * slope


def _apply(matrices, vectors):
    return (matrices @ vectors[..., None])[..., 0]


def _damping(load, change):
    """Return the share of a change that takes no system far beyond its resistance."""
    cap = _GROWTH * np.maximum(1.0, np.max(np.abs(load), axis=1, keepdims=True))
    room = cap - np.sign(change) * load
    share = room / np.maximum(np.abs(change), 1e-300)
    return np.minimum(1.0, np.min(share, axis=1))
