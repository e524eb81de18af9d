"""Sources below the noise of every visibility, found by what baselines say together."""

import numpy as np
import pytest

from dask_exa.datasets import Interferometer, Sky
from dask_exa.inputs.visibilities import Screening, TransientSearch
from dask_exa.inputs.visibilities.coherence import source_visibilities
from dask_exa.inputs.visibilities.dumps import dumps_of

FREQUENCY = 140e6 + 1e5 * np.arange(16)


def test_visibilities_of_a_source_are_those_of_the_simulation():
    place = np.radians([20.4, -30.3])
    sky = Sky.of(*place, 3.0)
    simulation = Interferometer(10, 8, noise=0.0, sky=sky)
    dump = next(dumps_of(simulation.advance()))
    direction = sky.directions(simulation.phase_centre)[0, :2]
    expected = 3 * source_visibilities(dump.uvw, dump.frequency, tuple(direction))
    np.testing.assert_allclose(dump.visibility, expected, atol=1e-4)


def _noise(rng, n_baselines=300):
    uvw = rng.normal(0, 500, (n_baselines, 3))
    shape = (n_baselines, len(FREQUENCY))
    values = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    weight = np.full(shape, 0.5, np.float32)
    return values.astype(np.complex64), weight, uvw


def test_fluxes_and_places_are_right_and_their_errors_as_told():
    """Two sources of a fifth and a tenth of the noise of a visibility."""
    pytest.importorskip("ducc0")
    rng = np.random.default_rng(1)
    values, weight, uvw = _noise(rng)
    places = [(0.0123, -0.0051), (-0.02, 0.011)]
    for flux, place in zip((0.3, 0.17), places, strict=True):
        values = values + flux * source_visibilities(uvw, FREQUENCY, place)
    search = TransientSearch(0.03, 1e-3, n_pixels=128)
    found = search.search(values, weight, uvw, FREQUENCY)
    assert len(found) == 2
    deviation = float(1 / np.sqrt(2 * weight.sum()))
    for source, flux, place in zip(found, (0.3, 0.17), places, strict=True):
        assert source.flux == pytest.approx(flux, abs=5 * deviation)
        assert source.score == pytest.approx(source.flux / deviation)
        np.testing.assert_allclose(source[:2], place, atol=2e-4)
    assert search.score == pytest.approx(found[0].score)


def test_noise_has_no_sources():
    pytest.importorskip("ducc0")
    rng = np.random.default_rng(2)
    search = TransientSearch(0.03, 1e-3, n_pixels=64)
    for _ in range(20):
        assert search.search(*_noise(rng)[:3], FREQUENCY) == []
        assert 2 < search.score < search.limit


def test_a_source_is_followed_until_it_goes():
    pytest.importorskip("ducc0")
    rng = np.random.default_rng(3)
    search = TransientSearch(0.03, 1e-3, n_pixels=64)
    n_dumps = []
    for flux in (0, 0.4, 0.5, 0.3, 0):
        values, weight, uvw = _noise(rng)
        values = values + flux * source_visibilities(uvw, FREQUENCY, (0.01, 0.01))
        n_dumps.append([source.n_dumps for source in search.search(values, weight, uvw, FREQUENCY)])
    assert n_dumps == [[], [1], [2], [3], []]


def test_what_is_a_small_part_of_the_steady_sky_is_no_source():
    pytest.importorskip("ducc0")
    values, weight, uvw = _noise(np.random.default_rng(3))
    values = values + 0.4 * source_visibilities(uvw, FREQUENCY, (0.01, 0.01))
    search = TransientSearch(0.03, 1e-3, n_pixels=64)
    assert search.search(values, weight, uvw, FREQUENCY, sky=50.0) == []
    assert len(search.search(values, weight, uvw, FREQUENCY, sky=20.0)) == 1


def test_no_weight_means_no_search():
    values, weight, uvw = _noise(np.random.default_rng(0))
    search = TransientSearch(0.03, 1e-3)
    assert search.search(values, 0 * weight, uvw, FREQUENCY) == []
    assert np.isnan(search.score)


@pytest.mark.parametrize("noise", [0.1, 3.0])
def test_window_of_a_transient(noise):
    """A flux of 1.5 Jy, with noise of a fifteenth and of three times as much in a visibility."""
    pytest.importorskip("ducc0")
    event = {"timestep": 9, "n_timesteps": 5, "kind": "transient", "amplitude": 1.5}
    event["direction"] = (0.008, -0.012)
    screening = Screening(n_pixels=256)
    found = {}
    for step in Interferometer(24, 32, noise=noise, sky=8, seed=1, inject=event).run(18):
        for source in screening(step).sources:
            found.setdefault(int(step.timestep), []).append(source)
    assert sorted(found) == [9, 10, 11, 12, 13]
    for sources in found.values():
        assert len(sources) == 1
        np.testing.assert_allclose(sources[0][:2], (0.008, -0.012), atol=3e-4)
        assert sources[0][2] == pytest.approx(1.5, abs=0.25 if noise > 1 else 0.03)


def test_a_source_that_stays_becomes_a_part_of_the_sky():
    pytest.importorskip("ducc0")
    event = {"timestep": 6, "n_timesteps": 40, "kind": "transient", "amplitude": 3.0}
    screening = Screening(n_pixels=128, longest=4)
    fluxes = [
        [source[2] for source in screening(step).sources]
        for step in Interferometer(20, 32, noise=2.0, sky=6, inject=event).run(34)
    ]
    assert not any(fluxes[:5])
    assert all(fluxes[5:10])
    assert not any(fluxes[28:])


@pytest.mark.slow
def test_transient_of_an_observation_by_oskar(low_dev):
    """Its window to the step, at one place; nothing else in the other steps."""
    start, stop = low_dev.truth["transient_steps"]
    found = [step for step, sources in enumerate(low_dev.sources) if sources]
    assert abs(found[0] - start) <= 1
    assert abs(found[-1] - (stop - 1)) <= 1
    assert found == list(range(found[0], found[-1] + 1))
    places = np.array([low_dev.sources[step][0][:2] for step in found])
    assert np.ptp(places, axis=0).max() < 1e-3
    assert low_dev.truth["transient_rms"] < low_dev.truth["noise_sigma"]
