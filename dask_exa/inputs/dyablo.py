"""Snapshots and restart files of Dyablo: blocks of cells (octs) of an octree that refines."""

from __future__ import annotations

import dataclasses
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import h5py
import numpy as np
import xarray as xr

from dask_exa.inputs import hdf5
from dask_exa.inputs._dyablo_files import (
    files_of,
    folder_of,
    is_series,
    run_of,
    series_pattern,
)
from dask_exa.inputs._dyablo_parameters import Parameters, read_parameters
from dask_exa.inputs.step_files import FollowedFolder, IncompleteFileError, stream_folder
from dask_exa.inputs.stream import Stream

_AXES = ("z", "y", "x")
_OF_THE_MESH = ("connectivity", "coordinates", "level", "ioct", "rank")


@dataclasses.dataclass(frozen=True)
class _OctArray:
    """A dataset as patches (n_octs, [z,] y, x), read when and where it is indexed."""

    array: Any
    block: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(np.prod(self.array.shape)) // int(np.prod(self.block)), *self.block)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        octs, rest = key[0], key[1:]
        if len(self.array.shape) == 1:  # a snapshot counts cells, a restart file octs
            size = int(np.prod(self.block))
            first, last, _ = octs.indices(self.shape[0])
            octs = slice(first * size, last * size)
        values = np.asarray(self.array[octs]).reshape(-1, *self.block)
        return values[(slice(None), *rest)]


def recognise(source: str) -> bool:
    """Whether the source is an output of Dyablo: a file, an XDMF file, a folder or a pattern."""
    try:
        return any(_is_complete(path) for path in files_of(source)[:3])
    except (OSError, ValueError, ET.ParseError):
        return False


def open_snapshots(
    source: str, *, chunks: Any = None, variables: Any = None, timeout: float = 0.0
) -> Stream:
    """Open snapshots, in the order of their iterations, or a restart file.

    The number of octs differs from step to step.

    Parameters
    ----------
    source : str
        One ``.h5``, the ``.xmf`` of one step or of a series, a folder with the files of one run,
        or a pattern such as ``"out/blast_iter*.h5"``. Of a folder or a pattern, files that are not
        complete are left out and noted in ``stream.faults``.
    chunks, variables
        As for `dask_exa.inputs.open_stream`; the default variables are all fields of cells.
    timeout : float, default=0
        Seconds to wait for the next file of a folder or a pattern, or for a file to be finished:
        more than the code takes from one to the next, while it runs. With 0, what is there is all.

    Returns
    -------
    Stream
        Of data sets on (oct, [z,] y, x). Coordinates of octs: ``level``, ``position`` (lower
        corner) and ``size`` on (oct, axis). Scalars: ``time``, ``timestep`` and ``iteration``
        (both count the steps of the solver), and ``dt`` of the solver, NaN where the file does
        not say. An attribute ``periodic`` says along which axes the domain is; it is known where
        the ``.ini`` of the run lies beside.

    Raises
    ------
    ValueError
        When there are several runs in a folder, or a file lacks what a mesh is made of.
    OSError
        When a file that is named cannot be read.

    References
    ----------
    https://github.com/Dyablo-HPC/Dyablo
    """
    if is_series(source):
        read_step = _SeriesReader(variables)
        followed = FollowedFolder(
            folder_of(source),
            series_pattern(source),
            lambda path: read_step(path, chunks),
            timeout=timeout,
            peek=lambda path: read_step(path, {}, with_mesh=False),
        )
        return stream_folder(followed, name=source, what="NAME_iter0000000.h5 and so on")
    files = files_of(source)
    if not files:
        raise ValueError(f"source={source!r} names no HDF5 files of Dyablo.")
    first = _read(files[0], {}, variables, with_mesh=False)
    names = tuple(map(str, first.data_vars))

    def read(start: int) -> Iterator[xr.Dataset]:
        return (_read(path, chunks, names) for path in files[start:])

    sizes = {str(dim): size for dim, size in first.sizes.items()}
    return Stream(read, name=source, sizes=sizes, variables=names, n_steps=len(files))


