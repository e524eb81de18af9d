"""The Vlasov-Poisson simulation against linear theory, invariants and what is injected."""

import numpy as np
import pytest

from dask_exa.datasets import Vlasov, VlasovInjection, VlasovParameters
from dask_exa.inputs import open_stream

# Cheng, Knorr (1976), and Sonnendruecker's tables of roots of the dispersion relation.
LANDAU = (-0.1533, 1.4156)
TWO_STREAM = 0.2258


def first_wave(simulation, n_frames, mode=(1,)):
    """Return times and the amplitude of one wave of the potential."""
    times, waves = [], []
    for frame in simulation.run(n_frames):
        phi = frame.potential.values
        waves.append(np.abs(np.fft.fftn(phi)[mode]) * 2 / phi.size)
        times.append(float(frame.time))
    return np.array(times), np.array(waves)


def damped(times, waves, n_peaks=8):
    """Return damping rate and frequency of a standing wave, from its maxima."""
    inner = waves[1:-1]
    peaks = 1 + np.flatnonzero((inner > waves[:-2]) & (inner > waves[2:]))[1:n_peaks]
    # a parabola through three points finds the maximum between frames
    left, top, right = (np.log(waves[peaks + i]) for i in (-1, 0, 1))
    moved = (left - right) / (2 * (left - 2 * top + right))
    at = times[peaks] + moved * (times[1] - times[0])
    return np.polyfit(at, top, 1)[0], np.pi / np.mean(np.diff(at))


def test_landau_damping():
    run = Vlasov.landau(amplitude=1e-4, time_step=0.05, steps_per_frame=2)
    rate, frequency = damped(*first_wave(run, 220))
    assert rate == pytest.approx(LANDAU[0], rel=0.01)
    assert frequency == pytest.approx(LANDAU[1], rel=0.01)


def test_two_beams_are_unstable():
    times, waves = first_wave(Vlasov.two_stream(amplitude=1e-6, shape=(16, 96)), 100)
    grows = (times > 25) & (times < 45)
    assert np.polyfit(times[grows], np.log(waves[grows]), 1)[0] == pytest.approx(
        TWO_STREAM, rel=0.01
    )
    assert waves[grows].max() < 0.1  # still linear


@pytest.mark.parametrize(
    ("simulation", "k", "root"),
    [
        (Vlasov.landau, 0.5, complex(LANDAU[0], -LANDAU[1])),
        (Vlasov.landau, 0.4, complex(-0.0661, -1.2850)),
        (Vlasov.landau, 0.3, complex(-0.0126, -1.1598)),
        (Vlasov.two_stream, 0.2, TWO_STREAM + 0j),
    ],
)
def test_roots_of_the_dispersion_relation(simulation, k, root):
    assert simulation(shape=(8, 8)).growth_rate(k) == pytest.approx(root, abs=1.5e-4)


def test_gyration_weakens_the_field_as_theory_says():
    options = {"shape": (16, 48, 4), "amplitude": 1e-4, "time_step": 0.1, "steps_per_frame": 1}
    run = Vlasov.landau(**options)
    expected = run.growth_rate(0.5)
    assert abs(expected.real - LANDAU[0]) > 0.015  # not the plasma without gyration
    rate, frequency = damped(*first_wave(run, 160), n_peaks=5)
    assert rate == pytest.approx(expected.real, rel=0.02)
    assert frequency == pytest.approx(-expected.imag, rel=0.02)


