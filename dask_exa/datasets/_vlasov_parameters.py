"""Mesh, plasma and solver of a `Vlasov` simulation, and what can go wrong in it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.special

from dask_exa._parameters import check_count, check_positive
from dask_exa.datasets._injection import KINDS, Injection

DIMS = {
    2: ("x", "vx"),
    3: ("x", "vx", "mu"),
    4: ("x", "y", "vx", "vy"),
    5: ("x", "y", "vx", "vy", "mu"),
}
"""Dimensions of the distribution function, by their number."""
_N_STARTS = 24
_N_NEWTON = 60


@dataclass(frozen=True)
class VlasovInjection(Injection):
    """One thing that goes wrong in a `Vlasov` run.

    Parameters
    ----------
    timestep : int
        Number of the output frame, 1 or more.
    kind : {"unstable", "leak", "nan", "nonphysical", "spike"}
        "unstable": from this frame on the solver amplifies short waves in velocity, by
        ``exp(rate)`` a unit of time at the shortest. "leak": from this frame on it loses ``share``
        of the particles in every frame. The others corrupt a patch of one frame, see `Injection`.
    field : str, default="f"
        For those that corrupt a patch.
    rate : float, default=4
    share : float, default=5e-3

    Examples
    --------
    >>> from dask_exa.datasets import VlasovInjection
    >>> VlasovInjection(timestep=3, kind="leak").share
    0.005
    """

    kinds: ClassVar[tuple[str, ...]] = ("unstable", "leak", *KINDS)

    field: str = "f"
    rate: float = 4.0
    share: float = 5e-3

    def __post_init__(self):
        super().__post_init__()
        check_positive("rate", self.rate)
        if not 0 < self.share < 1:
            raise ValueError(f"share={self.share!r} must lie between 0 and 1.")

    @property
    def is_patch(self):
        """Whether a patch of one frame is corrupted, rather than the solver."""
        return self.kind in KINDS


@dataclass(frozen=True)
class VlasovParameters:
    """Mesh, plasma and solver of a `Vlasov` simulation.

    Lengths are in Debye lengths, velocities in thermal velocities, times in inverse plasma
    frequencies, `mu` in temperatures.

    Parameters
    ----------
    shape : tuple of int, default=(32, 64)
        Points along (x, vx), (x, vx, mu), (x, y, vx, vy) or (x, y, vx, vy, mu); even, but for mu.
    length : float or tuple of float, default=4 pi
        Sides of the periodic box, (x, y).
    max_velocity : float, default=6
        Velocities go from minus this to this.
    max_mu : float, default=6
        Magnetic moments go from zero to this.
    drift : float, default=0
        Half of the particles stream along x with this velocity, half with its opposite.
    amplitude : float, default=0.01
        Of the initial density wave: the longest that fits into the box, along every dimension.
    noise : float, default=0
        Of the initial density, relative, drawn at random.
    hypercollision : float, default=1
        Damping of the shortest wave in velocity, a unit of time; of others it goes with the
        eighth power of their wavenumber, so that density, momentum, temperature and heat flux stay.
    time_step : float, default=0.1
    steps_per_frame : int, default=5
    """

    shape: tuple = (32, 64)
    length: float | tuple = 4 * np.pi
    max_velocity: float = 6.0
    max_mu: float = 6.0
    drift: float = 0.0
    amplitude: float = 0.01
    noise: float = 0.0
    hypercollision: float = 1.0
    time_step: float = 0.1
    steps_per_frame: int = 5

    def __post_init__(self):
        shape = tuple(int(n) for n in self.shape)
        object.__setattr__(self, "shape", shape)
        if len(shape) not in DIMS:
            raise ValueError(
                f"shape={shape} must have 2 to 5 dimensions: (x, vx), (x, vx, mu), (x, y, vx, vy) "
                "or (x, y, vx, vy, mu)."
            )
        meshed = zip(self.dims, shape, strict=True)
        if any(n < 4 or n % 2 for dim, n in meshed if dim != "mu") or shape[-1] < 2:
            raise ValueError(
                f"shape={shape} must have even numbers of points, 4 or more; 2 or more along mu."
            )
        check_count("steps_per_frame", self.steps_per_frame)
        for name in ("max_velocity", "max_mu", "time_step"):
            check_positive(name, getattr(self, name))
        for name in ("noise", "hypercollision"):
            check_positive(name, getattr(self, name), zero=True)
        for side in self.sides:
            check_positive("length", side)
        if abs(self.drift) >= self.max_velocity - 2:
            raise ValueError(
                f"drift={self.drift} is too near to max_velocity={self.max_velocity}; leave 2 "
                "thermal velocities or more."
            )

    @property
    def dims(self):
        """Dimensions of the distribution function."""
        return DIMS[len(self.shape)]

    @property
    def n_space(self):
        """Number of dimensions of space, and of velocity."""
        return len(self.shape) // 2

    @property
    def sides(self):
        """Sides of the box, one for each dimension of space."""
        lengths = np.asarray(self.length, dtype=float)
        return tuple(float(side) for side in np.broadcast_to(lengths, (self.n_space,)))

    @property
    def frame_interval(self):
        """Time from one frame to the next."""
        return self.time_step * self.steps_per_frame

    @property
    def coordinates(self):
        """dict: points along each dimension."""
        points = {}
        for dim, n in zip(self.dims, self.shape, strict=True):
            if dim == "mu":
                points[dim] = np.linspace(0.0, self.max_mu, n)
            elif dim.startswith("v"):
                points[dim] = np.linspace(-1.0, 1.0, n, endpoint=False) * self.max_velocity
            else:
                points[dim] = np.arange(n) / n * self.sides[self.dims.index(dim)]
        return points

    @property
    def mu_weights(self):
        """ndarray: trapezoidal weights of the points along mu; without mu, one of 1."""
        if "mu" not in self.dims:
            return np.ones(1)
        weights = np.full(self.shape[-1], self.max_mu / (self.shape[-1] - 1))
        weights[[0, -1]] /= 2
        return weights

    @property
    def mu_density(self):
        """ndarray: equilibrium along mu, of which the weighted sum is 1."""
        if "mu" not in self.dims:
            return np.ones(1)
        density = np.exp(-self.coordinates["mu"])
        return density / (self.mu_weights @ density)

    def gyroaverage(self, k):
        """Return the factors of waves averaged over gyration, (*k.shape, n_mu): Bessel's J0."""
        if "mu" not in self.dims:
            return np.ones((*np.shape(k), 1))
        radius = np.sqrt(2.0 * self.coordinates["mu"])
        return scipy.special.j0(np.asarray(k)[..., None] * radius)

    def growth_rate(self, kx, ky=0.0):
        """Return the least damped root of the linear dispersion relation, see `Vlasov`."""
        k = float(np.hypot(kx, ky))
        check_positive("the wavenumber", k)
        response = self.mu_weights @ (self.mu_density * self.gyroaverage(k) ** 2)
        drift = self.drift * kx / k
        return _least_damped(k, (drift, -drift), float(response))