def open_dyablo(source: str | os.PathLike[str], chunks: Any = "auto") -> xr.DataTree:
    """Open all steps of a run as Dask arrays, one node a step.

    Parameters
    ----------
    source : str or path-like
        As for `dask_exa.inputs.open_stream`.
    chunks : "auto", int or mapping, default="auto"
        Of (oct, [z,] y, x), as for `xarray.open_dataset`.

    Returns
    -------
    xarray.DataTree
        Nodes "0", "1", … in the order of time, each a data set with octs of its own; what is in
        one is said at `open_snapshots`.
    """
    source = os.fspath(source)
    with open_snapshots(source, chunks=chunks) as stream:
        steps = {str(number): step for number, step in enumerate(stream)}
    return xr.DataTree.from_dict(steps, name=Path(source).stem)


def _is_complete(path: Path) -> bool:
    try:
        with h5py.File(path) as file:
            return _layout(file) is not None
    except OSError:
        return False


def _layout(file: h5py.File) -> str | None:
    """Return "snapshot" or "restart", or None for a file of something else."""
    if isinstance(file.get("Octree"), h5py.Dataset) and "fields" in file:
        return "restart"
    if {"connectivity", "coordinates", "scalar_data"} <= set(file):
        return "snapshot"
    return None


class _Mesh(NamedTuple):
    """The octs of a file."""

    position: np.ndarray
    """Lower corner, (n_octs, ndim)."""
    size: np.ndarray
    level: np.ndarray


class _SeriesReader:
    """Reads files of a series, whose variables are those of the first complete one."""

    def __init__(self, variables: Any) -> None:
        self._wanted, self._is_known = variables, False

    def __call__(self, path: Path, chunks: Any, *, with_mesh: bool = True) -> xr.Dataset:
        try:
            step = _read(path, chunks, self._wanted, with_mesh=with_mesh)
        except ValueError as error:
            if not self._is_known:
                raise
            raise IncompleteFileError(str(error)) from error
        if not self._is_known:
            self._wanted, self._is_known = tuple(step.data_vars), True
        return step


def _read(path: Path, chunks: Any, variables: Any, *, with_mesh: bool = True) -> xr.Dataset:
    """Return one file as a step; with chunks, its fields are left where they are."""
    try:
        with h5py.File(path) as file:
            return _read_open(file, path, chunks, variables, with_mesh)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, KeyError) as error:
        raise IncompleteFileError(
            f"{str(path)!r} cannot be read ({error}); wait until its writer has closed it, or "
            "copy it again."
        ) from error


def _read_open(
    file: h5py.File, path: Path, chunks: Any, variables: Any, with_mesh: bool
) -> xr.Dataset:
    layout = _layout(file)
    if layout is None:
        raise IncompleteFileError(f"it has {', '.join(file) or 'nothing'}, which is no mesh")
    parameters = read_parameters(path, run_of(path))
    names = _fields(file, layout)
    wanted = list(names) if variables is None else list(variables)
    missing = [name for name in wanted if name not in names]
    if missing or not wanted:
        raise ValueError(
            f"variables={missing} are not in {str(path)!r}; it has {', '.join(names) or 'none'}."
        )
    is_restart = layout == "restart"
    block = _restart_block(file, parameters) if is_restart else _snapshot_block(file)
    dims = ("oct", *_AXES[-len(block) :])
    data = {name: (dims, _field(file[names[name]], path, block, chunks)) for name in wanted}
    clock = file["scalar_data"].attrs if "scalar_data" in file else {}
    iteration = int(clock.get("iter", 0))
    coords: dict[str, Any] = {
        "time": float(clock.get("time", iteration)),
        "timestep": ((), iteration, {"long_name": "iteration of the solver"}),
        "iteration": iteration,
        "dt": ((), float(clock.get("dt", np.nan)), {"long_name": "time step of the solver"}),
    }
    if with_mesh:
        mesh = _restart_mesh(file, parameters, block) if is_restart else _mesh(file, block)
        short = [name for name in wanted if data[name][1].shape[0] != len(mesh.level)]
        if short:
            raise IncompleteFileError(f"{short} are not of {len(mesh.level)} octs of {block} cells")
        if not (mesh.size > 0).all():
            raise IncompleteFileError("octs have no size: its nodes are not written yet")
        coords |= {
            "level": ("oct", mesh.level),
            "position": (("oct", "axis"), mesh.position),
            "size": (("oct", "axis"), mesh.size),
            "axis": list(_AXES[: -len(block) - 1 : -1]),
        }
    periodic = [int(wraps) for wraps in parameters.periodic[: len(block)]]
    return xr.Dataset(data, coords=coords, attrs={"periodic": periodic})