def test_a_plane_wave_in_four_dimensions_is_that_of_two():
    options = {"time_step": 0.1, "steps_per_frame": 1, "amplitude": 1e-3}
    plane = Vlasov.landau(shape=(16, 4, 32, 8), **options)
    line = Vlasov.landau(shape=(16, 32), **options)
    across = plane.f[0, 0, plane.f.shape[2] // 2]
    across /= across.sum() * plane._cell / line._cell
    plane.f = line.f[:, None, :, None] * across * np.ones((1, 4, 1, 1))
    for _ in range(3):
        a, b = plane.advance(), line.advance()
    np.testing.assert_allclose(a.potential, b.potential.values[:, None] * np.ones(4), atol=1e-9)


@pytest.mark.parametrize("shape", [(16, 32), (8, 16, 3), (8, 8, 16, 16), (8, 4, 8, 8, 2)])
def test_particles_stay_to_rounding_and_squares_do_not_grow(shape):
    run = Vlasov(shape=shape, amplitude=0.2, noise=0.01)
    before = run.f
    for _ in range(4):
        run.advance()
        assert run.f.sum() == pytest.approx(before.sum(), rel=1e-14)
        assert np.sum(run.f**2) <= np.sum(before**2) * (1 + 1e-14)
        before = run.f


def test_momentum_and_energy_stay():
    run = Vlasov.landau(shape=(32, 64), amplitude=0.1, time_step=0.05)
    v, length = run.parameters.coordinates["vx"], run.parameters.sides[0]
    k = 2 * np.pi * np.fft.rfftfreq(32, length / 32)

    def totals():
        mean = run.f.mean(axis=0) * run._cell
        field = np.fft.irfft(-1j * k * np.fft.rfft(run.potential), 32)
        return mean @ v, (mean @ v**2 + np.mean(field**2)) / 2

    start = totals()
    for _ in run.run(20):
        now = totals()
        assert now[0] == pytest.approx(start[0], abs=1e-7)  # the tails end at the edge
        assert now[1] == pytest.approx(start[1], rel=2e-5)


def test_mean_density_is_one_and_the_seed_decides():
    run = Vlasov(shape=(8, 8, 16, 16, 3), noise=0.01, seed=3)
    density = (run.f.sum(axis=(2, 3)) * run._cell) @ run.parameters.mu_weights
    assert density.mean() == pytest.approx(1.0, rel=1e-14)
    again = Vlasov(shape=(8, 8, 16, 16, 3), noise=0.01, seed=3)
    assert run.advance().identical(again.advance())
    other = Vlasov(shape=(8, 8, 16, 16, 3), noise=0.01, seed=4)
    assert not run.advance().equals(other.advance())


def test_frames_have_names_units_and_clock():
    frame = Vlasov(shape=(8, 4, 8, 8, 2), time_step=0.5, steps_per_frame=3).advance()
    assert frame.f.dims == ("x", "y", "vx", "vy", "mu")
    assert frame.potential.dims == ("x", "y")
    assert frame.vx.attrs["units"] == "v_th"
    assert frame.mu.values.tolist() == [0.0, 6.0]
    assert (float(frame.time), int(frame.timestep), frame.attrs["injected"]) == (1.5, 1, "")


def test_is_a_stream():
    with open_stream("vlasov", shape=(8, 16)) as stream:
        steps = [int(step.timestep) for step, _ in zip(stream, range(3), strict=False)]
        assert stream.variables == ("f", "potential")
        assert stream.sizes == {"x": 8, "vx": 16}
    assert steps == [1, 2, 3]


def test_patches_are_corrupted_and_labelled():
    fault = {"timestep": 2, "kind": "nonphysical", "patch": (0, 2, 3, 5)}
    first, second, third = Vlasov(shape=(8, 16), inject=fault).run(3)
    good = list(Vlasov(shape=(8, 16)).run(3))
    assert (first.attrs["injected"], second.attrs["injected"]) == ("", "nonphysical")
    assert second.attrs["injected_patch"] == (0, 2, 3, 5)
    assert (second.f.values[:2, 3:5] < 0).all()
    assert third.equals(good[2])  # the state was right
    state = list(Vlasov(shape=(8, 16), inject={**fault, "into": "state"}).run(3))
    assert not state[2].equals(good[2])


def test_solver_goes_wrong_from_the_injected_step_on():
    good = list(Vlasov(shape=(16, 32)).run(6))
    leaking = list(Vlasov(shape=(16, 32), inject=VlasovInjection(3, "leak")).run(6))
    assert [frame.attrs["injected"] for frame in leaking] == ["", "", *["leak"] * 4]
    lost = [1 - float(b.f.sum() / a.f.sum()) for a, b in zip(good, leaking, strict=True)]
    assert lost == pytest.approx([0, 0, *(1 - 0.995 ** np.arange(1, 5))], abs=1e-13)
    unstable = list(Vlasov(shape=(16, 32), inject=VlasovInjection(3, "unstable")).run(6))
    squares = [float((frame.f**2).sum()) for frame in unstable]
    assert squares[1] <= squares[0]
    assert squares[5] > squares[4] > squares[3] > squares[1]


def test_breakdown_is_told_or_shown():
    fault = {"timestep": 2, "kind": "nan", "into": "state", "patch": (0, 1, 0, 1)}
    run = Vlasov(shape=(8, 16), inject=fault)
    run.advance()
    run.advance()
    with pytest.raises(FloatingPointError, match="timestep 3"):
        run.advance()
    assert run.timestep == 2
    shown = list(Vlasov(shape=(8, 16), inject=fault, on_nan="yield").run(3))
    assert np.isnan(shown[2].f).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (8,)}, "2 to 5 dimensions"),
        ({"shape": (7, 8)}, "even numbers"),
        ({"shape": (8, 8, 1)}, "2 or more along mu"),
        ({"drift": 5.0}, "max_velocity"),
        ({"time_step": 0.0}, "time_step"),
        ({"length": (1.0, -1.0), "shape": (4, 4, 4, 4)}, "length"),
    ],
)
def test_parameters_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        VlasovParameters(**changes)


@pytest.mark.parametrize(
    ("inject", "message"),
    [
        ({"timestep": 1, "kind": "melt"}, "kind='melt'"),
        ({"timestep": 1, "kind": "leak", "share": 2.0}, "share=2.0"),
        ({"timestep": 1, "kind": "nan", "field": "g"}, "field='g'"),
        ({"timestep": 1, "kind": "nan", "patch": (0, 99, 0, 1)}, "outside"),
    ],
)
def test_injections_that_make_no_sense(inject, message):
    with pytest.raises(ValueError, match=message):
        Vlasov(inject=inject)
