"""From the steps of a stream to single dumps, as the screening of visibilities takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from dask_exa._visibilities import DIMS
from dask_exa.inputs.visibilities.block import read_block, read_uvw

_NEEDED = ("visibility", "uvw", "frequency", "antenna1", "antenna2")


class Dump(NamedTuple):
    """Visibilities of one integration of the correlator, in one polarisation or their mean."""

    visibility: np.ndarray
    """(n_baselines, n_channels), complex64; NaN where flagged."""
    uvw: np.ndarray
    """(n_baselines, 3), float64, in metres."""
    frequency: np.ndarray
    """(n_channels,), float64, in Hz."""
    antenna1: np.ndarray
    """(n_baselines,), int32, from 0."""
    antenna2: np.ndarray
    time: float
    """In seconds."""
    timestep: int

    @property
    def n_stations(self) -> int:
        """One more than the largest number of a station."""
        return int(max(self.antenna1.max(), self.antenna2.max())) + 1


def dumps_of(step: xr.Dataset) -> Iterator[Dump]:
    """Yield the dumps of a step, which has one of them or a dimension ``time``.

    Parameters
    ----------
    step : xarray.Dataset
        ``visibility`` ([time,] baseline, frequency[, polarisation]), ``uvw`` ([time,] baseline,
        uvw), ``antenna1`` and ``antenna2`` (baseline), ``frequency``, ``time``, ``timestep``;
        where there are any ``flag`` and ``weight``, of which 0 is a flag.

    Yields
    ------
    Dump
        Autocorrelations are left out, and polarisations averaged.

    Raises
    ------
    ValueError
        When something is missing, or there are fewer than two channels.
    """
    missing = [name for name in _NEEDED if name not in step.variables]
    if missing:
        present = ", ".join(map(str, step.variables))
        raise ValueError(f"the step has no {', '.join(missing)}; it has {present}.")
    if step.sizes["frequency"] < 2:
        raise ValueError("visibilities of 1 channel cannot be screened; pass all channels.")
    steps = [step.isel(time=i) for i in range(step.sizes["time"])] if "time" in step.dims else None
    for one in [step] if steps is None else steps:
        yield _dump(one)


def _dump(step: xr.Dataset) -> Dump:
    antenna1, antenna2 = (step[name].values.astype(np.int32) for name in ("antenna1", "antenna2"))
    visibility, uvw = _masked(step), read_uvw(step, 1)[0]
    cross = antenna1 != antenna2
    if not cross.all():
        visibility, uvw = visibility[cross], uvw[cross]
        antenna1, antenna2 = antenna1[cross], antenna2[cross]
    return Dump(
        visibility,
        uvw,
        step["frequency"].values.astype(float),
        antenna1,
        antenna2,
        float(step["time"]),
        int(step["timestep"]),
    )


def _masked(step: xr.Dataset) -> np.ndarray:
    """Return the visibilities, with NaN where they are flagged."""
    array = step["visibility"]
    is_plain = set(array.dims) == set(DIMS[1:]) and array.dtype == np.complex64
    if is_plain and "flag" not in step.variables and "weight" not in step.variables:
        return np.ascontiguousarray(array.transpose(*DIMS[1:]).values)
    block = read_block(step)
    weight = block.weight[0].sum(axis=-1)
    total = (block.visibility[0] * block.weight[0]).sum(axis=-1)
    mean = total / np.where(weight > 0, weight, 1)
    return np.where(weight > 0, mean, np.nan).astype(np.complex64)
