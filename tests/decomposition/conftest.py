"""Samples in every form in which they may come."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

KINDS = {
    "numpy": np.asarray,
    "rows": lambda X: da.from_array(X, chunks=(-(-len(X) // 4), X.shape[1])),
    "columns": lambda X: da.from_array(X, chunks=(len(X), -(-X.shape[1] // 2))),
    "both": lambda X: da.from_array(X, chunks=(-(-len(X) // 4), -(-X.shape[1] // 3))),
    "xarray": lambda X: xr.DataArray(X, dims=("sample", "feature")),
}


@pytest.fixture(params=KINDS)
def present(request):
    """Turn a matrix into one form of input."""
    return KINDS[request.param]


@pytest.fixture
def iris():
    from sklearn.datasets import load_iris

    return load_iris().data
