"""Equality with full complex transforms and with frames of Tokam2D itself."""

import dataclasses

import h5py
import numpy as np
import pytest

from dask_exa.datasets import Gaussian, Tokam2D, Tokam2DParameters, read_parameters
from dask_exa.datasets._spectral import SpectralGrid
from dask_exa.datasets._tokam2d_equations import Equations
from tests import naive

SMALL = {"shape": (32, 24), "length": (20.0, 15.0)}


def relative_error(value, reference):
    return np.linalg.norm(value - reference) / np.linalg.norm(reference)


def to_half(full):
    """Half spectrum with the additional row, from full complex spectra (..., ny, nx)."""
    ny, nx = full.shape[-2:]
    mirrored = full[..., ny // 2, -np.arange(nx // 2 + 1) % nx]
    return np.concatenate([full[..., : nx // 2 + 1], mirrored.conj()[..., None, :]], axis=-2)


def naive_steps(state, parameters, n_steps):
    """RK4 on full complex spectra of shape (2, ny, nx)."""
    dt = parameters.time_step

    def slope(state):
        return np.stack(naive.tokam2d_right_hand_side(*state, parameters))

    for _ in range(n_steps):
        k1 = slope(state)
        k2 = slope(state + dt / 2 * k1)
        k3 = slope(state + dt / 2 * k2)
        k4 = slope(state + dt * k3)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


@pytest.fixture(params=["sol", "hw", "mhw"])
def parameters(request):
    """Every term of the model switched on, on a box that is not square."""
    common = {
        "curvature": 0.3,
        "density_diffusion": 0.02,
        "potential_diffusion": 0.03,
        "density_hyperdiffusion": 1e-3,
        "potential_hyperdiffusion": 2e-3,
        "density_friction": 0.01,
        "potential_friction": 0.02,
        "sources": (Gaussian(0.1, 0.2, center=(3.3, 7.7), width=(0.4, 0.5)), Gaussian(0.3)),
        "uniform_source": 0.4,
        "time_step": 0.02,
    }
    if request.param == "sol":
        own = {"sigma_nn": 0.1, "sigma_nphi": 0.2, "sigma_phiphi": 0.3, "sigma_phin": 0.4}
    else:
        own = {"adiabaticity": 0.9, "density_gradient": 0.7}
    return Tokam2DParameters(model=request.param, **SMALL, **common, **own)


def test_right_hand_side_equals_full_complex_transforms(parameters):
    fields = np.random.default_rng(0).normal(size=(2, *parameters.shape))
    equations = Equations(parameters, SpectralGrid(parameters.shape, parameters.length))
    full = np.fft.fft2(fields)
    for _ in range(3):  # from the second on, the Nyquist modes are those of no real field
        expected = to_half(np.stack(naive.tokam2d_right_hand_side(*full, parameters)))
        result = np.empty_like(expected)
        equations.right_hand_side(to_half(full), result)
        for field, reference in zip(result, expected, strict=True):
            assert relative_error(field, reference) < 1e-12
        full = naive_steps(full, parameters, 1)
    imaginary = np.abs(np.fft.ifft2(full).imag).max()
    assert imaginary > 1e-3  # else the loop above proves nothing


def test_steps_equal_full_complex_transforms(parameters):
    parameters = dataclasses.replace(parameters, rk4_steps_per_frame=20)
    fields = np.random.default_rng(1).normal(size=(2, *parameters.shape))
    simulation = Tokam2D.from_fields(fields, dataclasses.replace(parameters, dealias=False))
    frame = simulation.advance()
    expected = np.fft.ifft2(naive_steps(np.fft.fft2(fields), parameters, 20)).real
    np.testing.assert_allclose(frame.density, expected[0], rtol=0, atol=1e-11)
    np.testing.assert_allclose(frame.potential, expected[1], rtol=0, atol=1e-11)


def test_mask_removes_the_upper_third_after_each_output():
    simulation = Tokam2D.sol(shape=(32, 24), length=(32.0, 24.0), rk4_steps_per_frame=2)
    fields = np.random.default_rng(0).normal(size=(2, 32, 24))
    simulation = Tokam2D.from_fields(fields, simulation.parameters)
    removed = np.zeros((32, 24), bool)
    removed[32 // 2 - 32 // 6 : 32 // 2 + 32 // 6 + 1] = True
    removed[:, 24 // 2 - 24 // 6 : 24 // 2 + 24 // 6 + 1] = True
    masked = np.fft.ifft2(np.where(removed, 0, np.fft.fft2(fields))).real
    again = Tokam2D.from_fields(masked, simulation.parameters)
    np.testing.assert_allclose(simulation.advance().density, again.advance().density, atol=1e-12)
    density = np.fft.fft2(simulation.fields.density.values)
    assert np.abs(density[removed]).max() > 1e-6  # a frame is shown before its mask


def read_frame(folder, index):
    with h5py.File(folder / "simulation_fields.h5") as file:
        time = file["time"][index]
        return np.stack([file["density"][index], file["potential"][index]]), time


def assert_frames_equal(frame, saved, tolerance):
    for name, reference in zip(("density", "potential"), saved, strict=True):
        assert relative_error(frame[name].values, reference) < tolerance


@pytest.mark.parametrize("index", [20, 100, 198])
def test_goes_from_one_saved_frame_of_scrape_off_layer_to_the_next(shared_data, index):
    folder = shared_data / "tokam2d" / "sol"
    start, _ = read_frame(folder, index)
    target, _ = read_frame(folder, index + 1)
    simulation = Tokam2D.from_fields(start, read_parameters(folder / "user_inputs.h5"))
    *_, frame = simulation.run(2)
    assert_frames_equal(frame, target, 1e-5)


def test_starts_as_the_scrape_off_layer_reference(shared_data):
    folder = shared_data / "tokam2d" / "sol"
    simulation = Tokam2D.from_parameters(read_parameters(folder / "user_inputs.h5"), seed=0)
    assert_frames_equal(simulation.fields, read_frame(folder, 0)[0], 1e-6)
    *_, frame = simulation.run(2)
    saved, time = read_frame(folder, 1)
    assert_frames_equal(frame, saved, 1e-5)
    assert frame.time == time


def test_repeats_hasegawa_wakatani_with_the_noise_of_tokam2d(shared_data):
    pytest.importorskip("yaml")
    folder = shared_data / "tokam2d" / "hw"
    parameters = read_parameters(folder / "hw_128b.yaml")
    simulation = Tokam2D.from_parameters(parameters, seed=0)
    noise = read_frame(folder, 0)[0][1]
    assert relative_error(simulation.fields.potential.values, noise) < 1e-6
    *_, frame = simulation.run(10)
    assert_frames_equal(frame, read_frame(folder, 1)[0], 1e-5)


def test_goes_on_in_saturated_hasegawa_wakatani(shared_data):
    pytest.importorskip("yaml")
    folder = shared_data / "tokam2d" / "hw"
    simulation = Tokam2D.from_fields(
        read_frame(folder, -2)[0], read_parameters(folder / "hw_128b.yaml")
    )
    *_, frame = simulation.run(5)
    # 300 steps of turbulence enlarge the rounding of the file: 9e-6 measured.
    assert_frames_equal(frame, read_frame(folder, -1)[0], 3e-5)


def test_crashes_where_tokam2d_crashes(shared_data):
    folder = shared_data / "tokam2d" / "sol_crash"
    parameters = read_parameters(folder / "user_inputs.h5")
    simulation = Tokam2D.from_fields(read_frame(folder, 31)[0], parameters)
    assert_frames_equal(simulation.advance(), read_frame(folder, 32)[0], 1e-5)
    with pytest.raises(FloatingPointError, match="timestep 2"):
        simulation.advance()
    assert np.isnan(read_frame(folder, 33)[0]).all()
