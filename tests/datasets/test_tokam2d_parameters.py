"""Errors that name the argument, and parameters read from files."""

import dataclasses

import h5py
import numpy as np
import pytest

from dask_exa.datasets import Injection, Tokam2D, Tokam2DParameters, Wave, read_parameters
from dask_exa.datasets._tokam2d_inputs import read_time_step


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"density_diffusion": -1e-2}, "density_diffusion=-0.01 is negative"),
        ({"shape": (31, 32)}, r"shape=\(31, 32\)"),
        ({"shape": (4, 32)}, r"shape=\(4, 32\)"),
        ({"length": 0.0}, "length="),
        ({"time_step": 0.0}, "time_step=0.0 is not positive"),
        ({"time_step": 300.0}, "time_step=300.0 is unstable.*pass a time_step below"),
        ({"curvature": np.nan}, "curvature=nan is not finite"),
        ({"rk4_steps_per_frame": 1.5}, "rk4_steps_per_frame=1.5"),
        ({"adiabaticity": 1.0}, "adiabaticity=1.0 is not read by model='sol'"),
        ({"initial_waves": [Wave((16, 0), 1.0)]}, r"initial_waves has mode=\(16, 0\)"),
        ({"sources": [{"width": (-1, 0)}]}, "width="),
        ({"on_nan": "ignore"}, "on_nan='ignore'"),
        ({"inject": {"timestep": 1, "kind": "typo"}}, "kind='typo'"),
        ({"inject": {"timestep": 0, "kind": "nan"}}, "timestep=0"),
        ({"inject": {"timestep": 1, "kind": "nan", "field": "n"}}, "field='n'"),
        ({"inject": {"timestep": 1, "kind": "nan", "into": "n"}}, "into='n'"),
        ({"inject": {"timestep": 1, "kind": "nan", "patch": (0, 4, 30, 33)}}, "patch="),
        ({"inject": [Injection(1, "nan"), Injection(1, "spike")]}, "two entries"),
    ],
)
def test_errors_name_the_argument(wrong, message):
    with pytest.raises(ValueError, match=message):
        Tokam2D.sol(**({"shape": (32, 32)} | wrong))


def test_unknown_model_and_argument():
    with pytest.raises(ValueError, match="model='bhw' is unknown"):
        Tokam2DParameters(model="bhw")
    with pytest.raises(TypeError, match="viscosity"):
        Tokam2D.sol(viscosity=1.0)


def test_stability_limit_is_that_of_the_stiffest_mode():
    stiff = {"shape": (16, 16), "length": 64.0}
    rate = 1 + 1 / (2 * np.pi / 64) ** 2  # C (1 + 1 / k^2) at the smallest k, to 1 %
    Tokam2D.hw(**stiff, time_step=2.75 / rate)
    with pytest.raises(ValueError, match=r"kx=0, ky=0\.0982 has the rate 105"):
        Tokam2D.hw(**stiff, time_step=2.8 / rate)
    Tokam2D.hw(**stiff, time_step=2.8 / rate, check_stability=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"density": np.ones((16, 16))}, "fields has no 'potential'"),
        (np.ones((2, 16, 18)), r"density has shape \(16, 18\)"),
        (np.full((2, 16, 16), np.nan), "density has values that are not finite"),
    ],
)
def test_wrong_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Tokam2D.from_fields(fields, Tokam2DParameters(shape=(16, 16)))


def test_parameters_of_the_reference_run(shared_data):
    parameters = read_parameters(shared_data / "tokam2d" / "sol" / "user_inputs.h5")
    reference = Tokam2D.sol().parameters
    start = {"initial_waves": parameters.initial_waves, "potential_noise": 1e-16}
    assert parameters == dataclasses.replace(reference, **start)
    assert parameters.initial_waves == (Wave((12, 0), potential=1e-4),)


def test_parameters_of_hasegawa_wakatani(shared_data):
    pytest.importorskip("yaml")
    path = shared_data / "tokam2d" / "hw" / "hw_128b.yaml"
    assert read_parameters(path) == Tokam2D.hw().parameters
    assert read_parameters(path, model="mhw", time_step=0.01).time_step == 0.01


def write_inputs(path, **changes):
    values = {
        "Nx": 16, "Ny": 32, "Lx": 8.0, "eq": "SOL", "dt_diag": 2.0, "rk4_per_diag": 8,
        "Dn": [1e-2, 1e-3], "Dphi": [2e-2, 0.0], "dissipation_type": ["diffusion", "friction"],
        "sigma_nn": 0.5, "init_uni_ampl_n": 2.0, "source_balance_par_loss": True,
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, value in (values | changes).items():
            if value is not None:
                file[name] = value
    return path


def test_reads_what_the_file_leaves_to_defaults(tmp_path):
    parameters = read_parameters(write_inputs(tmp_path / "user_inputs.h5"))
    assert parameters.shape == (32, 16)
    assert parameters.length == (32.0, 8.0)
    assert parameters.time_step == 0.25
    assert parameters.density_friction == 1e-3
    assert parameters.potential_diffusion == 2e-2
    assert parameters.uniform_source == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eq": "BHW"}, "eq='BHW'"),
        ({"dt_diag": None}, "pass time_step="),
        ({"dissipation_type": ["diffusion", "viscosity"]}, "dissipation_type='viscosity'"),
    ],
)
def test_files_that_cannot_be_followed(tmp_path, changes, message):
    path = write_inputs(tmp_path / "user_inputs.h5", **changes)
    with pytest.raises(ValueError, match=message):
        read_parameters(path)


def test_restarted_run_is_for_from_fields(tmp_path):
    restart = {"load_init_fields": True, "load_init_path": "first_run"}
    path = write_inputs(tmp_path / "user_inputs.h5", **restart)
    with pytest.warns(UserWarning, match="first_run.*Tokam2D.from_fields"):
        parameters = read_parameters(path)
    assert parameters.background_density == 0.0


def test_time_step_is_found_beside_the_fields(tmp_path):
    assert read_time_step(tmp_path) is None
    (tmp_path / "run.yaml").write_text("time:\n  dt_diag: 63\n  rk4_per_diag: 21\n")
    assert read_time_step(tmp_path) == 3.0
    (tmp_path / "notes.yaml").write_text("- a list\n")
    assert read_time_step(tmp_path) == 3.0
    (tmp_path / "other.yaml").write_text("time:\n  dt_rk4: 2\n")
    assert read_time_step(tmp_path) is None
    with h5py.File(tmp_path / "user_inputs.h5", "w") as file:
        file["dt_rk4"] = 0.5
    assert read_time_step(tmp_path) == 0.5


def test_time_step_of_real_runs(shared_data):
    found = {
        run: read_time_step(shared_data / "tokam2d" / run) for run in ("sol", "sol_crash", "hw")
    }
    assert found == {"sol": 1.0, "sol_crash": 3.0, "hw": 0.03}
