"""Sources on the sky as samples: light curves, and what of them tells constant from transient."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.constants import speed_of_light

from dask_exa._parameters import check_count, check_positive
from dask_exa.inputs.visibilities.block import read_block, read_uvw

_N_NEIGHBOURS = 8


def brightest_directions(
    image: xr.DataArray, n_sources: int, *, separation: float = 0.002
) -> np.ndarray:
    """Return where an image is brightest, one place for each source.

    Parameters
    ----------
    image : xarray.DataArray of shape (m, l)
        As of `dirty_images`; NaN does not count.
    n_sources : int
        At most so many.
    separation : float, default=0.002
        Least distance between two of them, in radians.

    Returns
    -------
    ndarray of shape (n_found, 2)
        l and m of pixels, the brightest first.

    Examples
    --------
    >>> import xarray as xr
    >>> from dask_exa.inputs.visibilities import brightest_directions
    >>> axis = np.linspace(-0.01, 0.01, 21)
    >>> image = xr.DataArray(np.zeros((21, 21)), {"m": axis, "l": axis}, ("m", "l"))
    >>> image[4, 12], image[4, 13], image[15, 2] = 3.0, 2.0, 1.0
    >>> brightest_directions(image, 2).round(3).tolist()
    [[0.002, -0.006], [-0.008, 0.005]]
    """
    check_count("n_sources", n_sources)
    check_positive("separation", separation)
    values = np.array(image.transpose("m", "l").values, dtype=np.float64)
    values[~np.isfinite(values)] = -np.inf
    east, north = image["l"].values, image["m"].values
    found: list[tuple[float, float]] = []
    while len(found) < n_sources and np.isfinite(values.max()):
        row, column = np.unravel_index(values.argmax(), values.shape)
        found.append((float(east[column]), float(north[row])))
        distance = np.hypot(north[:, None] - north[row], east - east[column])
        values[distance < separation] = -np.inf
    return np.array(found).reshape(-1, 2)


def light_curves(data: xr.Dataset, directions: ArrayLike) -> xr.DataArray:
    """Return the brightness of the dirty image of every dump in some directions.

    Each is a sum over all visibilities, turned towards the direction: exact for a few directions,
    where images have pixels.

    Parameters
    ----------
    data : xarray.Dataset
        A step of a stream, or a window of several; flags, NaN and weights are heeded.
    directions : array_like of shape (n_sources, 2)
        Direction cosines l and m.

    Returns
    -------
    xarray.DataArray of shape (time, source)
        float64, in Jy per beam; NaN for a dump without any visibility that may be used.

    Raises
    ------
    ValueError
        When directions are not pairs within the unit circle.
    """
    places = np.atleast_2d(np.asarray(directions, dtype=np.float64))
    if places.ndim != 2 or places.shape[1] != 2 or not ((places**2).sum(axis=1) < 1).all():
        raise ValueError(
            f"directions of shape {places.shape} must be pairs (l, m) within the unit circle."
        )
    block = read_block(data)
    uvw = read_uvw(data, len(block.visibility))
    weight = block.weight.sum(axis=3)
    total = (block.visibility * block.weight).sum(axis=3)
    sums = weight.sum(axis=(1, 2), dtype=np.float64)
    turn = -2j * np.pi * block.frequency / speed_of_light
    curves = np.full((len(uvw), len(places)), np.nan)
    is_there = sums > 0
    for source, (east, north) in enumerate(places):
        path = uvw @ [east, north, np.sqrt(1 - east**2 - north**2) - 1]
        turned = (total * np.exp(turn * path[..., None])).real.sum(axis=(1, 2))
        curves[is_there, source] = turned[is_there] / sums[is_there]
    return xr.DataArray(
        curves,
        dims=("time", "source"),
        coords={
            "time": ("time", block.time, {"units": "s"}),
            "l": ("source", places[:, 0], {"units": "rad"}),
            "m": ("source", places[:, 1], {"units": "rad"}),
        },
        attrs={"units": "Jy/beam"},
    )


def source_features(
    data: xr.Dataset, directions: ArrayLike, *, ring: float = 0.004
) -> xr.DataArray:
    """Return features of sources over a window: of their image, and of their Fourier modes in time.

    Parameters
    ----------
    data : xarray.Dataset
        A window of eight dumps or more.
    directions : array_like of shape (n_sources, 2)
        Direction cosines l and m.
    ring : float, default=0.004
        Distance at which the surroundings of a source are looked at, in radians.

    Returns
    -------
    xarray.DataArray of shape (source, feature)
        "brightness", decimal logarithm of the mean over the window (Jy per beam, at least 1e-3);
        "contrast": the mean over the root mean square of that of eight places around it;
        "modulation": standard deviation over the mean of the moduli; "peak": largest value over the
        mean of the moduli; "octave 1", "octave 2", …: decimal logarithm of the power of the Fourier
        modes 1, 2-3, 4-7, … over the square of the mean of the moduli (at least 1e-8). Dumps
        without a value do not count.

    Raises
    ------
    ValueError
        When there are fewer than eight dumps with values, or directions are not within the circle.

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.inputs.visibilities import source_features
    >>> event = {"timestep": 6, "kind": "transient", "n_timesteps": 4, "direction": (0.01, 0.0)}
    >>> window = next(open_stream("interferometer", sky=1, inject=event).windows(16))
    >>> features = source_features(window, [(0.01, 0.0)])
    >>> features.feature.values.tolist()
    ['brightness', 'contrast', 'modulation', 'peak', 'octave 1', 'octave 2', 'octave 3']
    >>> bool(features.sel(feature="peak") > 2)
    True
    """
    check_positive("ring", ring)
    places = np.atleast_2d(np.asarray(directions, dtype=np.float64))
    angles = 2 * np.pi * np.arange(_N_NEIGHBOURS) / _N_NEIGHBOURS
    around = ring * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    everywhere = np.concatenate([places[:, None], places[:, None] + around], axis=1)
    curves = light_curves(data, everywhere.reshape(-1, 2))
    values = curves.values.reshape(-1, len(places), 1 + _N_NEIGHBOURS)
    values = values[np.isfinite(values[:, 0, 0])]
    if len(values) < 8:
        raise ValueError(
            f"data has {len(values)} dumps with values; pass a window of 8 or more, "
            "stream.windows(8)."
        )
    curve, mean = values[..., 0], values.mean(axis=0)
    size = np.maximum(np.abs(curve).mean(axis=0), 1e-6)
    surroundings = np.sqrt((mean[:, 1:] ** 2).mean(axis=1))
    features = {
        "brightness": np.log10(np.maximum(mean[:, 0], 1e-3)),
        "contrast": mean[:, 0] / np.maximum(surroundings, 1e-6),
        "modulation": curve.std(axis=0) / size,
        "peak": curve.max(axis=0) / size,
        **_octaves(curve / size),
    }
    table = np.stack(list(features.values()), axis=1)
    coords = {"feature": list(features), "l": curves["l"][:: 1 + _N_NEIGHBOURS]}
    coords["m"] = curves["m"][:: 1 + _N_NEIGHBOURS]
    return xr.DataArray(table, coords, ("source", "feature"))


def _octaves(curves: np.ndarray) -> dict[str, np.ndarray]:
    """Return the power of a curve in every octave of its Fourier modes, without the mean."""
    n_dumps = len(curves)
    powers = 2 * np.abs(np.fft.rfft(curves, axis=0) / n_dumps) ** 2
    n_modes = (n_dumps - 1) // 2
    edges = [2**i for i in range(n_modes.bit_length())] + [n_modes + 1]
    found = {}
    for i, (start, stop) in enumerate(itertools.pairwise(edges), 1):
        power = powers[start:stop].sum(axis=0)
        found[f"octave {i}"] = np.log10(np.maximum(power, 1e-8))
    return found
