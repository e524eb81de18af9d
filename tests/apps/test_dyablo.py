"""The use case of adaptive meshes: real good runs without alarms, runs that go wrong with them."""

import numpy as np
import pytest

from dask_exa.apps.dyablo import USE_CASE
from dask_exa.datasets.amr_blast import AmrBlast, BlastInjection
from dask_exa.inputs import dyablo
from dask_exa.inputs.represented import RepresentedStream


def _good_steps(shared_data, name="blast2d_iter*.h5"):
    stream = dyablo.open_snapshots(str(shared_data / "dyablo" / name))
    return RepresentedStream(stream, USE_CASE.represent)


def _alarms(steps, stream):
    detector = USE_CASE.detector(stream)
    return {int(step.timestep): detector.observe(step).alarms for step in steps}


@pytest.mark.parametrize("name", ["blast2d_iter*.h5", "blast3d_iter*.h5"])
def test_good_runs_raise_no_alarm(shared_data, name):
    stream = _good_steps(shared_data, name)
    assert USE_CASE.recognise(dyablo.open_snapshots(str(shared_data / "dyablo" / name)))
    assert not any(_alarms(stream, stream).values())


def test_represented_steps_have_one_shape_and_all_of_the_mass(shared_data):
    steps = list(_good_steps(shared_data))
    assert {tuple(step.sizes.items()) for step in steps} == {(("y", 256), ("x", 256))}
    for step in steps:
        assert float(step.rho.mean()) == pytest.approx(float(step.mass), rel=1e-12)
        assert float(step.e_tot.mean()) == pytest.approx(float(step.energy), rel=1e-12)
        assert float(step.rho.min()) >= float(step.lowest_density)


def _break(step, kind):
    """Return a step with what Dyablo does at a Courant number of 2: never NaN."""
    if kind == "energy":
        return step.assign(e_tot=1.11 * step.e_tot)
    if kind == "density":
        rho = step.rho.copy()
        rho[3, 2, 1] = 5.6e-6
        return step.assign(rho=rho)
    return step.assign_coords({"dt": 1e-9})


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("energy", "total of energy must not grow"),
        ("density", "lowest_density must not fall"),
        ("dt", "time step has collapsed"),
    ],
)
def test_what_goes_wrong_is_named(shared_data, kind, reason):
    stream = dyablo.open_snapshots(str(shared_data / "dyablo" / "blast2d_iter*.h5"))
    steps = [
        USE_CASE.represent(_break(step, kind) if int(step.timestep) == 178 else step)
        for step in stream
    ]
    alarms = _alarms(steps, RepresentedStream(stream, USE_CASE.represent))
    assert [step for step, found in alarms.items() if found] == [178]
    assert any(reason in alarm.reason for alarm in alarms[178])


@pytest.mark.parametrize("kind", ["nonphysical", "spike", "nan"])
def test_what_is_injected_into_a_blast_is_found_at_once(kind):
    fault = BlastInjection(timestep=12, kind=kind)
    blast = AmrBlast(max_level=4, on_nan="yield", inject=fault)
    detector = USE_CASE.detector(None)
    found = []
    for _ in range(12):
        represented = USE_CASE.represent(blast.advance())
        if detector.observe(represented).alarms:
            found.append(int(represented.timestep))
    assert found == [12]
    assert represented.attrs["injected"] == kind


def test_steps_that_are_too_long_are_found_by_their_energy():
    blast = AmrBlast(max_level=4, on_nan="yield", inject=BlastInjection(timestep=6, kind="courant"))
    detector = USE_CASE.detector(None)
    reasons = {}
    for _ in range(20):
        represented = USE_CASE.represent(blast.advance())
        for alarm in detector.observe(represented).alarms:
            reasons.setdefault(alarm.variable, int(represented.timestep))
    assert 6 <= reasons["energy"] <= 16


def test_pictures(shared_data):
    stream = _good_steps(shared_data, "blast3d_iter*.h5")
    *_, last = stream
    drawn = USE_CASE.pictures(stream.original, last, [])
    assert [title for title, _ in drawn] == ["Density and the leaves of the octree", "Total energy"]
    assert np.ptp(drawn[0][1].axes[0].images[0].get_array()) > 1


def test_other_streams_are_left_alone(shared_data):
    class Other:
        dims, variables = ("oct", "y", "x"), ("temperature",)

    assert not USE_CASE.recognise(Other())
