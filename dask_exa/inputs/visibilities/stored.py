"""Visibilities that lie in a file, as a stream of dumps or as one lazy data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa._visibilities import ATTRS, DIMS, UVW_DIMS
from dask_exa.inputs.arrays import StoredArray, stream_arrays
from dask_exa.inputs.stream import Stream

_READ_AHEAD = 4 * 2**20
"""Bytes of a variable that are read at once."""


@dataclass(frozen=True)
class StoredVisibilities:
    """What a file has, known without reading the visibilities.

    Parameters
    ----------
    name : str
        For messages and reports.
    arrays : dict of str to array-like
        ``visibility``, and where there are any ``flag`` and ``weight``: with ``shape``, ``dtype``
        and basic indexing, time first, picklable.
    uvw : array-like of shape (n_times, n_baselines, 3)
        In m.
    time, frequency : ndarray
        In s and Hz.
    coordinates : dict
        Those of `dask_exa._visibilities.baseline_coordinates`.
    times_per_chunk : int, optional
        Dumps that are best read together. Default: some megabytes.
    faults : tuple of str
        What of the file cannot be read, and why.
    close : callable, optional
    """

    name: str
    arrays: dict[str, Any]
    uvw: Any
    time: np.ndarray
    frequency: np.ndarray
    coordinates: dict[str, Any]
    times_per_chunk: int | None = None
    faults: tuple[str, ...] = ()
    close: Callable[[], Any] | None = None

    def stream(self, chunks: Any = None, variables: Sequence[str] | None = None) -> Stream:
        """Return the dumps as steps, see `dask_exa.inputs.open_stream`.

        Baselines ``uvw`` are a coordinate of every step, never lazy.
        """
        axes = [
            StoredArray("time", self.time, ("time",), ATTRS["time"]),
            StoredArray("frequency", self.frequency, ("frequency",), ATTRS["frequency"]),
        ]
        stored = [
            StoredArray(
                name,
                _ReadAhead(array) if chunks is None else array,
                self._dims(name),
                ATTRS[name],
            )
            for name, array in self.arrays.items()
        ]
        baselines = _ReadAhead(self.uvw)
        dumps = stream_arrays(
            [*stored, *axes],
            name=self.name,
            chunks=chunks,
            variables=tuple(self.arrays) if variables is None else variables,
            constants=self.coordinates,
        )

        def read(start: int) -> Iterator[xr.Dataset]:
            for position, step in enumerate(dumps.read(start), start):
                uvw = baselines[position]
                yield step.assign_coords(uvw=(UVW_DIMS[1:], uvw, ATTRS["uvw"]))

        stream = Stream(
            read,
            name=self.name,
            sizes=dumps.sizes,
            variables=dumps.variables,
            n_steps=dumps.n_steps,
            close=self.close,
        )
        stream.faults = self.faults
        return stream

    def dataset(self) -> xr.Dataset:
        """Return all dumps, lazy, in chunks of whole dumps."""
        data = {
            name: (self._dims(name), self._lazy(array), ATTRS[name])
            for name, array in {**self.arrays, "uvw": self.uvw}.items()
        }
        axes = {
            "time": ("time", self.time, ATTRS["time"]),
            "frequency": ("frequency", self.frequency, ATTRS["frequency"]),
            "timestep": ("time", np.arange(len(self.time))),
        }
        return xr.Dataset(data, coords={**axes, **self.coordinates})

    def _lazy(self, array: Any) -> da.Array:
        n_dumps = self.times_per_chunk or _dumps_at_once(self.arrays["visibility"])
        return da.from_array(array, chunks=(n_dumps, *array.shape[1:]), name=False)

    def _dims(self, name: str) -> tuple[str, ...]:
        if name == "uvw":
            return UVW_DIMS
        return (*DIMS, "polarisation")[: len(self.arrays[name].shape)]


def _dumps_at_once(array: Any) -> int:
    n_bytes = int(np.prod(array.shape[1:])) * array.dtype.itemsize
    return max(1, _READ_AHEAD // max(1, n_bytes))


class _ReadAhead:
    """Reads some dumps at once when it is asked for one: a call of a reader costs milliseconds."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.n_dumps = _dumps_at_once(array)
        self._block: tuple[int, np.ndarray] = (0, np.empty(0))

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return a copy of a part of one dump."""
        position, *rest = as_slices(key, self.shape)
        if isinstance(position, slice):
            return np.asarray(self.array[key])
        start, values = self._block
        if not start <= position < start + len(values):
            start, values = position, np.asarray(self.array[position : position + self.n_dumps])
            self._block = (start, values)
        return np.array(values[(position - start, *rest)])


def as_slices(key: Any, shape: Sequence[int]) -> tuple[slice | int, ...]:
    """Return a key of basic indexing with an entry for every axis.

    Examples
    --------
    >>> as_slices((0, ..., slice(2)), (5, 6, 7, 8))
    (0, slice(None, None, None), slice(None, None, None), slice(None, 2, None))
    """
    key = key if isinstance(key, tuple) else (key,)
    if Ellipsis not in key:
        key = (*key, Ellipsis)
    at = key.index(Ellipsis)
    return (*key[:at], *(slice(None),) * (len(shape) - len(key) + 1), *key[at + 1 :])
