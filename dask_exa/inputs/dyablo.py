"""Snapshots and restart files of Dyablo: blocks of cells (octs) of an octree that refines."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import xarray as xr

from dask_exa.inputs import hdf5
from dask_exa.inputs._dyablo_parameters import Parameters, read_parameters
from dask_exa.inputs.stream import Stream

_AXES = ("z", "y", "x")
_OF_THE_MESH = ("connectivity", "coordinates", "level", "ioct", "rank")
_NUMBERED = re.compile(r"(.*?)_?(?:iter)?(\d+)\.h5$")


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
        files = _files(source)
        return any(_is_complete(path) for path in files[:3])
    except (OSError, ValueError, ET.ParseError):
        return False


def open_snapshots(source: str, *, chunks: Any = None, variables: Any = None) -> Stream:
    """Open snapshots, in the order of their iterations, or a restart file.

    The number of octs differs from step to step.

    Parameters
    ----------
    source : str
        One ``.h5``, the ``.xmf`` of one step or of a series, a folder with the files of one run,
        or a pattern such as ``"out/blast_iter*.h5"``. A last file that is not complete yet is left
        out.
    chunks, variables
        As for `dask_exa.inputs.open_stream`; the default variables are all fields of cells.

    Returns
    -------
    Stream
        Of data sets on (oct, [z,] y, x). Coordinates of octs: ``level``, ``position`` (lower
        corner) and ``size`` on (oct, axis). Scalars: ``time``, ``timestep``, ``iteration``, and
        ``dt`` of the solver, NaN where the file does not say. An attribute ``periodic`` says along
        which axes the domain is; it is known where the ``.ini`` of the run lies beside.

    Raises
    ------
    ValueError
        When there are several runs in a folder, or a file lacks what a mesh is made of.

    References
    ----------
    https://github.com/Dyablo-HPC/Dyablo
    """
    files = _complete(_files(source), source)
    first = _read(files[0], 0, None, variables)
    names = tuple(map(str, first.data_vars))

    def read(start: int) -> Iterator[xr.Dataset]:
        for number in range(start, len(files)):
            yield _read(files[number], number, chunks, names)

    sizes = {str(dim): size for dim, size in first[list(names)].sizes.items() if dim != "axis"}
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
    files = _complete(_files(source), source)
    steps = {str(i): _read(file, i, chunks, None) for i, file in enumerate(files)}
    return xr.DataTree.from_dict(steps, name=Path(source).stem)


def _files(source: str) -> list[Path]:
    """Return the HDF5 files of a source, in the order of their numbers."""
    path = Path(source)
    if path.is_dir():
        found = sorted(path.glob("*_iter*.h5"))
    elif path.is_file():
        found = [path] if h5py.is_hdf5(path) else _in_xdmf(path)
        return found
    elif any(mark in source for mark in "*?["):
        found = [Path(name) for name in sorted(glob.glob(source)) if name.endswith(".h5")]
    else:
        return []
    return sorted(found, key=_number)


def _number(path: Path) -> tuple[str, int]:
    match = _NUMBERED.match(path.name)
    return (match[1], int(match[2])) if match else (path.name, 0)


def _in_xdmf(path: Path) -> list[Path]:
    """Return the HDF5 files that an XDMF file names, or those of the files that it includes."""
    with path.open("rb") as file:
        if b"<Xdmf" not in file.read(1024):
            return []
    root = ET.parse(path).getroot()
    kinds = {node.get("TopologyType") or node.get("Type") for node in root.iter("Topology")}
    if kinds - {"Quadrilateral", "Hexahedron"}:
        raise ValueError(
            f"source={str(path)!r} has cells of the types {sorted(map(str, kinds))}; only meshes "
            "of quadrilaterals, or of hexahedra, are octrees."
        )
    found: dict[Path, None] = {}
    for node in root.iter():
        if node.tag.endswith("include") and node.get("href"):
            found |= dict.fromkeys(_in_xdmf(path.parent / str(node.get("href"))))
        name, colon, _ = (node.text or "").strip().partition(":")
        if colon and name.endswith((".h5", ".hdf5")):
            found[path.parent / name] = None
    return list(found)


def _complete(files: list[Path], source: str) -> list[Path]:
    """Return the files of one run; the last one may still be written, and then is left out."""
    runs = sorted({_number(path)[0] for path in files})
    if len(runs) > 1:
        pattern = str(files[0].parent / f"{runs[0]}*.h5")
        raise ValueError(
            f"source={source!r} has files of several runs ({', '.join(runs)}); pass one, such as "
            f"{pattern!r}."
        )
    if not files:
        raise ValueError(f"source={source!r} has no HDF5 files of Dyablo.")
    return files[:-1] if len(files) > 1 and not _is_complete(files[-1]) else files


def _is_complete(path: Path) -> bool:
    try:
        return _layout(path) is not None
    except OSError:
        return False


def _layout(path: Path) -> str | None:
    """Return "snapshot" or "restart", or None for a file of something else."""
    with h5py.File(path) as file:
        if isinstance(file.get("Octree"), h5py.Dataset) and "fields" in file:
            return "restart"
        if "connectivity" in file and "coordinates" in file and "scalar_data" in file:
            return "snapshot"
    return None


def _read(path: Path, number: int, chunks: Any, variables: Any) -> xr.Dataset:
    """Return one file as a step; with chunks, its fields are left where they are."""
    with hdf5.open_hdf5(str(path)) as file:
        parameters = read_parameters(path, _number(path)[0])
        is_restart = "Octree" in file
        names = _fields(file, is_restart)
        wanted = list(names) if variables is None else list(variables)
        missing = [name for name in wanted if name not in names]
        if missing or not wanted:
            raise ValueError(
                f"variables={missing} are not in {str(path)!r}; it has {', '.join(names)}."
            )
        read_mesh = _read_restart_mesh if is_restart else _read_mesh
        position, size, level, block = read_mesh(file, parameters, names[wanted[0]])
        dims = ("oct", *_AXES[-len(block) :])
        data = {name: (dims, _field(file[names[name]], path, block, chunks)) for name in wanted}
        wrong = [name for name in wanted if data[name][1].shape[0] != len(position)]
        if wrong:
            raise ValueError(
                f"{str(path)!r} has {len(position)} octs of {block} cells, but {wrong} of another "
                "length; wait until its writer has closed it, or copy it again."
            )
        clock = file["scalar_data"].attrs if "scalar_data" in file else {}
        coords: dict[str, Any] = {
            "level": ("oct", level),
            "position": (("oct", "axis"), position),
            "size": (("oct", "axis"), size),
            "axis": list(_AXES[: -len(block) - 1 : -1]),
            "time": float(clock.get("time", number)),
            "timestep": ((), number, {"long_name": "position in the series"}),
            "iteration": int(clock.get("iter", number)),
            "dt": ((), float(clock.get("dt", np.nan)), {"long_name": "time step of the solver"}),
        }
    periodic = [int(wraps) for wraps in parameters.periodic[: len(block)]]
    return xr.Dataset(data, coords=coords, attrs={"periodic": periodic})


def _fields(file: h5py.File, is_restart: bool) -> dict[str, str]:
    """Return the fields of cells: name and where it is."""
    if is_restart:
        return {name: f"fields/{name}" for name in file["fields"]}
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


def _read_mesh(
    file: h5py.File, parameters: Parameters, field: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return lower corner, size and level of every oct, and its cells, from nodes of cells."""
    connectivity, coordinates = _checked_mesh(file)
    ndim = 2 if connectivity.shape[1] == 4 else 3
    block = _block(connectivity, coordinates)
    nodes = coordinates[...][:, :ndim].astype(np.float64)
    if block is None:  # nodes that cells share: every cell for itself
        block = (1,) * ndim
        corners = nodes[connectivity[...].astype(np.int64)]
        lower, upper = corners.min(axis=1), corners.max(axis=1)
    else:
        n_nodes = int(np.prod([n + 1 for n in block]))
        lower, upper = nodes[::n_nodes], nodes[n_nodes - 1 :: n_nodes]
    size = upper - lower
    if "level" in file:
        level = file["level"][...].reshape(len(lower), -1)[:, 0].astype(np.uint8)
    else:
        extent = upper[:, 0].max() - lower[:, 0].min()
        level = np.rint(np.log2(extent / size[:, 0])).astype(np.uint8)
    return lower, size, level, block


