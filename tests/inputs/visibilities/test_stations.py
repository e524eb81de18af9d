"""Stations that go wrong: by power that no sky has, or by a sky that is suddenly another one."""

import numpy as np
import pytest

from dask_exa.datasets import Interferometer
from dask_exa.inputs.visibilities import Screening, SkyResidual, Votes
from dask_exa.inputs.visibilities.stations import (
    Innovations,
    faulty_stations,
    station_levels,
    stray_stations,
)

FIRST, SECOND = np.triu_indices(12, 1)


def votes(means, weight=400.0):
    means = np.asarray(means, float)
    return Votes(np.ones((3, 2)), np.array([means * weight, np.full(len(means), weight)]))


def innovations(levels, n_values=20, seed=0):
    """Return innovations whose variance is the product of a factor for both stations."""
    squares = np.random.default_rng(seed).exponential(size=(len(FIRST), n_values)).sum(axis=1)
    power = squares * levels[FIRST] * levels[SECOND]
    return Innovations(FIRST, SECOND, power, np.full(len(FIRST), n_values))


def test_too_much_power_and_too_little():
    given = votes([1, 1.1, 0.95, 4, 1, 0.2, 1.3, 1])
    assert faulty_stations(given, 5.0).nonzero()[0].tolist() == [3, 5]
    assert station_levels(given)[3] == pytest.approx(4)


def test_few_values_can_only_tell_large_changes():
    assert not faulty_stations(votes([1, 1, 2, 1, 1], weight=10.0), 5.0).any()
    assert faulty_stations(votes([1, 1, 2, 1, 1], weight=1000.0), 5.0).any()


def test_a_station_without_visibilities_is_not_faulty():
    given = votes([1, 1, 1, 1])
    given.stations[:, 2] = 0
    assert np.isnan(station_levels(given)[2])
    assert not faulty_stations(given, 5.0).any()


def test_noise_has_no_strays():
    for seed in range(50):
        strays, _, levels = stray_stations(
            innovations(np.ones(12), seed=seed), np.zeros(12, bool), 4.75
        )
        assert not strays.any()
    assert levels.mean() == pytest.approx(1, abs=0.1)


def test_a_source_that_changes_all_stations_makes_no_stray():
    strays, _, levels = stray_stations(innovations(np.full(12, 3.0)), np.zeros(12, bool), 4.75)
    assert not strays.any()
    assert levels.min() > 6


def test_strays_are_told_from_those_that_have_a_baseline_to_them():
    factors = np.ones(12)
    factors[[2, 7]] = 30, 8
    strays, _, levels = stray_stations(innovations(factors), np.zeros(12, bool), 4.75)
    assert strays.nonzero()[0].tolist() == [2, 7]
    assert np.delete(levels, [2, 7]).max() < 1.5


def test_what_is_found_is_kept_by_less_than_it_takes_to_be_found():
    factors = np.ones(12)
    factors[4] = 1.8
    given, nobody = innovations(factors, n_values=60), np.zeros(12, bool)
    strays, doubtful, _ = stray_stations(given, nobody, 4.75)
    assert not strays.any()
    assert doubtful.nonzero()[0].tolist() == [4]
    strays, doubtful, _ = stray_stations(given, nobody, 4.75, factors > 1)
    assert strays.nonzero()[0].tolist() == [4]
    assert not doubtful.any()


def test_nothing_expected_means_nothing_found():
    given = innovations(np.ones(12))
    given = given._replace(n_values=np.zeros(len(FIRST)), power=np.zeros(len(FIRST)))
    strays, _, levels = stray_stations(given, np.zeros(12, bool), 4.75)
    assert not strays.any()
    assert np.isnan(levels).all()


@pytest.mark.parametrize("kind", ["dead", "bad"])
@pytest.mark.parametrize("seed", range(3))
def test_window_of_a_faulty_station(kind, seed):
    """A dead station is found in all its dumps; a random gain may be right by chance."""
    station, first, last = 3 + 5 * seed, 6 + seed, 12 + seed
    event = {"timestep": first, "n_timesteps": 7, "kind": kind, "station": station}
    event["amplitude"] = 2.0
    screen = SkyResidual()
    found = {}
    for step in Interferometer(20, 32, noise=1.5, sky=10, seed=seed, inject=event).run(24):
        for number in screen.observe(step)[0].faulty.nonzero()[0]:
            found.setdefault(int(number), []).append(int(step.timestep))
    assert set(found) == {station}
    assert first <= found[station][0] <= first + 1
    assert last - 1 <= found[station][-1] <= last
    if kind == "dead":
        assert found[station] == list(range(first, last + 1))


def test_a_station_that_stays_different_is_believed_in_the_end():
    """A new gain for good: an alarm for as long as expectations remember, then a new sky."""
    screen = SkyResidual(n_dumps=5)
    faulty = []
    for step in Interferometer(16, 32, noise=1.0, sky=10).run(24):
        if step.timestep > 10:
            step.visibility.values[(step.antenna1 == 4) | (step.antenna2 == 4)] *= -1
        faulty.append(bool(screen.observe(step)[0].faulty[4]))
    assert faulty[:10] == [False] * 10
    assert all(faulty[10:14])
    assert not any(faulty[17:])


def test_a_fault_does_not_spoil_the_flux_of_a_source():
    events = [
        {"timestep": 10, "n_timesteps": 8, "kind": "dead", "station": 5},
        {"timestep": 10, "n_timesteps": 8, "kind": "transient", "amplitude": 2.0},
    ]
    pytest.importorskip("ducc0")
    screening = Screening(n_pixels=256)
    fluxes = []
    for step in Interferometer(20, 32, noise=1.5, sky=8, inject=events).run(20):
        found = screening(step)
        expected = [5] * (10 <= int(step.timestep) < 18)
        assert found.faulty.values.nonzero()[0].tolist() == expected
        fluxes += [source[2] for source in found.sources]
    assert len(fluxes) == 8
    np.testing.assert_allclose(fluxes, 2.0, atol=0.3)


@pytest.mark.slow
def test_faulty_station_of_an_observation_by_oskar(low_dev):
    """Its window to the step, and no other station in any step."""
    start, stop = low_dev.truth["bad_steps"]
    true = np.zeros_like(low_dev.faulty)
    true[start:stop, low_dev.truth["bad_station"]] = True
    np.testing.assert_array_equal(low_dev.faulty, true)
