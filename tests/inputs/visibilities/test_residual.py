"""The steady sky: modes of a field, what they leave, what the last dumps let expect."""

import copy

import numpy as np
import pytest
import xarray as xr

from dask_exa.datasets import Interferometer, Sky
from dask_exa.inputs import open_stream
from dask_exa.inputs.visibilities import SkyResidual, dirty_images
from dask_exa.inputs.visibilities.coherence import source_visibilities
from dask_exa.inputs.visibilities.dumps import dumps_of
from dask_exa.inputs.visibilities.field_modes import expect, field_modes, make_fit

FREQUENCY = 140e6 + 1e5 * np.arange(64)


def f1(found, true):
    """Return the harmonic mean of precision and recall."""
    return 2 * (found & true).sum() / (found.sum() + true.sum())


def baselines(lengths, seed=0):
    directions = np.random.default_rng(seed).standard_normal((len(lengths), 3))
    return directions / np.linalg.norm(directions, axis=1)[:, None] * np.asarray(lengths)[:, None]


@pytest.mark.parametrize("radius", [0.02, 0.06])
def test_modes_span_any_source_of_the_field_and_no_carrier(radius):
    """What is left of a source of unit flux is below .02; a carrier keeps most of its power."""
    uvw = baselines(np.geomspace(10, 3000, 40))
    field = field_modes(uvw, FREQUENCY, radius)
    for angle in np.linspace(0, 2 * np.pi, 7):
        direction = 0.99 * radius * np.array([np.cos(angle), np.sin(angle)])
        seen = source_visibilities(uvw, FREQUENCY, tuple(direction))
        modes = field.modes[field.group]
        left = seen - np.einsum("bkc,bkd,bd->bc", modes, modes, seen)
        assert np.abs(left).max() < 0.02
    kept = 1 - np.einsum("bkc,bkc->bc", modes, modes)[:, 32]
    assert kept.min() > 0.5
    assert kept.max() > 0.9


def test_there_are_as_many_modes_as_delay_times_bandwidth():
    """The theorem of Slepian, Landau and Pollak: 2 τ B, and a few by its logarithm."""
    uvw = baselines([3000.0])
    delay = 3000 * np.sin(0.06) / 299_792_458
    n_modes = field_modes(uvw, FREQUENCY, 0.06).n_modes[0]
    assert 2 * delay * 6.4e6 < n_modes < 2 * delay * 6.4e6 + 12


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_residuals_have_the_variance_that_the_fit_says(share):
    """Noise through a fit, in channels that are used and in those that are not."""
    rng = np.random.default_rng(0)
    field = field_modes(baselines(np.full(4000, 1500.0)), FREQUENCY, 0.05)
    is_used = rng.random(64) >= share
    fit, certainty = make_fit(field, is_used)
    noise = (rng.standard_normal((4000, 64)) + 1j * rng.standard_normal((4000, 64))) / np.sqrt(2)
    modes, solver = fit.modes[0], fit.solver[0]
    residual = noise - (noise @ solver.T) @ modes
    power = (np.abs(residual) ** 2).mean(axis=0) * fit.precision[0]
    assert np.median(power) == pytest.approx(1, abs=0.03)
    assert power.min() > 0.75  # at the edge, where a part of a bright sky would be left
    assert power.max() < 1.1
    assert certainty.is_determined.all()
    found = (np.abs(noise @ solver.T) ** 2).mean(axis=0)
    np.testing.assert_allclose(found, certainty.noise[0], rtol=0.1)


def test_a_wide_gap_leaves_long_baselines_undetermined():
    field = field_modes(baselines([20.0, 3000.0]), FREQUENCY, 0.05)
    is_used = np.ones(64, bool)
    is_used[20:40] = False
    assert make_fit(field, is_used)[1].is_determined[field.group].tolist() == [True, False]


