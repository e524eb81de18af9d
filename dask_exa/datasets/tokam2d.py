"""Two-dimensional plasma turbulence: the equations of Tokam2D, one output frame at a time."""

import dataclasses

import numpy as np
import xarray as xr

from dask_exa._parameters import check_choice
from dask_exa.datasets._injection import injections_by_timestep
from dask_exa.datasets._simulation import ON_NAN, Simulation
from dask_exa.datasets._slabs import Slab, WholeBox
from dask_exa.datasets._spectral import SpectralGrid, positions
from dask_exa.datasets._tokam2d_equations import (
    Equations,
    check_time_step,
    eigenvalues,
    linear_coefficients,
)
from dask_exa.datasets._tokam2d_parameters import (
    HASEGAWA_WAKATANI,
    MODIFIED_HASEGAWA_WAKATANI,
    SCRAPE_OFF_LAYER,
    Tokam2DParameters,
)
from dask_exa.datasets._tokam2d_state import (
    FIELDS,
    UNITS,
    Tokam2DState,
    coordinates,
    initial_state,
    state_from_fields,
    to_frame,
)


class Tokam2D(Simulation):
    """Pseudo-spectral simulation of the models of Tokam2D.

    Density and potential on a doubly periodic box, advanced by RK4 with products in real space.
    As in Tokam2D, the 2/3 mask is applied once for each output, after it: a frame also shows the
    modes above the mask, as they have grown since the last one. Started from a frame of Tokam2D,
    the next one comes out equal to the single precision of its file.

    `sol`, `hw` and `mhw` start the documented cases, `from_parameters` any other, `from_fields`
    goes on from a frame, and the constructor resumes a checkpoint with the same bits.

    On MPI ranks, each has some rows of the fields and computes with them alone: its frames are
    those rows, and `comm` exchanges what the Fourier transforms need. Every rank makes the same
    calls with the same arguments. The frames are those of one process but for rounding.

    Parameters
    ----------
    state : Tokam2DState
        Parameters and fields to go on from: the `state` of another simulation.
    check_stability : bool, default=True
        Refuse a time step at which RK4 would amplify damped linear modes. Advection is not part
        of the check: a step too large for it ends in values that are not finite.
    on_nan : {"raise", "yield"}, default="raise"
        What to do with a frame that is not finite. "raise": FloatingPointError, and the state
        stays at the last output. "yield": go on with frames of NaN.
    inject : Injection, dict, or sequence of them, optional
        Corrupt a patch at given timesteps, see `Injection`. Every frame has the attribute
        ``injected``: the kind of corruption, or "" for none.
    workers : int, default=1
        Threads of each Fourier transform.
    comm : mpi4py communicator, optional
        Of the ranks that share the box; the methods ``Get_rank``, ``Get_size``, ``allreduce`` and
        ``Alltoallv`` are called. Default: all in this process.

    Attributes
    ----------
    parameters : Tokam2DParameters
    timestep : int
        Number of the last output; 0 is the initial state.

    Raises
    ------
    ValueError
        When the time step is unstable, there are more ranks than rows, or an argument is out of
        its range.

    References
    ----------
    Tokam2D, https://github.com/gyselax/tokam2d.
    Hasegawa, Wakatani, Phys. Rev. Lett. 50, 682 (1983).
    Numata, Ball, Dewar, Phys. Plasmas 14, 102312 (2007), for the modified model.
    Sarazin, Ghendrih, Phys. Plasmas 5, 4214 (1998), for the scrape-off layer.

    Examples
    --------
    >>> from dask_exa.datasets import Tokam2D
    >>> simulation = Tokam2D.sol(shape=(32, 32), length=32.0, rk4_steps_per_frame=4)
    >>> for fields in simulation.run(2):
    ...     print(int(fields.timestep), float(fields.time), dict(fields.sizes))
    1 4.0 {'y': 32, 'x': 32}
    2 8.0 {'y': 32, 'x': 32}
    >>> resumed = Tokam2D(simulation.state)
    >>> resumed.advance().identical(simulation.advance())
    True
    """

    def __init__(
        self, state, *, check_stability=True, on_nan="raise", inject=None, workers=1, comm=None
    ):
        check_choice("on_nan", on_nan, ON_NAN)
        self.parameters = state.parameters
        self.timestep = state.timestep
        self._start_time = state.start_time
        self.on_nan = on_nan
        shape, length = self.parameters.shape, self.parameters.length
        self._box = _place(shape, comm)
        self._spectrum = self._box.together(state.columns, self._box.columns)
        self._grid = SpectralGrid(shape, length, workers=workers, box=self._box)
        self._injections = injections_by_timestep(inject)
        for injection in self._injections.values():
            # Tried on zeros, so that a wrong field or patch is found now and not after hours.
            self._corrupt(np.zeros((len(FIELDS), *self.chunk_shape)), injection)
        if check_stability:
            check_time_step(self.parameters, self._grid)
        self._equations = Equations(self.parameters, self._grid)

    @classmethod
    def sol(cls, shape=(128, 128), length=128.0, *, seed=0, **options):
        """Return a scrape-off layer: interchange turbulence fed by a Gaussian source.

        This is the reference run of Tokam2D but for the start of the potential: noise of 1e-3,
        where that has one wave of 1e-4 that is the same for every seed. Drift waves come with
        ``sigma_nphi`` and ``sigma_phin`` of 6.1e-5.

        Parameters
        ----------
        shape, length
            Points and sides of the box, (y, x), see `Tokam2DParameters`.
        seed : int, default=0
            Seed of the initial noise.
        **options
            Arguments of `Tokam2D`, and fields of `Tokam2DParameters` to change. Defaults:
            curvature 2e-3, both diffusions 1e-2, sigma_nn and sigma_phiphi 6.1e-5, a source of
            height 1e-3 and width 8 around x = 0, initial density 1 and a Gaussian of height 4 and
            width 8 around x = 0, time step 1, one frame every 64 steps.
        """
        return cls._preset(SCRAPE_OFF_LAYER, shape, length, seed, options)

    @classmethod
    def hw(cls, shape=(128, 128), length=32.0, *, seed=0, **options):
        """Return Hasegawa-Wakatani drift-wave turbulence.

        Parameters
        ----------
        shape, length, seed, **options
            As for `sol`. Defaults: adiabaticity 1, density_gradient 0.75, both hyperdiffusions
            1e-4, potential_friction 1e-2, potential noise 1e-3, time step 0.03, one frame every
            60 steps.
        """
        return cls._preset(HASEGAWA_WAKATANI, shape, length, seed, options)

    @classmethod
    def mhw(cls, shape=(128, 128), length=32.0, *, seed=0, **options):
        """Return modified Hasegawa-Wakatani turbulence, in which zonal flows form.

        Parameters
        ----------
        shape, length, seed, **options
            As for `hw`, with the same defaults.
        """
        return cls._preset(MODIFIED_HASEGAWA_WAKATANI, shape, length, seed, options)

    @classmethod
    def _preset(cls, defaults, shape, length, seed, options):
        names = {field.name for field in dataclasses.fields(Tokam2DParameters)}
        changes = {name: options.pop(name) for name in names & options.keys()}
        parameters = dataclasses.replace(defaults, shape=shape, length=length, **changes)
        return cls.from_parameters(parameters, seed=seed, **options)

    @classmethod
    def from_parameters(cls, parameters, *, seed=0, comm=None, **options):
        """Return a simulation at time zero; ``options`` are the arguments of `Tokam2D`.

        Seed 0 gives the same initial noise as Tokam2D.
        """
        state = initial_state(parameters, seed, _place(parameters.shape, comm))
        return cls(state, comm=comm, **options)

    @classmethod
    def from_fields(cls, fields, parameters, *, comm=None, **options):
        """Return a simulation that goes on from fields, such as a saved frame.

        Parameters
        ----------
        fields : xarray.Dataset, mapping of str to array, or array of shape (2, ny, nx)
            Density and potential; a data set may carry ``time`` and ``timestep``. With `comm`:
            of the whole box, or the rows of this rank.
        parameters : Tokam2DParameters
            Their initial values are not used.
        **options
            Arguments of `Tokam2D`.
        """
        state = state_from_fields(fields, parameters, _place(parameters.shape, comm))
        return cls(state, comm=comm, **options)

    @property
    def state(self):
        """Tokam2DState: a checkpoint of this rank's share, which later steps leave as it is."""
        return Tokam2DState(
            self.parameters,
            self._spectrum.copy(),
            self.timestep,
            self._start_time,
            self._box.columns.start,
        )

    @property
    def time(self):
        """float: time of the last output, in 1/Omega_ci."""
        return self._start_time + self.timestep * self.parameters.frame_interval

    @property
    def fields(self):
        """xarray.Dataset: the state as a frame; an injection into the output is not in it."""
        return self._frame(self._grid.to_fields(self._spectrum), {"injected": ""})

    @property
    def dims(self):
        """Dimensions of a field."""
        return ("y", "x")

    @property
    def global_shape(self):
        """Shape (ny, nx) of a field of the whole box."""
        return self.parameters.shape

    @property
    def chunk_shape(self):
        """Shape of what this rank has of a field."""
        return self._grid.field_shape

    @property
    def chunk_position(self):
        """Place of this rank's rows among those of all ranks: (rank, 0)."""
        return (self._box.rank, 0)

    @property
    def arrays(self):
        """dict: the fields as `dask_exa.insitu.Bridge` wants them declared."""
        return {
            name: {
                "global_shape": self.global_shape,
                "chunk_shape": self.chunk_shape,
                "chunk_position": self.chunk_position,
                "dims": self.dims,
                "dtype": np.dtype(np.float64),
                "attrs": {"units": UNITS[name]},
            }
            for name in FIELDS
        }

    @property
    def coords(self):
        """dict: positions in the whole box, clock and time step, as `Bridge` wants them."""
        y, x = positions(self.parameters.shape, self.parameters.length)
        frame = xr.Dataset(coords=coordinates(y, x, self.time, self.parameters.time_step))
        return {str(name): coordinate for name, coordinate in frame.coords.items()}

    @np.errstate(over="ignore", invalid="ignore")  # told by on_nan instead
    def advance(self):
        """Go on by one output interval.

        Returns
        -------
        xarray.Dataset
            ``density`` (n_0) and ``potential`` (T_e/e) on (y, x), scalar coordinates ``time``
            and ``timestep``.

        Raises
        ------
        FloatingPointError
            When the fields are no longer finite and ``on_nan="raise"``. The state is still that
            of the last output.
        """
        spectrum, n_steps = self._integrate()
        values = self._grid.to_fields(spectrum)
        if not self._box.all(np.isfinite(values).all()):
            if self.on_nan == "raise":
                raise FloatingPointError(self._not_finite(n_steps))
            spectrum[...], values[...] = np.nan, np.nan
        self._spectrum = spectrum
        self.timestep += 1
        return self._frame(values, self._inject(values))

    def _integrate(self):
        """Return the spectrum one interval on, and after how many steps it was found."""
        n_steps = self.parameters.rk4_steps_per_frame
        spectrum = self._spectrum.copy()
        if self.parameters.dealias:
            spectrum *= self._grid.mask
        for step in range(1, n_steps + 1):
            self._equations.step(spectrum, self.parameters.time_step)
            # One mode is enough: the transforms of the next step carry any NaN to all modes.
            if not self._box.all(np.isfinite(spectrum[0, 0, 0])):
                return np.full_like(spectrum, np.nan), step
        return spectrum, n_steps

    def _inject(self, values):
        """Corrupt the frame, and the state if asked to; return the truth label."""
        injection = self._injections.get(self.timestep)
        if injection is None:
            return {"injected": ""}
        label = self._corrupt(values, injection)
        if injection.into == "state":
            self._spectrum = self._grid.to_spectrum(values)
        return label

    def _corrupt(self, values, injection):
        return injection.apply(
            dict(zip(FIELDS, values, strict=True)),
            n_rows=self.global_shape[0],
            first_row=self._box.rows.start,
            std=self._box.std,
        )

    def _frame(self, values, label):
        attributes = {"model": self.parameters.model, **label}
        time_step = self.parameters.time_step
        return to_frame(values, self._grid, self.time, self.timestep, time_step, attributes)

    def growth_rate(self, kx, ky):
        """Return the fastest growing linear eigenvalue about a uniform state.

        Parameters
        ----------
        kx, ky : array_like
            Wavenumbers, in 1/rho_s; they need not be on the grid.

        Returns
        -------
        complex or ndarray
            lambda of fields that go as exp(lambda t): growth rate in the real part, minus the
            frequency in the imaginary part, in Omega_ci.

        Examples
        --------
        >>> from dask_exa.datasets import Tokam2D
        >>> round(Tokam2D.hw().growth_rate(0.19635, 1.37445).real, 5)
        0.05956
        """
        rates = eigenvalues(linear_coefficients(self.parameters, kx, ky))[0]
        return complex(rates) if rates.ndim == 0 else rates

    def _not_finite(self, n_steps):
        broke = self.time + n_steps * self.parameters.time_step
        return (
            f"fields are not finite at time {broke:.6g}, in timestep {self.timestep + 1}; the "
            f"state is kept at timestep {self.timestep}, time {self.time:.6g}. Lower time_step="
            f"{self.parameters.time_step} or raise the diffusion, or pass on_nan='yield'."
        )


def _place(shape, comm):
    return WholeBox(shape) if comm is None else Slab(shape, comm)
