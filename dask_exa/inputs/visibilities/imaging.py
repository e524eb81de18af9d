"""Dirty images, and visibilities of an image, by ducc0; and grids of the uv plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.constants import speed_of_light

from dask_exa._parameters import check_count, check_positive
from dask_exa._threads import available_threads
from dask_exa.inputs.visibilities.block import Block, read_block, read_uvw

_LEAST_PIXELS = 32
# The sign of V = S exp(2πi (u l + v m + w (n - 1)) f / c): what ducc0 calls u and v is turned
# against it, and w is not. Without the term in w, turning all of them does the same.
_SIGNS = {"flip_u": True, "flip_v": True}


def dirty_images(
    data: xr.Dataset,
    n_pixels: int = 256,
    pixel_size: float | None = None,
    *,
    dumps_per_image: int | None = None,
    tolerance: float = 1e-4,
) -> xr.DataArray:
    """Return images of visibilities, each of several dumps.

    An image is the weighted mean of the visibilities, turned towards each of its pixels: a point
    source has its flux at its place, spread by the dirty beam. Terms in w are taken into account.
    Dumps of an image are gridded in one call; many small calls are much slower.

    Parameters
    ----------
    data : xarray.Dataset
        A step of a stream, or a window of several; flags, NaN and weights are heeded.
        Polarisations are averaged.
    n_pixels : int, default=256
        Of each side: even, 32 or more.
    pixel_size : float, optional
        In radians. Default: three pixels across the fringes of the longest baseline at the highest
        frequency.
    dumps_per_image : int, optional
        Default: all dumps in one image.
    tolerance : float, default=1e-4
        Relative accuracy; not below 1e-5 for complex64.

    Returns
    -------
    xarray.DataArray of shape (time, m, l)
        float32 or float64, in Jy per beam, where ``m`` and ``l`` are direction cosines towards
        north and east, and ``time`` is the mean of its dumps. An image without any visibility that
        may be used is NaN. The attribute ``weight`` has the sums of the weights.

    Raises
    ------
    ImportError
        Without the extra ``radio``.
    ValueError
        When a number is out of its range, or all baselines are zero.

    See Also
    --------
    image_visibilities : The other way round.

    References
    ----------
    Arras, Reinecke, Westermann, Enßlin, Astron. Astrophys. 646, A58 (2021).
    """
    check_count("n_pixels", n_pixels, least=_LEAST_PIXELS)
    if n_pixels % 2:
        raise ValueError(f"n_pixels={n_pixels} must be even.")
    check_positive("tolerance", tolerance)
    block = read_block(data)
    uvw = read_uvw(data, len(block.visibility))
    if pixel_size is None:
        pixel_size = _choose_pixel_size(uvw, block.frequency)
    check_positive("pixel_size", pixel_size)
    n_dumps = len(uvw) if dumps_per_image is None else dumps_per_image
    check_count("dumps_per_image", n_dumps)
    visibility, weight = _averaged(block)
    starts = range(0, len(uvw), n_dumps)
    images = np.empty((len(starts), n_pixels, n_pixels), weight.dtype)
    sums = np.zeros(len(starts))
    for image, start in enumerate(starts):
        rows = slice(start, start + n_dumps)
        sums[image] = weight[rows].sum(dtype=np.float64)
        if sums[image] == 0:
            images[image] = np.nan
            continue
        dirty = _wgridder().vis2dirty(
            uvw=uvw[rows].reshape(-1, 3),
            freq=block.frequency,
            vis=visibility[rows].reshape(-1, visibility.shape[-1]),
            wgt=weight[rows].reshape(-1, weight.shape[-1]),
            npix_x=n_pixels,
            npix_y=n_pixels,
            **_geometry(pixel_size, tolerance),
        )
        images[image] = dirty.T / sums[image]
    times = [block.time[start : start + n_dumps].mean() for start in starts]
    return _label(images, pixel_size, times, sums)


def image_visibilities(
    image: xr.DataArray, data: xr.Dataset, *, tolerance: float = 1e-4
) -> xr.DataArray:
    """Return the visibilities that an image of the sky has, where data have theirs.

    Parameters
    ----------
    image : xarray.DataArray of shape (m, l)
        Flux of every pixel in Jy, with the coordinates of `dirty_images`: equal pixels, even in
        number, 32 or more.
    data : xarray.Dataset
        A step of a stream or a window of several, whose baselines and frequencies count.
    tolerance : float, default=1e-4
        Relative accuracy; not below 1e-5 for float32.

    Returns
    -------
    xarray.DataArray
        Complex, (…, baseline, frequency), of the precision of the image.

    Raises
    ------
    ImportError
        Without the extra ``radio``.
    ValueError
        When data have no baselines, or the image is not (m, l).
    """
    if set(image.dims) != {"m", "l"}:
        raise ValueError(f"image has the dimensions {image.dims}; pass one image, (m, l).")
    check_positive("tolerance", tolerance)
    frequency = data["frequency"].values
    labelled = data["visibility"].isel(polarisation=0, missing_dims="ignore")
    n_times = labelled.sizes.get("time", 1)
    uvw = read_uvw(data, n_times)
    pixel_size = float(image["l"][1] - image["l"][0])
    found = _wgridder().dirty2vis(
        uvw=uvw.reshape(-1, 3),
        freq=frequency,
        dirty=np.ascontiguousarray(image.transpose("l", "m").values),
        **_geometry(pixel_size, tolerance),
    )
    found = found.reshape(*uvw.shape[:2], len(frequency))
    dims = [dim for dim in ("time", "baseline", "frequency") if dim in labelled.dims]
    return labelled.transpose(*dims).copy(data=found if "time" in dims else found[0])


def grid_visibilities(data: xr.Dataset, n_cells: int, cell_size: float) -> xr.Dataset:
    """Return sums of visibilities in cells of the uv plane, which add up over any parts of them.

    Parameters
    ----------
    data : xarray.Dataset
        A step of a stream, or a window of several; flags, NaN and weights are heeded.
        Polarisations are averaged.
    n_cells : int
        Of each side; visibilities outside are left out.
    cell_size : float
        Side of a cell, in wavelengths.

    Returns
    -------
    xarray.Dataset
        ``sum``, complex128, of weight times visibility, and ``weight``, float64, of shape (v, u).
        Every visibility counts at its (u, v), and its conjugate at (-u, -v). Grids of several
        blocks, baselines or channels may be added; ``sum / weight`` is the mean.

    Raises
    ------
    ValueError
        When a number is out of its range.

    Examples
    --------
    >>> from dask_exa.datasets import Interferometer
    >>> from dask_exa.inputs.visibilities import grid_visibilities
    >>> first, second = Interferometer(n_stations=8).run(2)
    >>> grid = grid_visibilities(first, 64, 50.0) + grid_visibilities(second, 64, 50.0)
    >>> grid.sizes["u"], int(grid.weight.sum()) == 2 * 2 * 28 * 32
    (64, True)
    """
    check_count("n_cells", n_cells)
    check_positive("cell_size", cell_size)
    block = read_block(data)
    uvw = read_uvw(data, len(block.visibility))
    visibility, weight = _averaged(block)
    scale = block.frequency / speed_of_light / cell_size
    places = [
        np.floor(uvw[..., axis, None] * scale + n_cells / 2).astype(np.int64) for axis in (1, 0)
    ]
    grid = np.zeros((3, n_cells * n_cells))
    for sign in (1, -1):
        row, column = places if sign > 0 else (n_cells - 1 - place for place in places)
        is_inside = (row >= 0) & (row < n_cells) & (column >= 0) & (column < n_cells)
        cells = (row * n_cells + column)[is_inside]
        shares = weight[is_inside].astype(np.float64)
        values = visibility[is_inside]
        parts = (shares * values.real, sign * shares * values.imag, shares)
        for total, part in zip(grid, parts, strict=True):
            total += np.bincount(cells, part, n_cells * n_cells)
    real, imaginary, weights = grid.reshape(3, n_cells, n_cells)
    middle = (np.arange(n_cells) + 0.5 - n_cells / 2) * cell_size
    wavelengths = {"units": "wavelengths"}
    return xr.Dataset(
        {"sum": (("v", "u"), real + 1j * imaginary), "weight": (("v", "u"), weights)},
        coords={"v": ("v", middle, wavelengths), "u": ("u", middle, wavelengths)},
    )


def _averaged(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean of the polarisations, and its weight."""
    weight = block.weight.sum(axis=-1)
    total = (block.visibility * block.weight).sum(axis=-1)
    return total / np.where(weight > 0, weight, 1), weight


