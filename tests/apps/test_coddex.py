"""Crystals: increments that cannot be are found, and nothing else is."""

import itertools

import numpy as np
import pytest
import xarray as xr

from dask_exa.apps import coddex
from dask_exa.apps.coddex import USE_CASE, CrystalFields
from dask_exa.inputs import open_stream
from dask_exa.inputs.represented import RepresentedStream
from dask_exa.inputs.windows import join

SMALL = {"shape": (9, 9, 9), "n_grains": 8}


def watch(source, n_steps=None, **options):
    """Alarms of every step, and the last step with what it was made of."""
    with open_stream(source, **options) as stream:
        assert USE_CASE.recognise(stream)
        represented = RepresentedStream(stream, USE_CASE.represent)
        detector = USE_CASE.detector(represented)
        alarms, step = [], None
        for step in itertools.islice(represented, n_steps):
            alarms.append(detector.observe(step).alarms)
        return alarms, step, represented.original


def subjects(alarms):
    return {alarm.features[0] for alarm in alarms}


@pytest.mark.parametrize(("name", "label"), [("goose_coarse", 1), ("goose_poly", 0)])
def test_goosefft_increments_that_have_not_converged(shared_data, name, label):
    path = shared_data / "goosefft" / f"{name}.h5"
    with open_stream(path) as stream:
        n_steps = len(stream)
    alarms, step, _ = watch(path)
    assert [bool(found) for found in alarms] == [bool(label)] * n_steps
    assert (step.imbalance > 0.1) if label else (step.imbalance < 1e-5)
    if label:
        assert all("log imbalance of forces" in subjects(found) for found in alarms)


def test_damask_increments_balance_from_the_first_one_without_load_on(shared_data):
    alarms, step, _ = watch(shared_data / "damask/12grains6x7x8_tensionY.hdf5")
    assert alarms == [[]] * len(alarms)
    assert 0 < step.imbalance < 1e-2


FAULTS = {
    "unconverged": {"log imbalance of forces", "stress: log relative div"},
    "nonsymmetric": {"stress: log asymmetry"},
    "orientation": {"grain_stress: log largest change by the median"},
    "nan": {"stress: share of values that are not finite"},
    "spike": {"log imbalance of forces"},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_injected_faults_are_found_in_their_increment(kind):
    fault = {"timestep": 9, "kind": kind, "seed": 3}
    alarms, *_ = watch("crystal", 10, inject=fault, **SMALL)
    assert not any(alarms[:8])
    assert subjects(alarms[8]) >= FAULTS[kind]
    back = alarms[9]  # the grain turns back
    assert subjects(back) <= {"grain_stress: log largest change by the median"}


def test_healthy_crystal_raises_no_alarm_when_the_load_turns_back():
    alarms, step, _ = watch("crystal", 60, strain_amplitude=5e-3, shape=(9, 9), n_grains=6)
    assert not any(alarms)
    assert step.imbalance < 1e-5


def test_represented_fields():
    with open_stream("crystal", **SMALL) as stream:
        step = next(iter(stream))
    found = CrystalFields()(step)
    assert found.von_mises.dims == ("x", "y", "z")
    cells = step.stress.values
    axial = cells[..., 0, 0] - cells[..., 1, 1]
    inside = step.grain.values == 2
    assert found.von_mises.values.mean() == pytest.approx(np.abs(axial).mean(), rel=0.3)
    mean_of_grain = step.stress.values[inside].mean(axis=0)
    pressure = np.trace(mean_of_grain) / 3
    np.testing.assert_allclose(found.grain_stress[2], mean_of_grain - pressure * np.eye(3))
    ((strain, stress),) = found.attrs["stress_strain"]
    mean = np.reshape(step.attrs["mean_stress"], (3, 3))
    assert strain == pytest.approx(5e-4)  # at constant volume: that of the tension
    deviator = mean - np.trace(mean) / 3 * np.eye(3)
    along = np.diag([1, -0.5, -0.5]) / np.sqrt(1.5)
    assert stress == pytest.approx(np.sqrt(1.5) * np.vdot(deviator, along))


def test_lazy_steps_are_represented_where_they_are(monkeypatch):
    eager = next(iter(open_stream("crystal", **SMALL)))
    expected = CrystalFields()(eager)
    parts = CrystalFields()(eager.chunk({"x": 3}))
    assert parts.von_mises.chunks is not None
    xr.testing.assert_allclose(parts.compute(), expected)
    monkeypatch.setattr(coddex, "WHOLE_BYTES", 1000)
    parts = CrystalFields()(eager.chunk({"x": 3}))
    assert "imbalance" not in parts.coords  # too large to be read whole
    xr.testing.assert_allclose(parts.compute(), expected.drop_vars("imbalance"))
    assert USE_CASE.detector(open_stream("crystal", **SMALL)).observe(parts).alarms == []


def test_steps_with_and_without_load_are_kept_as_one_data_set():
    loaded = next(iter(open_stream("crystal", **SMALL)))
    unloaded = (0.0 * loaded).assign_coords(time=0.0, timestep=0)
    represent = CrystalFields()
    kept = join([represent(unloaded), represent(loaded)])  # as in the checkpoint of a run
    assert kept.imbalance.dims == ("time",)
    assert np.isnan(kept.imbalance[0])
    assert 0 < kept.imbalance[1] < 1e-5


def test_other_data_are_not_taken_for_crystals():
    with open_stream("tokam2d", shape=(16, 16), rk4_steps_per_frame=2) as stream:
        assert not USE_CASE.recognise(stream)
        with pytest.raises(ValueError, match="P and F, or stress and strain"):
            CrystalFields()(next(iter(stream)))


def test_pictures_show_grains_and_curve():
    fault = {"timestep": 3, "kind": "unconverged"}
    alarms, step, original = watch("crystal", 3, inject=fault, shape=(12, 9), n_grains=4)
    (title, fields), (_, curve) = USE_CASE.pictures(original, step, alarms[-1])
    assert title == "Stress and balance of forces"
    stress, balance = fields.axes[:2]
    assert stress.get_xlabel() == "x [box]"
    np.testing.assert_allclose(stress.images[0].get_array(), step.von_mises.T)
    assert balance.get_title(loc="left") == "imbalance of forces: 0.2 of the gradient"
    edges = original.grain.values
    n_edges = sum(np.count_nonzero(np.diff(edges, axis=axis)) for axis in (0, 1))
    assert sum(np.isnan(line.get_xdata()).sum() for line in stress.lines) == n_edges
    strains, _ = curve.axes[0].lines[0].get_data()
    np.testing.assert_allclose(strains, [0.05, 0.1, 0.15])


def test_pictures_of_fields_that_are_not_finite():
    fault = {"timestep": 2, "kind": "nan"}
    alarms, step, original = watch("crystal", 2, inject=fault, **SMALL)
    figures = [figure for _, figure in USE_CASE.pictures(original, step, alarms[-1])]
    assert [len(figure.axes) for figure in figures] == [4, 1]
