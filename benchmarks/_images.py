"""Dirty images: how many visibilities a second, by how many dumps are gridded in one call."""

from __future__ import annotations

import os

import numpy as np
import xarray as xr
from _table import Table, interleaved

from dask_exa._threads import available_threads
from dask_exa._visibilities import baseline_coordinates
from dask_exa.datasets import Interferometer
from dask_exa.inputs.visibilities import (
    average_baselines,
    baseline_features,
    dirty_images,
    light_curves,
)
from dask_exa.inputs.windows import join

N_STATIONS = int(os.environ.get("DASK_EXA_STATIONS", 32))
N_DUMPS, N_CHANNELS = 64, 64
N_PIXELS, PIXEL_SIZE = 512, 3e-4


def observation() -> xr.Dataset:
    """Return a window of N_DUMPS dumps with real baselines; the values are noise."""
    array = Interferometer(N_STATIONS, N_CHANNELS, sky=1)
    baselines = [step.uvw.values for step in array.run(N_DUMPS)]
    random = np.random.default_rng(0)
    shape = (len(baselines[0]), N_CHANNELS)
    coords = baseline_coordinates(*np.triu_indices(N_STATIONS, 1), array.phase_centre)
    steps = []
    for timestep, uvw in enumerate(baselines):
        values = random.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
        data = {"visibility": (("baseline", "frequency"), values)}
        place = {"uvw": (("baseline", "uvw"), uvw), "frequency": array.frequency, **coords}
        clock = {"time": 8.0 * timestep, "timestep": timestep}
        steps.append(xr.Dataset(data, {**place, **clock}))
    return join(steps)


def call_sizes(repeats: int) -> None:
    """Print the speed of images of so many dumps beside that of images of one."""
    data = observation()
    size = f"{N_DUMPS} dumps × {data.sizes['baseline']} baselines × {N_CHANNELS} channels"
    table = Table(
        f"Dirty images of {N_PIXELS}² pixels, {size}, {available_threads()} thread(s)",
        "dumps a call",
        "calls",
        "seconds",
        "M visibilities/s",
        "× one dump a call",
    )
    for n_dumps in (1, 4, 16, N_DUMPS):
        part = data if n_dumps > 4 else data.isel(time=slice(16))

        def image(n: int = n_dumps, part: xr.Dataset = part) -> None:
            dirty_images(part, N_PIXELS, PIXEL_SIZE, dumps_per_image=n)

        def each(part: xr.Dataset = part) -> None:
            dirty_images(part.isel(time=slice(8)), N_PIXELS, PIXEL_SIZE, dumps_per_image=1)

        ours, _, ratio = interleaved(image, each, repeats)
        # the peer images 8 dumps only
        speedup = ratio * part.sizes["time"] / 8
        n_calls = -(-part.sizes["time"] // n_dumps)
        table.row(n_dumps, n_calls, ours, part.visibility.size / ours / 1e6, speedup)
    table.show()


def other_steps(repeats: int) -> None:
    """Print the speed of the other things that are made of a window."""
    data = observation()
    table = Table("Windows of visibilities", "what", "seconds", "M visibilities/s")
    for name, function in (
        ("baseline features", lambda: baseline_features(data)),
        ("baseline-dependent averages", lambda: average_baselines(data)),
        ("light curve of a source", lambda: light_curves(data, [(0.001, 0.002)])),
    ):
        seconds, _, _ = interleaved(function, lambda: None, repeats)
        table.row(name, seconds, data.visibility.size / seconds / 1e6)
    table.show()


TABLES = {"images": call_sizes, "windows": other_steps}
