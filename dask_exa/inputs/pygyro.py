"""Files of PyGyro, a 4D drift-kinetic code in a screw pinch: one for every field and saved step."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from dask_exa.inputs import hdf5
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

DIMS = ("r", "theta", "z", "vpar")
"""Dimensions in the code's own order, which its attribute ``Layout`` counts."""
_KINDS = {"f": "grid", "potential": "phi"}
_NAME = {
    variable: re.compile(rf"(?:.*_)?{kind}_(\d{{6,}})\.h5") for variable, kind in _KINDS.items()
}
_LONG_NAMES = {"f": "distribution function", "potential": "electrostatic potential"}
_INPUTS = "initParams.json"


def recognise(source: str) -> bool:
    """Whether the source is a folder of PyGyro's files, or one of them."""
    path = Path(source)
    if path.is_dir():
        return any(list_step_files(path, name) for name in _NAME.values())
    if not path.is_file():
        return False
    try:
        with h5py.File(path) as file:
            if any(name.fullmatch(path.name) for name in _NAME.values()):
                return "dset" in file and "Layout" in file["dset"].attrs
            return _is_joined(file)
    except OSError:
        return False


def open_run(
    source: str, *, chunks: Any = None, variables: Any = None, timeout: float = 0.0
) -> Stream:
    """Open a folder of ``grid_*.h5`` and ``phi_*.h5``, one of these files, or many joined in one.

    A joined file has ``f`` of several times, with the attribute ``dims``: "time,r,z,theta,vpar".

    Parameters
    ----------
    source : str
    chunks, variables
        As for `dask_exa.inputs.open_stream`. The variables are ``f`` and ``potential``; by default
        both, at the times that have both.
    timeout : float, default=0
        Seconds to wait for the next file, where the run still goes on.

    Returns
    -------
    Stream
        ``f`` on r, z, theta and vpar, in the order of the file, and ``potential`` without vpar.
        Where the parameters of the run lie beside (``initParams.json``), points of the mesh are
        those of the code: averages of the knots of its splines.

    References
    ----------
    https://github.com/pyccel/pygyro
    """
    path = Path(source)
    if path.is_file() and not any(name.fullmatch(path.name) for name in _NAME.values()):
        return _open_joined(source, chunks, variables)
    there = [name for name in _KINDS if _files(path, name)]
    names = there if variables is None else list(variables)
    missing = [name for name in names if name not in there]
    if missing or not names:
        raise ValueError(f"variables={names} are not all in {source!r}; it has {there}.")
    mesh = read_mesh(path if path.is_dir() else path.parent)

    def read_step(file: Path, chunks: Any = chunks) -> xr.Dataset:
        number = int(_match(file, names[0])[1])
        fields = {}
        for name in names:
            beside = {found.number: found.path for found in _files(path, name)}
            if number not in beside:
                raise IncompleteFileError(f"there is no {_KINDS[name]} file of time {number}")
            fields[name] = _read_field(beside[number], name, chunks)
        return _on_mesh(xr.Dataset(fields, coords={"time": ((), float(number))}), mesh)

    folder, pattern = (path, _NAME[names[0]]) if path.is_dir() else _single(path)
    followed = FollowedFolder(
        folder, pattern, read_step, timeout=timeout, peek=lambda file: read_step(file, {})
    )
    return stream_folder(followed, name=source, what="grid_000000.h5, phi_000000.h5 and so on")


def open_pygyro(path: str | os.PathLike[str], chunks: Any = None) -> xr.Dataset:
    """Open a run of PyGyro as one data set, lazily: a chunk a step.

    Parameters
    ----------
    path : path-like
        See `open_run`.
    chunks : optional
        How to split steps, as for `dask_exa.inputs.open_stream`; by default not at all.

    Returns
    -------
    xarray.Dataset
        ``f`` and ``potential`` along ``time`` and the dimensions of the mesh.
    """
    return open_all(open_run, path, chunks)


