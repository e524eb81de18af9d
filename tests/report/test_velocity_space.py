"""Pictures of phase space and of invariants."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.datasets import Vlasov
from dask_exa.report.figures import figure_png
from dask_exa.report.velocity_space import draw_invariants, draw_velocity_space


def test_slice_goes_through_the_middle_of_the_other_dimensions():
    run = Vlasov(shape=(8, 16, 12, 20, 3), amplitude=0.1)
    f = run.fields.f
    figure = draw_velocity_space(f)
    drawn, deviation = (axes.images[0].get_array() for axes in figure.axes[:2])
    expected = f.isel(x=4, vx=6, mu=0).transpose("vy", "y").values
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_allclose(deviation, expected - expected.mean(axis=1, keepdims=True))
    (note,) = (text.get_text() for text in figure.texts)
    assert note.startswith("Shown: x = 6.28, vx = 0, mu = 0.")
    assert figure_png(figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize("fill", [0.0, np.nan, -1.0])
def test_odd_values_are_drawn_all_the_same(fill):
    f = xr.DataArray(np.full((6, 5), fill), dims=("x", "vpar"))
    f[2, 2] = 1.0
    assert figure_png(draw_velocity_space(f))
    assert figure_png(draw_velocity_space(xr.full_like(f, fill)))


def test_lazy_functions_are_read_for_the_slice_only():
    f = Vlasov(shape=(8, 8, 8, 8)).fields.f
    eager, lazy = draw_velocity_space(f), draw_velocity_space(f.chunk({"y": 1}))
    np.testing.assert_array_equal(
        eager.axes[0].images[0].get_array(), lazy.axes[0].images[0].get_array()
    )


def test_invariants_are_shares_of_their_limits():
    rows = [{"time": float(t), "a": 1e-3 * t, "b": np.nan} for t in range(4)]
    figure = draw_invariants(rows, {"a": 2e-3, "b": 1.0}, {"a": "first", "b": "second"})
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [1e-6, 0.5, 1.0, 1.5])
    assert figure.axes[0].get_ylim()[1] == 15.0
    assert figure_png(figure)
