"""Visibilities: alarms name channels, stations and directions, and nothing else is one."""

import itertools

import pytest
import xarray as xr

from dask_exa.apps.ska import USE_CASE, VisibilityDetector
from dask_exa.datasets import Interferometer
from dask_exa.inputs import open_stream
from dask_exa.inputs.represented import RepresentedStream
from dask_exa.inputs.visibilities import Screening

EVENTS = [
    {"timestep": 4, "kind": "carrier", "channels": (5, 7)},
    {"timestep": 5, "kind": "carrier", "channels": (20, 21), "n_timesteps": 2},
    {"timestep": 6, "kind": "burst"},
    {"timestep": 8, "kind": "dead", "station": 3, "n_timesteps": 2},
    {"timestep": 10, "kind": "transient", "direction": (0.01, -0.005), "amplitude": 3.0},
]
ARRAY = {"n_stations": 20, "n_channels": 32, "noise": 1.0, "sky": 8}


def alarms_of(n_steps, **options):
    """Return alarms by step, and the last represented step with its source."""
    with open_stream("interferometer", **ARRAY, **options) as stream:
        assert USE_CASE.recognise(stream)
        represented = RepresentedStream(stream, USE_CASE.represent)
        detector, alarms = USE_CASE.detector(represented), {}
        for step in itertools.islice(represented, n_steps):
            found = detector.observe(step)
            assert found.limit == 1.0
            assert bool(found.alarms) == (found.score > 1)
            if found.alarms:
                alarms[int(step.timestep)] = found.alarms
        return alarms, step, represented.original


def test_alarms_name_what_is_wrong():
    pytest.importorskip("ducc0")
    alarms, _, _ = alarms_of(12, inject=EVENTS)
    assert {step: [a.features[0] for a in found] for step, found in alarms.items()} == {
        4: ["channel 5"],
        5: ["channel 20"],
        6: ["channel 0"],
        8: ["station 3"],
        9: ["station 3"],
        10: ["source at +0.57°, -0.29°"],
    }
    assert alarms[4][0].block == ((5, 6),)
    assert alarms[6][0].block == ((0, 31),)
    assert "channels 5 to 6, 140.5 to 140.6 MHz" in alarms[4][0].reason
    assert alarms[8][0].subject == alarms[9][0].subject
    assert "by 3" in alarms[10][0].reason or "by 2.9" in alarms[10][0].reason


def test_a_quiet_observation_has_no_alarm():
    alarms, step, _ = alarms_of(30)
    assert alarms == {}
    assert dict(step.sizes) == {"frequency": 32, "station": 20}


def test_many_runs_of_channels_are_one_alarm():
    screening, detector = Screening(transients=False), VisibilityDetector()
    events = [{"timestep": 2, "kind": "carrier", "channels": (c, c + 1)} for c in range(2, 38, 4)]
    for step in Interferometer(20, 40, noise=1.0, inject=events).run(2):
        found = detector.observe(screening(step))
    assert len(found.alarms) == 1
    assert found.alarms[0].reason.startswith("Interference in 9 of channels 2 to 34")


def test_pictures_show_flags_stations_and_the_sky():
    pytest.importorskip("ducc0")
    _, step, original = alarms_of(10, inject=EVENTS)
    pictures = dict(USE_CASE.pictures(original, step, []))
    assert list(pictures) == ["Amplitudes and interference", "Stations", "Dirty image"]
    waterfall = pictures["Amplitudes and interference"].axes
    assert "flagged: 10.9 %" in {axes.get_title(loc="left") for axes in waterfall}
    assert [text.get_text() for text in pictures["Dirty image"].axes[0].texts] == ["+3 Jy"]


def test_streams_of_other_things_are_not_recognised():
    with open_stream("tokam2d-hw", shape=(16, 16), rk4_steps_per_frame=2) as stream:
        assert not USE_CASE.recognise(stream)


def test_a_run_that_goes_on_finds_what_it_would_have_found():
    """Steps are screened again from the first one, as a resumed run reads them."""
    with open_stream("interferometer", **ARRAY, inject=EVENTS) as stream:
        represented = RepresentedStream(stream, Screening(transients=False))
        whole = list(itertools.islice(represented.read(), 9))
        later = list(itertools.islice(represented.read(5), 4))
    for one, two in zip(whole[5:], later, strict=True):
        xr.testing.assert_identical(one, two)


def test_what_is_found_can_be_written_with_the_fields(tmp_path):
    fields = [Screening(transients=False)(step) for step in Interferometer().run(1)]
    fields[0].to_zarr(tmp_path / "fields.zarr", zarr_format=3, consolidated=False)
    back = xr.open_zarr(tmp_path / "fields.zarr", consolidated=False)
    assert back.attrs["waterfall"] == fields[0].attrs["waterfall"]


def test_score_is_above_its_limit_where_there_is_an_alarm_only(shared_data):
    with open_stream(shared_data / "ska/low16.vis") as stream:  # without noise
        represented = RepresentedStream(stream, USE_CASE.represent)
        detector = USE_CASE.detector(represented)
        found = [detector.observe(step) for step in represented]
    assert len(found) == 20
    assert all(not one.alarms and one.score <= one.limit for one in found)
