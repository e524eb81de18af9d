"""One small data set that all tests of this folder share, in every form."""

import contextlib

import dask
import dask.array as da
import numpy as np
import xarray as xr

NAMES = ["density", "potential", "vorticity", "pressure", "current", "flux"]
N_SAMPLES, N_FEATURES = 240, len(NAMES)

_random = np.random.default_rng(0)
CLASSES = _random.integers(0, 3, N_SAMPLES)
_centers = np.array([[9, 0, 0, 0, 0, 0], [0, 8, 0, 0, 0, 0], [0, 0, 7, 0, 0, 0]])
X = _centers[CLASSES] + _random.standard_normal((N_SAMPLES, N_FEATURES)) * [3, 2.5, 2, 1, 1, 1]
WEIGHTS = _random.integers(1, 4, N_SAMPLES).astype(float)
LAZY = da.from_array(X, chunks=(50, N_FEATURES))
LABELLED = xr.DataArray(
    X.reshape(N_SAMPLES, 2, 3), dims=("time", "y", "x"), coords={"time": np.arange(N_SAMPLES) / 2}
)


@contextlib.contextmanager
def nothing_computed():
    """Fail if anything lazy is computed inside."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        yield


def values(array):
    """Return an array of any kind as a NumPy array."""
    return np.asarray(array)
