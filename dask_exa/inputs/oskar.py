"""Visibilities in the binary format of OSKAR, read block by block."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dask_exa._visibilities import baseline_coordinates
from dask_exa.datasets._earth_rotation import to_local
from dask_exa.inputs._oskar_records import (
    BLOCK,
    HEADER,
    MAGIC,
    Record,
    numbers,
    read_records,
)
from dask_exa.inputs.stream import Stream
from dask_exa.inputs.visibilities.stored import StoredVisibilities, as_slices

_SECONDS_PER_DAY = 86400.0
_DIMENSIONS, _CROSS_CORRELATIONS, _STATION_UVW = 1, 3, (7, 8, 9)
# tags of the header
_N_STEPS, _N_CHANNELS, _N_STATIONS = 8, 10, 11
_IS_DRIFT_SCAN = 21
_PHASE_CENTRE, _FREQUENCY, _FREQUENCY_STEP = 22, 23, 24
_START, _TIME_STEP = 26, 27
_PLACE, _STATION_OFFSETS, _ELEMENTS = (29, 30), (32, 33, 34), (35, 36, 37)


def recognise(source: str) -> bool:
    """Whether the source is a binary file of OSKAR, under any name."""
    path = Path(source)
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def open_visibilities(source: str, *, chunks: Any = None, variables: Any = None) -> Stream:
    """Open a visibility file of OSKAR as a stream of dumps, see `dask_exa.inputs.open_stream`.

    Of a file that is still being written, or was cut off, come the steps of its complete blocks;
    the stream's `faults` say so.
    """
    return _read(source).stream(chunks, variables)


def open_oskar(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a visibility file (``.vis``) of OSKAR.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    xarray.Dataset
        Lazy: ``visibility`` in Jy, complex64 or complex128 (time, baseline, frequency[,
        polarisation]), and ``uvw`` in m, float64 (time, baseline, 3), of station 1 minus station 2
        for all pairs 1 < 2. Their signs are those of V = S exp(2πi (u l + v m + w (n - 1)) f / c).
        Times are the middles of the dumps, in seconds of the Modified Julian Date.
        Auto-correlations are left out.

    Raises
    ------
    ValueError
        When it is no such file, has no visibilities, or not one complete block of them.

    References
    ----------
    OSKAR binary file format, version 2; https://github.com/OxfordSKA/OSKAR.
    """
    return _read(os.fspath(path)).dataset()


