"""Pictures of visibilities show what is in them, where it is."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.inputs import open_stream
from dask_exa.report.figures import figure_png
from dask_exa.report.visibilities import draw_dirty_image, draw_uv_coverage, draw_waterfall


@pytest.fixture(scope="module")
def window():
    event = {
        "timestep": 3,
        "kind": "carrier",
        "channels": (10, 12),
        "amplitude": 30.0,
        "n_timesteps": 4,
    }
    return next(open_stream("interferometer", inject=event).windows(9))


def test_waterfall_has_carrier_and_flags(window):
    amplitude = abs(window.visibility).mean("baseline")
    flags = window.interference.mean("baseline")
    figure = draw_waterfall(amplitude, flags)
    left, right = figure.axes[:2]
    assert left.get_title(loc="left") == "amplitude"
    assert right.get_title(loc="left") == f"flagged: {100 * 8 / 288:.3g} %"
    np.testing.assert_allclose(left.images[0].get_extent(), (139.95, 143.15, -4.0, 68.0))
    low, high = left.images[0].get_clim()
    assert amplitude.min() <= low < high < amplitude.max()  # the carrier does not set the scale
    mask = ~np.ma.getmaskarray(right.images[1].get_array())
    assert np.array_equal(mask, flags.values > 0)
    assert figure_png(figure, 40).startswith(b"\x89PNG")


def test_waterfall_of_many_channels_keeps_narrow_flags():
    values = np.full((3, 5000), 1.0)
    values[1, 777] = np.nan
    flags = np.zeros((3, 5000), bool)
    flags[1, 777] = True
    coords = {"time": np.arange(3.0), "frequency": 1e8 + np.arange(5000.0)}
    amplitude, flags = (xr.DataArray(v, coords, ("time", "frequency")) for v in (values, flags))
    figure = draw_waterfall(amplitude, flags)
    shown = figure.axes[1].images[1].get_array()
    assert shown.shape == (3, 385)  # 13 channels a pixel
    assert np.flatnonzero(~np.ma.getmaskarray(shown)[1]).tolist() == [777 // 13]
    draw_waterfall(amplitude.where(False))  # all NaN


def test_dirty_image_has_east_on_the_left_and_marks_sources():
    axis = np.arange(-16, 16) * 1e-3
    image = xr.DataArray(np.zeros((32, 32)), {"m": axis, "l": axis}, ("m", "l"))
    image[20, 5] = 2.0
    figure = draw_dirty_image(image, {"transient": (axis[5], axis[20])}, "dump 7")
    axes = figure.axes[0]
    assert axes.xaxis_inverted()
    assert axes.get_title(loc="left") == "dump 7"
    np.testing.assert_allclose(axes.lines[0].get_xydata()[0], np.degrees([axis[5], axis[20]]))
    west, _, south, _ = axes.images[0].get_extent()
    column, row = (np.degrees([axis[5], axis[20]]) - [west, south]) / np.degrees(1e-3)
    assert axes.images[0].get_array()[int(row), int(column)] == 2.0
    draw_dirty_image(image * np.nan)
    with pytest.raises(ValueError, match="pass one image"):
        draw_dirty_image(image.rename(m="y"))


def test_uv_coverage_has_every_baseline_twice(window):
    axes = draw_uv_coverage(window).axes
    points = [collection.get_offsets() for collection in axes[0].collections]
    assert [len(p) for p in points] == [9 * 120] * 2
    np.testing.assert_allclose(points[0], -points[1])
    scale = float(window.frequency.mean()) / 299792458.0
    np.testing.assert_allclose(points[0][0], window.uvw[0, 0, :2] * scale)
    assert axes[0].xaxis_inverted()
    assert sum(bar.get_height() for bar in axes[1].patches) == 9 * 120
