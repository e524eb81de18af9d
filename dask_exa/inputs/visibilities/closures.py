"""Closure quantities: what gains of stations cannot change."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import xarray as xr

from dask_exa.inputs.visibilities.block import Block, read_block


def closure_phases(
    data: xr.Dataset, triangles: Sequence[tuple[int, int, int]] | None = None
) -> xr.DataArray:
    """Return the phases of V_pq V_qr V_rp, averaged over polarisations.

    The phase that a station adds to its signal is in two of the three visibilities, and cancels.

    Parameters
    ----------
    data : xarray.Dataset
        A step of a stream, or a window of several; flags and NaN are heeded.
    triangles : sequence of (p, q, r), optional
        Antennas. Default: all with the first antenna, of which the others are sums.

    Returns
    -------
    xarray.DataArray of shape (…, triangle, frequency)
        In radians; NaN where a visibility is missing. Antennas are in the coordinates ``p``, ``q``,
        ``r``.

    Raises
    ------
    ValueError
        When there are fewer than three antennas, or no such baseline.

    References
    ----------
    Jennison, MNRAS 118, 276 (1958).

    Examples
    --------
    >>> from dask_exa.datasets import Interferometer
    >>> from dask_exa.inputs.visibilities import closure_phases
    >>> closure_phases(Interferometer(n_stations=6).advance()).sizes["triangle"]
    10
    """
    block, places = read_block(data), _Baselines(data)
    if triangles is None:
        first, *others = places.antennas
        triangles = [(first, q, r) for q, r in itertools.combinations(others, 2)]
    corners = _as_corners("triangles", triangles, 3)
    p, q, r = corners.T
    values = places.pick(block, p, q) * places.pick(block, q, r) * places.pick(block, r, p)
    phases = np.angle(_mean(values))
    return _label(data, phases, corners, "triangle", "rad", "closure phase")


def closure_amplitudes(
    data: xr.Dataset, quadrangles: Sequence[tuple[int, int, int, int]] | None = None
) -> xr.DataArray:
    """Return |V_pq V_rs| / |V_pr V_qs|, averaged over polarisations.

    The gain of every station is in the numerator and in the denominator, and cancels.

    Parameters
    ----------
    data : xarray.Dataset
        A step of a stream, or a window of several; flags and NaN are heeded.
    quadrangles : sequence of (p, q, r, s), optional
        Antennas. Default: the n (n - 3) / 2 of which all others are products: (i, j, i + 1, j + 1)
        turned so that pairs of neighbours on a ring of the antennas face each other.

    Returns
    -------
    xarray.DataArray of shape (…, quadrangle, frequency)
        NaN where a visibility is missing or the denominator is 0. Antennas are in the coordinates
        ``p``, ``q``, ``r``, ``s``.

    Raises
    ------
    ValueError
        When there are fewer than four antennas, or no such baseline.

    References
    ----------
    Blackburn, Pesce, Johnson et al., Astrophys. J. 894, 31 (2020).

    Examples
    --------
    >>> from dask_exa.datasets import Interferometer
    >>> from dask_exa.inputs.visibilities import closure_amplitudes
    >>> closure_amplitudes(Interferometer(n_stations=6).advance()).sizes["quadrangle"]
    9
    """
    block, places = read_block(data), _Baselines(data)
    if quadrangles is None:
        ring, n = places.antennas, len(places.antennas)
        pairs = itertools.combinations(range(n), 2)
        quadrangles = [
            (ring[i], ring[j], ring[(j + 1) % n], ring[i + 1])
            for i, j in pairs
            if j - i > 1 and (j + 1) % n != i
        ]
    corners = _as_corners("quadrangles", quadrangles, 4)
    p, q, r, s = corners.T
    above = np.abs(places.pick(block, p, q)) * np.abs(places.pick(block, r, s))
    below = np.abs(places.pick(block, p, r)) * np.abs(places.pick(block, q, s))
    ratio = np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
    return _label(data, _mean(ratio), corners, "quadrangle", "1", "closure amplitude")


class _Baselines:
    """Which baseline has which antennas, in either order."""

    def __init__(self, data: xr.Dataset) -> None:
        for name in ("antenna1", "antenna2"):
            if name not in data:
                raise ValueError(f"data has no {name!r}; pass steps that name their antennas.")
        first, second = data["antenna1"].values.tolist(), data["antenna2"].values.tolist()
        self.antennas = sorted({*first, *second})
        self.places: dict[tuple[int, int], tuple[int, bool]] = {}
        for place, (p, q) in enumerate(zip(first, second, strict=True)):
            self.places[p, q] = (place, False)
            self.places.setdefault((q, p), (place, True))

    def pick(self, block: Block, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Return V_pq, (n_times, n_pairs, n_channels, n_polarisations); NaN where missing."""
        pairs = list(zip(p.tolist(), q.tolist(), strict=True))
        missing = [pair for pair in pairs if pair not in self.places]
        if missing:
            raise ValueError(f"antennas {missing[0]} are no baseline of the data.")
        index, turned = map(np.array, zip(*(self.places[pair] for pair in pairs), strict=True))
        values = block.visibility[:, index]
        values[:, turned] = values[:, turned].conj()
        values[block.weight[:, index] == 0] = np.nan
        return values


def _as_corners(name: str, given: Sequence[tuple[int, ...]], n_corners: int) -> np.ndarray:
    corners = np.array(list(given), dtype=np.int64)
    if corners.ndim != 2 or corners.shape[1] != n_corners or not len(corners):
        raise ValueError(
            f"{name} has the shape {corners.shape}; pass one or more of {n_corners} antennas, of "
            f"data with {n_corners} antennas or more."
        )
    return corners


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the polarisations that are there."""
    is_there = np.isfinite(values)
    count = is_there.sum(axis=-1)
    total = np.where(is_there, values, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _label(
    data: xr.Dataset, values: np.ndarray, corners: np.ndarray, dim: str, units: str, name: str
) -> xr.DataArray:
    has_time = "time" in data["visibility"].dims
    dims = (*("time",) * has_time, dim, "frequency")
    coords = {
        "frequency": data["frequency"],
        **{letter: (dim, column) for letter, column in zip("pqrs", corners.T, strict=False)},
        **({"time": data["time"]} if "time" in data.coords else {}),
    }
    attrs = {"units": units, "long_name": name}
    return xr.DataArray(values if has_time else values[0], coords=coords, dims=dims, attrs=attrs)
