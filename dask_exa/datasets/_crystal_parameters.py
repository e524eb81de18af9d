"""What a run of a polycrystal is: grains, material, load, and what may go wrong on purpose."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dask_exa._parameters import check_count
from dask_exa.datasets._crystal_slip import Material
from dask_exa.datasets._injection import KINDS, Injection


@dataclass(frozen=True)
class CrystalInjection(Injection):
    """One increment of a `Crystal` that goes wrong.

    Parameters
    ----------
    timestep : int
        Number of the increment, 1 or more.
    kind : {"unconverged", "nonsymmetric", "orientation", "nan", "nonphysical", "spike"}
        "unconverged": the solver starts from a uniform strain and stops when the imbalance of
        forces is ``share``. "nonsymmetric": stresses have an antisymmetric part of ``share`` of
        their norm. "orientation": one grain, drawn from ``seed``, has an orientation that is not
        its own, in an increment that converges. The others corrupt a patch, see `Injection`.
    field : str, default="stress"
        For those that corrupt a patch.
    share : float, default=0.2

    Examples
    --------
    >>> from dask_exa.datasets import CrystalInjection
    >>> CrystalInjection(timestep=3, kind="unconverged").share
    0.2
    """

    kinds: ClassVar[tuple[str, ...]] = ("unconverged", "nonsymmetric", "orientation", *KINDS)

    field: str = "stress"
    share: float = 0.2

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError(f"share={self.share!r} must lie between 0 and 1.")
        if self.into == "state" and not self.is_computed:
            raise ValueError(
                f"into='state' does not go with kind={self.kind!r}: the state has symmetric "
                "stresses that follow from strains; pass into='output'."
            )

    @property
    def is_patch(self):
        """Whether a patch of the output is corrupted."""
        return self.kind in KINDS

    @property
    def is_computed(self):
        """Whether the increment is computed wrong, rather than the output corrupted."""
        return self.kind in ("unconverged", "orientation")


@dataclass(frozen=True)
class CrystalParameters:
    """Grains, material, load and solver of a `Crystal`.

    Parameters
    ----------
    shape : tuple of int, default=(15, 15, 15)
        Cells along x, y and z of the periodic unit box, or along x and y: columnar grains in
        plane strain. With an odd number the grid has every wave it can show; an even one leaves
        those at the Nyquist wavenumber unbalanced.
    n_grains : int, default=12
    stiffness : tuple of float or array_like of shape (n_grains, 3)
        C11, C12 and C44 in MPa. Default: copper.
    slip_resistance, saturation, hardening : float
        In MPa, see `SlippingCrystal`. An infinite resistance makes the crystal elastic.
    reference_rate : float, default=1e-3
        In 1/s.
    rate_exponent : float, default=20
    direction : tuple of tuple of float, or array_like of shape (3, 3)
        Mean strain that counts as 1. Default: tension along x at constant volume.
    strain_increment : float, default=5e-4
        Of one step.
    strain_amplitude : float, default=0.01
        Where the load turns back; it then goes back and forth between plus and minus this.
    strain_rate : float, default=1e-3
        In 1/s.
    tolerance : float, default=1e-5
        Imbalance of forces at which an increment has converged: norm of div stress, relative to
        that of all first derivatives.
    max_iterations : int, default=40
        Of Newton's method.
    """

    shape: tuple = (15, 15, 15)
    n_grains: int = 12
    stiffness: object = (168.4e3, 121.4e3, 75.4e3)
    slip_resistance: float = 16.0
    saturation: float = 148.0
    hardening: float = 180.0
    reference_rate: float = 1e-3
    rate_exponent: float = 20.0
    direction: object = ((1.0, 0.0, 0.0), (0.0, -0.5, 0.0), (0.0, 0.0, -0.5))
    strain_increment: float = 5e-4
    strain_amplitude: float = 0.01
    strain_rate: float = 1e-3
    tolerance: float = 1e-5
    max_iterations: int = 40

    def __post_init__(self):
        shape = tuple(self.shape)
        if len(shape) not in (2, 3) or not all(n >= 2 and int(n) == n for n in shape):
            raise ValueError(f"shape={self.shape!r} must be two or three numbers of 2 or more.")
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        check_count("n_grains", self.n_grains)
        check_count("max_iterations", self.max_iterations)
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be above 0.")
        if self.rate_exponent < 1:
            raise ValueError(f"rate_exponent={self.rate_exponent!r} must be 1 or more.")
        direction = np.asarray(self.direction, dtype=np.float64)
        if direction.shape != (3, 3) or not np.array_equal(direction, direction.T):
            raise ValueError("direction must be a symmetric matrix of shape (3, 3).")
        constants = np.asarray(self.stiffness, dtype=np.float64)
        if constants.shape not in ((3,), (self.n_grains, 3)):
            raise ValueError(
                f"stiffness has the shape {constants.shape}; pass C11, C12 and C44, of all grains "
                f"or of each: (3,) or ({self.n_grains}, 3)."
            )
        c11, c12, c44 = np.moveaxis(constants, -1, 0)
        if not np.all((c44 > 0) & (c11 > c12) & (c11 + 2 * c12 > 0)):
            raise ValueError(
                "stiffness is not positive definite; pass C44 > 0, C11 > C12 and C11 + 2 C12 > 0."
            )

    @property
    def interval(self):
        """Time of one increment, in s."""
        return self.strain_increment / self.strain_rate

    @property
    def material(self):
        """What a cell is made of."""
        return Material(
            self.stiffness,
            self.slip_resistance,
            self.saturation,
            self.hardening,
            self.reference_rate,
            self.rate_exponent,
        )

    def load(self, timestep):
        """Return the mean strain (3, 3) of an increment: a triangular wave over time.

        Examples
        --------
        >>> from dask_exa.datasets import CrystalParameters
        >>> parameters = CrystalParameters(strain_increment=0.25, strain_amplitude=0.5)
        >>> [float(parameters.load(step)[0, 0]) for step in range(6)]
        [0.0, 0.25, 0.5, 0.25, 0.0, -0.25]
        """
        way = timestep * self.strain_increment / self.strain_amplitude
        height = 1.0 - abs((way + 1.0) % 4.0 - 2.0)
        return height * self.strain_amplitude * np.asarray(self.direction, dtype=np.float64)


_POSITIVE = (
    "slip_resistance",
    "saturation",
    "hardening",
    "reference_rate",
    "strain_increment",
    "strain_amplitude",
    "strain_rate",
    "tolerance",
)