def _least_damped(k, drifts, response):
    """Return the root of ``1 + response / k^2 mean_b(1 + zeta_b Z(zeta_b))`` with most growth.

    ``zeta_b = (omega / k - drift_b) / sqrt(2)``, with the plasma dispersion function Z (Fried,
    Conte, 1961). Newton's method starts all over the complex plane.
    """
    fastest = 1.5 * np.sqrt(1 + 3 * k**2) + k * max(map(abs, drifts))
    starts = np.linspace(0.0, fastest, _N_STARTS)[:, None]
    omega = (starts + 1j * np.linspace(-0.6, 0.6, _N_STARTS)).ravel()

    def relation(omega):
        value, slope = 1.0 + 0j * omega, 0j * omega
        for drift in drifts:
            zeta = (omega / k - drift) / np.sqrt(2)
            z = 1j * np.sqrt(np.pi) * scipy.special.wofz(zeta)
            value += response * (1 + zeta * z) / (len(drifts) * k**2)
            slope += response * (z - 2 * zeta * (1 + zeta * z)) / (len(drifts) * k**3 * np.sqrt(2))
        return value, slope

    with np.errstate(all="ignore"):
        for _ in range(_N_NEWTON):
            value, slope = relation(omega)
            omega = omega - value / slope
        residual = np.abs(relation(omega)[0])
    roots = omega[np.isfinite(residual) & (residual < 1e-9)]
    root = roots[np.argmax(roots.imag)]
    return complex(root.imag, -abs(root.real))
