"""A block of visibilities as plain arrays, with one weight for all that may speak against one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from dask_exa._visibilities import DIMS, UVW_DIMS

_POLARISATION = "polarisation"


class Block(NamedTuple):
    """Some dumps of all baselines."""

    visibility: np.ndarray
    """(n_times, n_baselines, n_channels, n_polarisations), complex64 or complex128; 0 where the
    weight is."""
    weight: np.ndarray
    """The same shape, float of the same precision; 0 where flagged, NaN or without weight."""
    time: np.ndarray
    """(n_times,), in s."""
    frequency: np.ndarray
    """(n_channels,), in Hz."""
    has_polarisations: bool
    """Whether the source names them; there may be one."""


def read_block(data: xr.Dataset) -> Block:
    """Return a step of a stream, or a window of several, as arrays in memory.

    Parameters
    ----------
    data : xarray.Dataset
        ``visibility`` (…, baseline, frequency[, polarisation]), and where there are any ``flag``
        and ``weight``; lazy ones are computed. What is flagged, not finite or has no weight has
        weight 0; all else has its weight, or 1.

    Returns
    -------
    Block

    Raises
    ------
    ValueError
        When there are no visibilities, their dimensions are others, or a weight is negative.
    """
    if "visibility" not in data:
        there = ", ".join(map(str, data.data_vars)) or "nothing"
        raise ValueError(f"data has no variable 'visibility'; it has {there}.")
    labelled = data["visibility"]
    missing = {DIMS[1], DIMS[2]} - set(labelled.dims)
    unknown = set(labelled.dims) - {*DIMS, _POLARISATION}
    if missing or unknown or labelled.dtype.kind != "c":
        raise ValueError(
            f"visibility has the dimensions {labelled.dims} and the type {labelled.dtype}; they "
            f"must be {DIMS} and perhaps {_POLARISATION!r}, and complex."
        )
    has_polarisations = _POLARISATION in labelled.dims
    single = labelled.dtype == np.complex64
    visibility = _in_order(labelled).astype(np.complex64 if single else np.complex128)
    real = np.float32 if single else np.float64
    weight = np.ones(visibility.shape, real)
    if "weight" in data:
        given = np.broadcast_to(_in_order(data["weight"]), visibility.shape)
        if (given < 0).any():
            raise ValueError("weight has negative values; pass inverse variances, 0 for none.")
        weight[...] = given
    is_used = np.isfinite(visibility) & np.isfinite(weight)
    if "flag" in data:
        is_used &= ~np.broadcast_to(_in_order(data["flag"]), visibility.shape).astype(bool)
    weight[~is_used] = 0
    visibility[weight == 0] = 0
    time = np.atleast_1d(data[DIMS[0]].values) if DIMS[0] in data.coords else np.arange(1.0)
    if len(time) != len(visibility):
        time = np.arange(float(len(visibility)))
    return Block(visibility, weight, time, data["frequency"].values, has_polarisations)


def read_uvw(data: xr.Dataset, n_times: int) -> np.ndarray:
    """Return the baselines of every dump, float64 (n_times, n_baselines, 3), in m.

    Raises
    ------
    ValueError
        When there are none, or some are not finite.
    """
    if "uvw" not in data:
        raise ValueError("data has no 'uvw'; pass steps with the baselines in m.")
    labelled = data["uvw"]
    dims = [dim for dim in UVW_DIMS if dim in labelled.dims]
    uvw = np.asarray(labelled.transpose(*dims).values, dtype=np.float64)
    # a window of steps that all have the same baselines has them once
    uvw = np.broadcast_to(uvw, (n_times, *uvw.shape[-2:]))
    if not np.isfinite(uvw).all():
        raise ValueError("uvw has values that are not finite; flag those rows and set them to 0.")
    return uvw


def _in_order(labelled: xr.DataArray) -> np.ndarray:
    """Return values as (time, baseline, frequency, polarisation), with ones for what is missing."""
    wanted = (*DIMS, _POLARISATION)
    missing = [dim for dim in wanted if dim not in labelled.dims]
    return np.asarray(labelled.expand_dims(missing).transpose(*wanted).values)
