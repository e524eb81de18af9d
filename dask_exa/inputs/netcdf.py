"""NetCDF 3 files; those of NetCDF 4 are HDF5 files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.io import netcdf_file

from dask_exa.inputs.all_steps import open_all
from dask_exa.inputs.arrays import StoredArray, stream_arrays
from dask_exa.inputs.stream import Stream

_MAGIC = (b"CDF\x01", b"CDF\x02")


class RemoteVariable:
    """A variable whose file is opened anew for every read, so that other processes can read it.

    Parameters
    ----------
    path : str
        Absolute path of the file.
    name : str
    shape : tuple of int
    dtype : numpy.dtype
        In the byte order of this machine.
    """

    def __init__(self, path: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part."""
        with netcdf_file(self.path, mmap=False) as file:
            return np.asarray(file.variables[self.name].data[key], dtype=self.dtype)


def recognise(source: str) -> bool:
    """Whether the source is a NetCDF 3 file, whatever its name."""
    path = Path(source)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def open_file(source: str, *, chunks: Any = None, variables: Any = None) -> Stream:
    """Open a NetCDF 3 file as a stream, see `dask_exa.inputs.open_stream`.

    Raises
    ------
    OSError
        When the file is cut off.
    """
    path = os.path.abspath(source)
    try:
        with netcdf_file(path, mmap=False) as file:
            arrays = [_stored(path, name, variable) for name, variable in file.variables.items()]
    except (ValueError, TypeError, IndexError, EOFError) as error:
        raise OSError(
            f"source={source!r} is a NetCDF file that cannot be read to its end ({error}); copy it "
            "again."
        ) from error
    return stream_arrays(arrays, name=source, chunks=chunks, variables=variables)


def open_netcdf(path: str | os.PathLike[str], chunks: Any = None) -> xr.Dataset:
    """Open a NetCDF 3 file as one data set, lazily: a chunk a step.

    Parameters
    ----------
    path : path-like
        See `open_file`.
    chunks : optional
        How to split steps, as for `dask_exa.inputs.open_stream`; by default not at all.

    Returns
    -------
    xarray.Dataset
        Variables that share the time axis.
    """
    return open_all(open_file, path, chunks)


def _stored(path: str, name: str, variable: Any) -> StoredArray:
    dtype = np.dtype(variable.data.dtype).newbyteorder("=")
    array = RemoteVariable(path, name, tuple(map(int, variable.shape)), dtype)
    attrs = {
        key: value.decode(errors="replace")
        for key in ("units", "long_name")
        if isinstance(value := getattr(variable, key, None), bytes)
    }
    return StoredArray(name, array, tuple(variable.dimensions), attrs)