def _checked_mesh(file: h5py.File) -> tuple[h5py.Dataset, h5py.Dataset]:
    missing = [name for name in ("connectivity", "coordinates") if name not in file]
    if missing:
        raise ValueError(f"{file.filename!r} lacks {missing}; it has {', '.join(file)}.")
    connectivity, coordinates = file["connectivity"], file["coordinates"]
    if connectivity.ndim != 2 or connectivity.shape[1] not in (4, 8):
        raise ValueError(
            f"connectivity of {file.filename!r} has shape {connectivity.shape}; only meshes of "
            "quadrilaterals (n_cells, 4), or of hexahedra (n_cells, 8), are octrees."
        )
    return connectivity, coordinates


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


def _read_restart_mesh(
    file: h5py.File, parameters: Parameters, field: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return the same of a restart file, whose octs are integers: x, y, z at their level."""
    octs = file["Octree"][...].astype(np.int64)
    if octs.ndim != 2 or octs.shape[1] != 4 or not len(octs):
        raise ValueError(f"Octree of {file.filename!r} has shape {octs.shape}, not (n_octs, 4).")
    level = octs[:, 3]
    n_cells = int(np.prod(file[field].shape[1:]))
    block = parameters.block
    if block is None:
        ndim = 3 if octs[:, 2].any() else 2
        block = (round(n_cells ** (1 / ndim)),) * ndim
    if int(np.prod(block)) != n_cells:
        raise ValueError(
            f"octs of {file.filename!r} have {n_cells} cells, which are no block of {block}; put "
            "the .ini of the run beside it."
        )
    ndim = len(block)
    size = parameters.oct_size(level)[:, :ndim]
    position = np.asarray(parameters.origin)[:ndim] + octs[:, :ndim] * size
    return position, size, level.astype(np.uint8), block
