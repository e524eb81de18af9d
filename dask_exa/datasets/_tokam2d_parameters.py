"""Parameters of the Tokam2D models, with units, checks and documented defaults."""

import dataclasses
import math
import numbers
import operator
from dataclasses import dataclass

MODELS = ("sol", "hw", "mhw")
_NOT_NEGATIVE = (
    "density_diffusion",
    "potential_diffusion",
    "density_hyperdiffusion",
    "potential_hyperdiffusion",
    "density_friction",
    "potential_friction",
    "sigma_nn",
    "sigma_phiphi",
    "adiabaticity",
    "density_noise",
    "potential_noise",
)
_SHEATH = ("sigma_nn", "sigma_nphi", "sigma_phiphi", "sigma_phin")
_DRIFT_WAVE = ("adiabaticity", "density_gradient")


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian repeated in every period, as source or as initial perturbation.

    Parameters
    ----------
    density, potential : float, default=0
        Heights. Initial perturbation: in n_0 and T_e/e. Source: of the density equation, in
        n_0 Omega_ci, and of the vorticity equation.
    center : tuple of float, default=(0, 0)
        Position (y, x), in rho_s.
    width : tuple of float, default=(0, 0)
        Standard deviations (y, x), in rho_s; zero means uniform along that direction.
    """

    density: float = 0.0
    potential: float = 0.0
    center: tuple = (0.0, 0.0)
    width: tuple = (0.0, 0.0)

    def __post_init__(self):
        for name in ("center", "width"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if min(self.width) < 0:
            raise ValueError(f"width={self.width} is negative; pass zero for a uniform direction.")


@dataclass(frozen=True)
class Wave:
    """An initial perturbation cos(k_y y + k_x x).

    Parameters
    ----------
    mode : tuple of int
        Mode numbers (m_y, m_x): k_y = 2 pi m_y / l_y.
    density, potential : float, default=0
        Amplitudes, in n_0 and T_e/e.
    """

    mode: tuple
    density: float = 0.0
    potential: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "mode", tuple(operator.index(m) for m in self.mode))


@dataclass(frozen=True)
class Tokam2DParameters:
    """All that defines a Tokam2D run but the seed of its initial noise.

    Lengths are in rho_s, times in 1/Omega_ci, density in n_0, potential in T_e/e.

    Parameters
    ----------
    model : {"sol", "hw", "mhw"}
        Scrape-off layer, Hasegawa-Wakatani or modified Hasegawa-Wakatani.
    shape : tuple of int
        Points (ny, nx), even.
    length : float or tuple of float
        Side or sides (ly, lx) of the periodic box, in rho_s.
    time_step : float
        Runge-Kutta step, in 1/Omega_ci.
    rk4_steps_per_frame : int
        Runge-Kutta steps from one output to the next.
    dealias : bool
        Apply the 2/3 mask after each output.
    curvature : float
        g, drive by the curvature of the magnetic field, in rho_s Omega_ci.
    sigma_nn, sigma_nphi, sigma_phiphi, sigma_phin : float
        Parallel losses to the sheath, in Omega_ci: density lost with density, gained with
        potential; vorticity gained with potential, lost with density. Only read by "sol".
    adiabaticity : float
        C, parallel coupling, in Omega_ci. Only read by "hw" and "mhw".
    density_gradient : float
        kappa = -d_x ln(n_0), in 1/rho_s. Only read by "hw" and "mhw".
    density_diffusion, potential_diffusion : float
        Coefficients of -k^2, in rho_s^2 Omega_ci.
    density_hyperdiffusion, potential_hyperdiffusion : float
        Coefficients of -k^4, in rho_s^4 Omega_ci.
    density_friction, potential_friction : float
        Damping of all modes, in Omega_ci.
    sources : tuple of Gaussian
        Constant sources.
    uniform_source : float
        Density source everywhere, in n_0 Omega_ci.
    background_density, background_potential : float
        Uniform initial values.
    initial_gaussians : tuple of Gaussian
    initial_waves : tuple of Wave
    density_noise, potential_noise : float
        Full range of the uniform noise added to every point of the initial state.

    Raises
    ------
    ValueError
        When a value is outside of its range.

    Examples
    --------
    >>> from dask_exa.datasets import Tokam2DParameters
    >>> Tokam2DParameters(shape=(64, 64), length=32.0).length
    (32.0, 32.0)
    >>> Tokam2DParameters(density_diffusion=-1.0)
    Traceback (most recent call last):
    ...
    ValueError: density_diffusion=-1.0 is negative; pass zero or a positive value.
    """

    model: str = "sol"
    shape: tuple = (128, 128)
    length: tuple = (128.0, 128.0)
    time_step: float = 1.0
    rk4_steps_per_frame: int = 64
    dealias: bool = True
    curvature: float = 0.0
    sigma_nn: float = 0.0
    sigma_nphi: float = 0.0
    sigma_phiphi: float = 0.0
    sigma_phin: float = 0.0
    adiabaticity: float = 0.0
    density_gradient: float = 0.0
    density_diffusion: float = 0.0
    potential_diffusion: float = 0.0
    density_hyperdiffusion: float = 0.0
    potential_hyperdiffusion: float = 0.0
    density_friction: float = 0.0
    potential_friction: float = 0.0
    sources: tuple = ()
    uniform_source: float = 0.0
    background_density: float = 0.0
    background_potential: float = 0.0
    initial_gaussians: tuple = ()
    initial_waves: tuple = ()
    density_noise: float = 0.0
    potential_noise: float = 0.0

    def __post_init__(self):
        # Lists, dictionaries and a single length are accepted, so that the parameters can come
        # from JSON; what is stored can be hashed and compared.
        set_value = object.__setattr__
        length = (self.length,) * 2 if isinstance(self.length, numbers.Real) else self.length
        set_value(self, "length", tuple(float(side) for side in length))
        set_value(self, "shape", tuple(self.shape))
        parts = {"sources": Gaussian, "initial_gaussians": Gaussian, "initial_waves": Wave}
        for name, kind in parts.items():
            rows = (kind(**v) if isinstance(v, dict) else v for v in getattr(self, name))
            set_value(self, name, tuple(rows))
        self._check_grid()
        self._check_coefficients()
        set_value(self, "shape", tuple(int(n) for n in self.shape))
        set_value(self, "rk4_steps_per_frame", int(self.rk4_steps_per_frame))

    @property
    def frame_interval(self):
        """float: time from one output to the next, in 1/Omega_ci."""
        return self.time_step * self.rk4_steps_per_frame

    def _check_grid(self):
        if self.model not in MODELS:
            raise ValueError(f"model={self.model!r} is unknown; pass one of {', '.join(MODELS)}.")
        if len(self.shape) != 2 or any(n % 2 or n < 8 for n in self.shape):
            raise ValueError(
                f"shape={self.shape} is not a pair of even sizes of 8 or more; the solver needs a "
                "Nyquist mode, so pass the next even sizes."
            )
        if len(self.length) != 2 or not all(0 < side < math.inf for side in self.length):
            raise ValueError(
                f"length={self.length} has to be positive and finite; pass (ly, lx) in rho_s."
            )
        if (
            self.rk4_steps_per_frame < 1
            or int(self.rk4_steps_per_frame) != self.rk4_steps_per_frame
        ):
            raise ValueError(
                f"rk4_steps_per_frame={self.rk4_steps_per_frame} is not a whole number of steps; "
                "pass an integer of 1 or more."
            )
        for wave in self.initial_waves:
            if any(abs(m) >= n // 2 for m, n in zip(wave.mode, self.shape, strict=True)):
                raise ValueError(
                    f"initial_waves has mode={wave.mode}, which shape={self.shape} cannot hold; "
                    "pass mode numbers below half of the shape."
                )

    def _check_coefficients(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is float and not math.isfinite(value):
                raise ValueError(f"{field.name}={value} is not finite; pass a finite value.")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{name}={getattr(self, name)} is negative; pass zero or a positive value."
                )
        for name in _DRIFT_WAVE if self.model == "sol" else _SHEATH:
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)} is not read by model={self.model!r}; leave it "
                    "out or choose another model."
                )
        if self.time_step <= 0:
            raise ValueError(f"time_step={self.time_step} is not positive; pass a positive time.")


SCRAPE_OFF_LAYER = Tokam2DParameters(
    curvature=2e-3,
    sigma_nn=6.1e-5,
    sigma_phiphi=6.1e-5,
    density_diffusion=1e-2,
    potential_diffusion=1e-2,
    sources=(Gaussian(density=1e-3, width=(0.0, 8.0)),),
    background_density=1.0,
    initial_gaussians=(Gaussian(density=4.0, width=(0.0, 8.0)),),
    potential_noise=1e-3,
)
HASEGAWA_WAKATANI = Tokam2DParameters(
    model="hw",
    length=(32.0, 32.0),
    time_step=0.03,
    rk4_steps_per_frame=60,
    adiabaticity=1.0,
    density_gradient=0.75,
    density_hyperdiffusion=1e-4,
    potential_hyperdiffusion=1e-4,
    potential_friction=1e-2,
    potential_noise=1e-3,
)
MODIFIED_HASEGAWA_WAKATANI = dataclasses.replace(HASEGAWA_WAKATANI, model="mhw")
