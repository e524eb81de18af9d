"""Dirty images and uv grids against sums over every visibility, and against known sources."""

import builtins

import numpy as np
import pytest
import xarray as xr

from dask_exa.datasets import Interferometer, Sky
from dask_exa.inputs import open_stream
from dask_exa.inputs.visibilities import dirty_images, grid_visibilities, image_visibilities
from tests.naive import _interferometer as naive

PIXEL = 4e-4


@pytest.fixture(scope="module")
def window():
    """Three dumps with flags, weights and NaN, seen from 8 stations."""
    array = {"n_stations": 8, "n_channels": 5, "sky": 3, "noise": 0.3, "seed": 5}
    window = next(open_stream("interferometer", **array).windows(3))
    random = np.random.default_rng(0)
    shape = window.visibility.shape
    window["weight"] = (window.visibility.dims, random.random(shape).astype(np.float32))
    window["flag"] = (window.visibility.dims, random.random(shape) < 0.2)
    window.weight[1, 3] = 0
    window.visibility[0, 2, 1] = np.nan
    window.visibility.values[window.flag.values] = 1e6  # would be seen
    return window


def ducc():
    pytest.importorskip("ducc0", reason="needs ducc0: pip install 'dask-exa[radio]'")


def test_pixels_are_weighted_sums_over_all_visibilities(window):
    ducc()
    image = dirty_images(window, 128, PIXEL).isel(time=0)
    visibility = window.visibility.values.reshape(-1, 5).astype(complex)
    weight = np.where(window.flag, 0, window.weight).reshape(-1, 5)
    weight[~np.isfinite(visibility)] = 0
    uvw, frequency = window.uvw.values.reshape(-1, 3), window.frequency.values
    for i, j in ((64, 64), (3, 120), (90, 41), (127, 0)):  # the edges need the terms in w
        east, north = (j - 64) * PIXEL, (i - 64) * PIXEL
        expected = naive.dirty_pixel(uvw, frequency, visibility, weight, east, north)
        assert abs(float(image[i, j]) - expected) < 2e-4 * abs(image).max()
        assert np.isclose(float(image.m[i]), north)
        assert np.isclose(float(image.l[j]), east)
    assert np.isclose(image.attrs["weight"][0], weight.sum())


def test_source_is_where_it_is_as_bright_as_it_is():
    ducc()
    sky = Sky.of(np.radians(20.0) + 0.008, np.radians(-30.0) + 0.005, 3.0)
    array = Interferometer(24, sky=sky, noise=0)
    image = dirty_images(array.advance(), 128, 2e-4).isel(time=0)
    at = image.argmax(("m", "l"))
    east, north, _ = sky.directions(array.phase_centre)[0]
    assert abs(float(image.l[at["l"]]) - east) <= 1e-4
    assert abs(float(image.m[at["m"]]) - north) <= 1e-4
    assert abs(float(image.max()) - 3) < 0.15  # the source lies between pixels


def test_images_of_groups_of_dumps_are_those_of_the_groups(window):
    ducc()
    images = dirty_images(window, 64, PIXEL, dumps_per_image=2)
    assert images.shape == (2, 64, 64)
    np.testing.assert_allclose(images.time, [window.time[:2].mean(), window.time[2]])
    for image, rows in zip(images, (slice(0, 2), slice(2, 3)), strict=True):
        alone = dirty_images(window.isel(time=rows), 64, PIXEL)[0]
        np.testing.assert_allclose(image, alone, atol=1e-4 * np.abs(alone).max())
    one = window.isel(time=2)
    np.testing.assert_allclose(dirty_images(one, 64, PIXEL)[0], images[1], atol=1e-4)


def test_polarisations_are_averaged(window):
    ducc()
    both = xr.concat([window.visibility, 3 * window.visibility], dim="polarisation")
    doubled = window.assign(visibility=both)
    expected = 2 * dirty_images(window, 64, PIXEL)
    np.testing.assert_allclose(dirty_images(doubled, 64, PIXEL), expected, atol=1e-3)


def test_image_of_nothing_is_nan(window):
    ducc()
    images = dirty_images(
        window.assign(flag=xr.ones_like(window.flag)), 64, PIXEL, dumps_per_image=2
    )
    assert np.isnan(images).all()
    assert images.attrs["weight"] == [0.0, 0.0]


