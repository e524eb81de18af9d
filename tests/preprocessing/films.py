"""Labelled films for tests of the representations of fields."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr


def film(n_times=6, dtype=np.float32, start=0):
    """A film with coordinates of every kind, whose times start anywhere."""
    values = np.random.default_rng(start).standard_normal((n_times, 4, 3)).astype(dtype)
    times = np.datetime64("2026-01-01", "ns") + np.arange(start, start + n_times) * 10**9
    field = xr.DataArray(
        values, dims=("time", "y", "x"), name="density", attrs={"units": "m-3", "levels": [1, 2]}
    )
    return field.assign_coords(
        time=("time", times, {"long_name": "time"}),
        step=("time", np.arange(start, start + n_times)),
        y=[0.5, 1.5, 2.5, 3.5],
        x=["a", "b", "c"],
        angle=(("y", "x"), np.arange(12.0).reshape(4, 3)),
        run=7,
    )


def with_gaps(field):
    """A field with a land mask and a time that is missing."""
    land = (field.y > 2) & (field.x == "b")
    return field.where(~land & (field.step != 2))


def box(n_times=3, dtype=np.float64, **sizes):
    sizes = sizes or {"y": 10, "x": 9}
    values = np.random.default_rng(0).standard_normal((n_times, *sizes.values()))
    coords = {dim: np.arange(n) * 0.5 for dim, n in sizes.items()}
    coords["time"] = np.datetime64("2026-01-01", "ns") + np.arange(n_times) * 10**9
    attrs = {"units": "m-3"}
    field = xr.DataArray(
        (10 * values).astype(dtype), dims=("time", *sizes), coords=coords, name="n", attrs=attrs
    )
    return field.assign_coords(run=3)


PROBE = """
import dask
dask.config.set({"array.query-planning": True, "scheduler": "synchronous"})
import numpy as np, xarray as xr
try:
    xr.DataArray(np.zeros(2), dims="x").chunk(x=1)
except TypeError:
    print("xarray cannot")
    raise SystemExit
"""


def run_with_query_planning(script):
    """Run a script in Dask's other array mode, where it has `dask`, `np` and `xr`."""
    script = f"{PROBE}{script}print('same')\n"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    if done.stdout == "xarray cannot\n":
        pytest.skip("this xarray knows no arrays of array.query-planning")
    assert done.stdout == "same\n", done.stderr
