"""Visibilities as real cubes of baseline, time and frequency, which any estimator takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from dask_exa._visibilities import DIMS

_PARTS = {
    "real": lambda values: values.real,
    "imag": lambda values: values.imag,
    "amplitude": lambda values: abs(values),
    "phase": lambda values: xr.apply_ufunc(np.angle, values, dask="allowed"),
}


def baseline_cubes(
    data: xr.Dataset, parts: Sequence[str] = ("real", "imag"), *, missing: float = 0.0
) -> xr.DataArray:
    """Return real cubes of visibilities; nothing is computed of lazy ones.

    Parameters
    ----------
    data : xarray.Dataset
        A step of a stream, or a window of several.
    parts : sequence of {"real", "imag", "amplitude", "phase"}, default=("real", "imag")
    missing : float, default=0
        What stands where a visibility is flagged, not finite or without weight.

    Returns
    -------
    xarray.DataArray of shape (baseline, [time,] frequency, [polarisation,] part)
        Of the precision of the visibilities. A sample is a baseline: take others with
        ``sample_dims``, such as ``("baseline", "time")``.

    Raises
    ------
    ValueError
        When a part is unknown.

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.inputs.visibilities import baseline_cubes
    >>> window = next(open_stream("interferometer").windows(4))
    >>> baseline_cubes(window).dims
    ('baseline', 'time', 'frequency', 'part')
    """
    names = [parts] if isinstance(parts, str) else list(parts)
    unknown = [name for name in names if name not in _PARTS]
    if unknown or not names:
        raise ValueError(f"parts={names} must be some of {', '.join(_PARTS)}.")
    visibility = data["visibility"]
    is_used: Any = xr.apply_ufunc(np.isfinite, visibility, dask="allowed")
    if "flag" in data:
        is_used = is_used & ~data["flag"].astype(bool)
    if "weight" in data:
        is_used = is_used & (data["weight"] > 0)
    cubes = [_PARTS[name](visibility).where(is_used, missing) for name in names]
    joined = xr.concat(cubes, dim="part", coords="minimal", compat="override")
    joined = joined.assign_coords(part=names).astype(visibility.real.dtype)
    time = [dim for dim in DIMS[:1] if dim in joined.dims]
    return joined.transpose(DIMS[1], *time, DIMS[2], ..., "part")