def _fields(file: h5py.File, layout: str) -> dict[str, str]:
    """Return the fields of cells: name and where it is."""
    if layout == "restart":
        n_octs = len(file["Octree"])
        return {
            name: f"fields/{name}"
            for name, node in file["fields"].items()
            if _shape(node)[:1] == (n_octs,) and node.dtype.kind == "f"
        }
    n_cells = _checked_mesh(file)[0].shape[0]
    return {
        name: name
        for name, node in file.items()
        if isinstance(node, h5py.Dataset)
        and node.shape in ((n_cells,), (n_cells, 1))
        and name not in _OF_THE_MESH
        and node.dtype.kind == "f"
    }


def _field(dataset: h5py.Dataset, path: Path, block: tuple[int, ...], chunks: Any) -> Any:
    if chunks is None:
        return dataset[...].reshape(-1, *block)
    array = _OctArray(hdf5.RemoteDataset(os.path.abspath(path), dataset), block)
    if isinstance(chunks, Mapping):
        chunks = tuple(chunks.get(dim, -1) for dim in ("oct", *_AXES[-len(block) :]))
    elif chunks == "auto":
        chunks = ("auto", *(-1 for _ in block))
    return da.from_array(array, chunks=chunks, name=False, meta=np.empty(0, array.dtype))


def _snapshot_block(file: h5py.File) -> tuple[int, ...]:
    """Return the cells of an oct, ([z,] y, x); single cells where they share their nodes."""
    connectivity, coordinates = _checked_mesh(file)
    ndim = 2 if connectivity.shape[1] == 4 else 3
    return _block(connectivity, coordinates) or (1,) * ndim


def _mesh(file: h5py.File, block: tuple[int, ...]) -> _Mesh:
    """Return the octs of a snapshot, from the nodes of its cells."""
    connectivity, coordinates = _checked_mesh(file)
    nodes = coordinates[...][:, : len(block)].astype(np.float64)
    if _block(connectivity, coordinates) is None:
        corners = nodes[connectivity[...].astype(np.int64)]
        lower, upper = corners.min(axis=1), corners.max(axis=1)
    else:
        n_nodes = int(np.prod([n + 1 for n in block]))
        lower, upper = nodes[::n_nodes], nodes[n_nodes - 1 :: n_nodes]
    size = upper - lower
    levels = _shape(file.get("level"))
    if levels and levels[0] and levels[0] % len(lower) == 0:  # of the cells, or of the octs
        level = file["level"][...].reshape(len(lower), -1)[:, 0]
    else:
        extent = upper[:, 0].max() - lower[:, 0].min()
        level = np.rint(np.log2(extent / size[:, 0]))
    return _Mesh(lower, size, level.astype(np.uint8))


