"""Dispersion relations, conservation laws and order of the time stepping."""

import numpy as np
import pytest

from dask_exa.datasets import Tokam2D, Tokam2DParameters, Wave
from dask_exa.datasets._spectral import SpectralGrid
from dask_exa.datasets._tokam2d_equations import Equations

MODELS = {"hw": Tokam2D.hw, "mhw": Tokam2D.mhw}


def measured_eigenvalue(simulation, mode, n_timesteps):
    """Rate and frequency of a mode over the second half of a run."""
    series = [
        (float(fields.time), np.fft.fft2(fields.potential.values)[mode])
        for fields in simulation.run(n_timesteps)
    ]
    times, amplitudes = map(np.array, zip(*series[n_timesteps // 2 :], strict=True))
    rate = np.polyfit(times, np.log(np.abs(amplitudes)), 1)[0]
    frequency = np.polyfit(times, np.unwrap(np.angle(amplitudes)), 1)[0]
    return complex(rate, frequency)


@pytest.mark.parametrize("model", ["hw", "mhw"])
def test_growth_rate_of_drift_waves(model):
    simulation = MODELS[model](
        shape=(32, 32), potential_noise=0.0, initial_waves=[Wave((7, 1), potential=1e-9)]
    )
    kx, ky = 2 * np.pi / 32, 2 * np.pi * 7 / 32
    expected = simulation.growth_rate(kx, ky)
    assert expected.real == pytest.approx(0.05956, abs=1e-5)
    measured = measured_eigenvalue(simulation, (7, 1), 40)
    assert measured.real == pytest.approx(expected.real, rel=0.02)
    assert measured.imag == pytest.approx(expected.imag, rel=0.02)


def test_growth_rate_of_sheath_drift_waves():
    simulation = Tokam2D.sol(
        shape=(32, 32),
        length=128.0,
        sigma_nphi=1e-2,
        sigma_phin=1e-2,
        time_step=0.5,
        rk4_steps_per_frame=16,
        sources=(),
        initial_gaussians=(),
        potential_noise=0.0,
        initial_waves=[Wave((3, 2), potential=1e-9)],
    )
    expected = simulation.growth_rate(2 * np.pi * 2 / 128, 2 * np.pi * 3 / 128)
    assert expected.real > 0.02
    measured = measured_eigenvalue(simulation, (3, 2), 12)
    assert measured.real == pytest.approx(expected.real, rel=0.02)
    assert measured.imag == pytest.approx(expected.imag, rel=0.02)


def test_damping_rate_of_the_default_scrape_off_layer():
    simulation = Tokam2D.sol(
        shape=(32, 32),
        sources=(),
        initial_gaussians=(),
        potential_noise=0.0,
        initial_waves=[Wave((4, 0), potential=1e-6)],
    )
    expected = simulation.growth_rate(0.0, 2 * np.pi * 4 / 128)
    assert expected.real < 0
    measured = measured_eigenvalue(simulation, (4, 0), 6)
    # The potential alone: the slower of the two eigenvalues is the other field's.
    k2 = (2 * np.pi * 4 / 128) ** 2
    assert measured.real == pytest.approx(-1e-2 * k2 - 6.1e-5 / k2, rel=0.02)


def test_zonal_modes_of_modified_hasegawa_wakatani_only_decay():
    assert Tokam2D.mhw().growth_rate(0.5, 0.0).imag == 0
    zonal = Tokam2D.mhw().growth_rate(0.5, 0.0).real
    assert zonal == pytest.approx(-1e-4 * 0.5**4)  # the density, without friction or coupling


def test_growth_rate_takes_arrays():
    rates = Tokam2D.hw().growth_rate(np.zeros(3)[:, None], np.linspace(0, 2, 5))
    assert rates.shape == (3, 5)
    assert rates[1, 2] == Tokam2D.hw().growth_rate(0.0, 1.0)


def test_mean_density_follows_source_and_loss():
    simulation = Tokam2D.sol(shape=(32, 32), length=32.0, sigma_nn=1e-3, time_step=0.2)
    parameters = simulation.parameters
    source = 1e-3 * np.sqrt(2 * np.pi) * 8 / 32
    start = float(simulation.fields.density.mean())
    for fields in simulation.run(3):
        decay = np.exp(-parameters.sigma_nn * float(fields.time))
        expected = source / parameters.sigma_nn * (1 - decay) + start * decay
        assert float(fields.density.mean()) == pytest.approx(expected, rel=1e-12)


def test_without_sources_energy_and_enstrophy_are_kept():
    parameters = Tokam2DParameters(shape=(64, 64), length=20.0, time_step=1e-2)
    grid = SpectralGrid(parameters.shape, parameters.length)
    fields = np.random.default_rng(0).normal(size=(2, *parameters.shape))
    spectrum = grid.to_spectrum(fields) * grid.mask
    slope = np.empty_like(spectrum)
    Equations(parameters, grid).right_hand_side(spectrum, slope)

    def product(f, g):
        return (grid.to_fields(f) * grid.to_fields(g)).sum()

    pairs = {
        "energy": (grid.k2 * spectrum[1], slope[1]),
        "enstrophy": (grid.k2 * spectrum[1], grid.k2 * slope[1]),
        "density variance": (spectrum[0], slope[0]),
    }
    for name, (f, g) in pairs.items():
        scale = np.sqrt(product(f, f) * product(g, g))
        assert abs(product(f, g)) < 1e-13 * scale, name


def test_runge_kutta_is_of_fourth_order():
    fields = np.stack(np.random.default_rng(0).normal(size=(2, 16, 16)))

    def run(n_steps):
        parameters = Tokam2DParameters(
            shape=(16, 16), length=16.0, time_step=0.4 / n_steps, rk4_steps_per_frame=n_steps
        )
        return Tokam2D.from_fields(fields, parameters).advance().density.values

    coarse, middle, fine = run(4), run(8), run(64)
    assert np.linalg.norm(coarse - fine) / np.linalg.norm(middle - fine) == pytest.approx(
        16, rel=0.2
    )
