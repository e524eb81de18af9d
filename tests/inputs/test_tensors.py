"""Measures of stress and strain, against what they are by hand."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_exa.inputs.tensors import (
    cauchy_stress,
    equivalent_strain,
    force_imbalance,
    tensor_names,
    von_mises,
)


def field(values, dims=("x", "y", "z")):
    coords = {dim: (np.arange(n) + 0.5) / n for dim, n in zip(dims, values.shape, strict=False)}
    return xr.DataArray(values, coords, (*dims, "i", "j"))


def rms(values):
    return float(np.sqrt((values**2).mean()))


def test_equivalents_of_simple_states():
    shear = np.zeros((3, 3))
    shear[0, 1] = shear[1, 0] = 2.0
    states = xr.DataArray(np.stack([np.diag([4.0, 1.0, 1.0]), np.eye(3), shear]), dims=[*"nij"])
    np.testing.assert_allclose(von_mises(states), [3.0, 0.0, 2 * np.sqrt(3)])
    np.testing.assert_allclose(equivalent_strain(states), [2.0, 0.0, 4 / np.sqrt(3)])


@given(seed=st.integers(0, 100))
@settings(max_examples=10)
def test_measures_do_not_depend_on_the_axes(seed):
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    tensor = random.normal(size=(4, 3, 3))
    turned = turn @ tensor @ turn.T
    for measure in (von_mises, equivalent_strain):
        one, other = (measure(xr.DataArray(t, dims=("x", "i", "j"))) for t in (tensor, turned))
        np.testing.assert_allclose(one, other)


def test_cauchy_stress_of_a_stretched_bar():
    gradient = np.diag([2.0, 0.5, 0.5])
    stress = np.diag([8.0, 0.0, 0.0])  # the force by the area that there was: a quarter is left
    found = cauchy_stress(
        *(xr.DataArray(t[None], dims=("x", "i", "j")) for t in (stress, gradient))
    )
    np.testing.assert_allclose(found[0], np.diag([32.0, 0.0, 0.0]))


def test_imbalance_of_one_wave_is_the_share_along_it():
    x = (np.arange(9) + 0.5) / 9
    wave = np.sin(2 * np.pi * x)[:, None, None, None, None] * np.ones((9, 5, 7, 1, 1))
    across, along = np.zeros((3, 3)), np.zeros((3, 3))
    across[1, 2] = across[2, 1] = 1.0
    along[0, 0] = 1.0
    assert rms(force_imbalance(field(wave * across))) < 1e-14
    assert rms(force_imbalance(field(wave * along))) == pytest.approx(1.0)
    both = force_imbalance(field(wave * (across + along)))
    assert rms(both) == pytest.approx(1 / np.sqrt(3))
    cosine = np.abs(np.cos(2 * np.pi * x)) * np.sqrt(2 / 3)
    np.testing.assert_allclose(both[:, 0, 0], cosine, atol=1e-12)


def test_imbalance_of_noise_and_of_uniform_stress():
    random = np.random.default_rng(0)
    assert rms(force_imbalance(field(random.normal(size=(15, 15, 15, 3, 3))))) == pytest.approx(
        1 / np.sqrt(3), rel=0.02
    )
    uniform = 1e3 * np.ones((5, 4, 3, 3)) * (1 + 1e-16 * random.normal(size=(5, 4, 3, 3)))
    assert rms(force_imbalance(field(uniform, ("x", "y")))) == 0.0


def test_imbalance_knows_the_box_and_guesses_it():
    """The same balanced field in a long box: cells are cubes, or the box is."""
    n, m = 5, 15
    x, y = np.meshgrid(np.arange(n) / n, np.arange(m) / m, indexing="ij")
    potential = np.cos(2 * np.pi * (x + y))  # Airy's: stresses are its second derivatives
    for lx, ly in ((1.0, 1.0), (float(n), float(m))):
        stress = np.zeros((n, m, 3, 3))
        stress[..., 0, 0], stress[..., 1, 1] = potential / ly**2, potential / lx**2
        stress[..., 0, 1] = stress[..., 1, 0] = -potential / (lx * ly)
        unlabelled = xr.DataArray(stress, dims=("x", "y", "i", "j"))
        known = unlabelled.assign_coords(x=lx * np.arange(n) / n, y=ly * np.arange(m) / m)
        assert rms(force_imbalance(unlabelled)) < 1e-14
        assert rms(force_imbalance(known)) < 1e-14
        wrong = unlabelled.assign_coords(x=np.arange(n) * 3.0 / n, y=np.arange(m) / m)
        assert rms(force_imbalance(wrong)) > 0.1


def test_lazy_fields_stay_lazy():
    random = np.random.default_rng(1)
    stress, gradient = random.normal(size=(2, 6, 5, 3, 3))
    gradient += 3 * np.eye(3)
    lazy = [field(da.from_array(t, chunks=(3, 5, 3, 3)), ("x", "y")) for t in (stress, gradient)]
    eager = [field(t, ("x", "y")) for t in (stress, gradient)]
    for function, n in ((cauchy_stress, 2), (von_mises, 1), (force_imbalance, 1)):
        found = function(*lazy[:n])
        assert isinstance(found.data, da.Array)
        np.testing.assert_allclose(found, function(*eager[:n]))


def test_what_is_a_tensor():
    step = xr.Dataset(
        {
            "P": (("x", "i", "j"), np.zeros((2, 3, 3))),
            "n": (("x", "i", "j"), np.zeros((2, 3, 3), int)),
            "ep": ("x", np.zeros(2)),
        }
    )
    assert tensor_names(step) == ["P"]
    with pytest.raises(ValueError, match="components last"):
        force_imbalance(step.ep)
