"""Courant number against loops, and growth against its drive."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly import FieldMonitor
from dask_exa.anomaly.checks import Courant, DrivenGrowth
from tests import naive

random = np.random.default_rng(0)
N, DX = 32, 0.5
y, x = np.meshgrid(np.arange(N) * DX, np.arange(N) * DX, indexing="ij")
K = 2 * np.pi / (N * DX)


def step(density, potential, timestep=0, dt=0.1):
    data = {"density": (("y", "x"), density), "potential": (("y", "x"), potential)}
    at = np.arange(N) * DX
    return xr.Dataset(
        data, coords={"y": at, "x": at, "timestep": timestep, "time": timestep, "dt": dt}
    )


def test_courant_number_is_that_of_the_oracle():
    potential = random.standard_normal((N, N)).cumsum(axis=0).cumsum(axis=1) / 30
    seen = FieldMonitor(Courant()).observe(step(potential, potential))
    expected = naive.courant_number(potential, DX, 0.1)
    assert np.exp(seen.features[0, 0]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("speed", "fails"), [(4.4, False), (4.6, True)])
def test_uniform_flow_fails_where_runge_kutta_does(speed, fails):
    # dt pi v / dx = 2.83 at v = 4.50
    seen = FieldMonitor(Courant()).observe(step(x, speed * x))
    assert np.exp(seen.features[0, 0]) == pytest.approx(0.1 * np.pi * speed / DX)
    assert bool(seen.alarms) == fails


def test_time_step_may_be_a_parameter():
    data = step(x, 4.6 * x).drop_vars("dt")
    assert not FieldMonitor().observe(data).alarms
    (alarm,) = FieldMonitor(dt=0.1).observe(data).alarms
    assert alarm.reason == (
        "the time step is too large for the drift in potential: the Courant number is 2.89 and the "
        "solver is stable up to 2.83."
    )


def correlations(density, potential):
    return FieldMonitor(DrivenGrowth()).observe(step(density, potential)).features[0]


def test_correlations():
    wave, shifted = np.sin(K * y), np.cos(K * y)
    np.testing.assert_allclose(correlations(2 + wave, 3 * wave), [1, 0], atol=1e-2)
    np.testing.assert_allclose(correlations(2 - wave, 3 * wave), [-1, 0], atol=1e-2)
    np.testing.assert_allclose(correlations(shifted, wave), [0, -1], atol=1e-2)


@pytest.mark.parametrize(
    ("density", "fails"), [(-np.sin(K * y), True), (np.sin(K * y), False), (np.cos(K * y), False)]
)
def test_growth_against_its_drive_fails(density, fails):
    monitor = FieldMonitor(DrivenGrowth(), blocks={"y": 16})
    monitor.observe(step(density, np.sin(K * y)))
    seen = monitor.observe(step(density, 1.3 * np.sin(K * y), 1))  # 1.69 of the energy
    assert bool(seen.alarms) == fails
    steady = monitor.observe(step(density, 1.3 * np.sin(K * y), 2))
    assert not steady.alarms
