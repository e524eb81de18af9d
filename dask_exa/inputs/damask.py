"""Result files of DAMASK (DADF5): tensors scattered over phases, put together on the grid."""

from __future__ import annotations

import os
import re
from typing import Any

import h5py
import numpy as np
import xarray as xr

from dask_exa.inputs import hdf5
from dask_exa.inputs.all_steps import open_all
from dask_exa.inputs.arrays import StoredArray, stream_arrays
from dask_exa.inputs.stream import Stream

_INCREMENT = re.compile(r"increment_(\d+)")
_GRID = ("x", "y", "z")
_COMPONENTS = {(3, 3): ("i", "j"), (4,): ("quaternion",), (3,): ("i",)}


def recognise(source: str) -> bool:
    """Whether the source is a result file of DAMASK."""
    if not hdf5.recognise(source):
        return False
    try:
        with h5py.File(source) as file:
            return "DADF5_version_major" in file.attrs and "cell_to/phase" in file
    except OSError:
        return False


def open_result(source: str, *, chunks: Any = None, variables: Any = None) -> Stream:
    """Open a result file: its increments are the steps.

    Parameters
    ----------
    source : str
    chunks : optional
        As for `dask_exa.inputs.open_stream`. A variable is scattered in the file, so each chunk
        reads all of an increment's: split other than by time only for what comes after.
    variables : sequence of str, optional
        Names of mechanical fields; by default all that every phase has in the first increment,
        with the same components.

    Returns
    -------
    Stream
        Fields on x, y, z and the components: ``F`` and ``P`` (…, i, j), orientations ``O``
        (…, quaternion), slip resistances ``xi_sl`` (…, xi_sl_component). ``timestep`` is the
        number of the increment, ``phase`` the number of the phase of every cell, in the order of
        the attribute ``phases``.

    Raises
    ------
    ValueError
        When the geometry is no regular grid, cells are shared by phases, or a variable is missing.
    OSError
        When the file was not written to its end.

    References
    ----------
    https://damask-multiphysics.org, "DADF5"
    """
    file = hdf5.open_hdf5(source)
    try:
        result = _Result(file, source)
        return result.stream(chunks, variables)
    except KeyError as error:
        file.close()
        raise OSError(
            f"source={source!r} lacks a part of a result of DAMASK ({error.args[0]}); wait until "
            "its writer has closed it, or copy it again."
        ) from error
    except BaseException:
        file.close()
        raise


def open_damask(path: str | os.PathLike[str], chunks: Any = None) -> xr.Dataset:
    """Open a result of DAMASK as one data set, lazily: a chunk a step.

    Parameters
    ----------
    path : path-like
        See `open_result`.
    chunks : optional
        How to split steps, as for `dask_exa.inputs.open_stream`; by default not at all.

    Returns
    -------
    xarray.Dataset
        Fields along ``time``, x, y, z and components.
    """
    return open_all(open_result, path, chunks)


