"""Streams of small steps, and what a store of them must hold."""

import json

import numpy as np
import xarray as xr

from dask_exa.compression import Bound
from dask_exa.inputs import Stream

BOUND = Bound("abs", 1e-3)


def waves(step, shape=(12, 16), dtype="f8"):
    y, x = np.meshgrid(*(np.linspace(0, 3, size) for size in shape), indexing="ij")
    return (np.sin(2 * x + 0.1 * step) * np.cos(3 * y - 0.05 * step)).astype(dtype)


def make_step(number, **others):
    field = xr.DataArray(waves(number), dims=("y", "x"), attrs={"units": "n_0"})
    coords = {"time": 0.5 * number, "timestep": number, "x": np.linspace(0, 1, 16)}
    return xr.Dataset({"u": field}, coords | others.pop("coords", {}), attrs={"model": "waves"})


def as_stream(steps):
    steps = list(steps)
    sizes = dict(steps[0].sizes)
    names = tuple(map(str, steps[0].data_vars))
    return Stream(
        lambda start: iter(steps[start:]),
        name="test",
        sizes=sizes,
        variables=names,
        n_steps=len(steps),
    )


def check_same(out, steps, bound=1e-3):
    """Compare a store with the steps it was made from: all coordinates, attributes and values."""
    stored = xr.open_zarr(out).load()
    names = {str(name) for name in steps[0].variables}
    assert names <= set(map(str, stored.variables))
    assert stored.sizes["time"] == len(steps)
    for position, step in enumerate(steps):
        attributes = (
            json.loads(str(stored.step_attributes[position].values))
            if ("step_attributes" in stored)
            else stored.attrs
        )
        assert json.dumps(attributes, sort_keys=True) == json.dumps(
            {k: np.asarray(v).tolist() for k, v in step.attrs.items()}, sort_keys=True
        )
        for name, expected in step.variables.items():
            found = stored[name]
            if "time" in found.dims and expected.dims != ("time",):
                found = found.isel(time=position)
            assert found.attrs == expected.attrs
            assert found.dims == expected.dims
            if name in step.data_vars:
                assert found.dtype == expected.dtype
                assert np.abs(found.values - expected.values).max() <= bound
            else:
                np.testing.assert_array_equal(found.values, expected.values)
                assert str(name) in stored.coords
