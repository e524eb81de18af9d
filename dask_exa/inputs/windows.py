"""Several steps of a stream as one data set with a dimension of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

TIME = "time"
_CLOCK = "timestep"


def join(steps: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return steps as one data set along time; nothing is computed.

    Parameters
    ----------
    steps : sequence of xarray.Dataset
        At least one, of the same variables and sizes.

    Returns
    -------
    xarray.Dataset
        Time comes first in every variable. ``timestep`` lies along it; other coordinates do so
        where they change.

    Raises
    ------
    ValueError
        When a dimension has different sizes, as in a mesh that refines.

    Examples
    --------
    >>> import xarray as xr
    >>> step = xr.Dataset({"n": ("x", [1.0, 2.0])}, {"time": 0.5, "timestep": 7})
    >>> join([step, step + 1]).n.dims
    ('time', 'x')
    """
    if len(steps) == 1:
        clock = _clock(steps[0])
        return steps[0].drop_vars(list(clock)).expand_dims(TIME).assign_coords(clock)
    _check_sizes(steps)
    return xr.concat(
        steps,
        dim=TIME,
        data_vars="all",
        coords="different",
        compat="equals",
        join="exact",
        combine_attrs="override",
    )


def copied(step: xr.Dataset) -> xr.Dataset:
    """Return a step whose values are its own, made where the values are.

    The steps of a running simulation are views of its buffers, and it waits while all of them are
    in use. A copy on the workers can be kept for any time.

    Parameters
    ----------
    step : xarray.Dataset
        Lazy variables are copied by their workers, chunk by chunk, and stay there.
    """
    if not dask.is_dask_collection(step):
        return step.copy(deep=True)
    data = {name: step[name].copy(data=_copy(step[name].data)) for name in step.data_vars}
    return step.assign(data).persist()


def slide(
    steps: Iterable[xr.Dataset], length: int, every: int, *, is_live: bool
) -> Iterator[xr.Dataset]:
    """Yield the windows of a stream, see `dask_exa.inputs.Stream.windows`."""
    window: deque[xr.Dataset] = deque(maxlen=length)
    for position, step in enumerate(steps):
        # places in the next window, counted from its first step
        place = position % every if every > length else 0
        if place >= length:
            continue
        window.append(copied(step) if is_live and length > 1 else step)
        if position >= length - 1 and (position - length + 1) % every == 0:
            yield join(window)


def _check_sizes(steps: Iterable[xr.Dataset]) -> None:
    first: dict[Any, int] = {}
    for step in steps:
        for dim, size in step.sizes.items():
            if first.setdefault(dim, size) != size:
                raise ValueError(
                    f"steps have {first[dim]} and {size} points along {dim!r} and cannot be put "
                    "side by side; represent them by fields of one shape first, with a "
                    "RepresentedStream."
                )


def _clock(step: xr.Dataset) -> dict[str, Any]:
    """Return the timestep of a step as a coordinate along time."""
    if _CLOCK not in step:
        return {}
    return {_CLOCK: (TIME, [step[_CLOCK].item()], step[_CLOCK].attrs)}


def _copy(data: Any) -> Any:
    if not dask.is_dask_collection(data):
        return np.array(data)
    return da.map_blocks(np.array, data, dtype=data.dtype, meta=np.empty((0,) * data.ndim))
