"""What visibilities of an interferometer are called, wherever they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

DIMS = ("time", "baseline", "frequency")
"""Of visibilities, followed by ``polarisation`` where there are several. A step of a stream is
one dump of the correlator, without the first."""
UVW_DIMS = ("time", "baseline", "uvw")
ATTRS: dict[str, dict[str, Any]] = {
    "visibility": {"units": "Jy"},
    "uvw": {"units": "m", "long_name": "baseline, from antenna 2 to antenna 1"},
    "flag": {"long_name": "not to be used"},
    "weight": {"long_name": "inverse variance, in units of the source"},
    "frequency": {"units": "Hz"},
    "time": {"units": "s"},
}


def baseline_coordinates(
    antenna1: np.ndarray, antenna2: np.ndarray, phase_centre: tuple[float, float]
) -> dict[str, Any]:
    """Return the coordinates that all steps of an observation share.

    Parameters
    ----------
    antenna1, antenna2 : ndarray of int, shape (n_baselines,)
    phase_centre : tuple of float
        Right ascension and declination, in radians.

    Returns
    -------
    dict
        As `xarray.Dataset` takes them.
    """
    right_ascension, declination = map(float, phase_centre)
    return {
        "antenna1": ("baseline", np.asarray(antenna1, dtype=np.int64)),
        "antenna2": ("baseline", np.asarray(antenna2, dtype=np.int64)),
        "right_ascension": ((), right_ascension, {"units": "rad", "long_name": "phase centre"}),
        "declination": ((), declination, {"units": "rad", "long_name": "phase centre"}),
    }


def dump(
    arrays: dict[str, np.ndarray],
    frequency: np.ndarray,
    coordinates: dict[str, Any],
    *,
    time: float,
    timestep: int,
    attrs: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Return one dump as a step of a stream.

    Parameters
    ----------
    arrays : dict of str to ndarray
        ``visibility`` complex64 (baseline, frequency[, polarisation]), ``uvw`` float64 (baseline,
        3) in m, and where there are any ``flag`` and ``weight`` as visibilities.
    frequency : ndarray of shape (n_channels,)
        In Hz.
    coordinates : dict
        Those of `baseline_coordinates`, and others.
    time, timestep : float and int
    attrs : dict, optional

    Returns
    -------
    xarray.Dataset
    """
    data = {}
    for name, values in arrays.items():
        dims = UVW_DIMS[1:] if name == "uvw" else (*DIMS[1:], "polarisation")[: values.ndim]
        data[name] = (dims, values, ATTRS[name])
    clock = {
        "frequency": ("frequency", np.asarray(frequency, dtype=np.float64), ATTRS["frequency"]),
        "time": ((), float(time), ATTRS["time"]),
        "timestep": ((), int(timestep), {"long_name": "number of the dump"}),
    }
    return xr.Dataset(data, coords={**coordinates, **clock}, attrs=attrs or {})