def test_expectation_follows_a_source_that_turns():
    """Noiseless coefficients of a source at the edge, expected to 1 % from 16 dumps."""
    rate = 2 * np.pi * 0.9
    field = field_modes(baselines([3000.0]), FREQUENCY, 0.05)
    present = (*[True] * 9, False, *[True] * 6)
    expectation = expect(field, 8.0, present, sky_variance=100.0)
    history = np.exp(1j * rate * field.fringe_rate[0] * 8.0 * np.arange(17))
    found = expectation.weights[:, 0, 0] @ history[:16]
    assert abs(found - history[16]) < 0.01
    assert 0 < expectation.variance[0, 0] < 8


def test_what_was_expected_is_subtracted_down_to_the_noise():
    """The innovation of the last of 20 dumps has the variance of noise and expectation."""
    simulation = Interferometer(24, 32, noise=1.0, sky=8, seed=3)
    screen = SkyResidual(field_radius=2.0)
    for step in simulation.run(20):
        dump = next(dumps_of(step))
        found = screen.screen(dump)
        innovation, weight = screen.innovation(dump, found)
        screen.learn(dump, found)
    assert np.mean(np.abs(dump.visibility) ** 2) > 10
    assert np.mean(np.abs(innovation) ** 2 * weight) == pytest.approx(1, abs=0.05)
    assert np.median(screen.noise_) == pytest.approx(np.sqrt(2), rel=0.02)
    assert not found.flags.any()
    assert np.nanmedian(found.innovation_levels) == pytest.approx(1, abs=0.15)


def test_residuals_of_the_same_dumps_are_the_same_from_a_copy():
    steps = list(Interferometer(10, 24, inject={"timestep": 3, "kind": "carrier"}).run(4))
    screen = SkyResidual()
    for step in steps[:2]:
        screen.observe(step)
    twin = copy.deepcopy(screen)
    for step in steps[2:]:
        one, two = screen.observe(step, with_residual=True), twin.observe(step, with_residual=True)
        for a, b in zip(one[0], two[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_window_of_dumps_is_screened_as_its_dumps():

    stream = open_stream("interferometer", n_stations=8, n_channels=16)
    window = next(stream.windows(3))
    together = SkyResidual().observe(window)
    single = SkyResidual()
    for found, step in zip(together, stream.read(), strict=False):
        alone = single.observe(step)[0]
        np.testing.assert_array_equal(found.channel_scores, alone.channel_scores)
    assert len(together) == 3


def test_what_is_left_of_a_step_can_be_imaged():
    """Without the steady sky, a transient is the brightest point, with its flux."""
    pytest.importorskip("ducc0")
    event = {"timestep": 9, "kind": "transient", "amplitude": 1.0, "direction": (0.01, -0.006)}
    screen = SkyResidual()
    for step in Interferometer(24, 32, noise=1.0, sky=8, inject=event).run(9):
        left = screen.subtract(step)
    assert left.visibility.dims == ("baseline", "frequency")
    image = dirty_images(left, 256, 2e-4)[0]
    peak = image.where(image == image.max(), drop=True)
    np.testing.assert_allclose([peak.l, peak.m], [[0.01], [-0.006]], atol=3e-4)
    assert float(image.max()) == pytest.approx(1.0, abs=0.15)
    assert float(dirty_images(step, 256, 2e-4).max()) > 1.5  # of a steady source


def test_windows_with_polarisations_and_autocorrelations_are_subtracted():
    steps = list(Interferometer(8, 16, sky=3).run(4))
    window = xr.concat(steps, "time", coords="different", compat="equals")
    twice = window.assign(visibility=xr.concat([window.visibility] * 2, "polarisation"))
    twice["antenna2"] = ("baseline", np.where(np.arange(28) == 5, window.antenna1, window.antenna2))
    left = SkyResidual().subtract(twice)
    assert dict(left.visibility.sizes) == {"time": 4, "baseline": 27, "frequency": 16}
    assert left.uvw.shape == (4, 27, 3)
    assert left.flag[0].all()  # nothing is expected of the first dump
    assert not left.flag[1:].any()
    assert np.abs(left.visibility[3]).mean() < 0.7 * np.abs(window.visibility[3]).mean()


def test_flags_nan_and_missing_baselines_do_no_harm():
    """A third of the visibilities are not there, in three ways, and a carrier is still found."""
    event = {"timestep": 3, "kind": "carrier", "channels": (5, 6), "amplitude": 5.0}
    screen, rng = SkyResidual(), np.random.default_rng(0)
    for step in Interferometer(16, 32, inject=event).run(4):
        step.visibility.values[rng.random(step.visibility.shape) < 0.1] = np.nan
        step.visibility.values[10:20] = 0
        step["flag"] = (step.visibility.dims, rng.random(step.visibility.shape) < 0.2)
        found = screen.observe(step)[0]
        expected = [5] if step.timestep == 3 else []
        assert found.interference.nonzero()[0].tolist() == expected
        assert not found.faulty.any()


def test_a_gap_in_time_is_bridged():
    simulation = Interferometer(16, 32, sky=8, noise=1.0)
    screen = SkyResidual()
    for step in simulation.run(30):
        if not 15 < step.timestep < 22:
            found = screen.observe(step)[0]
    assert not found.faulty.any()
    assert np.nanmedian(found.innovation_levels) < 1.3


def test_a_dump_that_is_all_flagged_is_survived():
    screen = SkyResidual()
    for step in Interferometer(8, 16).run(4):
        if step.timestep in (1, 3):
            step.visibility.values[:] = np.nan
        found = screen.observe(step)[0]
        assert not found.interference.any()
        assert not found.faulty.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop_vars("antenna1"), "the step has no antenna1; it has"),
        (lambda s: s.isel(frequency=[0]), "1 channel cannot be screened"),
        (lambda s: s.isel(baseline=slice(5)), r"shape \(5, 16\) in step 2, where \(28, 16\)"),
    ],
)
def test_steps_that_do_not_fit_say_why(change, message):
    screen = SkyResidual()
    first, second = Interferometer(8, 16).run(2)
    screen.observe(first)
    with pytest.raises(ValueError, match=message):
        screen.observe(change(second))