def read_mesh(folder: Any) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """Return the points of the mesh of the run in a folder, or nothing where they are not known.

    Parameters
    ----------
    folder : path-like
        With ``initParams.json``, or one file whose name ends so.

    Returns
    -------
    dict of str to (dim, points, attrs)
    """
    inputs = sorted(Path(folder).glob(f"*{_INPUTS}"))
    if len(inputs) != 1:
        return {}
    try:
        values = json.loads(inputs[0].read_text())
        sides = {
            "r": (values["rMin"], values["rMax"]),
            "theta": (0.0, 2 * np.pi),
            "z": (values["zMin"], values["zMax"]),
            "vpar": (values["vMin"], values["vMax"]),
        }
        numbers = list(zip(DIMS, values["npts"], values["splineDegrees"], strict=True))
    except (OSError, ValueError, KeyError, TypeError):
        # not written to the end, or of another version: fields do without
        return {}
    mesh = {}
    for dim, n, degree in numbers:
        low, high = sides[dim]
        is_periodic = dim in ("theta", "z")
        points = (
            low + (high - low) * np.arange(n) / n
            if is_periodic
            else knot_averages(low, high, n, degree)
        )
        mesh[dim] = (dim, points, {"units": "rad" if dim == "theta" else ""})
    return mesh


def knot_averages(low: float, high: float, n_points: int, degree: int) -> np.ndarray:
    """Return the Greville points of splines on even cells: the averages of `degree` knots each.

    Examples
    --------
    >>> from dask_exa.inputs.pygyro import knot_averages
    >>> knot_averages(0.0, 3.0, 6, 3).round(3).tolist()
    [0.0, 0.333, 1.0, 2.0, 2.667, 3.0]
    """
    breaks = np.linspace(low, high, n_points - degree + 1)
    knots = np.concatenate([[low] * degree, breaks, [high] * degree])
    windows = np.lib.stride_tricks.sliding_window_view(knots[1:-1], degree)
    return windows.mean(axis=1)


def _is_joined(file: h5py.File) -> bool:
    dims = file["f"].attrs.get("dims", "") if isinstance(file.get("f"), h5py.Dataset) else ""
    return isinstance(dims, str) and sorted(dims.split(",")) == sorted(("time", *DIMS))


def _open_joined(source: str, chunks: Any, variables: Any) -> Stream:
    stream = hdf5.open_file(source, chunks=chunks, variables=variables)
    mesh = read_mesh(Path(source).parent)
    return Stream(
        lambda start: (_on_mesh(step, mesh) for step in stream.read(start)),
        name=source,
        sizes=stream.sizes,
        variables=stream.variables,
        n_steps=stream.n_steps,
        close=stream.close,
    )


def _on_mesh(step: xr.Dataset, mesh: dict[str, Any]) -> xr.Dataset:
    """Return a step with the points of the mesh, along dimensions that have as many."""
    return step.assign_coords(
        {dim: points for dim, points in mesh.items() if step.sizes.get(dim) == points[1].size}
    )


def _read_field(path: Path, name: str, chunks: Any) -> Any:
    fields = read_variables(path, {name: Variable("dset", _dims(path), {})}, chunks)
    dims, values, _ = fields[name]
    # the potential is real: complex numbers are what the code transforms it with
    values = values.real if values.dtype.kind == "c" else values
    return dims, values, {"long_name": _LONG_NAMES[name]}


def _dims(path: Path) -> tuple[str, ...]:
    try:
        with h5py.File(path) as file:
            dataset = file.get("dset")
            layout = None if dataset is None else dataset.attrs.get("Layout")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IncompleteFileError(f"{path.name} cannot be read ({error})") from error
    if layout is None or sorted(map(int, layout)) != list(range(len(layout))) or len(layout) > 4:
        raise IncompleteFileError(f"{path.name} has no 'dset' with the attribute 'Layout' yet")
    return tuple(DIMS[int(axis)] for axis in layout)


def _files(path: Path, name: str) -> list[Any]:
    if path.is_dir():
        return list_step_files(path, _NAME[name])
    folder, pattern = _single(path)
    return list_step_files(folder, pattern) if _NAME[name].fullmatch(path.name) else []


def _single(path: Path) -> tuple[Path, re.Pattern[str]]:
    """Return the folder of one file, and the pattern that fits its name alone."""
    number = re.search(r"(\d+)\.h5$", path.name)
    assert number is not None
    stem = re.escape(path.name[: number.start()])
    return path.parent, re.compile(rf"{stem}({number[1]})\.h5")


def _match(path: Path, name: str) -> re.Match[str]:
    match = _NAME[name].fullmatch(path.name)
    assert match is not None
    return match
