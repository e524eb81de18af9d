"""Residual weights of manufactured solutions, and of the equation of a running simulation."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly import FieldMonitor
from dask_exa.anomaly.checks import Residual
from dask_exa.datasets import Tokam2D

N, SPEED, VISCOSITY = 64, 0.7, 0.02
x = 2 * np.pi * np.arange(N) / N
k = np.fft.fftfreq(N, 1 / N)
k[N // 2] = 0.0


def solution(time):
    """Of u_t = -c u_x + nu u_xx."""
    return sum(
        np.exp(-VISCOSITY * m**2 * time) * np.sin(m * (x - SPEED * time) + m) / m for m in (1, 3, 6)
    )


def step(timestep, dt=0.01, extra=0.0):
    time = timestep * dt
    return xr.Dataset(
        {"u": ("x", solution(time) + extra)}, coords={"timestep": timestep, "time": time}
    )


def terms(block, speed=SPEED, viscosity=VISCOSITY):
    spectrum = np.fft.fft(block["u"])
    along = [np.fft.ifft(factor * spectrum).real for factor in (1j * k, -(k**2))]
    return {"advection": -speed * along[0], "diffusion": viscosity * along[1]}


def weights(rhs=terms, dt=0.01, **options):
    monitor = FieldMonitor(Residual("u", rhs, ("advection", "diffusion"), **options))
    first = monitor.observe(step(0, dt)).features
    assert np.isnan(first).all()
    return monitor.observe(step(1, dt))


def test_weights_of_a_solution_are_one():
    seen = weights()
    assert seen.feature_names == (
        "u: weight of advection less 1",
        "u: weight of diffusion less 1",
        "u: relative residual",
    )
    assert np.abs(seen.features).max() < 5e-4
    assert not seen.alarms


def test_weights_err_with_the_square_of_the_interval():
    coarse, fine = (np.abs(weights(dt=dt).features[0, 0]) for dt in (0.04, 0.02))
    assert coarse / fine == pytest.approx(4.0, rel=0.1)


def test_several_residuals_keep_their_own():
    def advection(block):
        return {"advection": terms(block)["advection"]}

    one, both = ("advection",), ("advection", "diffusion")
    monitor = FieldMonitor([Residual("u", advection, one), Residual("u", terms, both)])
    monitor.observe(step(0))
    seen = monitor.observe(step(1))
    assert seen.features[0, 1] > 0.05  # what advection alone leaves
    assert np.abs(seen.features[0, 2:]).max() < 5e-4


def test_step_that_is_not_finite_is_compared_with_nothing():
    monitor = FieldMonitor(Residual("u", terms, ("advection", "diffusion")))
    steps = [step(0), step(1, extra=np.nan), step(2), step(3)]
    known = [np.isfinite(monitor.observe(each).features).all() for each in steps]
    assert known == [False, False, False, True]


def test_wrong_operator_is_named():
    seen = weights(lambda block: terms(block, viscosity=VISCOSITY / 2))
    assert 1 + seen.features[0, 1] == pytest.approx(2.0, rel=1e-3)
    (alarm,) = seen.alarms
    assert alarm.reason == (
        "diffusion has the weight 2 in the equation of u; it must be 1 within 0.1."
    )


def test_band_leaves_out_what_a_filter_takes_away():
    noise = 0.05 * np.cos((N // 2 - 2) * x)
    for band, bound in (("dealiased", 1e-3), ("all", np.inf)):
        monitor = FieldMonitor(Residual("u", terms, ("advection", "diffusion"), band=band))
        monitor.observe(step(0, extra=noise))
        residual = monitor.observe(step(1)).features[0, -1]
        assert residual < bound
        assert residual > 0.5 or band == "dealiased"


def test_simulation_obeys_its_equation(tmp_path):
    run = Tokam2D.hw(
        shape=(32, 32),
        length=16.0,
        rk4_steps_per_frame=1,
        time_step=0.01,
        seed=3,
        potential_noise=1.0,
        density_noise=1.0,
    )
    ky, kx = (2 * np.pi * np.fft.fftfreq(32, 0.5) for _ in range(2))
    ky[16] = kx[16] = 0.0
    ky, kx = ky[:, None], kx[None, :]
    p = run.parameters

    def along(factor, values):
        return np.fft.ifft2(factor * np.fft.fft2(values)).real

    def right_hand_side(block, kappa=p.density_gradient):
        n, phi = block["density"], block["potential"]
        v_x, v_y = along(-1j * ky, phi), along(1j * kx, phi)
        k2 = (2 * np.pi * np.fft.fftfreq(32, 0.5)) ** 2
        k2 = k2[:, None] + k2[None, :]
        return {
            "advection": -along(1j * kx, v_x * n) - along(1j * ky, v_y * n),
            "gradient": -kappa * along(1j * ky, phi),
            "coupling": p.adiabaticity * (phi - n - np.mean(phi - n)),
            "diffusion": -p.density_hyperdiffusion * along(k2**2, n),
        }

    names = ("advection", "gradient", "coupling", "diffusion")
    monitors = [
        FieldMonitor(Residual("density", rhs, names, reads=("potential",)))
        for rhs in (right_hand_side, lambda block: right_hand_side(block, kappa=1.0))
    ]
    for frame in run.run(6):
        right, wrong = (monitor.observe(frame) for monitor in monitors)
    assert np.abs(right.features[0, [0, 1, 2, 4]]).max() < 5e-3  # diffusion is a small term
    assert not right.alarms
    assert 1 + wrong.features[0, 1] == pytest.approx(p.density_gradient, rel=5e-3)
    assert [alarm.features for alarm in wrong.alarms] == [("density: weight of gradient less 1",)]
    path = tmp_path / "monitor"
    with pytest.raises(TypeError, match="checkpoint"):
        monitors[0].save(path)  # its check is an object


@pytest.mark.parametrize(
    ("options", "message"),
    [({"band": "low"}, "band='low'"), ({"terms": ()}, "terms=()"), ({"terms": "ab"}, "terms='ab'")],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        Residual(**{"variable": "u", "rhs": terms, "terms": ("advection",), **options})


def test_needs_the_whole_field_and_the_named_terms():
    split = FieldMonitor(Residual("u", terms, ("advection",)), blocks=2)
    with pytest.raises(ValueError, match="whole field in one block"):
        split.observe(step(0))
    with pytest.raises(ValueError, match=r"terms=\['reaction'\]"):
        FieldMonitor(Residual("u", terms, ("reaction",))).observe(step(0))
