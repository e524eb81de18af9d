"""The folder of a run of Tokam2D: a file for every frame while it runs, one for all at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from dask_exa.datasets._spectral import positions
from dask_exa.datasets._tokam2d_inputs import read_parameters, read_time_step
from dask_exa.inputs import tokam2d
from dask_exa.inputs.all_steps import open_all
from dask_exa.inputs.step_files import (
    FollowedFolder,
    Variable,
    list_step_files,
    read_variables,
    stream_folder,
)
from dask_exa.inputs.stream import Stream

JOINED = "simulation_fields.h5"
TIMEOUT = 60.0
_FRAME = re.compile(r"fields_(\d{5,})\.h5")
_BEGUN = ("user_inputs.h5", "simulation.log")
"""What the code leaves in its folder before the first frame, or until the frames are joined."""
_UNITS = {"density": "n_0", "potential": "T_e/e"}
_VARIABLES = {
    **{name: Variable(name, ("y", "x"), {"units": unit}) for name, unit in _UNITS.items()},
    "time": Variable("time", (), {"units": "1/Omega_ci"}),
}


def recognise(source: str) -> bool:
    """Whether the source is the folder of a run of Tokam2D."""
    folder = Path(source)
    has_frames = bool(list_step_files(folder, _FRAME))
    has_begun = folder.is_dir() and any((folder / name).is_file() for name in _BEGUN)
    return has_frames or has_begun or tokam2d.recognise(str(folder / JOINED))


def open_folder(
    source: str, *, chunks: Any = None, variables: Any = None, timeout: float = TIMEOUT
) -> Stream:
    """Open the folder of a run, which may still be going on.

    Frames are given as they come. A frame that is not complete is waited for; when the next one is
    there, or after the time-out, it is left out and noted in ``stream.faults``. The stream ends
    with the frames of ``simulation_fields.h5``, which the code writes at the end, when it has
    erased those of the single frames; or when nothing comes for as long as the time-out.

    Parameters
    ----------
    source : str
    chunks, variables
        As for `dask_exa.inputs.open_stream`.
    timeout : float, default=60
        Seconds to wait for a frame; more than the code takes for one.

    Returns
    -------
    Stream
        Of ``density`` and ``potential`` on (y, x), without a length while the run goes on.

    Raises
    ------
    ValueError
        When no frame is there after the time-out, or a variable is not in one.
    """
    folder = Path(source)
    joined = str(folder / JOINED)
    if tokam2d.recognise(joined):
        return tokam2d.open_fields(joined, chunks=chunks, variables=variables)
    names = tuple(_UNITS) if variables is None else tuple(variables)
    unknown = [name for name in names if name not in _UNITS]
    if unknown or not names:
        raise ValueError(
            f"variables={list(names)} are not all in {source!r}; it has {list(_UNITS)}."
        )
    constants = _Constants(folder)

    def read_frame(path: Path) -> xr.Dataset:
        found = read_variables(path, _VARIABLES)
        time = found.pop("time")
        step = xr.Dataset({name: found[name] for name in names}, coords={"time": time})
        step = step.assign_coords(constants.of(step))
        return step if chunks is None else step.chunk(chunks)

    followed = FollowedFolder(
        folder, _FRAME, read_frame, timeout=timeout, has_ended=lambda: tokam2d.recognise(joined)
    )

    def steps(start: int) -> Iterator[xr.Dataset]:
        position = 0
        for step in followed.steps():
            if position >= start:
                yield step
            position += 1
        if tokam2d.recognise(joined):
            with tokam2d.open_fields(joined, chunks=chunks, variables=names) as rest:
                yield from rest.read(max(position, start) + len(followed.faults))

    if followed.first() is None and tokam2d.recognise(joined):  # frames were just being joined
        return tokam2d.open_fields(joined, chunks=chunks, variables=variables)
    return stream_folder(followed, name=source, what="fields_00000.h5 and so on", steps=steps)


def open_tokam2d(path: str | os.PathLike[str], chunks: Any = None) -> xr.Dataset:
    """Open what there is of a run of Tokam2D as one data set, lazily where it has ended.

    Parameters
    ----------
    path : path-like
        A folder, see `open_folder`, or its ``simulation_fields.h5``.
    chunks : optional
        How to split steps, as for `dask_exa.inputs.open_stream`; by default not at all.

    Returns
    -------
    xarray.Dataset
        ``density`` and ``potential`` along ``time``, y and x.
    """
    if Path(path).is_dir():
        return open_all(open_folder, path, chunks, timeout=0.0)
    return open_all(tokam2d.open_fields, path, chunks)


class _Constants:
    """Coordinates that do not change, from the parameters of the run, once they are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, Any] | None = None

    def of(self, step: xr.Dataset) -> dict[str, Any]:
        if self._found is None:
            self._found = self._read(step)
        return self._found

    def _read(self, step: xr.Dataset) -> dict[str, Any]:
        found: dict[str, Any] = {}
        shape = (step.sizes["y"], step.sizes["x"])
        inputs = (self.folder / name for name in ("user_inputs.h5", "input.yaml"))
        path = next((path for path in inputs if path.is_file()), None)
        try:
            length = None if path is None else read_parameters(path, shape=shape).length
            time_step = read_time_step(self.folder)
        except (OSError, KeyError, ValueError):
            # a model that is not built in, or not written to the end: frames do without
            return found
        if length is not None:
            for dim, points in zip(("y", "x"), positions(shape, length), strict=True):
                found[dim] = (dim, points, {"units": "rho_s"})
        if time_step is not None:
            attributes = {"units": "1/Omega_ci", "long_name": "time step of the solver"}
            found["dt"] = ((), time_step, attributes)
        return found
