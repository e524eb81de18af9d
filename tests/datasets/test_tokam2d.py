"""Frames, seeds, checkpoints, and runs that go wrong on purpose."""

import itertools

import numpy as np
import pytest
import xarray as xr

from dask_exa.datasets import Injection, Tokam2D, Tokam2DState

MODELS = {"sol": Tokam2D.sol, "hw": Tokam2D.hw, "mhw": Tokam2D.mhw}
SMALL = {"shape": (32, 24), "length": (20.0, 15.0)}


@pytest.mark.parametrize("model", MODELS)
def test_frame_has_labels_and_units(model):
    simulation = MODELS[model](shape=(16, 32), length=(8.0, 16.0), time_step=0.01)
    frame = next(simulation.run(1))
    assert frame.density.dims == frame.potential.dims == ("y", "x")
    assert frame.density.dtype == np.float64
    assert frame.sizes == {"y": 16, "x": 32}
    np.testing.assert_allclose(frame.x, np.arange(32) * 0.5)
    assert frame.x.units == frame.y.units == "rho_s"
    assert frame.time.units == "1/Omega_ci"
    assert frame.timestep.item() == simulation.timestep == 1
    assert np.issubdtype(frame.timestep.dtype, np.integer)
    assert frame.time.item() == simulation.time == simulation.parameters.frame_interval
    assert frame.attrs == {"model": model, "injected": ""}
    xr.testing.assert_identical(frame, simulation.fields)


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_gives_the_same_bits(model):
    def run(seed):
        return list(MODELS[model](**SMALL, seed=seed, time_step=0.01).run(3))

    first, second, other = run(3), run(3), run(4)
    assert all(a.identical(b) for a, b in zip(first, second, strict=True))
    assert not first[0].potential.equals(other[0].potential)


@pytest.mark.parametrize("model", MODELS)
def test_resumes_with_the_same_bits(model, tmp_path):
    simulation = MODELS[model](**SMALL, seed=1, time_step=0.013)
    simulation.advance()
    state = simulation.state
    state.save(tmp_path / "checkpoint")
    expected = list(simulation.run(3))
    loaded = Tokam2DState.load(tmp_path / "checkpoint")
    assert loaded.parameters == state.parameters
    assert loaded.time == state.time == state.parameters.frame_interval
    for start in (state, loaded):
        resumed = list(Tokam2D(start).run(3))
        assert all(a.identical(b) for a, b in zip(expected, resumed, strict=True))


def test_goes_on_from_a_yielded_frame():
    simulation = Tokam2D.hw(shape=(32, 32), length=16.0)
    frame = simulation.advance()
    again = Tokam2D.from_fields(frame.transpose("x", "y"), simulation.parameters)
    assert (again.time, again.timestep) == (simulation.time, 1)
    expected, result = simulation.advance(), again.advance()
    np.testing.assert_allclose(result.potential, expected.potential, rtol=0, atol=1e-15)
    assert result.timestep == 2


def test_frames_are_not_views_of_the_state():
    simulation, untouched = Tokam2D.hw(**SMALL), Tokam2D.hw(**SMALL)
    for frame in itertools.islice(simulation.run(2), 2):
        frame.density[:] = 0.0
    *_, expected = untouched.run(3)
    assert simulation.advance().identical(expected)


def test_two_threads_give_the_same_bits():
    one, two = Tokam2D.hw(**SMALL), Tokam2D.hw(**SMALL, workers=2)
    assert one.advance().identical(two.advance())


DIVERGING = {"shape": (32, 32), "length": 8.0, "time_step": 60.0, "check_stability": False}


def test_diverging_run_raises_and_keeps_the_last_state():
    simulation = Tokam2D.sol(**DIVERGING, rk4_steps_per_frame=2)
    good = []

    def run():
        for frame in simulation.run(1000):
            good.append(frame)

    with pytest.raises(FloatingPointError, match="fields are not finite at time") as error:
        run()
    assert f"timestep {len(good)}, time {120.0 * len(good):.6g}" in str(error.value)
    assert simulation.fields.identical(good[-1])
    assert np.isfinite(simulation.fields.density).all()


def test_diverging_run_can_go_on():
    frames = list(Tokam2D.sol(**DIVERGING, on_nan="yield").run(4))
    assert np.isnan(frames[-1].density).all()
    assert [int(f.timestep) for f in frames] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["nan", "nonphysical", "spike"])
def test_injection_into_the_output_leaves_the_simulation_alone(kind):
    patch = (4, 9, 2, 5)
    inject = {"timestep": 2, "kind": kind, "patch": patch}
    clean = list(Tokam2D.sol(**SMALL, time_step=0.1).run(3))
    frames = list(Tokam2D.sol(**SMALL, time_step=0.1, inject=inject).run(3))
    assert frames[0].identical(clean[0])
    assert frames[2].identical(clean[2])
    assert frames[1].attrs["injected"] == kind
    assert frames[1].attrs["injected_field"] == "density"
    assert frames[1].attrs["injected_patch"] == patch
    changed = ~(frames[1].density == clean[1].density).values
    expected = np.zeros_like(changed)
    expected[4:9, 2:5] = True
    np.testing.assert_array_equal(changed, expected)
    value = frames[1].density.values[4:9, 2:5]
    original = clean[1].density.values
    if kind == "nan":
        assert np.isnan(value).all()
    elif kind == "nonphysical":
        assert (value < 0).all()
    else:
        np.testing.assert_allclose(value, original[4:9, 2:5] + 10 * original.std())
    assert frames[1].potential.equals(clean[1].potential)


def test_injection_into_the_state_is_carried_on():
    inject = Injection(timestep=1, kind="spike", field="potential", amplitude=3.0, into="state")
    clean = list(Tokam2D.hw(**SMALL).run(2))
    simulation = Tokam2D.hw(**SMALL, inject=[inject])
    corrupted = simulation.advance()
    np.testing.assert_allclose(simulation.fields.potential, corrupted.potential, atol=1e-12)
    assert not simulation.advance().density.equals(clean[1].density)


def test_injected_nan_in_the_state_is_found_in_the_next_frame():
    inject = Injection(timestep=1, kind="nan", into="state")
    simulation = Tokam2D.hw(**SMALL, inject=inject)
    assert np.isnan(simulation.advance().density).any()
    with pytest.raises(FloatingPointError, match="timestep 2"):
        simulation.advance()


def test_place_of_an_injection_comes_from_its_seed():
    def patch(seed):
        label = Injection(1, "spike", seed=seed).apply({"density": np.zeros((64, 64))})
        return label["injected_patch"]

    assert patch(0) == patch(0) != patch(1)
