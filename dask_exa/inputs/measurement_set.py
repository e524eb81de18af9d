"""Measurement Sets: the rows of a table as dumps of all baselines, read with dask-ms."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

from dask_exa._visibilities import baseline_coordinates
from dask_exa.inputs.stream import Stream
from dask_exa.inputs.visibilities.stored import StoredVisibilities, as_slices

_SUBTABLES = ("ANTENNA", "DATA_DESCRIPTION", "FIELD", "SPECTRAL_WINDOW")
_GROUP, _ORDER = ("FIELD_ID", "DATA_DESC_ID"), ("TIME", "ANTENNA1", "ANTENNA2")


def recognise(source: str) -> bool:
    """Whether the source is the folder of a Measurement Set, under any name."""
    path = Path(source)
    return (path / "table.dat").is_file() and all((path / name).is_dir() for name in _SUBTABLES)


def open_visibilities(
    source: str, *, chunks: Any = None, variables: Any = None, **options: Any
) -> Stream:
    """Open a Measurement Set as a stream of dumps.

    Parameters
    ----------
    source : str
    chunks, variables
        As for `dask_exa.inputs.open_stream`; variables are visibility, flag and weight.
    **options
        Arguments of `open_measurement_set`.

    Returns
    -------
    Stream
    """
    return _read(source, **options).stream(chunks, variables)


def open_measurement_set(path: str | os.PathLike[str], **options: Any) -> xr.Dataset:
    """Open a Measurement Set; needs the extra ``radio``.

    Parameters
    ----------
    path : str or path-like
    column : str, default="DATA"
        Of the visibilities: also "CORRECTED_DATA" or "MODEL_DATA", where they are.
    field, data_description : int, optional
        ``FIELD_ID`` and ``DATA_DESC_ID`` of the rows to read; to be given where there are several.
    autocorrelations : bool, default=False
        Keep the rows whose antennas are the same.

    Returns
    -------
    xarray.Dataset
        Lazy: ``visibility`` complex (time, baseline, frequency[, polarisation]), ``flag`` and
        ``weight`` of the same shape, ``uvw`` in m. A baseline without a row at some time is
        flagged there, with a visibility of NaN, no weight and an uvw of zero. Times are in
        seconds of the Modified Julian Date.

    Raises
    ------
    ImportError
        Without the extra ``radio``.
    OSError
        When the tables are damaged, or their writer has locked them.
    ValueError
        When there are no rows, several fields or spectral windows of which none is chosen, two
        rows of one baseline at one time, or no such column.

    References
    ----------
    Kemball, Wieringa, "MeasurementSet definition version 2.0", 2000.
    """
    return _read(os.fspath(path), **options).dataset()


def _read(
    source: str,
    *,
    column: str = "DATA",
    field: int | None = None,
    data_description: int | None = None,
    autocorrelations: bool = False,
) -> StoredVisibilities:
    tables = _Tables(source)
    rows = tables.choose(field, data_description)
    if column not in rows:
        cubes = sorted(str(name) for name in rows.data_vars if rows[name].ndim == 3)
        raise ValueError(
            f"column={column!r} is not in {source!r}; it has {', '.join(cubes) or 'none'}."
        )
    with _naming(source):
        time, antenna1, antenna2 = (rows[name].values for name in _ORDER)
    grid = _Grid(source, time, antenna1, antenna2, autocorrelations)
    rows = tables.choose(field, data_description, chunks=grid.counts)
    n_channels, n_correlations = rows[column].shape[1:]
    sizes = (n_channels, n_correlations)
    arrays = {
        "visibility": _Column(grid, [rows[column].data], _first, np.nan, sizes),
        "flag": _Column(grid, [rows.FLAG.data, rows.FLAG_ROW.data], _any_flag, True, sizes),
    }
    weights = next((name for name in ("WEIGHT_SPECTRUM", "WEIGHT") if name in rows), None)
    if weights is not None:
        arrays["weight"] = _Column(grid, [rows[weights].data], _spread, 0.0, sizes)
    description = tables.row("DATA_DESCRIPTION", rows.attrs["DATA_DESC_ID"])
    window = tables.row("SPECTRAL_WINDOW", int(description.SPECTRAL_WINDOW_ID))
    phase_centre = tables.row("FIELD", rows.attrs["FIELD_ID"]).PHASE_DIR.values[0]
    return StoredVisibilities(
        source,
        arrays,
        _Column(grid, [rows.UVW.data], _first, 0.0, (3,)),
        grid.time,
        window.CHAN_FREQ.values,
        baseline_coordinates(grid.antenna1, grid.antenna2, tuple(phase_centre)),
    )


class _Tables:
    """What dask-ms reads of a Measurement Set."""

    def __init__(self, source: str) -> None:
        try:
            import daskms
        except ImportError as error:
            raise ImportError(
                f"source={source!r} is a Measurement Set, which takes dask-ms and python-casacore "
                "to read: pip install 'dask-exa[radio]'"
            ) from error
        self._library, self.source = daskms, source

    def choose(
        self, field: int | None, data_description: int | None, chunks: Any = None
    ) -> xr.Dataset:
        """Return the rows of one field and one data description, in order of time and antennas."""
        parts = self._open(self.source, group_cols=list(_GROUP), index_cols=list(_ORDER))
        wanted = dict(zip(_GROUP, (field, data_description), strict=True))
        found = [
            i
            for i, part in enumerate(parts)
            if all(value in (None, part.attrs[name]) for name, value in wanted.items())
        ]
        if len(found) != 1:
            there = "; ".join(
                f"field {part.attrs['FIELD_ID']}, data_description {part.attrs['DATA_DESC_ID']}: "
                f"{part.sizes['row']} rows"
                for part in parts
            )
            raise ValueError(
                f"source={self.source!r} has {len(found)} sets of rows with field={field} and "
                f"data_description={data_description}; pass those of one of: {there or 'no rows'}."
            )
        if chunks is not None:
            parts = self._open(
                self.source,
                group_cols=list(_GROUP),
                index_cols=list(_ORDER),
                chunks=[{"row": chunks if i == found[0] else -1} for i in range(len(parts))],
            )
        return parts[found[0]]

    def row(self, table: str, number: int) -> xr.Dataset:
        """Return one row of a subtable; their columns may have other lengths in every row."""
        rows = self._open(f"{self.source}::{table}", group_cols="__row__")
        with _naming(self.source):
            return rows[number].isel(row=0).compute()

    def _open(self, table: str, **options: Any) -> list[xr.Dataset]:
        with _naming(self.source):
            return self._library.xds_from_table(table, **options)


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    """Turn errors of casacore into ones that name the Measurement Set and say what to do.

    Raises
    ------
    OSError
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise OSError(
            f"source={source!r} is a Measurement Set that cannot be read ({reason}); wait until "
            "its writer has closed it, or copy it again."
        ) from error