def read_array(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a visibility file of OSKAR says of its observation.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict
        Arguments of `dask_exa.datasets.Interferometer`, which then simulates the same dumps from
        the same sky: the place and time of the array, its stations and their antennas.

    Raises
    ------
    ValueError
        When the header is not complete, or the stations do not track a phase centre.
    """
    source = os.fspath(path)
    records, _ = read_records(source)
    header = {(r.tag, r.number): r for r in records if r.group == HEADER}
    firsts = {tag: record for (tag, number), record in header.items() if number == 0}
    _check(source, firsts, {}, (*_PLACE, *_STATION_OFFSETS))

    def values(tag: int, index: int = 0) -> np.ndarray:
        return numbers(source, header[tag, index])

    if _IS_DRIFT_SCAN in firsts and values(_IS_DRIFT_SCAN).any():
        raise ValueError(
            f"source={source!r} is a drift scan; only observations that track can be simulated."
        )
    longitude, latitude = values(_PLACE[0])[0], values(_PLACE[1])[0]
    offsets = np.stack([values(tag) for tag in _STATION_OFFSETS], axis=1)
    stations = to_local(offsets, np.radians(longitude), np.radians(latitude))
    found: dict[str, Any] = {
        "n_channels": int(values(_N_CHANNELS)[0]),
        "frequency": float(values(_FREQUENCY)[0]),
        "channel_width": float(values(_FREQUENCY_STEP)[0]),
        "interval": float(values(_TIME_STEP)[0]),
        "start": float(values(_START)[0]),
        "phase_centre": tuple(values(_PHASE_CENTRE).tolist()),
        "longitude": float(longitude),
        "latitude": float(latitude),
        "stations": stations,
    }
    if all((tag, i) in header for tag in _ELEMENTS for i in range(len(stations))):
        elements = [[values(tag, i) for tag in _ELEMENTS] for i in range(len(stations))]
        if len({part.shape for station in elements for part in station}) == 1:
            found["elements"] = np.swapaxes(elements, 1, 2)
    return found


def _read(source: str) -> StoredVisibilities:
    records, is_whole = read_records(source)
    header = {record.tag: record for record in records if record.group == HEADER}
    blocks: dict[int, dict[int, Record]] = {}
    for record in records:
        if record.group == BLOCK:
            blocks.setdefault(record.number, {})[record.tag] = record
    _check(source, header, blocks)
    path = os.path.abspath(source)

    def first(tag: int) -> Any:
        return numbers(path, header[tag]).tolist()[0]

    n_planned, n_channels, n_stations = map(first, (_N_STEPS, _N_CHANNELS, _N_STATIONS))
    parts = [
        _Part(
            numbers(path, block[_DIMENSIONS]),
            block[_CROSS_CORRELATIONS],
            *(block[tag] for tag in _STATION_UVW),
        )
        for _, block in sorted(blocks.items())
        if {_DIMENSIONS, _CROSS_CORRELATIONS, *_STATION_UVW} <= block.keys()
    ]
    n_steps = _count_whole_steps(parts, n_channels)
    if n_steps == 0:
        raise ValueError(
            f"source={source!r} ends before its first block of visibilities is complete; wait "
            "until OSKAR has written more, or copy it again."
        )
    visibilities = _Visibilities(path, parts, (n_steps, n_channels, n_stations))
    antennas = np.triu_indices(n_stations, 1)
    phase_centre = np.radians(numbers(path, header[_PHASE_CENTRE]))
    if _IS_DRIFT_SCAN in header and first(_IS_DRIFT_SCAN):
        phase_centre[:] = np.nan  # it is an azimuth and an elevation
    start, length = first(_START) * _SECONDS_PER_DAY, first(_TIME_STEP)
    faults: tuple[str, ...] = ()
    if n_steps < n_planned or not is_whole:
        faults = (f"{n_steps} of {n_planned} dumps are complete; the file ends before the others",)
    return StoredVisibilities(
        source,
        {"visibility": visibilities},
        _Baselines(_read_stations(path, parts, (n_steps, n_stations, 3))),
        start + length * (np.arange(n_steps) + 0.5),
        first(_FREQUENCY) + first(_FREQUENCY_STEP) * np.arange(n_channels),
        baseline_coordinates(*antennas, tuple(phase_centre)),
        times_per_chunk=parts[0].n_steps,
        faults=faults,
    )


def _check(
    source: str,
    header: dict[int, Record],
    blocks: dict[int, Any],
    others: tuple[int, ...] = (),
) -> None:
    needed = (_N_STEPS, _N_CHANNELS, _N_STATIONS, _PHASE_CENTRE, _FREQUENCY, _FREQUENCY_STEP)
    missing = [tag for tag in (*needed, _START, _TIME_STEP, *others) if tag not in header]
    if missing:
        found = f"has the tags {sorted(header)}" if header else "is missing"
        raise ValueError(
            f"source={source!r} has no complete header of visibilities: group {HEADER} {found}, "
            f"not {missing}; it is another kind of OSKAR file, or ends too early."
        )
    if blocks and not any(_CROSS_CORRELATIONS in block for block in blocks.values()):
        cut_off = len(blocks) == 1
        found = "complete cross-correlations" if cut_off else "cross-correlations"
        raise ValueError(
            f"source={source!r} has no {found}; pass a file written with correlation type "
            "Cross-correlations or Both, once its first block is complete."
        )


class _Part:
    """One block: some steps of some channels."""

    def __init__(self, dimensions: np.ndarray, cross: Record, *uvw: Record) -> None:
        self.first_step, self.first_channel, self.n_steps, self.n_channels = map(
            int, dimensions[:4]
        )
        self.cross, self.uvw = cross, uvw

    @property
    def steps(self) -> range:
        return range(self.first_step, self.first_step + self.n_steps)


def _count_whole_steps(parts: list[_Part], n_channels: int) -> int:
    """Return how many steps from the first on have all their channels."""
    found: dict[int, int] = {}
    for part in parts:
        for step in part.steps:
            found[step] = found.get(step, 0) + part.n_channels
    n_steps = 0
    while found.get(n_steps, 0) == n_channels:
        n_steps += 1
    return n_steps


class _Visibilities:
    """All cross-correlations (time, baseline, frequency[, polarisation]), read when indexed."""

    def __init__(self, path: str, parts: list[_Part], sizes: tuple[int, int, int]) -> None:
        n_steps, n_channels, n_stations = sizes
        self.path, self.parts = path, parts
        self.dtype = parts[0].cross.dtype
        n_baselines = n_stations * (n_stations - 1) // 2
        n_polarisations = 4 if parts[0].cross.is_matrix else 1
        self.shape: tuple[int, ...] = (n_steps, n_baselines, n_channels)
        self.shape += (n_polarisations,) if n_polarisations > 1 else ()
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part; blocks that have nothing of it are not touched."""
        at_times, at_baselines, at_channels, *rest = as_slices(key, self.shape)
        times = np.atleast_1d(np.arange(self.shape[0])[at_times])
        channels = np.atleast_1d(np.arange(self.shape[2])[at_channels])
        baselines = np.atleast_1d(np.arange(self.shape[1])[at_baselines])
        values = np.empty((len(times), len(baselines), len(channels), *self.shape[3:]), self.dtype)
        for part in self.parts:
            rows = np.flatnonzero((times >= part.first_step) & (times < part.steps.stop))
            stop = part.first_channel + part.n_channels
            columns = np.flatnonzero((channels >= part.first_channel) & (channels < stop))
            if not len(rows) or not len(columns):
                continue
            block = part.cross.map(
                self.path, (part.n_steps, part.n_channels, self.shape[1], *self.shape[3:])
            )
            found = block[
                np.ix_(times[rows] - part.first_step, channels[columns] - part.first_channel)
            ]
            values[rows[:, None], :, columns] = found[:, :, baselines]
        whole = (at_times, at_baselines, at_channels)
        return values[tuple(slice(None) if _is_slice(k) else 0 for k in whole) + tuple(rest)]


class _Baselines:
    """Station 1 minus station 2 for all pairs 1 < 2, made when indexed: (time, baseline, 3)."""

    def __init__(self, stations: np.ndarray) -> None:
        self.stations = stations
        self.antennas = np.triu_indices(stations.shape[1], 1)
        self.shape = (len(stations), len(self.antennas[0]), 3)
        self.dtype, self.ndim = stations.dtype, 3

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return the baselines of some dumps."""
        at_times, *rest = as_slices(key, self.shape)
        times = self.stations[at_times]
        antenna1, antenna2 = self.antennas
        baselines = times[..., antenna1, :] - times[..., antenna2, :]
        return baselines[(*(slice(None),) * _is_slice(at_times), *rest)]


def _read_stations(path: str, parts: list[_Part], shape: tuple[int, int, int]) -> np.ndarray:
    """Return the u, v, w of the stations at the complete steps, in m."""
    stations = np.empty(shape)
    for part in parts:
        rows = stations[part.first_step : part.steps.stop]
        for axis, record in enumerate(part.uvw):
            values = record.map(path, (part.n_steps, shape[1]))
            rows[..., axis] = values[: len(rows)]
    return stations


def _is_slice(key: Any) -> bool:
    return isinstance(key, slice)