def _checked_mesh(file: h5py.File) -> tuple[h5py.Dataset, h5py.Dataset]:
    missing = [name for name in ("connectivity", "coordinates") if name not in file]
    if missing:
        raise ValueError(f"{file.filename!r} lacks {missing}; it has {', '.join(file)}.")
    connectivity, coordinates = file["connectivity"], file["coordinates"]
    shape = _shape(connectivity)
    if len(shape) != 2 or shape[1] not in (4, 8) or not shape[0]:
        raise ValueError(
            f"connectivity of {file.filename!r} has shape {shape}; only meshes of quadrilaterals "
            "(n_cells, 4), or of hexahedra (n_cells, 8), are octrees."
        )
    ndim, shape = (2 if shape[1] == 4 else 3), _shape(coordinates)
    if len(shape) != 2 or shape[1] < ndim or shape[0] < 2**ndim:
        raise ValueError(
            f"coordinates of {file.filename!r} have shape {shape}; they must be the nodes of all "
            f"cells, (n_nodes, {ndim}) or more."
        )
    return connectivity, coordinates


def _shape(node: Any) -> tuple[int, ...]:
    """Return the shape of a dataset; that of a scalar for anything else."""
    return node.shape or () if isinstance(node, h5py.Dataset) else ()


def _block(connectivity: h5py.Dataset, coordinates: h5py.Dataset) -> tuple[int, ...] | None:
    """Return the cells of an oct, ([z,] y, x), from how its first cell counts its nodes.

    An oct has its nodes for itself, x fastest: the cell has node 0, the next one along y is
    n_x + 1, along z (n_x + 1)(n_y + 1); the last number follows from all cells and all nodes.
    """
    n_cells, n_corners = connectivity.shape
    first = connectivity[0].astype(np.int64).tolist()
    n_nodes = coordinates.shape[0]
    row = first[3]
    sides = [row - 1]
    if n_corners == 8 and row > 1:
        if first[4] % row:
            return None
        sides.append(first[4] // row - 1)
    if min(sides) < 1 or first[:2] != [0, 1]:
        return None
    inner, outer = np.prod(sides), np.prod([n + 1 for n in sides])
    # n_nodes / n_cells = (outer / inner) (m + 1) / m
    excess = n_nodes * inner / (n_cells * outer) - 1.0
    if not excess > 0:
        return None
    sides.append(round(1.0 / excess))
    n_own, n_own_nodes = int(np.prod(sides)), int(np.prod([n + 1 for n in sides]))
    n_octs, rest = divmod(n_cells, n_own)
    if rest or n_octs * n_own_nodes != n_nodes:
        return None
    if n_octs > 1 and connectivity[n_own, 0] != n_own_nodes:
        return None
    return tuple(int(n) for n in sides[::-1])


def _restart_block(file: h5py.File, parameters: Parameters) -> tuple[int, ...]:
    """Return the cells of an oct of a restart file, ([z,] y, x)."""
    octs = file["Octree"]
    if octs.ndim != 2 or octs.shape[1] != 4 or not len(octs):
        raise ValueError(f"Octree of {file.filename!r} has shape {octs.shape}, not (n_octs, 4).")
    fields = _fields(file, "restart").values()
    shapes = {file[field].shape[1:] for field in fields}
    n_cells = int(np.prod(shapes.pop()))
    block = parameters.block
    if block is None:
        ndim = 3 if octs[:, 2].any() else 2
        block = (round(n_cells ** (1 / ndim)),) * ndim
    if shapes or int(np.prod(block)) != n_cells:
        raise ValueError(
            f"octs of {file.filename!r} have {n_cells} cells, which are no block of {block}; put "
            "the .ini of the run beside it."
        )
    return block


def _restart_mesh(file: h5py.File, parameters: Parameters, block: tuple[int, ...]) -> _Mesh:
    """Return the octs of a restart file, which are integers: x, y, z at their level."""
    octs, ndim = file["Octree"][...].astype(np.int64), len(block)
    size = parameters.oct_size(octs[:, 3])[:, :ndim]
    position = np.asarray(parameters.origin)[:ndim] + octs[:, :ndim] * size
    return _Mesh(position, size, octs[:, 3].astype(np.uint8))
