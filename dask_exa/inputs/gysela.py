"""HDF5 files that Gysela and gyselalib++ write through PDI: one for every saved step."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from dask_exa.inputs.all_steps import open_all
from dask_exa.inputs.step_files import (
    FollowedFolder,
    IncompleteFileError,
    Variable,
    list_step_files,
    read_variables,
    stream_folder,
)
from dask_exa.inputs.stream import Stream

_STEP = re.compile(r".*_(\d{5,})\.h5")
_INITIAL = "*_initstate.h5"
_FULL = "fdistribu_sptor3Dv2D"
_REDUCED = "fdistribu"
_TORUS = ("tor1", "tor2", "tor3", "vpar", "mu")
_MESHES = {"MeshX": "x", "MeshY": "y", "MeshVx": "vx", "MeshVy": "vy", "MeshVz": "vz"}
_MOMENTS = ("density", "mean_velocity", "temperature")
_POTENTIALS = ("electrostatic_potential", "potential", "phi")
_TIMES = ("time_saved", "iter_time", "time")


def recognise(source: str) -> bool:
    """Whether the source is such a file, or a folder of them."""
    path = Path(source)
    if path.is_dir():
        return any(_is_step(file.path) for file in list_step_files(path, _STEP)[:2])
    return path.suffix == ".h5" and path.is_file() and _is_step(path)


def open_run(
    source: str, *, chunks: Any = None, variables: Any = None, timeout: float = 0.0
) -> Stream:
    """Open a folder of saved steps, or one file, which is then the only step.

    Three layouts are known, by the names of their data sets:

    - 5D, ``fdistribu_5D_output.h5`` and the like: ``fdistribu_sptor3Dv2D`` on (species, tor1, tor2,
      tor3, vpar, mu), with the points of the mesh beside it, and a 3D potential if there is one;
    - reduced, ``VOICEXX_00000.h5`` or ``GYSELALIBXX_00000.h5``: ``fdistribu`` on (species, x, vx)
      or (species, x, y, vx, vy), ``electrostatic_potential`` and ``time_saved``; points of the
      mesh are in the file itself or in ``…_initstate.h5``;
    - ``fluid_moments.h5``: density, mean_velocity and temperature on (species, tor1, tor2, tor3).

    Parameters
    ----------
    source : str
    chunks, variables
        As for `dask_exa.inputs.open_stream`. The distribution function is called ``f``, the
        potential ``potential``; moments have the names of the file.
    timeout : float, default=0
        Seconds to wait for the next file, where the run still goes on.

    Returns
    -------
    Stream

    Raises
    ------
    ValueError
        When there is no complete file, or a variable is not in the first one.

    References
    ----------
    https://github.com/gyselax/gyselalibxx
    """
    path = Path(source)

    def read_step(file: Path, chunks: Any = chunks) -> xr.Dataset:
        layout = _Layout(file)
        names = tuple(layout.variables) if variables is None else tuple(variables)
        unknown = [name for name in names if name not in layout.variables]
        if unknown or not names:
            raise ValueError(
                f"variables={list(names)} are not all in {str(file)!r}; it has "
                f"{', '.join(layout.variables)}."
            )
        found = read_variables(file, {name: layout.variables[name] for name in names}, chunks)
        step = xr.Dataset(found, coords={"time": ((), layout.time)})
        # the file of one rank may have the mesh of all
        fitting = {d: p for d, p in layout.mesh.items() if step.sizes.get(d) == p[1].size}
        return step.assign_coords(fitting)

    if path.is_dir():
        followed = FollowedFolder(
            path, _STEP, read_step, timeout=timeout, peek=lambda file: read_step(file, {})
        )
        return stream_folder(followed, name=source, what="VOICEXX_00000.h5 and so on")
    try:
        step = read_step(path, {})
    except IncompleteFileError as error:
        raise OSError(
            f"source={source!r}: {error}; wait until it is written, or copy it."
        ) from error
    return Stream(
        lambda start: iter([] if start else [read_step(path).assign_coords(timestep=((), 0))]),
        name=source,
        sizes={str(dim): size for dim, size in step.sizes.items()},
        variables=tuple(map(str, step.data_vars)),
        n_steps=1,
    )


def open_gysela(path: str | os.PathLike[str], chunks: Any = None) -> xr.Dataset:
    """Open a run of Gysela or gyselalib++ as one data set, lazily: a chunk a step.

    Parameters
    ----------
    path : path-like
        See `open_run`.
    chunks : optional
        How to split steps, as for `dask_exa.inputs.open_stream`; by default not at all.

    Returns
    -------
    xarray.Dataset
        ``f`` and ``potential``, or moments, along ``time`` and the dimensions of the mesh.
    """
    return open_all(open_run, path, chunks)


class _Layout:
    """What a file has, without its arrays."""

    def __init__(self, path: Path) -> None:
        self.variables: dict[str, Variable] = {}
        self.mesh: dict[str, Any] = {}
        self.time = 0.0
        try:
            with h5py.File(path) as file:
                self._read(file, path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise IncompleteFileError(f"{path.name} cannot be read ({error})") from error
        if not self.variables:
            raise IncompleteFileError(
                f"{path.name} has none of {_FULL}, {_REDUCED} and {', '.join(_MOMENTS)}"
            )

    def _read(self, file: h5py.File, path: Path) -> None:
        there = {name for name, node in file.items() if isinstance(node, h5py.Dataset)}
        times = [np.ravel(file[name][()]) for name in _TIMES if name in there and file[name].size]
        match = _STEP.fullmatch(path.name)
        self.time = float(times[0][0] if times else match[1] if match else 0.0)
        if _FULL in there:
            self.mesh = {dim: (dim, file[dim][:]) for dim in _TORUS if dim in there}
            self._add("f", _FULL, ("species", *_TORUS), "distribution function")
            self._add_potential(file, _TORUS[:3])
        elif _REDUCED in there:
            self.mesh = _reduced_mesh(file) or _initial_mesh(path.parent)
            self._add_reduced(file, path)
        elif there.issuperset(_MOMENTS):
            for name in _MOMENTS:
                self._add(name, name, ("species", *_TORUS[:3]), name.replace("_", " "))

    def _add(self, name: str, dataset: str, dims: tuple[str, ...], long_name: str) -> None:
        self.variables[name] = Variable(dataset, dims, {"long_name": long_name})

    def _add_potential(self, file: h5py.File, dims: tuple[str, ...]) -> None:
        name = next((name for name in _POTENTIALS if name in file), None)
        if name is not None:
            self._add("potential", name, dims, "electrostatic potential")

    def _add_reduced(self, file: h5py.File, path: Path) -> None:
        shape = file[_REDUCED].shape
        dims = tuple(self.mesh)
        if not dims and len(shape) in (3, 5):  # no mesh anywhere: the two that are known
            dims = ("x", "vx") if len(shape) == 3 else ("x", "y", "vx", "vy")
        dims = ("species", *dims) if len(shape) == len(dims) + 1 else dims
        lengths = dict(zip(dims, shape, strict=False))
        fits = all(points.size == lengths.get(dim) for dim, (_, points) in self.mesh.items())
        if len(dims) != len(shape) or not fits:
            raise IncompleteFileError(
                f"{_REDUCED} of {path.name} has the shape {shape}, which is not that of the mesh "
                f"{ ({dim: points.size for dim, (_, points) in self.mesh.items()}) }"
            )
        self._add("f", _REDUCED, dims, "distribution function")
        self._add_potential(file, tuple(dim for dim in dims if dim in ("x", "y")))


def _is_step(path: Path) -> bool:
    try:
        with h5py.File(path) as file:
            return (
                _FULL in file
                or _REDUCED in file
                or (path.stem.startswith("fluid_moments") and all(n in file for n in _MOMENTS))
            )
    except OSError:
        return False


def _reduced_mesh(file: h5py.File) -> dict[str, Any]:
    return {dim: (dim, file[name][:]) for name, dim in _MESHES.items() if name in file}


def _initial_mesh(folder: Path) -> dict[str, Any]:
    """Return the mesh in the file of the initial state of a run, if there is one."""
    for path in sorted(folder.glob(_INITIAL)):
        try:
            with h5py.File(path) as file:
                return _reduced_mesh(file)
        except OSError as error:
            raise IncompleteFileError(f"{path.name} cannot be read ({error})") from error
    return {}
