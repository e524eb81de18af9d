"""Averaging of visibilities, the longer the slower their fringes turn."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.constants import speed_of_light

from dask_exa._parameters import check_positive
from dask_exa.inputs.visibilities.block import read_block, read_uvw


def average_baselines(
    data: xr.Dataset, *, field_radius: float = 0.02, max_loss: float = 0.01
) -> xr.Dataset:
    """Average each baseline over as many dumps as its fringes allow.

    The phase of a source at the edge of the field turns as the Earth carries the baseline along.
    Over n dumps it loses 1 - sinc(n φ / 2) of its amplitude, with the phase φ of one dump at the
    highest frequency; n is the largest power of two, up to the length of the block, at which the
    loss stays below the one allowed, for the fastest turn that the baseline makes in the block.

    Parameters
    ----------
    data : xarray.Dataset
        A window of several dumps of a stream; flags, NaN and weights are heeded.
    field_radius : float, default=0.02
        Distance from the phase centre up to which the loss is bounded, in radians.
    max_loss : float, default=0.01
        Share of the amplitude, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        ``visibility`` and ``weight`` of shape (row, frequency[, polarisation]): weighted means, and
        sums of weights; a mean of nothing is NaN with weight 0. Along ``row``: ``uvw``, ``time``
        (weighted by all channels), ``antenna1``, ``antenna2``, ``baseline`` and ``n_dumps``.

    Raises
    ------
    ValueError
        When an argument is out of its range.

    References
    ----------
    Cotton, EVLA Memo 143 (2009); Wijnholds, Willis, Salvini, MNRAS 476, 2029 (2018).

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.inputs.visibilities import average_baselines
    >>> window = next(open_stream("interferometer").windows(16))
    >>> rows = average_baselines(window)
    >>> window.sizes["time"] * window.sizes["baseline"], rows.sizes["row"] < 600
    (1920, True)
    """
    check_positive("field_radius", field_radius)
    if not 0 < max_loss < 1:
        raise ValueError(f"max_loss={max_loss} must lie between 0 and 1.")
    block = read_block(data)
    uvw = read_uvw(data, len(block.visibility))
    lengths = _choose_lengths(uvw, block.frequency.max(), field_radius, max_loss)
    parts = []
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        starts = np.arange(0, len(uvw), length)
        weight = np.add.reduceat(block.weight[:, chosen], starts, axis=0)
        total = np.add.reduceat((block.weight * block.visibility)[:, chosen], starts, axis=0)
        mean = np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)
        share = block.weight[:, chosen].sum(axis=(2, 3), dtype=np.float64)
        n_dumps = np.diff([*starts, len(uvw)])
        times = np.broadcast_to(block.time[:, None, None], (*share.shape, 1))
        place = np.concatenate([uvw[:, chosen], times], axis=2)
        parts.append((mean, weight, _centres(place, share, starts), chosen, n_dumps))
    return _as_rows(data, parts, block.has_polarisations)


def _choose_lengths(
    uvw: np.ndarray, frequency: float, field_radius: float, max_loss: float
) -> np.ndarray:
    """Return over how many dumps each baseline is averaged, (n_baselines,)."""
    n_dumps = len(uvw)
    if n_dumps == 1:
        return np.ones(uvw.shape[1], dtype=np.int64)
    step = np.linalg.norm(np.diff(uvw, axis=0), axis=2).max(axis=0)
    turn = 2 * np.pi * step * frequency / speed_of_light * field_radius
    lengths = 2 ** np.arange(int(np.log2(n_dumps)) + 1)
    # sinc falls with its argument up to the first zero, and is small beyond
    argument = np.minimum(lengths[:, None] * turn / 2 / np.pi, 1)
    is_allowed = 1 - np.sinc(argument) <= max_loss
    is_allowed[0] = True
    return lengths[is_allowed.sum(axis=0) - 1]


def _centres(place: np.ndarray, share: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return where averages lie: the weighted mean, or the plain one of what has no weight."""
    sums = np.add.reduceat(share, starts, axis=0)
    counts = np.diff([*starts, len(place)])
    empty = np.repeat(sums == 0, counts, axis=0)
    share = np.where(empty, 1, share)[..., None]
    total = np.add.reduceat(share * place, starts, axis=0)
    return total / np.add.reduceat(share, starts, axis=0)


def _as_rows(data: xr.Dataset, parts: list, has_polarisations: bool) -> xr.Dataset:
    """Return the averages of all lengths one below the other, in order of time."""
    columns: dict[str, list[np.ndarray]] = {"visibility": [], "weight": [], "place": []}
    baselines, counts = [], []
    for mean, weight, place, chosen, n_dumps in parts:
        for name, values in zip(columns, (mean, weight, place), strict=True):
            columns[name].append(values.reshape(-1, *values.shape[2:]))
        baselines.append(np.tile(chosen, len(mean)))
        counts.append(np.repeat(n_dumps, len(chosen)))
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    baseline, n_dumps = np.concatenate(baselines), np.concatenate(counts)
    time = joined["place"][:, 3]
    order = np.lexsort([baseline, time])
    dims = ("row", "frequency", "polarisation")
    keep = slice(None) if has_polarisations else 0
    data_vars = {
        name: (dims[: 2 + has_polarisations], joined[name][order][..., keep])
        for name in ("visibility", "weight")
    }
    coords = {
        "uvw": (("row", "uvw"), joined["place"][order, :3], {"units": "m"}),
        "time": ("row", time[order], {"units": "s"}),
        "baseline": ("row", baseline[order]),
        "n_dumps": ("row", n_dumps[order]),
        "frequency": data["frequency"].variable,
    }
    for name in ("antenna1", "antenna2"):
        if name in data:
            coords[name] = ("row", data[name].values[baseline[order]])
    return xr.Dataset(data_vars, coords=coords)
