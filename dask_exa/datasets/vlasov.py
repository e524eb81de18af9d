"""Electrons in phase space: the Vlasov-Poisson equations on a mesh of two to five dimensions."""

import dataclasses

import numpy as np
import scipy.fft
import xarray as xr

from dask_exa._parameters import check_choice
from dask_exa.datasets._injection import injections_by_timestep
from dask_exa.datasets._simulation import ON_NAN, Simulation
from dask_exa.datasets._vlasov_parameters import VlasovInjection, VlasovParameters

_DAMPING_POWER = 8
_GROWTH_POWER = 2
_LONG_NAMES = {"f": "distribution function", "potential": "electrostatic potential"}
_UNITS = {"x": "lambda_D", "y": "lambda_D", "vx": "v_th", "vy": "v_th", "mu": "T"}


class Vlasov(Simulation):
    """Simulation of electrons that move in their own electric field before ions at rest.

    A small stand-in for codes of gyrokinetic plasma such as Gysela: the distribution function is
    on a mesh of position, velocity and, as the fifth dimension, the magnetic moment mu, which is a
    constant of the motion; particles of one mu feel the field averaged over their gyration::

        df/dt + v . df/dx + d<phi>/dx . df/dv = 0,   -laplace(phi) = 1 - <n>

    with ``<.>`` the factor J0(k sqrt(2 mu)) of every wave, or 1 without mu. There is no magnetic
    drift and no polarisation of the plasma. Strang splitting makes of a step shifts along single
    dimensions, which are exact in Fourier space: any time step is stable, and the number of
    particles stays to rounding.

    `landau` and `two_stream` start the textbook cases.

    Parameters
    ----------
    parameters : VlasovParameters, optional
    seed : int, default=0
        Of the initial noise. The same seed gives the same fields.
    on_nan : {"raise", "yield"}, default="raise"
        What to do with a frame that is not finite: raise FloatingPointError, or go on with frames
        of NaN.
    inject : VlasovInjection, dict, or sequence of them, optional
        What goes wrong on purpose. Every frame has the attribute ``injected``: the kind, or "".
    workers : int, default=1
        Threads of each Fourier transform.
    **changes
        Fields of `VlasovParameters` to change.

    Attributes
    ----------
    parameters : VlasovParameters
    f : ndarray of shape `parameters.shape`
        Distribution function of the last frame; its mean density is 1.
    timestep : int
        Number of the last frame; 0 is the initial state.

    References
    ----------
    Cheng, Knorr, J. Comput. Phys. 22, 330 (1976).
    Grandgirard et al., Computer Physics Communications 207, 35 (2016), for Gysela.

    Examples
    --------
    >>> from dask_exa.datasets import Vlasov
    >>> simulation = Vlasov(shape=(8, 8, 16, 16, 4))
    >>> frame = simulation.advance()
    >>> frame.f.dims, frame.potential.dims
    (('x', 'y', 'vx', 'vy', 'mu'), ('x', 'y'))
    >>> rate = Vlasov.landau().growth_rate(0.5)
    >>> round(rate.real, 4), round(rate.imag, 4)
    (-0.1534, -1.4157)
    """

    def __init__(
        self, parameters=None, *, seed=0, on_nan="raise", inject=None, workers=1, **changes
    ):
        check_choice("on_nan", on_nan, ON_NAN)
        self.parameters = dataclasses.replace(parameters or VlasovParameters(), **changes)
        self.on_nan, self.workers, self.timestep = on_nan, workers, 0
        self._injections = injections_by_timestep(inject, VlasovInjection)
        self._lasting = None
        self._mesh()
        self.f = self._start(seed)
        for injection in self._injections.values():
            if injection.is_patch:
                # Tried on zeros, so that a wrong field or patch is found now and not after hours.
                shapes = {"f": self.f.shape, "potential": self.f.shape[: self._n_space]}
                injection.apply({name: np.zeros(shape) for name, shape in shapes.items()})

    @classmethod
    def landau(cls, shape=(32, 64), **options):
        """Return a Maxwellian plasma in which a small wave of wavenumber 0.5 is damped.

        Parameters
        ----------
        shape : tuple of int
            See `VlasovParameters`.
        **options
            Arguments of `Vlasov`, and fields of `VlasovParameters` to change.
        """
        return cls(**{"shape": shape, **options})

    @classmethod
    def two_stream(cls, shape=(32, 64), **options):
        """Return two beams, at 2.4 thermal velocities, whose wave of wavenumber 0.2 grows.

        Parameters
        ----------
        shape, **options
            As for `landau`.
        """
        defaults = {
            "length": 10 * np.pi,
            "max_velocity": 8.0,
            "drift": 2.4,
            "amplitude": 1e-3,
        }
        return cls(**{"shape": shape, **defaults, **options})

    @property
    def time(self):
        """float: time of the last frame, in inverse plasma frequencies."""
        return self.timestep * self.parameters.frame_interval

    @property
    def fields(self):
        """xarray.Dataset: the state as a frame; an injection into the output is not in it."""
        values = {"f": self.f.copy(), "potential": self._potential(self.f)}
        return self._frame(values, {"injected": ""})

    @property
    def potential(self):
        """Electrostatic potential (nx[, ny]) of the state, in T/e."""
        return self._potential(self.f)

    @np.errstate(over="ignore", invalid="ignore")  # told by on_nan instead
    def advance(self):
        """Go on by one output interval.

        Returns
        -------
        xarray.Dataset
            ``f`` on (x[, y], vx[, vy][, mu]) and ``potential`` on (x[, y]), with scalar
            coordinates ``time`` and ``timestep``.

        Raises
        ------
        FloatingPointError
            When the fields are no longer finite and ``on_nan="raise"``. The state is still that
            of the last frame.
        """
        injection = self._injections.get(self.timestep + 1)
        if injection is not None and not injection.is_patch:
            self._lasting = injection
        f = self._integrate(self.f)
        if not np.isfinite(f).all():
            if self.on_nan == "raise":
                raise FloatingPointError(
                    f"f is not finite in timestep {self.timestep + 1}; the state is kept at "
                    f"timestep {self.timestep}. Leave out inject, or pass on_nan='yield'."
                )
            f = np.full_like(f, np.nan)
        self.f = f
        self.timestep += 1
        values = {"f": f.copy(), "potential": self._potential(f)}
        return self._frame(values, self._corrupt(values, injection))

    def growth_rate(self, kx, ky=0.0):
        """Return the least damped linear wave about the initial state without its wave.

        Parameters
        ----------
        kx, ky : float
            Wavenumber, in inverse Debye lengths; it need not be on the mesh.

        Returns
        -------
        complex
            lambda of fields that go as exp(lambda t): growth rate in the real part, minus the
            frequency in the imaginary part, in plasma frequencies.

        Examples
        --------
        >>> from dask_exa.datasets import Vlasov
        >>> round(Vlasov.two_stream().growth_rate(0.2).real, 4)
        0.2258
        """
        return self.parameters.growth_rate(kx, ky)

    def _mesh(self):
        """Set up wavenumbers, weights and what does not change from step to step."""
        parameters, n = self.parameters, self.parameters.n_space
        shape, points = parameters.shape, parameters.coordinates
        self._n_space, self._has_mu = n, "mu" in parameters.dims
        sides = [*parameters.sides, *(2 * parameters.max_velocity,) * n]
        steps = [side / m for side, m in zip(sides, shape, strict=False)]
        self._cell = float(np.prod(steps[n:]))
        self._wavenumbers = [
            2 * np.pi * scipy.fft.rfftfreq(*mesh) for mesh in zip(shape, steps, strict=False)
        ]
        self._velocities = [
            self._along(points[parameters.dims[n + axis]], n + axis) for axis in range(n)
        ]
        waves = [
            2 * np.pi * scipy.fft.fftfreq(*mesh) for mesh in zip(shape[:n], steps, strict=False)
        ]
        waves[-1] = self._wavenumbers[n - 1]
        # the derivative of the Nyquist wave vanishes on the mesh
        slopes = [np.where(np.abs(k) == np.abs(k).max(), 0.0, k) for k in waves]
        self._slopes = np.meshgrid(*slopes, indexing="ij")
        k2 = sum(k**2 for k in np.meshgrid(*waves, indexing="ij"))
        self._inverse_k2 = np.divide(1.0, k2, out=np.zeros_like(k2), where=k2 > 0)
        self._average = parameters.gyroaverage(np.sqrt(k2))

    def _along(self, values, axis):
        """Return values along one axis of the distribution function, to be broadcast."""
        return values.reshape([-1 if i == axis else 1 for i in range(len(self.parameters.shape))])

    def _start(self, seed):
        parameters, n = self.parameters, self._n_space
        points = parameters.coordinates
        f = np.ones(parameters.shape)
        for axis, velocity in enumerate(self._velocities):
            drifts = (parameters.drift, -parameters.drift) if axis == 0 else (0.0,)
            beams = sum(np.exp(-((velocity - drift) ** 2) / 2) for drift in drifts)
            # the sum over the mesh is exact to rounding, and cuts off what lies beyond it
            f = f * beams / (beams.sum() * 2 * parameters.max_velocity / beams.size)
        if self._has_mu:
            f = f * parameters.mu_density
        density = np.ones(parameters.shape[:n])
        for axis in range(n):
            phase = 2 * np.pi * points[parameters.dims[axis]] / parameters.sides[axis]
            shape = [-1 if i == axis else 1 for i in range(n)]
            density = density + parameters.amplitude * np.cos(phase).reshape(shape)
        random = np.asarray(np.random.default_rng(seed).normal(size=density.shape))
        density = density + parameters.noise * (random - random.mean())
        return f * density.reshape(*density.shape, *(1,) * (f.ndim - n))

    def _integrate(self, f):
        """Return the distribution function one output interval on."""
        step = self.parameters.time_step
        axes = range(self._n_space)
        stream = {
            part: [self._streaming(axis, part * step) for axis in axes] for part in (0.5, 1.0)
        }
        n_steps = self.parameters.steps_per_frame
        for axis in axes:
            f = self._multiply(f, axis, stream[0.5][axis])
        for number in range(1, n_steps + 1):
            f = self._accelerate(f, step)
            part = 1.0 if number < n_steps else 0.5
            for axis in axes:
                f = self._multiply(f, axis, stream[part][axis])
        if self._lasting is not None and self._lasting.kind == "leak":
            f = f * (1.0 - self._lasting.share)
        return f

    def _streaming(self, axis, step):
        """Return the factors of waves along a dimension of space that flow for some time."""
        k = self._along(self._wavenumbers[axis], axis)
        return np.exp(-1j * step * k * self._velocities[axis])

    def _accelerate(self, f, step):
        for axis, force in enumerate(self._forces(f)):
            place = self._n_space + axis
            k = self._wavenumbers[place]
            shape = [-1 if i == place else 1 for i in range(f.ndim)]
            factors = np.exp(-1j * step * k.reshape(shape) * force)
            factors *= np.exp(-step * self._damping(k)).reshape(shape)
            f = self._multiply(f, place, factors)
        return f

    def _damping(self, k):
        """Return the rates at which waves in velocity are damped."""
        share = k / k[-1]
        damping = self.parameters.hypercollision * share**_DAMPING_POWER
        if self._lasting is not None and self._lasting.kind == "unstable":
            damping = damping - self._lasting.rate * share**_GROWTH_POWER
        return damping

    def _multiply(self, f, axis, factors):
        spectrum = scipy.fft.rfft(f, axis=axis, workers=self.workers)
        spectrum *= factors
        return scipy.fft.irfft(
            spectrum, f.shape[axis], axis=axis, workers=self.workers, overwrite_x=True
        )

    def _potential_spectrum(self, f):
        """Return the waves of the potential: ``k^2 phi = -<n>`` but for the mean."""
        n, parameters = self._n_space, self.parameters
        density = f.sum(axis=tuple(range(n, 2 * n))) * self._cell
        if not self._has_mu:
            density = density[..., None]
        axes = tuple(range(n))
        waves = scipy.fft.rfftn(density, axes=axes, workers=self.workers)
        averaged = (waves * self._average) @ (parameters.mu_weights + 0j)
        return -averaged * self._inverse_k2

    def _potential(self, f):
        shape = self.parameters.shape[: self._n_space]
        return scipy.fft.irfftn(self._potential_spectrum(f), shape, workers=self.workers)

    def _forces(self, f):
        """Yield the acceleration along every dimension of space, to be broadcast over f."""
        n = self._n_space
        shape, axes = self.parameters.shape[:n], tuple(range(n))
        waves = self._potential_spectrum(f)[..., None] * self._average
        for slope in self._slopes:
            force = scipy.fft.irfftn(1j * slope[..., None] * waves, shape, axes=axes)
            yield force.reshape(*shape, *(1,) * n, *((-1,) if self._has_mu else ()))

    def _corrupt(self, values, injection):
        """Corrupt a patch of the frame, and of the state if asked to; return the truth label."""
        if injection is not None and injection.is_patch:
            label = injection.apply(values)
            if injection.into == "state" and injection.field == "f":
                self.f = values["f"].copy()
            return label
        return {"injected": "" if self._lasting is None else self._lasting.kind}

    def _frame(self, values, label):
        dims, points = self.parameters.dims, self.parameters.coordinates
        data = {
            name: (dims[: array.ndim], array, {"units": "", "long_name": _LONG_NAMES[name]})
            for name, array in values.items()
        }
        data["potential"][2]["units"] = "T/e"
        mesh = {dim: (dim, points[dim], {"units": _UNITS[dim]}) for dim in dims}
        return xr.Dataset(
            data,
            coords={
                **mesh,
                "time": ((), self.time, {"units": "1/omega_p"}),
                "timestep": ((), self.timestep),
            },
            attrs={"model": "vlasov", **label},
        )
