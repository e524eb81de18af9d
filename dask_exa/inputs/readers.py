"""Which reader takes a source: one table, asked from top to bottom."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dask_exa.inputs import (
    damask,
    dyablo,
    goosefft,
    gysela,
    hdf5,
    measurement_set,
    netcdf,
    oskar,
    pygyro,
    simulations,
    tokam2d,
    tokam2d_folder,
    zarr_store,
)
from dask_exa.inputs.stream import Stream


class Reader(NamedTuple):
    """One kind of source."""

    label: str
    """For error messages: "an HDF5 file"."""
    recognise: Callable[[Any], bool]
    """``recognise(source)``: whether this reader takes it. Never raises."""
    open: Callable[..., Stream]
    """``open(source, chunks=, variables=, **options)``."""


READERS = (
    Reader("the name of a built-in simulation", simulations.recognise, simulations.open_simulation),
    Reader("fields of Tokam2D", tokam2d.recognise, tokam2d.open_fields),
    Reader("the folder of a run of Tokam2D", tokam2d_folder.recognise, tokam2d_folder.open_folder),
    Reader("an output of Dyablo", dyablo.recognise, dyablo.open_snapshots),
    Reader("files of PyGyro", pygyro.recognise, pygyro.open_run),
    Reader("files of Gysela", gysela.recognise, gysela.open_run),
    Reader("a result of DAMASK", damask.recognise, damask.open_result),
    Reader("tensors of GooseFFT", goosefft.recognise, goosefft.open_tensors),
    Reader("visibilities of OSKAR", oskar.recognise, oskar.open_visibilities),
    Reader("a Measurement Set", measurement_set.recognise, measurement_set.open_visibilities),
    Reader("an HDF5 file", hdf5.recognise, hdf5.open_file),
    Reader("a NetCDF 3 file", netcdf.recognise, netcdf.open_file),
    Reader("a zarr group or array", zarr_store.recognise, zarr_store.open_store),
)


def open_stream(
    source: str | os.PathLike[str],
    chunks: Mapping[str, int] | str | int | None = None,
    *,
    variables: str | tuple[str, ...] | list[str] | None = None,
    **options: Any,
) -> Stream:
    """Open a file or start a built-in simulation as a stream of steps.

    Parameters
    ----------
    source : str or path-like
        The name of a built-in simulation ("tokam2d", "tokam2d-sol", "tokam2d-hw",
        "tokam2d-mhw", "vlasov", "vlasov-landau", "amr-blast", "crystal", "interferometer"); what
        Tokam2D, Dyablo, PyGyro, Gysela, DAMASK, GooseFFT or OSKAR write; a Measurement Set; any
        HDF5, NetCDF or zarr with a time axis: the dimension named ``time`` or ``t``, else the
        first. The content decides, not the name; docs/data-of-codes.md has the list.
    chunks : int, "auto", or mapping of dimension to size, optional
        Give the variables of a step as Dask arrays in such chunks, read where they are needed.
        By default they are NumPy arrays, read when the step is asked for.
    variables : str or sequence of str, optional
        Variables to read. Default: all numeric arrays of two or more dimensions that share the
        time axis of the largest one.
    **options
        Arguments of the reader: those of `dask_exa.datasets.Tokam2D` for a simulation.

    Returns
    -------
    Stream

    Raises
    ------
    FileNotFoundError
        When there is no such file and no such simulation.
    ValueError
        When no reader takes the source, a variable is not in it, or it has no steps.

    Examples
    --------
    >>> import tempfile, zarr
    >>> import numpy as np
    >>> from dask_exa.inputs import open_stream
    >>> folder = tempfile.mkdtemp() + "/run.zarr"
    >>> array = zarr.create_array(
    ...     folder, data=np.zeros((5, 4, 6)), dimension_names=["time", "z", "r"]
    ... )
    >>> with open_stream(folder) as stream:
    ...     print(len(stream), stream.dims, stream.variables)
    5 ('z', 'r') ('run',)
    """
    source = os.fspath(source)
    for reader in READERS:
        if reader.recognise(source):
            return reader.open(source, chunks=chunks, variables=_as_names(variables), **options)
    raise _not_recognised(source)


def _as_names(variables: Any) -> tuple[str, ...] | None:
    if variables is None:
        return None
    return (variables,) if isinstance(variables, str) else tuple(variables)


def _not_recognised(source: str) -> Exception:
    path = Path(source)
    if not path.exists():
        names = ", ".join(simulations.SIMULATIONS)
        return FileNotFoundError(
            f"source={source!r} does not exist and is no built-in simulation ({names}); check "
            "the path."
        )
    if path.is_dir():
        inside = sorted(child.name for child in path.iterdir())
        shown = ", ".join(inside[:5]) + (", …" if len(inside) > 5 else "")
        found = f"it is a folder with {shown or 'nothing'} in it"
    else:
        with path.open("rb") as file:
            found = f"it is a file that starts with {file.read(8)!r}"
    looked_for = ", ".join(reader.label for reader in READERS)
    return ValueError(f"source={source!r} is not recognised: looked for {looked_for}; {found}.")
