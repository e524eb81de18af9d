"""Arrays of an HDF5 file, with the names of their dimensions where the file has any."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dask_exa.inputs.arrays import StoredArray, stream_arrays
from dask_exa.inputs.stream import Stream


class RemoteDataset:
    """A dataset that is opened anew for every read, so that it can be sent to other processes.

    Parameters
    ----------
    path : str
        Absolute path of the file.
    dataset : h5py.Dataset
    """

    def __init__(self, path: str, dataset: h5py.Dataset) -> None:
        self.path, self.name = path, dataset.name
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part."""
        with h5py.File(self.path) as file:
            return file[self.name][key]


def recognise(source: str) -> bool:
    """Whether the source is an HDF5 file, whatever its name."""
    return Path(source).is_file() and bool(h5py.is_hdf5(source))


def open_file(source: str, *, chunks: Any = None, variables: Any = None) -> Stream:
    """Open any HDF5 file as a stream, see `dask_exa.inputs.open_stream`."""
    file = open_hdf5(source)
    try:
        arrays = stored_arrays(file, remote=chunks is not None)
        return stream_arrays(
            arrays, name=source, chunks=chunks, variables=variables, close=file.close
        )
    except BaseException:
        file.close()
        raise


def open_hdf5(source: str) -> h5py.File:
    """Open a file to read, and name it if that fails.

    Raises
    ------
    OSError
        When the file is damaged or locked by its writer.
    """
    try:
        return h5py.File(source)
    except OSError as error:
        raise OSError(
            f"source={source!r} is an HDF5 file that cannot be opened ({error}); wait until its "
            "writer has closed it, or copy it again."
        ) from error


def stored_arrays(file: h5py.File, *, remote: bool) -> list[StoredArray]:
    """Return all datasets of a file.

    Parameters
    ----------
    file : h5py.File
    remote : bool
        Whether other processes read them.
    """
    found: list[StoredArray] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            array = RemoteDataset(os.path.abspath(file.filename), node) if remote else node
            found.append(StoredArray(name, array, _dims(node), _attrs(node)))

    file.visititems(visit)
    return found


def _dims(dataset: h5py.Dataset) -> tuple[str | None, ...]:
    """Names from dimension scales (netCDF), labels, or an attribute ``dims``."""
    names: list[str | None] = []
    for dim in dataset.dims:
        scale = dim[0].name.rpartition("/")[2] if len(dim) else None
        names.append(dim.label or scale or None)
    if any(names):
        return tuple(names)
    written = dataset.attrs.get("dims")
    if isinstance(written, str) and written.count(",") == len(dataset.shape) - 1:
        return tuple(name.strip() or None for name in written.split(","))
    return (None,) * len(dataset.shape)


def _attrs(dataset: h5py.Dataset) -> dict[str, Any]:
    return {
        name: value
        for name in ("units", "long_name")
        if isinstance(value := dataset.attrs.get(name), str)
    }
