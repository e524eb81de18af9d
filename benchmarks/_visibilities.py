"""Screening of visibilities: speed and quality, beside AOFlagger and a vote in NumPy."""

from __future__ import annotations

import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from _labelled import DATA
from _table import Table, interleaved

from dask_exa._threads import thread_share
from dask_exa._visibilities import baseline_coordinates, dump
from dask_exa.datasets import Interferometer
from dask_exa.inputs.measurement_set import open_measurement_set
from dask_exa.inputs.visibilities import Screening, SkyResidual
from dask_exa.inputs.visibilities.dumps import Dump, dumps_of

SKA = DATA.parent / "ska"
SKA_RATE = 125e9 / 8
"""Visibilities/s of 125 GB/s, at 8 bytes each."""
WATTS_PER_CORE = 3.5
"""Of a server with 2 × 96 cores at 670 W."""
GPU_BANDWIDTH, GPU_WATTS = 4.8e12, 700
GPU_BYTES = 20
"""Read and written per visibility by the kernel on a GPU: the visibility, its power, and a part of
the modes; half of the bandwidth is reached."""
N_WARMUP, N_DUMPS = 4, 8
_FIRST_SEED = 50


def speed(repeats: int) -> None:
    """Vote, residual and score of dumps in memory, on one core."""
    table = Table(
        "screening on one core", "visibilities a dump", "screened M/s", "NumPy vote M/s",
        "AOFlagger M/s", "÷ NumPy", "÷ AOFlagger",
    )  # fmt: skip
    for n_stations, n_channels in ((32, 64), (64, 64), (128, 64), (128, 256)):
        dumps = _dumps(n_stations, n_channels)
        size = dumps[0].visibility.size * N_DUMPS
        with thread_share(1):
            screen = _warm(dumps)
            ours = _each(dumps, screen)
            mine, numpys, ratio = interleaved(ours, _numpy_vote(dumps), repeats)
            flagger, n_flagged = _aoflagger(dumps)
            again, other, flagger_ratio = interleaved(ours, flagger, max(1, repeats // 2))
        share = size / n_flagged
        table.row(
            f"{dumps[0].visibility.size} ({n_stations} stations, {n_channels} channels)",
            size / min(mine, again) / 1e6,
            size / numpys / 1e6,
            n_flagged / other / 1e6,
            ratio,
            flagger_ratio * share,
        )
    table.show()


def quality(repeats: int) -> None:
    """What is found in observations by OSKAR whose truth is known."""
    table = Table(
        "quality with the sky estimated", "data", "cells F1", "visibilities F1", "AOFlagger",
        "station", "transient",
    )  # fmt: skip
    truth = np.load(SKA / "low_dev_truth.npz")
    steps, rfi = _low_dev(truth)
    found = [screening(step) for screening in [Screening()] for step in steps]
    cells = np.array([one.interference.values for one in found])
    stations = np.array([one.faulty.values for one in found])
    lit = [i for i, one in enumerate(found) if one.attrs["sources"]]
    flagged = _aoflags(np.array([step.visibility.values for step in steps]))
    table.row(
        "low_dev",
        _f1(cells, rfi.any(axis=1)),
        _f1(np.broadcast_to(cells[:, None], rfi.shape), rfi),
        _f1(flagged, rfi),
        _windows(stations, truth["bad_station"], truth["bad_steps"]),
        f"{lit[0]}-{lit[-1]} of {truth['transient_steps'][0]}-{truth['transient_steps'][1] - 1}",
    )
    steps, kind, is_loud = _low30()
    found = [screening(step) for screening in [Screening()] for step in steps]
    cells = np.array([one.interference.values for one in found])
    flagged = _aoflags(np.array([step.visibility.values for step in steps]))
    recalls = [f"{cells[kind == i].mean():.3f}" for i in (1, 2, 3)]
    table.row(
        f"low30, recall {'/'.join(recalls)}",
        _f1(cells, kind > 0),
        _f1(np.broadcast_to(cells[:, None], is_loud.shape), is_loud),
        _f1(flagged, is_loud),
        f"{sum(one.faulty.values.sum() for one in found)} false",
        f"{sum(bool(one.attrs['sources']) for one in found)} false",
    )
    for seed in range(_FIRST_SEED, _FIRST_SEED + max(2, repeats)):
        table.row(f"simulated, seed {seed}", *_held_out(seed))
    table.show()


def scale(repeats: int) -> None:
    """What 125 GB/s of visibilities take."""
    dumps = _dumps(128, 64)
    with thread_share(1):
        screen = _warm(dumps)
        seconds = min(_timed(_each(dumps, screen)) for _ in range(repeats))
    rate = dumps[0].visibility.size * N_DUMPS / seconds
    table = Table("125 GB/s, 15.6 G visibilities/s", "on", "M visibilities/s", "units", "kW")
    cores = SKA_RATE / rate
    table.row("CPU core, measured", rate / 1e6, round(cores), cores * WATTS_PER_CORE / 1e3)
    gpu = GPU_BANDWIDTH / 2 / GPU_BYTES
    gpus = SKA_RATE / gpu
    table.row("H200 by its bandwidth", gpu / 1e6, f"{gpus:.2f}", gpus * GPU_WATTS / 1e3)
    table.show()


def _timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _dumps(n_stations: int, n_channels: int) -> list[Dump]:
    event = {"timestep": 1, "kind": "carrier", "channels": (9, 10), "n_timesteps": 99}
    simulation = Interferometer(n_stations, n_channels, noise=2.0, sky=12, inject=event)
    return [next(dumps_of(step)) for step in simulation.run(N_WARMUP + N_DUMPS)]


def _warm(dumps: list[Dump]) -> SkyResidual:
    screen = SkyResidual()
    for one in dumps[:N_WARMUP]:
        screen.learn(one, screen.screen(one))
    return screen


def _each(dumps: list[Dump], screen: SkyResidual) -> Callable[[], None]:
    """Return a function that screens dumps and learns them; times go on as if they were new."""
    clock = [dumps[N_WARMUP].time]
    interval = dumps[1].time - dumps[0].time

    def run() -> None:
        for one in dumps[N_WARMUP:]:
            now = one._replace(time=clock[0])
            screen.learn(now, screen.screen(now))
            clock[0] += interval

    return run


def _numpy_vote(dumps: list[Dump]) -> Callable[[], None]:
    """Return a function that subtracts a running mean, and votes by power over its median."""
    mean = np.mean([one.visibility for one in dumps[:N_WARMUP]], axis=0)

    def run() -> None:
        for one in dumps[N_WARMUP:]:
            residual = one.visibility - mean
            power = residual.real**2 + residual.imag**2
            noise = np.median(power, axis=1, keepdims=True)
            np.minimum(power / noise, 8).mean(axis=0)
            mean[:] += residual / 16

    return run


def _aoflagger(dumps: list[Dump], n_baselines: int = 24) -> tuple[Callable[[], Any], int]:
    values = np.array([one.visibility[:n_baselines] for one in dumps])
    values = np.concatenate([values] * 4)
    return lambda: _aoflags(values), values.size


def _aoflags(values: np.ndarray) -> np.ndarray:
    """Return the flags of AOFlagger's generic strategy for (time, baseline, frequency)."""
    import aoflagger

    flagger = aoflagger.AOFlagger()
    path = flagger.find_strategy_file(aoflagger.TelescopeId.Generic)
    strategy = flagger.load_strategy_file(path)
    n_times, n_baselines, n_channels = values.shape
    images = flagger.make_image_set(n_times, n_channels, 2)
    flags = np.empty(values.shape, dtype=bool)
    for b in range(n_baselines):
        images.set_image_buffer(0, np.ascontiguousarray(values[:, b].real.T, dtype=np.float32))
        images.set_image_buffer(1, np.ascontiguousarray(values[:, b].imag.T, dtype=np.float32))
        flags[:, b] = strategy.run(images).get_buffer().T
    return flags


def _f1(found: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (found & true).sum() / max(1, found.sum() + true.sum()))


def _windows(stations: np.ndarray, station: int, window: np.ndarray) -> str:
    steps = np.flatnonzero(stations[:, station])
    n_false = int(stations.sum()) - len(steps)
    found = f"{steps[0]}-{steps[-1]}" if len(steps) else "none"
    return f"{found} of {window[0]}-{window[1] - 1}, {n_false} false"


def _low_dev(truth: Any) -> tuple[list[xr.Dataset], np.ndarray]:
    rows, n_channels = truth["rfi_shape"]
    rfi = np.unpackbits(truth["rfi"])[: rows * n_channels].astype(bool)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(SKA / "low_dev.zip") as archive:
            archive.extractall(folder)
        data = open_measurement_set(next(Path(folder).iterdir())).load()
    steps = [data.isel(time=i).drop_vars(["flag", "weight"]) for i in range(data.sizes["time"])]
    return steps, rfi.reshape(len(steps), -1, n_channels)


def _low30() -> tuple[list[xr.Dataset], np.ndarray, np.ndarray]:
    """Return steps, the class of every cell, and where interference exceeds the noise."""
    data = np.load(SKA / "low30_rfi.npz")
    coordinates = baseline_coordinates(data["ant1"], data["ant2"], (0.0, 0.0))
    values = np.ascontiguousarray(data["vis"].transpose(0, 2, 1))
    steps = [
        dump({"visibility": value, "uvw": uvw.astype(float)}, data["freq"], coordinates,
             time=8.0 * i, timestep=i)
        for i, (value, uvw) in enumerate(zip(values, data["uvw"], strict=True))
    ]  # fmt: skip
    is_loud = data["truth_rfi_amp_jy"].transpose(0, 2, 1) > np.sqrt(2)
    return steps, data["truth_rfi_class"], is_loud


def _held_out(seed: int) -> Iterator[Any]:
    """Yield what is found in a simulation; the method was worked out on others, below 50."""
    rng = np.random.default_rng([seed, 77])
    n_steps, station = 40, int(rng.integers(24))
    fault, source = (int(x) for x in rng.integers(6, 28, 2))
    kinds = ("carrier", "carrier", "carrier", "burst", "satellite")
    lasts = {"carrier": 12, "burst": 1, "satellite": 6}
    events = [
        {"kind": kind, "timestep": int(rng.integers(1, 30)), "n_timesteps": lasts[kind],
         "amplitude": float(rng.uniform(4, 16)), "seed": int(rng.integers(1000))}
        for kind in kinds
    ]  # fmt: skip
    events.append({"kind": "dead", "timestep": fault, "n_timesteps": 8, "station": station})
    events.append({"kind": "transient", "timestep": source, "n_timesteps": 7, "amplitude": 1.5})
    simulation = Interferometer(24, 48, noise=1.5, sky=12, inject=events, seed=100 + seed)
    screening, steps = Screening(), list(simulation.run(n_steps))
    found = [screening(step) for step in steps]
    rfi = np.array([step.interference.values for step in steps])
    cells = np.array([one.interference.values for one in found])
    yield _f1(cells, rfi.any(axis=1))
    yield _f1(np.broadcast_to(cells[:, None], rfi.shape), rfi)
    yield _f1(_aoflags(np.array([step.visibility.values for step in steps])), rfi)
    stations = np.array([one.faulty.values for one in found])
    yield _windows(stations, station, np.array([fault - 1, fault + 7]))
    lit = [i for i, one in enumerate(found) if one.attrs["sources"]]
    yield f"{lit[0]}-{lit[-1]} of {source - 1}-{source + 5}" if lit else "none"


TABLES = {
    "visibility_speed": speed,
    "visibility_quality": quality,
    "visibility_scale": scale,
}
ON_REAL_DATA = {"visibility_quality"}
