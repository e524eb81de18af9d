"""FieldDetector: what must hold, what is unlike all before, and nothing else."""

import pickle

import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone

from dask_exa.anomaly import HalfSpaceTrees
from dask_exa.anomaly.field_detector import FieldDetector
from dask_exa.anomaly.field_monitor import FieldMonitor
from dask_exa.datasets import Injection, Tokam2D
from dask_exa.inputs import open_stream

BLOCKS = {"y": 8, "x": 8}


def waves(n_steps, odd=None):
    """Waves that travel at speeds of their own; from step `odd` on, one block has a front."""
    y, x = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    modes = ((1, 0), (0, 1), (1, 1), (2, 1), (1, 2))
    for t in range(n_steps):
        field = sum(
            np.sin(2 * np.pi * (k * y + m * x) / 16 + 0.31 * t * (i + 1) ** 0.5)
            for i, (k, m) in enumerate(modes)
        )
        if odd is not None and t >= odd:
            field[8:, :8] = np.where(x[8:, :8] < 4, 9.0, -9.0)
        yield xr.Dataset({"u": (("y", "x"), field)}, coords={"time": float(t), "timestep": t})


def make(**params):
    return FieldDetector(FieldMonitor("spread", blocks=BLOCKS), **params)


def test_block_unlike_all_before_is_an_alarm_with_its_features():
    detector = make()
    findings = [detector.observe(step) for step in waves(205, odd=200)]
    assert not any(finding.alarms for finding in findings[:200])
    (alarm,) = findings[200].alarms
    assert alarm.step == 200
    assert alarm.block == ((8, 15), (0, 7))
    assert alarm.variable == "u"
    assert alarm.p_value <= 1e-3
    assert all(name.startswith("u: ") for name in alarm.features)
    assert alarm.features[0] in alarm.reason
    assert findings[200].score > findings[200].limit >= 2
    assert all(np.isnan(finding.score) for finding in findings[:16])
    assert all(np.isnan(finding.limit) for finding in findings[:116])


def test_field_that_never_changes_raises_no_alarm():
    step = next(waves(1))
    flat = [step.assign(u=step.u * 0 + 3).assign_coords(timestep=t) for t in range(30)]
    detector = make(n_warmup=4)
    for one in flat:
        assert detector.observe(one).alarms == []


def test_checks_fail_at_once_and_their_blocks_are_not_learnt():
    fault = Injection(timestep=3, kind="nonphysical", patch=(0, 4, 0, 4))
    run = Tokam2D.sol(shape=(16, 16), length=16.0, rk4_steps_per_frame=2, inject=fault)
    detector = FieldDetector(FieldMonitor(blocks=BLOCKS))
    found = [detector.observe(step) for step in run.run(4)]
    assert [bool(finding.alarms) for finding in found] == [False, False, True, False]
    assert found[2].alarms[0].variable == "density"
    assert found[2].alarms[0].p_value is None
    clean = FieldDetector(FieldMonitor(blocks=BLOCKS))
    for step in Tokam2D.sol(shape=(16, 16), length=16.0, rk4_steps_per_frame=2).run(3):
        clean.observe(step)
    assert detector.detector_.n_samples_seen_ < clean.detector_.n_samples_seen_ + 4


def test_resumes_from_a_pickle_with_the_same_findings():
    whole, stopped = make(n_warmup=4), make(n_warmup=4)
    steps = list(waves(40))
    expected = [whole.observe(step) for step in steps]
    for step in steps[:23]:
        stopped.observe(step)
    resumed = pickle.loads(pickle.dumps(stopped))
    assert [resumed.observe(step).score for step in steps[23:]] == [
        finding.score for finding in expected[23:]
    ]


def test_any_detector_may_score():
    trees = HalfSpaceTrees(random_state=0, n_warmup=64)
    detector = make(detector=trees, n_warmup=30)
    scores = [detector.observe(step).score for step in waves(60, odd=59)]
    assert scores[-1] > np.nanmax(scores[:-1])


def test_clone_starts_anew():
    detector = make(n_warmup=4)
    for step in waves(6):
        detector.observe(step)
    assert not hasattr(clone(detector), "monitor_")
    assert repr(clone(detector)) == repr(detector)
    with pytest.raises(ValueError, match="n_warmup=0"):
        make(n_warmup=0).observe(next(waves(1)))


def alarms_of(path, **params):
    found = []
    with open_stream(path) as stream:
        detector = FieldDetector(FieldMonitor(blocks={"y": 32, "x": 32}), **params)
        for step in stream:
            if np.isfinite(step.density).all():
                found += detector.observe(step).alarms
    return found


@pytest.mark.slow
def test_real_run_that_crashes_alarms_before_it_does(shared_data):
    found = alarms_of(shared_data / "tokam2d/sol_crash/simulation_fields.h5")
    assert found
    assert found[0].step <= 31
    assert "too large for the drift" in found[0].reason