def _geometry(pixel_size: float, tolerance: float) -> dict[str, Any]:
    return {
        "pixsize_x": pixel_size,
        "pixsize_y": pixel_size,
        "epsilon": tolerance,
        "do_wgridding": True,
        "divide_by_n": False,
        "nthreads": available_threads(),
        **_SIGNS,
    }


def _choose_pixel_size(uvw: np.ndarray, frequency: np.ndarray) -> float:
    longest = np.sqrt((uvw[..., :2] ** 2).sum(axis=-1).max())
    if longest == 0:
        raise ValueError("uvw has no baseline longer than zero; pass pixel_size.")
    return float(speed_of_light / frequency.max() / longest / 3)


def _label(
    images: np.ndarray, pixel_size: float, times: list[float], sums: np.ndarray
) -> xr.DataArray:
    n_pixels = images.shape[-1]
    axis = (np.arange(n_pixels) - n_pixels // 2) * pixel_size
    return xr.DataArray(
        images,
        dims=("time", "m", "l"),
        coords={
            "time": ("time", times, {"units": "s"}),
            "m": ("m", axis, {"units": "rad", "long_name": "towards north"}),
            "l": ("l", axis, {"units": "rad", "long_name": "towards east"}),
        },
        name="dirty_image",
        attrs={"units": "Jy/beam", "weight": sums.tolist()},
    )


def _wgridder() -> Any:
    try:
        import ducc0
    except ImportError as error:
        raise ImportError(
            "images of visibilities take ducc0: pip install 'dask-exa[radio]'"
        ) from error
    return ducc0.wgridder