def test_visibilities_of_an_image_are_those_of_its_pixels(window):
    ducc()
    sky = xr.zeros_like(dirty_images(window, 64, PIXEL)[0]).astype(np.float64)
    sky[40, 21], sky[5, 60] = 2.0, -1.0
    found = image_visibilities(sky, window, tolerance=1e-7)
    assert found.dims == window.visibility.dims
    pixels = [(-11 * PIXEL, 8 * PIXEL), (28 * PIXEL, -27 * PIXEL)]
    directions = [(x, y, np.sqrt(1 - x * x - y * y)) for x, y in pixels]
    for time, baseline, channel in ((0, 0, 0), (1, 20, 4), (2, 9, 2)):
        uvw, frequency = window.uvw.values[time, baseline], float(window.frequency[channel])
        expected = naive.direct_fourier_sum(uvw, frequency, directions, [2.0, -1.0])
        assert abs(complex(found[time, baseline, channel]) - expected) < 1e-5
    one = image_visibilities(sky, window.isel(time=1), tolerance=1e-7)
    np.testing.assert_allclose(one, found[1], atol=1e-6)


def test_uv_grid_adds_up(window):
    whole = grid_visibilities(window, 40, 60.0)
    parts = sum(grid_visibilities(window.isel(time=[i]), 40, 60.0) for i in range(3))
    channels = [window.isel(frequency=part) for part in (slice(0, 2), slice(2, 5))]
    channels = sum(grid_visibilities(part, 40, 60.0) for part in channels)
    for other in (parts, channels):
        np.testing.assert_allclose(other["sum"], whole["sum"], atol=1e-10)
        np.testing.assert_allclose(other.weight, whole.weight, atol=1e-10)
    # real on the sky
    np.testing.assert_allclose(whole["sum"].values, whole["sum"].values[::-1, ::-1].conj())


def test_uv_grid_has_each_visibility_in_its_cell(window):
    grid = grid_visibilities(window, 40, 60.0)
    sums, weights = np.zeros((40, 40), complex), np.zeros((40, 40))
    scale = window.frequency.values / naive.SPEED_OF_LIGHT
    for index in np.ndindex(window.visibility.shape):
        value, weight = window.visibility.values[index], window.weight.values[index]
        if window.flag.values[index] or not np.isfinite(value):
            continue
        for sign in (1, -1):
            u, v, _ = sign * window.uvw.values[index[:2]] * scale[index[2]]
            i, j = (int(np.floor(x / 60.0 + 20)) for x in (v, u))
            if 0 <= i < 40 and 0 <= j < 40:
                sums[i, j] += weight * (value if sign > 0 else np.conj(value))
                weights[i, j] += weight
    assert (weights > 0).sum() > 20
    np.testing.assert_allclose(grid["sum"], sums, atol=1e-4)
    np.testing.assert_allclose(grid.weight, weights, atol=1e-5)


def test_bad_arguments_are_named(window):
    for arguments, message in (
        ({"n_pixels": 63}, "n_pixels=63 must be even"),
        ({"n_pixels": 16}, "n_pixels=16"),
        ({"pixel_size": -1.0}, "pixel_size=-1.0"),
        ({"dumps_per_image": 0}, "dumps_per_image=0"),
        ({"tolerance": 0.0}, "tolerance=0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            dirty_images(window, **{"n_pixels": 64, "pixel_size": PIXEL, **arguments})
    with pytest.raises(ValueError, match="no baseline longer than zero"):
        dirty_images(window.assign_coords(uvw=window.uvw * 0))
    with pytest.raises(ValueError, match="no 'uvw'"):
        dirty_images(window.drop_vars("uvw"))
    with pytest.raises(ValueError, match="weight has negative values"):
        dirty_images(window.assign(weight=-window.weight))
    with pytest.raises(ValueError, match="no variable 'visibility'"):
        grid_visibilities(window.drop_vars("visibility"), 4, 1.0)
    with pytest.raises(ValueError, match=r"must be .*complex"):
        grid_visibilities(window.assign(visibility=window.visibility.real), 4, 1.0)
    with pytest.raises(ValueError, match="pass one image"):
        image_visibilities(window.visibility, window)


def test_missing_extra_is_named(window, monkeypatch):
    original = builtins.__import__

    def without_ducc(name, *args, **kwargs):
        if name == "ducc0":
            raise ImportError("No module named 'ducc0'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_ducc)
    with pytest.raises(ImportError, match=r"pip install 'dask-exa\[radio\]'"):
        dirty_images(window)
