"""Determinant, symmetry, divergence and curl of manufactured tensor fields."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly import FieldMonitor
from dask_exa.anomaly.checks import Determinant, Symmetry, WaveBalance
from tests import naive

SHAPE = (6, 7, 8)
random = np.random.default_rng(0)
grids = np.meshgrid(*[np.arange(n) / n for n in SHAPE], indexing="ij")


def step(timestep=0, spacing=None, **tensors):
    dims = ("x", "y", "z", "i", "j")
    coords = {"timestep": timestep, "time": float(timestep)}
    if spacing is not None:
        coords |= {dim: np.arange(n) * h for dim, n, h in zip(dims, SHAPE, spacing, strict=False)}
    return xr.Dataset({name: (dims[: v.ndim], v) for name, v in tensors.items()}, coords=coords)


def wave(*numbers):
    return np.cos(2 * np.pi * sum(m * x for m, x in zip(numbers, grids, strict=True)) + 0.4)


def identity():
    return np.broadcast_to(np.eye(3), (*SHAPE, 3, 3)).copy()


def relative(monitor, data):
    seen = monitor.observe(data)
    return np.exp(seen.features[0, 0]), seen.alarms


@pytest.mark.parametrize("blocks", [None, {"x": 2, "z": 3}])
@pytest.mark.parametrize("operator", ["div", "curl"])
def test_waves_are_those_of_the_oracle(operator, blocks):
    field = random.standard_normal((*SHAPE, 3, 3))
    periods = (0.6, 1.4, 0.8)
    spacing = [p / n for p, n in zip(periods, SHAPE, strict=True)]
    monitor = FieldMonitor(WaveBalance("P", operator), blocks=blocks)
    found, alarms = relative(monitor, step(P=field, spacing=spacing))
    assert found == pytest.approx(naive.wave_remainder(field, periods, operator), rel=1e-10)
    assert len(alarms) == 1


def test_known_divergence():
    # P_00 along x has all of its derivative in the divergence, P_01 along x none
    stress = np.zeros((*SHAPE, 3, 3))
    stress[..., 0, 0], stress[..., 0, 1] = 3 * wave(1, 0, 0), 4 * wave(1, 0, 0)
    found, _ = relative(FieldMonitor(WaveBalance("P", "div")), step(P=stress))
    assert found == pytest.approx(0.6)
    stress[..., 0, 0] = 5e6  # a mean stress balances
    found, alarms = relative(FieldMonitor(WaveBalance("P", "div")), step(P=stress))
    assert found < 1e-8
    assert not alarms


def test_gradient_of_a_displacement_has_no_curl():
    gradient = identity()
    for j, numbers in enumerate([(1, 0, 0), (0, 1, 0), (0, 0, 1)]):
        gradient[..., 1, j] += 0.1 * wave(1, 1, 1)  # u_1 = sin, k the same along all axes
        gradient[..., 0, j] += 0.05 * wave(*numbers) * (j == 0)
    found, alarms = relative(FieldMonitor(WaveBalance("F", "curl")), step(F=gradient))
    assert found < 1e-12
    assert not alarms


def test_no_load_is_no_imbalance():
    rounding = 1e-12 * random.standard_normal((*SHAPE, 3, 3))
    monitor = FieldMonitor(WaveBalance("P", "div", "F"))
    assert not relative(monitor, step(P=rounding, F=identity()))[1]
    assert relative(monitor, step(P=rounding, F=identity() * 1.01, timestep=1))[1]


def test_determinant():
    gradient = identity()
    gradient[1, 2, 3] = np.diag([2.0, 1.0, -0.5])
    seen = FieldMonitor(Determinant(), blocks={"x": 3}).observe(step(F=gradient))
    np.testing.assert_allclose(seen.features, [[-1, 1], [1, 1]])
    (alarm,) = seen.alarms
    assert alarm.block == ((0, 2), (0, 6), (0, 7))
    assert alarm.reason == "det F falls to -1; it must be above 0."


def test_symmetry():
    gradient, odd = identity(), np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 0]])
    stress = np.broadcast_to(3 * np.eye(3) + 4 * odd, (*SHAPE, 3, 3)).copy()
    share = np.sqrt(2 * 16 / (2 * 16 + 27))
    seen = FieldMonitor(Symmetry()).observe(step(F=gradient, P=stress))
    assert np.exp(seen.features[0, 0]) == pytest.approx(share)
    (alarm,) = seen.alarms
    assert alarm.score == pytest.approx(share / 1e-3)
    stress[...] = np.diag([1.0, 2.0, 3.0])
    assert not FieldMonitor(Symmetry()).observe(step(F=gradient, P=stress)).alarms


def test_auto_takes_all_of_them_and_the_plastic_strain():
    strain = np.full(SHAPE, 0.1)
    monitor = FieldMonitor("tensors")
    tensors = {"F": identity(), "P": identity()}
    assert not monitor.observe(step(**tensors, ep=strain)).alarms
    (alarm,) = monitor.observe(step(**tensors, ep=0.9 * strain, timestep=1)).alarms
    assert alarm.features == ("ep: change of plastic strain",)
    assert "P F^T" not in alarm.reason
