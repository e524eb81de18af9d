"""All steps of a stream as one labelled data set, lazily."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from dask_exa.inputs.stream import Stream


def open_all(
    open_steps: Callable[..., Stream], path: str | os.PathLike[str], chunks: Any, **options: Any
) -> xr.Dataset:
    """Open all steps of a source, lazily.

    Parameters
    ----------
    open_steps : callable
        ``open_steps(source, chunks=, **options)`` of a reader.
    path : path-like
    chunks : optional
        How to split steps, as for `dask_exa.inputs.open_stream`; None for not at all.
    **options
        Of the reader.

    Returns
    -------
    xarray.Dataset
        See `stack_steps`.
    """
    chunks = {} if chunks is None else chunks
    return stack_steps(open_steps(os.fspath(path), chunks=chunks, **options))


def stack_steps(stream: Stream) -> xr.Dataset:
    """Put the steps of a stream side by side along ``time``.

    Parameters
    ----------
    stream : Stream
        That ends; opened with ``chunks``, so that its steps are read where they are needed. It is
        closed.

    Returns
    -------
    xarray.Dataset
        Variables and the numbers of steps along ``time``, first; coordinates that do not change
        as they are.

    Raises
    ------
    ValueError
        When the stream has no steps.

    Examples
    --------
    >>> import tempfile, zarr
    >>> import numpy as np
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.inputs.all_steps import stack_steps
    >>> folder = tempfile.mkdtemp() + "/run.zarr"
    >>> values = np.random.default_rng(0).random((5, 4, 6))
    >>> array = zarr.create_array(folder, data=values, dimension_names=["time", "z", "r"])
    >>> everything = stack_steps(open_stream(folder, chunks={}))
    >>> everything.run.dims, everything.run.chunks[0]
    (('time', 'z', 'r'), (1, 1, 1, 1, 1))
    """
    with stream:
        steps = list(stream)
    if not steps:
        raise ValueError(f"source={stream.name!r} has no steps.")
    names = [str(name) for name, coord in steps[0].coords.items() if coord.ndim == 0]
    series = {
        name: ("time", np.array([step[name].values for step in steps]), steps[0][name].attrs)
        for name in names
    }
    stacked = xr.concat(
        [step.drop_vars(names) for step in steps],
        "time",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    return stacked.assign_coords(series)
