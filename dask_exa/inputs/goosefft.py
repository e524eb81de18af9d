"""Tensors of GooseFFT and codes like it, stored by increment: F, P (increment, x, y, z, 3, 3)."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import h5py
import numpy as np
import xarray as xr

from dask_exa.inputs import hdf5
from dask_exa.inputs.all_steps import open_all
from dask_exa.inputs.arrays import StoredArray, stream_arrays
from dask_exa.inputs.stream import Stream

_GRID = ("x", "y", "z")
_SERIES = ("anomaly_label", "inc", "lambda", "newton_iters")


def recognise(source: str) -> bool:
    """Whether the source has the tensors F and P of increments on a regular grid."""
    if not hdf5.recognise(source):
        return False
    try:
        with h5py.File(source) as file:
            tensors = [file.get(name) for name in ("F", "P")]
            return all(
                isinstance(tensor, h5py.Dataset)
                and len(tensor.shape) == 6
                and tensor.shape[-2:] == (3, 3)
                for tensor in tensors
            )
    except OSError:
        return False


def open_tensors(source: str, *, chunks: Any = None, variables: Any = None) -> Stream:
    """Open such a file: its increments are the steps.

    Parameters
    ----------
    source : str
    chunks, variables
        As for `dask_exa.inputs.open_stream`; the default variables are those on the grid.

    Returns
    -------
    Stream
        Tensors on x, y, z, i and j, scalars on x, y and z, cells of a box of side 1. A number for
        every increment, such as ``anomaly_label`` or ``newton_iters``, is a scalar coordinate;
        fields that do not change, such as ``grain``, are coordinates, too.

    References
    ----------
    https://github.com/tdegeus/GooseFFT
    """
    file = hdf5.open_hdf5(source)
    try:
        stored = {
            array.name: array for array in hdf5.stored_arrays(file, remote=chunks is not None)
        }
        n_steps, *cells = (int(n) for n in stored["F"].array.shape[:4])
        series = {
            name: np.asarray(stored[name].array[:])
            for name in _SERIES
            if name in stored and stored[name].array.shape == (n_steps,)
        }
        constants = {
            array.name.rpartition("/")[2]: (_GRID, np.asarray(array.array[:]))
            for array in stored.values()
            if array.array.shape == tuple(cells)
        }
        arrays = [_named(array, n_steps, tuple(cells)) for array in stored.values()]
        for dim, n in zip(_GRID, cells, strict=True):
            arrays.append(StoredArray(dim, (np.arange(n) + 0.5) / n, (dim,), {"units": "box"}))
        on_grid = [array for array in arrays if array.dims[:4] == ("time", *_GRID)]
        names = [array.name for array in on_grid] if variables is None else variables
        stream = stream_arrays(
            arrays,
            name=source,
            chunks=chunks,
            variables=names,
            close=file.close,
            constants=constants,
        )
        return _labelled(stream, series)
    except BaseException:
        file.close()
        raise


def open_goosefft(path: str | os.PathLike[str], chunks: Any = None) -> xr.Dataset:
    """Open tensors of GooseFFT as one data set, lazily: a chunk a step.

    Parameters
    ----------
    path : path-like
        See `open_tensors`.
    chunks : optional
        How to split steps, as for `dask_exa.inputs.open_stream`; by default not at all.

    Returns
    -------
    xarray.Dataset
        Fields along ``time``, x, y, z and components.
    """
    return open_all(open_tensors, path, chunks)


def _named(array: StoredArray, n_steps: int, cells: tuple[int, ...]) -> StoredArray:
    shape = tuple(array.array.shape)
    if shape[:4] != (n_steps, *cells):
        return array
    components = {(): (), (3, 3): ("i", "j"), (3,): ("i",)}.get(shape[4:])
    rest = components or tuple(f"{array.name}_{axis}" for axis in range(len(shape) - 4))
    return dataclasses.replace(array, dims=("time", *_GRID, *rest))


def _labelled(stream: Stream, series: dict[str, np.ndarray]) -> Stream:
    """Return the stream with a number of every increment as coordinates of its step."""

    def label(step: Any) -> Any:
        at = int(step.timestep)
        found = {name: ((), values[at]) for name, values in series.items()}
        if "lambda" in found:
            found["time"] = found.pop("lambda")  # how far the load has got
        return step.assign_coords(found)

    return Stream(
        lambda start: (label(step) for step in stream.read(start)),
        name=stream.name,
        sizes=stream.sizes,
        variables=stream.variables,
        n_steps=stream.n_steps,
        close=stream.close,
    )