class _Result:
    """What is in a result file, and where."""

    def __init__(self, file: h5py.File, source: str) -> None:
        self.file, self.source = file, source
        numbers = (_INCREMENT.fullmatch(name) for name in file)
        self.increments = sorted(int(match[1]) for match in numbers if match)
        if "cells" not in file["geometry"].attrs:
            raise ValueError(f"source={source!r} is a result on no regular grid; export it first.")
        self.cells = tuple(int(n) for n in file["geometry"].attrs["cells"])
        mapping = file["cell_to/phase"]
        shape: tuple[int, ...] = mapping.shape if isinstance(mapping, h5py.Dataset) else ()
        if len(shape) != 2 or shape[0] != np.prod(self.cells) or not mapping.dtype.names:
            raise ValueError(
                f"source={source!r} has cell_to/phase of shape {shape} for {self.cells} cells; it "
                "must give the phase of every cell, and the entry there."
            )
        if shape[1] != 1:
            raise ValueError(
                f"source={source!r} has {shape[1]} constituents a cell; only results with "
                "one are put together."
            )
        labels, self.entry = mapping["label"][:, 0], mapping["entry"][:, 0]
        self.phases, self.phase = np.unique(labels, return_inverse=True)

    def stream(self, chunks: Any, variables: Any) -> Stream:
        known = self._known()
        names = list(known) if variables is None else list(variables)
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ValueError(
                f"variables={names} are not all in every phase of {self.source!r}; it has "
                f"{', '.join(known) or 'none'}."
            )
        arrays = [self._stored(name, *known[name]) for name in names]
        times = [self.file[f"increment_{n}"].attrs["t/s"] for n in self.increments]
        arrays.append(StoredArray("time", np.array(times), ("time",), {"units": "s"}))
        size = self.file["geometry"].attrs["size"]
        origin = self.file["geometry"].attrs.get("origin", np.zeros(3))
        for dim, first, side, n in zip(_GRID, origin, size, self.cells, strict=True):
            middles = first + (np.arange(n) + 0.5) * side / n
            arrays.append(StoredArray(dim, middles, (dim,), {"units": "m"}))
        phase = self.phase.reshape(self.cells, order="F")
        labels = [label.decode() for label in self.phases]
        stream = stream_arrays(
            arrays,
            name=self.source,
            chunks=chunks,
            variables=names,
            close=self.file.close,
            constants={"phase": (_GRID, phase, {"phases": labels})},
        )
        return _numbered(stream, self.increments)

    def _known(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return components and unit of the fields that all phases share."""
        if not self.increments:
            raise ValueError(f"source={self.source!r} has no increments yet.")
        shapes: list[dict[str, tuple[tuple[int, ...], str]]] = []
        for label in self.phases:
            name = f"increment_{self.increments[0]}/phase/{label.decode()}/mechanical"
            group = self.file.get(name, {})
            shapes.append(
                {
                    key: (data.shape[1:], _text(data.attrs.get("unit", "")))
                    for key, data in group.items()
                    if isinstance(data, h5py.Dataset) and data.dtype.kind == "f"
                }
            )
        first, *others = shapes
        return {
            name: found
            for name, found in first.items()
            if all(other.get(name, ((-1,),))[0] == found[0] for other in others)
        }

    def _stored(self, name: str, components: tuple[int, ...], unit: str) -> StoredArray:
        array = ScatteredField(
            os.path.abspath(self.source),
            [f"increment_{number}" for number in self.increments],
            name,
            components,
            self.cells,
            {
                label.decode(): np.flatnonzero(self.phase == i)
                for i, label in enumerate(self.phases)
            },
            self.entry,
        )
        usual = tuple(f"{name}_component" for _ in components[:1])
        dims = _COMPONENTS.get(components, usual) if name != "xi_sl" else usual
        return StoredArray(name, array, ("time", *_GRID, *dims), {"units": unit})


class ScatteredField:
    """A field of all increments, read and put on the grid where it is indexed; picklable.

    Parameters
    ----------
    path : str
        Absolute path of the file.
    increments : list of str
        Names of the groups.
    name : str
    components : tuple of int
    cells : tuple of int
        Of the grid.
    cells_of : dict of str to ndarray
        Numbers of the cells of every phase; the first dimension of the grid is the fastest.
    entry : ndarray
        Place of every cell in the data set of its phase.
    """

    def __init__(
        self,
        path: str,
        increments: list[str],
        name: str,
        components: tuple[int, ...],
        cells: tuple[int, ...],
        cells_of: dict[str, np.ndarray],
        entry: np.ndarray,
    ) -> None:
        self.path, self.increments, self.name = path, increments, name
        self.components, self.cells = components, cells
        self.cells_of, self.entry = cells_of, entry
        self.shape = (len(increments), *cells, *components)
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part of one increment; its number comes first."""
        increment, *rest = key
        values = np.full((int(np.prod(self.cells)), *self.components), np.nan)
        with h5py.File(self.path) as file:
            for label, cells in self.cells_of.items():
                where = f"{self.increments[increment]}/phase/{label}/mechanical/{self.name}"
                found, entry = file.get(where), self.entry[cells]
                n = len(found) if isinstance(found, h5py.Dataset) and found.shape else 0
                if n <= entry.max():
                    raise OSError(
                        f"{self.path} has no {where} of all cells, but of {n}; it is not in every "
                        "increment, or the file was not written to its end."
                    )
                values[cells] = found[()][entry]
        # Fortran order: x is the fastest
        grid = values.reshape(*self.cells[::-1], *self.components)
        return grid.transpose(2, 1, 0, *range(3, grid.ndim))[tuple(rest)]


def _numbered(stream: Stream, numbers: list[int]) -> Stream:
    """Return the stream with the numbers of the increments as its time steps."""
    return Stream(
        lambda start: (
            step.assign_coords(timestep=((), numbers[int(step.timestep)]))
            for step in stream.read(start)
        ),
        name=stream.name,
        sizes=stream.sizes,
        variables=stream.variables,
        n_steps=stream.n_steps,
        close=stream.close,
    )


def _text(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    return "" if text == "1" else text
