"""FieldMonitor on runs that break down and on runs that do not, of our own code and of others."""

import h5py
import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly import FieldMonitor
from dask_exa.datasets import Tokam2D
from dask_exa.inputs import open_stream

HALF_BOX = {"shape": (64, 64), "length": 64.0}
GRID = {"shape": (64, 64)}

# Model, parameters, the frame with NaN, and what tells of it beforehand.
BREAKING = {
    "advection": ("sol", {**HALF_BOX, "time_step": 4.0, "rk4_steps_per_frame": 16}, "Courant"),
    "aliasing": (
        "sol",
        {**HALF_BOX, "density_diffusion": 0.0, "potential_diffusion": 0.0},
        "Nyquist",
    ),
    "too coarse": ("sol", {"shape": (64, 64), "length": 128.0}, "Nyquist"),
    "steep": ("hw", {**GRID, "density_gradient": 2.0}, "Nyquist"),
    "stiff": ("hw", {**GRID, "adiabaticity": 3.47, "check_stability": False}, "kinetic"),
    "stiff, modified": ("mhw", {**GRID, "adiabaticity": 3.5, "check_stability": False}, "kinetic"),
}
HEALTHY = {
    "diffusive": ("sol", {**HALF_BOX, "density_diffusion": 0.03, "potential_diffusion": 0.03}, 20),
    "tiny noise": ("hw", {**GRID, "potential_noise": 1e-8}, 30),
    "saturated": ("hw", {**GRID, "density_gradient": 1.0, "potential_noise": 1.0}, 40),
    "far apart": ("sol", {**HALF_BOX, "rk4_steps_per_frame": 256}, 6),
    "near to each other": ("sol", {**HALF_BOX, "rk4_steps_per_frame": 4}, 100),
    "zonal flows": ("mhw", {**GRID, "density_gradient": 1.0, "potential_noise": 1.0}, 40),
}


def watch(steps, **options):
    """Return all alarms, and the number of the first step that is not finite."""
    monitor, alarms = FieldMonitor(**options), []
    for step in steps:
        found = monitor.observe(step).alarms
        alarms += found
        if any("not finite" in alarm.features[0] for alarm in found):
            return alarms, int(step.timestep)
    return alarms, None


@pytest.mark.parametrize("case", BREAKING)
def test_alarm_comes_before_the_end(case):
    model, options, what = BREAKING[case]
    run = getattr(Tokam2D, model)(on_nan="yield", **options)
    alarms, end = watch(run.advance() for _ in range(60))
    assert end is not None
    early = [alarm for alarm in alarms if alarm.step < end]
    assert any(what in alarm.features[0] for alarm in early)


@pytest.mark.slow
@pytest.mark.parametrize("case", HEALTHY)
def test_healthy_run_raises_no_alarm(case):
    model, options, n_steps = HEALTHY[case]
    steps = list(getattr(Tokam2D, model)(**options).run(n_steps))
    for blocks in (None, {"y": 16, "x": 16}):
        assert watch(steps, blocks=blocks) == ([], None)


@pytest.mark.parametrize("blocks", [None, {"y": 32, "x": 32}])
def test_tokam2d_crash_is_seen_coming(shared_data, blocks):
    with open_stream(shared_data / "tokam2d" / "sol_crash" / "simulation_fields.h5") as stream:
        alarms, end = watch(stream, blocks=blocks)
    assert end == 33
    early = [alarm for alarm in alarms if alarm.step < end]
    assert {alarm.features[0] for alarm in early} == {"potential: log Courant number"}
    assert early[0].step <= 29


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sol", "hw"])
@pytest.mark.parametrize("blocks", [None, {"y": 32, "x": 64}])
def test_healthy_tokam2d_raises_no_alarm(shared_data, name, blocks):
    with open_stream(shared_data / "tokam2d" / name / "simulation_fields.h5") as stream:
        assert watch(stream, blocks=blocks) == ([], None)


@pytest.mark.parametrize("chunks", [None, {"dim_1": 4, "dim_3": 8}])
@pytest.mark.parametrize(("name", "off"), [("goose_coarse", True), ("goose_poly", False)])
def test_goosefft_increments_that_have_not_converged(shared_data, name, off, chunks):
    monitor, steps = FieldMonitor(), []
    with open_stream(shared_data / "goosefft" / f"{name}.h5", chunks=chunks) as stream:
        for step in stream:
            seen = monitor.observe(step)
            steps.append([alarm.features[0] for alarm in seen.alarms])
    share = np.exp(seen.features[0, seen.feature_names.index("P: log relative div")])
    assert steps == [["P: log relative div"] if off else []] * len(steps)
    assert (share > 0.05) if off else (share < 1e-5)