def test_simulations_without_noise_raise_no_alarm():
    screen = SkyResidual(field_radius=2.0)
    for step in Interferometer(12, 24, noise=0.0, sky=5).run(6):
        found = screen.observe(step)[0]
        assert not found.flags.any()
        assert not found.faulty.any()


def test_visibilities_that_are_all_zero_say_nothing():
    sky = Sky.of(np.radians(20.0), np.radians(-30.0), 0.0)
    found = SkyResidual().observe(Interferometer(8, 16, noise=0.0, sky=sky).advance())[0]
    assert not found.flags.any()
    assert not found.faulty.any()


@pytest.mark.parametrize(
    "parameters", [{"field_radius": 0}, {"n_dumps": 0}, {"false_alarm_rate": 0.7}]
)
def test_parameters_out_of_range(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        SkyResidual(**parameters).observe(Interferometer(6, 8).advance())


@pytest.mark.slow
def test_interference_of_an_observation_by_oskar(low_dev):
    """With the steady sky estimated; AOFlagger has .76, and .96 with the exact sky subtracted."""
    assert f1(low_dev.interference, low_dev.flags.any(axis=1)) >= 0.99
    flags = np.broadcast_to(low_dev.interference[:, None], low_dev.flags.shape)
    assert f1(flags, low_dev.flags) >= 0.95


@pytest.mark.slow
def test_interference_by_class(low30):
    """Carriers that are always on, bursts over all channels, a satellite that drifts."""
    assert f1(low30.interference, low30.truth > 0) >= 0.99
    for kind in (1, 2, 3):
        assert low30.interference[low30.truth == kind].mean() >= 0.99
    assert not low30.faulty.any()
    assert not any(low30.sources)