class _Grid:
    """Where each row lies among times and baselines."""

    def __init__(
        self,
        source: str,
        time: np.ndarray,
        antenna1: np.ndarray,
        antenna2: np.ndarray,
        autocorrelations: bool,
    ) -> None:
        self.source = source
        used = (antenna1 != antenna2) | autocorrelations
        if not used.any():
            raise ValueError(
                f"source={source!r} has no rows of two antennas among {len(time)}; pass "
                "autocorrelations=True for those of one, or wait until there are some."
            )
        self.time, at_time, counts = np.unique(time, return_inverse=True, return_counts=True)
        self.counts = tuple(counts.tolist())
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        pairs = np.stack([antenna1, antenna2], axis=1)
        known, at_baseline = np.unique(pairs[used], axis=0, return_inverse=True)
        self.antenna1, self.antenna2 = known.T
        self.baselines = np.full(len(time), -1)
        self.baselines[used] = at_baseline.ravel()
        places = at_time[used] * len(known) + at_baseline.ravel()
        if len(np.unique(places)) < len(places):
            raise ValueError(
                f"source={source!r} has several rows of one baseline at one time; split it by "
                "scan, array or feed first."
            )


class _Column:
    """Columns of the table as one array (time, baseline, …), read a time at a time."""

    def __init__(
        self,
        grid: _Grid,
        columns: Sequence[Any],
        combine: Callable[..., np.ndarray],
        missing: Any,
        sizes: tuple[int, ...],
    ) -> None:
        self.grid, self.columns, self.combine, self.missing = grid, columns, combine, missing
        self.sizes = sizes[:1] if sizes[1:] == (1,) else sizes
        self.shape = (len(grid.time), len(grid.antenna1), *self.sizes)
        self.dtype, self.ndim = columns[0].dtype, len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read some times, those that follow each other together, and return a part of them."""
        at_times, *rest = as_slices(key, self.shape)
        times = np.arange(self.shape[0])[at_times]
        wanted = np.atleast_1d(times)
        values = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for run in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(wanted) != 1) + 1):
            if len(run):
                values[run] = self._read(wanted[run[0]], wanted[run[-1]] + 1)
        return (values if times.ndim else values[0])[(*(slice(None),) * times.ndim, *rest)]

    def _read(self, first: int, last: int) -> np.ndarray:
        """Return the values from one time to another, (n_times, n_baselines, …)."""
        grid = self.grid
        rows = slice(grid.starts[first], grid.starts[last])
        with _naming(grid.source):
            parts = dask.compute(*(c[rows] for c in self.columns), scheduler="synchronous")
        baselines = grid.baselines[rows]
        used = baselines >= 0
        times = np.repeat(np.arange(last - first), grid.counts[first:last])
        values = np.full((last - first, *self.shape[1:]), self.missing, self.dtype)
        found = self.combine(self.shape[2:], *(part[used] for part in parts))
        values[times[used], baselines[used]] = found
        return values


def _first(sizes: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
    return rows.reshape(len(rows), *sizes)


def _any_flag(sizes: tuple[int, ...], flags: np.ndarray, of_row: np.ndarray) -> np.ndarray:
    return flags.reshape(len(flags), *sizes) | of_row.reshape(-1, *(1,) * len(sizes))


def _spread(sizes: tuple[int, ...], weights: np.ndarray) -> np.ndarray:
    """Return a weight for every channel, where there is one of every row."""
    if weights.ndim == 2:
        weights = weights[:, None, :]
    n_channels, *correlations = sizes
    shape = (len(weights), n_channels, weights.shape[2])
    return np.broadcast_to(weights, shape).reshape(len(weights), n_channels, *correlations)
