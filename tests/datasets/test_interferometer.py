"""Visibilities of point sources against direct sums and OSKAR; events against their truth."""

import numpy as np
import pytest

from dask_exa.datasets import Interferometer, InterferometerInjection, Sky
from dask_exa.datasets._earth_rotation import sidereal_time, to_equatorial, to_local
from dask_exa.inputs import open_stream
from dask_exa.inputs.oskar import open_oskar, read_array
from tests.naive import _interferometer as naive

SMALL = {"n_stations": 5, "n_channels": 6, "noise": 0.0, "seed": 3}


def test_visibilities_are_direct_fourier_sums():
    array = Interferometer(**SMALL, sky=4)
    step = list(array.run(3))[-1]
    directions = array.sky.directions(array.phase_centre)
    fluxes = array.sky.fluxes(array.frequency)
    for baseline, uvw in enumerate(step.uvw.values):
        for channel, frequency in enumerate(array.frequency):
            expected = naive.direct_fourier_sum(uvw, frequency, directions, fluxes[:, channel])
            found = step.visibility.values[baseline, channel]
            assert abs(found - expected) < 2e-6 * fluxes[:, channel].sum()


def test_source_at_the_phase_centre_is_its_flux():
    sky = Sky.of(np.radians(20.0), np.radians(-30.0), 2.5, spectral_index=-1)
    step = Interferometer(**SMALL, sky=sky).advance()
    expected = 2.5 * (step.frequency / 140e6) ** -1
    np.testing.assert_allclose(step.visibility, expected.broadcast_like(step.visibility), rtol=1e-6)


def test_source_below_the_horizon_is_not_seen():
    sky = Sky.of(np.radians(200.0), np.radians(30.0), 2.5)
    assert not Interferometer(**SMALL, sky=sky).advance().visibility.any()


def test_baselines_turn_with_the_earth():
    array = Interferometer(**SMALL, interval=43082.05, phase_centre=(20.0, -89.999999))
    first, second = (step.uvw.values for step in array.run(2))  # half a sidereal day apart
    np.testing.assert_allclose(first[:, :2], -second[:, :2], atol=0.05)
    lengths = np.linalg.norm(first, axis=1)
    p, q = np.triu_indices(5, 1)
    between = np.linalg.norm(array.stations[p] - array.stations[q], axis=1)
    np.testing.assert_allclose(lengths, between, rtol=1e-12)


def test_local_axes_are_their_own_inverse():
    positions = np.random.default_rng(0).normal(size=(7, 3))
    there = to_equatorial(positions, 2.0, -0.5)
    np.testing.assert_allclose(to_local(there, 2.0, -0.5), positions, atol=1e-14)
    np.testing.assert_allclose(to_equatorial(np.array([0, 0, 1.0]), 0, 0), [1, 0, 0], atol=1e-15)


def test_a_sidereal_day_is_shorter_than_a_day():
    turned = sidereal_time(60000.0 + 23.9344696 / 24) - sidereal_time(60000.0)
    assert abs(turned) < 1e-6


def test_matches_oskar(shared_data):
    """Same array, sky and time; OSKAR ran in single precision and smears, we do not."""
    path = shared_data / "ska" / "low16.vis"
    theirs = open_oskar(path).load()
    array = Interferometer(
        **read_array(path), sky=Sky.read(path.with_name("low16_sky.txt")), noise=0
    )
    ours = list(array.run(theirs.sizes["time"]))
    uvw = np.stack([step.uvw.values for step in ours])
    visibility = np.stack([step.visibility.values for step in ours])
    np.testing.assert_allclose([float(step.time) for step in ours], theirs.time, rtol=1e-15)
    assert np.abs(uvw - theirs.uvw.values).max() < 1e-3  # of 1.7 km
    error = np.linalg.norm(visibility - theirs.visibility.values)
    assert error / np.linalg.norm(theirs.visibility) < 4e-5
    without_beam = {**read_array(path), "elements": None}
    plain = Interferometer(**without_beam, sky=array.sky, noise=0).advance()
    assert np.abs(plain.visibility.values - visibility[0]).max() > 0.05


def test_noise_has_its_spread_and_seed():
    array = {"n_stations": 24, "n_channels": 64, "sky": Sky.of(0.35, -0.52, 0.0)}
    values = Interferometer(**array, noise=2.0, seed=1).advance().visibility.values
    n = values.size
    assert abs(values.real.std() - 2) < 5 * 2 / np.sqrt(2 * n)
    assert abs(values.imag.std() - 2) < 5 * 2 / np.sqrt(2 * n)
    assert abs(values.mean()) < 5 * 2 * np.sqrt(2 / n)
    again = Interferometer(**array, noise=2.0, seed=1).advance().visibility.values
    other = Interferometer(**array, noise=2.0, seed=2).advance().visibility.values
    assert np.array_equal(values, again)
    assert not np.array_equal(values, other)


def disturbed(**event):
    """Visibilities (timestep, baseline, frequency) of an event alone, and its truth."""
    event = {"timestep": 2, "n_timesteps": 2, "seed": 4, **event}
    clean, dirty = (
        list(Interferometer(**SMALL, sky=2, inject=inject).run(5)) for inject in (None, event)
    )
    extra = np.stack([b.visibility - a.visibility for a, b in zip(clean, dirty, strict=True)])
    return extra, dirty


def test_carrier_fills_its_channel_while_it_is_on():
    extra, steps = disturbed(kind="carrier", channels=(2, 3), amplitude=50.0)
    truth = np.stack([step.interference.values for step in steps])
    assert np.array_equal(np.abs(extra) > 1e-3, truth)
    assert truth.sum() == 2 * 10 * 1
    assert [step.attrs["injected"] for step in steps] == ["", "carrier", "carrier", "", ""]


