"""State of a Tokam2D run: its start, its checkpoints and its frames."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dask_exa.datasets._spectral import SpectralGrid
from dask_exa.datasets._tokam2d_parameters import Tokam2DParameters

FIELDS = ("density", "potential")
UNITS = {"density": "n_0", "potential": "T_e/e"}


@dataclass(frozen=True)
class Tokam2DState:
    """All that a run needs to go on with the same bits.

    Parameters
    ----------
    parameters : Tokam2DParameters
    spectrum : ndarray of shape (2, ny + 1, nx // 2 + 1), complex128
        Density and potential at the last output, before the mask is applied. On several ranks:
        the columns of this one.
    timestep : int, default=0
        Number of the last output frame.
    start_time : float, default=0
        Time of timestep 0, in 1/Omega_ci.
    first_column : int, default=0
        Place of the first column among those of the whole spectrum.
    """

    parameters: Tokam2DParameters
    spectrum: np.ndarray
    timestep: int = 0
    start_time: float = 0.0
    first_column: int = 0

    @property
    def time(self):
        """float: time of the last output frame, in 1/Omega_ci."""
        # A product, not a sum over frames, whose rounding would grow and depend on restarts.
        return self.start_time + self.timestep * self.parameters.frame_interval

    def columns(self, wanted):
        """Return a copy of some columns of the spectrum.

        Parameters
        ----------
        wanted : slice
            In the whole spectrum.

        Raises
        ------
        ValueError
            When they are not in this state.
        """
        start, stop = self.first_column, self.first_column + self.spectrum.shape[-1]
        if not start <= wanted.start <= wanted.stop <= stop:
            raise ValueError(
                f"state has the columns {start} to {stop} of the spectrum and this rank needs "
                f"{wanted.start} to {wanted.stop}; pass the state that was saved by the same rank "
                "of as many ranks, or one of the whole box."
            )
        return self.spectrum[..., wanted.start - start : wanted.stop - start].copy()

    def save(self, path):
        """Write the state to ``path``, a NumPy archive with the parameters as JSON inside."""
        parameters = json.dumps(dataclasses.asdict(self.parameters))
        with open(path, "wb") as file:
            np.savez(
                file,
                parameters=parameters,
                spectrum=self.spectrum,
                timestep=self.timestep,
                start_time=self.start_time,
                first_column=self.first_column,
            )

    @classmethod
    def load(cls, path):
        """Return the state written by ``save``."""
        with np.load(path) as archive:
            parameters = Tokam2DParameters(**json.loads(str(archive["parameters"])))
            timestep, start_time = int(archive["timestep"]), float(archive["start_time"])
            # States that were written before there were ranks have all columns.
            first_column = int(archive["first_column"]) if "first_column" in archive else 0
            return cls(parameters, archive["spectrum"], timestep, start_time, first_column)


def initial_state(parameters, seed=0, box=None):
    """Return the state at time zero: background, Gaussians, waves and noise, masked.

    The noise comes from NumPy's frozen legacy generator, whose stream never changes: a seed gives
    the same run with every NumPy, and seed 0 gives the noise of Tokam2D itself.

    Parameters
    ----------
    parameters : Tokam2DParameters
    seed : int, default=0
    box : WholeBox or Slab, optional
        Where the fields are. Default: all in this process.

    Returns
    -------
    Tokam2DState
    """
    grid = SpectralGrid(parameters.shape, parameters.length, box=box)
    random = np.random.RandomState(seed)
    noise = [
        amplitude * (_draw_rows(random, grid) - 0.5)
        for amplitude in (parameters.density_noise, parameters.potential_noise)
    ]
    fields = np.stack(noise)
    fields[0] += parameters.background_density
    fields[1] += parameters.background_potential
    for wave in parameters.initial_waves:
        ky, kx = (2 * np.pi * m / side for m, side in zip(wave.mode, grid.length, strict=True))
        pattern = np.cos(ky * grid.y[:, None] + kx * grid.x)
        fields += np.multiply.outer([wave.density, wave.potential], pattern)
    spectrum = grid.to_spectrum(fields)
    for gaussian in parameters.initial_gaussians:
        shape = grid.gaussian(gaussian.center, gaussian.width)
        spectrum += np.multiply.outer([gaussian.density, gaussian.potential], shape)
    if parameters.dealias:
        spectrum *= grid.mask
    return Tokam2DState(parameters, spectrum, first_column=grid.box.columns.start)


def _draw_rows(random, grid):
    """Draw numbers from [0, 1) for the whole box, and return those for the rows here."""
    (ny, nx), rows = grid.shape, grid.box.rows
    for _ in range(rows.start):
        random.random_sample(nx)
    values = random.random_sample(grid.field_shape)
    for _ in range(rows.stop, ny):
        random.random_sample(nx)
    return values


def state_from_fields(fields, parameters, box=None):
    """Return the state whose fields are given.

    Parameters
    ----------
    fields : xarray.Dataset, mapping of str to array, or array of shape (2, ny, nx)
        Density and potential; a data set may carry ``time`` and ``timestep``, else both are 0.
        On several ranks: of the whole box, or the rows of this rank.
    parameters : Tokam2DParameters
    box : WholeBox or Slab, optional
        Where the fields are. Default: all in this process.

    Returns
    -------
    Tokam2DState

    Raises
    ------
    ValueError
        When a field is missing, of another shape or not finite.
    """
    clock = {}
    if hasattr(fields, "data_vars"):
        clock = {name: fields[name].item() for name in ("time", "timestep") if name in fields}
        fields = {name: fields[name].transpose("y", "x") for name in FIELDS if name in fields}
    if not hasattr(fields, "keys"):
        fields = dict(zip(FIELDS, fields, strict=True))
    grid = SpectralGrid(parameters.shape, parameters.length, box=box)
    spectrum = grid.to_spectrum(grid.box.together(_checked, fields, grid))
    timestep, time = clock.get("timestep", 0), clock.get("time", 0.0)
    start_time = time - timestep * parameters.frame_interval
    return Tokam2DState(parameters, spectrum, timestep, start_time, grid.box.columns.start)


def _checked(fields, grid):
    """Return the rows here of both fields, shape (2, own rows, nx)."""
    arrays = []
    for name in FIELDS:
        if name not in fields:
            raise ValueError(f"fields has no {name!r}; pass both density and potential.")
        values = np.asarray(fields[name], dtype=np.float64)
        if values.shape == grid.shape:
            values = values[grid.box.rows]
        if values.shape != grid.field_shape:
            raise ValueError(
                f"{name} has shape {values.shape} but parameters.shape={grid.shape}; pass "
                "parameters with the shape of the fields."
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has values that are not finite; pass an earlier frame.")
        arrays.append(values)
    return np.stack(arrays)


def to_frame(values, grid, time, timestep, time_step, attributes):
    """Return the fields of one output as a data set.

    Parameters
    ----------
    values : ndarray of shape (2, ny, nx)
        On several ranks: the rows of this one.
    grid : SpectralGrid
    time : float
    timestep : int
    time_step : float
    attributes : dict

    Returns
    -------
    xarray.Dataset
    """
    variables = {
        name: (("y", "x"), field, {"units": UNITS[name]})
        for name, field in zip(FIELDS, values, strict=True)
    }
    numbered = {"timestep": ((), timestep, {"long_name": "number of the output frame"})}
    coords = {**coordinates(grid.y, grid.x, time, time_step), **numbered}
    return xr.Dataset(variables, coords=coords, attrs=attributes)


def coordinates(y, x, time, time_step):
    """Return where and when the values of a frame are, with units."""
    return {
        "y": ("y", y, {"units": "rho_s"}),
        "x": ("x", x, {"units": "rho_s"}),
        "time": ((), time, {"units": "1/Omega_ci"}),
        "dt": ((), time_step, {"units": "1/Omega_ci", "long_name": "time step of the solver"}),
    }
