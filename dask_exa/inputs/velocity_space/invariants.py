"""What a collisionless plasma must keep, or must not let grow: sums that add over parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class Invariants(NamedTuple):
    """Sums over a part of phase space, or all of it.

    `merge` gives those of parts taken together, in any order.

    Parameters
    ----------
    particles : float
        Integral of f.
    absolute : float
        Integral of the absolute value of f: its L1 norm.
    squares : float
        Integral of f squared.
    kinetic_energy : float
        Integral of f v^2 / 2, over the components of the velocity.
    largest, smallest : float

    Examples
    --------
    >>> from dask_exa.inputs.velocity_space import Invariants
    >>> here = Invariants(3.0, 5.0, 8.0, 1.0, 2.0, -0.5)
    >>> both = Invariants.merge([here, Invariants(1.0, 1.0, 1.0, 0.5, 0.7, 0.1)])
    >>> both.particles, both.l2_norm, float(both.negative_share), both.largest
    (4.0, 3.0, 0.25, 2.0)
    """

    particles: Any
    absolute: Any
    squares: Any
    kinetic_energy: Any
    largest: Any
    smallest: Any

    @property
    def l2_norm(self) -> Any:
        """Square root of the integral of f squared: transport must not let it grow."""
        return self.squares**0.5

    @property
    def negative_share(self) -> Any:
        """Integral of what is below zero, as a share of the particles."""
        return np.maximum(self.absolute - self.particles, 0.0) / (2 * self.particles)

    @classmethod
    def merge(cls, parts: Iterable[Invariants]) -> Invariants:
        """Return the invariants of parts taken together."""
        columns = tuple(zip(*parts, strict=True))
        sums = [np.sum(column) for column in columns[:4]]
        found = (*sums, np.max(columns[4]), np.min(columns[5]))
        return cls(*map(float, found))

    def named(self) -> dict[str, Any]:
        """Return the numbers that tell whether a run is sound, by name.

        Returns
        -------
        dict
            ``particles``, ``l1f`` and ``l2f`` (norms), ``negative_share``, ``max_f``, ``min_f``
            and ``kinetic_energy``.
        """
        return {
            "particles": self.particles,
            "l1f": self.absolute,
            "l2f": self.l2_norm,
            "negative_share": self.negative_share,
            "max_f": self.largest,
            "min_f": self.smallest,
            "kinetic_energy": self.kinetic_energy,
        }