def test_interference_keeps_its_phase_closure():
    """It comes from one place: gains of stations alone tell baselines apart."""
    extra, _ = disturbed(kind="burst", amplitude=50.0)
    pairs = list(zip(*np.triu_indices(5, 1), strict=True))
    values = dict(zip(pairs, extra[1, :, 3].astype(complex), strict=True))
    assert abs(naive.closure_phase(values, 0, 2, 4)) < 1e-3
    assert abs(naive.closure_amplitude(values, 0, 1, 2, 3) - 1) < 1e-3


def test_satellite_moves_over_the_sky():
    event = InterferometerInjection(timestep=1, kind="satellite", direction=(0.3, 0.8))
    first, later = event.local_direction(1), event.local_direction(4)
    elevation = np.arcsin([first[2], later[2]])
    np.testing.assert_allclose(elevation, [0.8, 0.8 + 3 * 0.002])
    extra, steps = disturbed(kind="satellite", channels=(1, 4), amplitude=50.0)
    truth = np.stack([step.interference.values for step in steps])
    assert np.array_equal(np.abs(extra) > 1e-3, truth)


def test_dead_station_has_nothing_but_noise():
    _, steps = disturbed(kind="dead", station=1)
    with_station = np.array([1 in pair for pair in zip(*np.triu_indices(5, 1), strict=True)])
    values = np.stack([step.visibility.values for step in steps])
    assert not values[1:3, with_station].any()
    assert values[0].all()
    assert values[1:3, ~with_station].all()
    assert np.array_equal(steps[1].faulty, with_station)
    assert not steps[4].faulty.any()
    assert not steps[1].interference.any()


def test_bad_station_has_other_gains_in_every_dump():
    extra, steps = disturbed(kind="bad", station=3, amplitude=2.0)
    changed = np.abs(extra).max(axis=2) > 1e-3
    assert np.array_equal(changed, np.stack([step.faulty.values for step in steps]))
    # baseline 2 is that of stations 0 and 3
    ratio = steps[1].visibility.values / (steps[1].visibility.values - extra[1])
    other = steps[2].visibility.values / (steps[2].visibility.values - extra[2])
    assert np.abs(ratio[2] / other[2] - 1).min() > 0.05
    # a gain of one station closes
    pairs = list(zip(*np.triu_indices(5, 1), strict=True))
    clean = steps[1].visibility.values - extra[1]
    phases = [
        naive.closure_phase(dict(zip(pairs, values[:, 3].astype(complex), strict=True)), 1, 3, 4)
        for values in (clean, steps[1].visibility.values)
    ]
    assert abs(phases[0] - phases[1]) < 1e-4


def test_transient_is_a_point_on_the_sky():
    extra, steps = disturbed(kind="transient", amplitude=3.0, direction=(0.004, -0.002))
    assert [bool(step.transient) for step in steps] == [False, True, True, False, False]
    n = np.sqrt(1 - 0.004**2 - 0.002**2)
    uvw, frequency = steps[2].uvw.values[6], float(steps[2].frequency[4])
    expected = naive.direct_fourier_sum(uvw, frequency, [(0.004, -0.002, n)], [3.0])
    assert abs(extra[2, 6, 4] - expected) < 1e-4


def test_is_a_stream():
    event = {"timestep": 2, "kind": "burst"}
    with open_stream("interferometer", n_stations=4, n_channels=3, inject=event) as stream:
        assert stream.variables == ("visibility",)
        assert stream.sizes["baseline"] == 6
        window = next(stream.windows(3))
    assert window.visibility.dims == ("time", "baseline", "frequency")
    assert window.uvw.shape == (3, 6, 3)
    assert window.interference.values.any(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_stations": 1}, "n_stations=1"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"stations": np.zeros((4, 2))}, r"shape \(4, 2\)"),
        ({"stations": [[0, 0, 0], [np.nan, 0, 0]]}, "not finite"),
        ({"inject": {"timestep": 1, "kind": "flood"}}, "kind='flood'"),
        ({"inject": {"timestep": 0, "kind": "burst"}}, "timestep=0"),
        ({"inject": {"timestep": 1, "kind": "burst", "channels": (3, 99)}}, "channels"),
        ({"inject": {"timestep": 1, "kind": "dead", "station": 16}}, "station=16"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Interferometer(**arguments)


def test_overflow_is_told_and_does_not_count():
    array = Interferometer(**SMALL, sky=Sky.of(0.35, -0.52, 1e39))
    with pytest.raises(FloatingPointError, match="dump 1"):
        array.advance()
    assert array.timestep == 0
    yielding = Interferometer(**SMALL, sky=array.sky, on_nan="yield").advance()
    assert not np.isfinite(yielding.visibility).all()


def test_sky_of_oskar_is_read(tmp_path):
    path = tmp_path / "sky.txt"
    path.write_text("# RaD DecD I\n10.0 -30.0 2.0\n\n11.0,-31,1,0,0,0,150e6,-0.5  # second\n")
    sky = Sky.read(path)
    np.testing.assert_allclose(sky.fluxes([140e6, 150e6]), [[2, 2], [(140 / 150) ** -0.5, 1]])
    for line in ("10 -30", "10 -30 two", "10 -30 1 0 0 0 0 0 0 60 60 0"):
        path.write_text(line)
        with pytest.raises(ValueError, match="line 1"):
            Sky.read(path)
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match="no sources"):
        Sky.read(path)