def test_damask_balances(shared_data):
    monitor = FieldMonitor()
    with h5py.File(shared_data / "damask" / "12grains6x7x8_tensionY.hdf5") as file:
        increments = sorted(
            (name for name in file if name.startswith("increment")),
            key=lambda name: int(name.removeprefix("increment_")),
        )
        for name in increments:
            assert monitor.observe(damask_step(file, name)).alarms == []
    share = monitor.state.highest[monitor.state.names.index("P: relative div")]
    assert monitor.state.n_steps == 11
    assert share < 1e-3 or monitor.state.first[monitor.state.names.index("P: load")] < 1e-9


def damask_step(file, increment):
    places = file["cell_to/phase"][:]
    fields = {name: np.empty((len(places), 3, 3)) for name in "FP"}
    for phase in np.unique(places["label"]):
        cells = places["label"][:, 0] == phase
        group = file[increment]["phase"][phase.decode()]["mechanical"]
        for name, values in fields.items():
            values[cells] = group[name][:][places["entry"][cells, 0]]
    shape = tuple(file["geometry"].attrs["cells"][::-1])  # x is fastest
    dims = ("x", "y", "z", "i", "j")
    data = {
        name: (dims, np.moveaxis(values.reshape(*shape, 3, 3), (0, 1, 2), (2, 1, 0)))
        for name, values in fields.items()
    }
    return xr.Dataset(data, coords={"timestep": int(increment.removeprefix("increment_"))})


@pytest.mark.parametrize("name", ["blast2d", "blast3d"])
def test_dyablo_and_what_would_go_wrong_with_it(shared_data, name):
    paths = sorted((shared_data / "dyablo").glob(f"{name}_iter*.h5"))
    steps = [dyablo_step(path, i) for i, path in enumerate(paths)]
    monitor = FieldMonitor(blocks=4)
    assert [monitor.observe(step).alarms for step in steps] == [[]] * len(paths)
    hot = steps[-1].assign(e_tot=1.11 * steps[-1].e_tot, timestep=len(paths))
    (alarm,) = monitor.observe(hot).alarms
    assert alarm.features == ("e_tot: change of energy",)
    stuck = steps[-1].assign_coords(dt=1e-9, timestep=len(paths) + 1)
    assert [a.features for a in monitor.observe(stuck).alarms] == [("growth of time step",)]


def dyablo_step(path, timestep):
    with h5py.File(path) as file:
        about = file["scalar_data"].attrs
        names = [
            name for name in ("rho", "rho_vx", "rho_vy", "rho_vz", "e_tot", "level") if name in file
        ]
        data = {name: ("cell", file[name][:]) for name in names}
        coords = {"time": about["time"], "timestep": timestep}
        if "dt" in about:
            coords["dt"] = about["dt"]
    return xr.Dataset(data, coords=coords)


@pytest.mark.parametrize("file", ["ref_f.h5", "ref_phi.h5"])
@pytest.mark.parametrize("blocks", [None, 4])
def test_pygyro_raises_no_alarm(shared_data, file, blocks):
    with open_stream(shared_data / "pygyro" / file) as stream:
        assert watch(stream, blocks=blocks) == ([], None)


def test_pygyro_series_and_what_would_go_wrong_with_it(shared_data):
    rows = np.loadtxt(shared_data / "pygyro" / "ref_phiDat.txt")
    rows = rows[np.argsort(rows[:, 0])]
    names = ("time", "l2phi", "l2f", "l1f", "particles", "min_f", "max_f", "energy")
    steps = [
        xr.Dataset(
            dict(zip(names[1:], row[1:], strict=True)), coords={"time": row[0], "timestep": i}
        )
        for i, row in enumerate(rows)
    ]
    monitor = FieldMonitor()
    assert watch(steps) == ([], None)
    monitor.observe(steps[0])
    last = steps[-1]
    wrong = last.assign(particles=0.9958 * last.particles, max_f=1.41, l2f=1.01 * last.l2f)
    assert [alarm.variable for alarm in monitor.observe(wrong).alarms] == [
        "l2f",
        "particles",
        "max_f",
    ]


def test_negative_mass_and_maximum_of_a_distribution(shared_data):
    with open_stream(shared_data / "pygyro" / "ref_f.h5") as stream:
        step = next(iter(stream))
    monitor = FieldMonitor()
    assert not monitor.observe(step).alarms
    f = step.f.values.copy()
    flat = f.reshape(-1)
    flat[:: len(flat) // 50] = -0.8
    flat[7] = 1.41
    alarms = monitor.observe(step.assign(f=(step.f.dims, f), timestep=1)).alarms
    assert {alarm.features[0] for alarm in alarms} >= {"f: negative share", "f: change of maximum"}
