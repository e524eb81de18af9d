"""The fields that Tokam2D writes at the end of a run, with the units that it leaves out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py

from dask_exa.datasets._tokam2d_inputs import read_time_step
from dask_exa.inputs import hdf5
from dask_exa.inputs.arrays import StoredArray, stream_arrays
from dask_exa.inputs.stream import Stream

FIELDS = ("density", "potential")
_DIMS = ("time", "y", "x")
_UNITS = {
    "density": "n_0",
    "potential": "T_e/e",
    "time": "1/Omega_ci",
    "y": "rho_s",
    "x": "rho_s",
}


def recognise(source: str) -> bool:
    """Whether the source is a ``simulation_fields.h5`` of Tokam2D, under any name."""
    if not hdf5.recognise(source):
        return False
    try:
        file = h5py.File(source)
    except OSError:
        return False
    with file:
        if not all(isinstance(file.get(name), h5py.Dataset) for name in (*FIELDS, *_DIMS)):
            return False
        shape = tuple(file[name].size for name in _DIMS)
        return all(file[name].shape == shape for name in FIELDS)


def open_fields(source: str, *, chunks: Any = None, variables: Any = None) -> Stream:
    """Open the fields of a run: (y, x) in rho_s, time in 1/Omega_ci.

    Where the parameters of the run lie beside its fields, every step has the time step of the
    solver as its coordinate ``dt``.

    Parameters
    ----------
    source : str
        Path of ``simulation_fields.h5``.
    chunks, variables
        As for `dask_exa.inputs.open_stream`; the default variables are density and potential.

    Returns
    -------
    Stream

    References
    ----------
    https://github.com/gyselax/tokam2d
    """
    file = hdf5.open_hdf5(source)
    try:
        stored = hdf5.stored_arrays(file, remote=chunks is not None)
        return stream_arrays(
            [_with_units(array) for array in stored],
            name=source,
            chunks=chunks,
            variables=FIELDS if variables is None else variables,
            close=file.close,
            constants=_solver_clock(source),
        )
    except BaseException:
        file.close()
        raise


def _solver_clock(source: str) -> dict[str, Any]:
    time_step = read_time_step(Path(source).parent)
    if time_step is None:
        return {}
    attributes = {"units": _UNITS["time"], "long_name": "time step of the solver"}
    return {"dt": ((), time_step, attributes)}


def _with_units(stored: StoredArray) -> StoredArray:
    changes: dict[str, Any] = {}
    if stored.name in FIELDS:
        changes["dims"] = _DIMS
    if stored.name in _UNITS:
        changes["attrs"] = {"units": _UNITS[stored.name], **stored.attrs}
    return dataclasses.replace(stored, **changes)
