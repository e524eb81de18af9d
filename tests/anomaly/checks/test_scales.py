"""Spread, jumps, and what piles up at the scale of the grid."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from dask_exa.anomaly import FieldMonitor
from dask_exa.anomaly.checks import GridScale, Jump, Spread
from tests import naive

random = np.random.default_rng(0)


def field(values, timestep=0):
    dims = ("z", "y", "x")[-np.ndim(values) :]
    return xr.Dataset({"u": (dims, values)}, coords={"timestep": timestep, "time": float(timestep)})


def test_spread_is_that_of_scipy():
    before, now = random.gamma(2.0, size=(40, 30)), 3.0 * random.gamma(1.0, size=(40, 30)) - 1.0
    monitor = FieldMonitor(Spread("u"))
    first = monitor.observe(field(before)).features[0]
    assert np.isnan(first[:2]).all()
    growth, shift, kurtosis, peak, dip = monitor.observe(field(now, 1)).features[0]
    assert growth == pytest.approx(np.log(now.std() / before.std()))
    assert np.sinh(shift) == pytest.approx((now.mean() - before.mean()) / before.std())
    assert np.exp(kurtosis) == pytest.approx(scipy.stats.kurtosis(now, axis=None, fisher=False))
    assert np.exp(peak) == pytest.approx((now.max() - now.mean()) / now.std())
    assert np.exp(dip) == pytest.approx((now.mean() - now.min()) / now.std())


def test_spread_of_blocks_is_that_of_the_whole():
    values = random.standard_normal((16, 24)) + np.arange(24)
    whole, split = FieldMonitor(Spread("u")), FieldMonitor(Spread("u"), blocks={"y": 5, "x": 7})
    whole.observe(field(values)), split.observe(field(values))
    np.testing.assert_allclose(split.state.first[-1], values.std())
    np.testing.assert_allclose(whole.state.first[-1], values.std())


def test_linear_growth_passes_and_runaway_fails():
    shape = random.standard_normal((16, 16))
    monitor = FieldMonitor(Spread("u"))
    for i in range(12):  # 20 orders of magnitude
        assert not monitor.observe(field(shape * 1e-12 * 50.0**i, i)).alarms
    (alarm,) = monitor.observe(field(shape * 1e-12 * 50.0**11 * 1e12, 12)).alarms
    assert "grows by a factor of 1e+12 in one step" in alarm.reason


def test_jump_of_a_wave_that_moves():
    # cells of an eighth of a period: half a period on, every mean has changed its sign
    x = np.arange(64) * 2 * np.pi / 64
    monitor = FieldMonitor(Jump("u", n_cells=8))
    monitor.observe(field(np.sin(x)))
    jump = monitor.observe(field(-np.sin(x), 1)).features[0, 0]
    cells = np.sin(x).reshape(8, 8).mean(axis=1)
    assert np.exp(jump) == pytest.approx(2 * np.sqrt(np.mean(cells**2)) / np.sin(x).std())


@pytest.mark.parametrize("shape", [(40,), (18, 22), (9, 10, 11)])
def test_nyquist_share_is_that_of_the_oracle(shape):
    values = random.standard_normal(shape).cumsum(axis=-1)
    monitor = FieldMonitor(GridScale("u"))
    logarithm = monitor.observe(field(values)).features[0, 0]
    assert np.exp(logarithm) == pytest.approx(naive.nyquist_share(values), rel=1e-12)


def test_nyquist_share_of_white_noise_is_one():
    seen = FieldMonitor(GridScale("u")).observe(field(random.standard_normal((256, 256))))
    assert np.exp(seen.features[0, 0]) == pytest.approx(1.0, abs=0.03)
    assert np.exp(seen.features[0, 1]) == pytest.approx(1 / 4, rel=0.05)


def test_checkerboard():
    board = (-1.0) ** np.add.outer(np.arange(32), np.arange(32))
    smooth = np.cos(2 * np.pi * np.arange(32) / 32) * np.ones((32, 1))
    seen = FieldMonitor(GridScale("u")).observe(field(board))
    assert seen.features[0, 1] == pytest.approx(0.0)  # all of the energy
    weak = FieldMonitor(GridScale("u")).observe(field(smooth + 1e-3 * board))
    # the smooth part passes a difference with sin(pi / 32)^2 of its energy, and none across
    assert np.exp(weak.features[0, 1]) == pytest.approx(1e-6 / 0.5, rel=1e-3)


def test_gain_of_a_wave():
    # one axis passes sin(k dx / 2)^12, the other nothing
    wave = np.cos(2 * np.pi * np.arange(64) / 4 + 0.3) * np.ones((64, 1))
    share = FieldMonitor(GridScale("u")).observe(field(wave)).features[0, 0]
    white = 924 / 4**6
    assert np.exp(share) == pytest.approx(0.5**6 / 2 / white, rel=0.02)


def test_pile_up_fails_and_initial_noise_does_not():
    noise = random.standard_normal((64, 64))
    x = np.arange(64) * 2 * np.pi / 64
    smooth = np.sin(x) * np.cos(x)[:, None]
    assert not FieldMonitor(GridScale("u")).observe(field(noise)).alarms
    monitor = FieldMonitor(GridScale("u"), blocks={"y": 32, "x": 32})
    assert not monitor.observe(field(smooth)).alarms
    assert not monitor.observe(field(smooth + 0.2 * noise, 1)).alarms
    (alarm,) = monitor.observe(field(smooth + 3.0 * noise, 2)).alarms
    assert alarm.block is None
    assert "piles up at the scale of the grid" in alarm.reason


def test_rounding_is_no_pile_up():
    smooth = np.sin(np.arange(64) * 2 * np.pi / 64) * np.ones((64, 1))
    monitor = FieldMonitor(GridScale("u"))
    monitor.observe(field((2.0 + smooth).astype(np.float32)))
    seen = monitor.observe(
        field((2.0 + 1e-8 * random.standard_normal((64, 64))).astype(np.float32), 1)
    )
    assert not seen.alarms
    assert np.isnan(seen.features[0, 0])
