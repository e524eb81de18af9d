"""Numbers with a ceiling, and elements that change alone."""

import numpy as np
import xarray as xr

from dask_exa.anomaly import FieldMonitor
from dask_exa.anomaly.checks import Ceiling, LoneChange


def observe(monitor, values, timestep, **scalars):
    step = xr.Dataset({"f": (("g", "i", "j")[: np.ndim(values)], values)}, scalars)
    return monitor.observe(step.assign_coords(time=float(timestep), timestep=timestep)).alarms


def test_a_number_above_its_ceiling():
    monitor = FieldMonitor([Ceiling("residual", 0.01, what="imbalance", because="no balance")])
    numbers = [0.0, 1e-9, 0.01, 0.03, np.nan]
    found = [observe(monitor, np.ones(3), i, residual=value) for i, value in enumerate(numbers)]
    assert [len(alarms) for alarms in found] == [0, 0, 0, 1, 0]
    assert found[3][0].reason == "the imbalance is 0.03, more than 0.01; no balance."
    assert found[3][0].score == 3.0
    assert observe(monitor, np.ones(3), 5) == []


def test_one_element_that_changes_alone():
    monitor = FieldMonitor([LoneChange("f", limit=4.0)])
    values = np.arange(5.0)
    found = []
    for timestep, change in enumerate([0, 1, 9, 1, 1, 9, 1]):
        values = values + np.array([1.0, change, 1.0, 1.0, 1.0])
        found.append([alarm.reason for alarm in observe(monitor, values, timestep)])
    # the first three steps are not enough to tell
    assert [len(reasons) for reasons in found] == [0, 0, 0, 0, 0, 1, 0]
    assert "number 1 changes 9 times as much as the median" in found[5][0]


def test_change_of_a_tensor_is_its_norm():
    monitor, values = FieldMonitor([LoneChange("f", limit=4.0)]), np.zeros((3, 3, 3))
    for timestep in range(5):
        change = np.tile(np.eye(3), (3, 1, 1))
        change[2, 0, 1] = 9.0 if timestep == 4 else 0.0
        values = values + change
        alarms = observe(monitor, values, timestep)
    (alarm,) = alarms
    assert np.isclose(alarm.score * 4.0, np.sqrt(84 / 3))
