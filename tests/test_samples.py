"""Any input as samples and features."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from dask_exa._samples import as_samples, flat_rows, flatten

FILM = xr.DataArray(
    np.arange(120.0).reshape(5, 4, 3, 2),
    dims=("time", "y", "x", "run"),
    coords={"y": np.arange(4), "time": np.arange(5), "clock": ("time", np.arange(5)), "shot": 3},
)


@pytest.mark.parametrize(
    ("dims", "shape"),
    [
        (None, (5, 24)),
        ("time", (5, 24)),
        (["time"], (5, 24)),
        ("run", (2, 60)),
        (("time", "run"), (10, 12)),
        (("run", "time"), (10, 12)),
        (("x", "y", "run"), (24, 5)),
    ],
)
def test_named_dimensions_count_samples(dims, shape):
    samples = as_samples(FILM, dims)
    assert (samples.n_samples, samples.n_features) == samples.array.shape == shape
    named = ("time",) if dims is None else (dims,) if isinstance(dims, str) else tuple(dims)
    rest = [dim for dim in FILM.dims if dim not in named]
    expected = FILM.transpose(*named, *rest).values.reshape(shape)
    assert np.array_equal(samples.array, expected)
    assert samples.labels.sample_dims == named
    assert samples.labels.feature_dims == tuple(rest)
    assert ("clock" in samples.sample_coords) == ("time" in named)
    assert ("y" in samples.labels.coords) == ("y" in rest)
    assert "shot" in samples.sample_coords


CHUNKS = [{"time": 2}, {"time": 2, "y": 2}, {"time": 2, "run": 1, "x": 2}]


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("dims", ["time", ("time", "run"), ("y", "time")])
def test_lazy_rows_are_the_rows_in_memory(dims, chunks):
    expected = as_samples(FILM, dims).array
    samples = as_samples(FILM.chunk(chunks), dims)
    assert samples.is_lazy
    assert (samples.n_samples, samples.n_features) == expected.shape
    weights = np.arange(len(expected)) + 0.0
    rows, lazy_weights = flat_rows(samples, weights)
    assert rows.array.shape == expected.shape
    assert rows.array.numblocks[1] == 1
    assert rows.array.chunks[0] == lazy_weights.chunks[0]
    assert np.array_equal(rows.array.compute(), expected)
    assert np.array_equal(lazy_weights.compute(), weights)


def test_absent_sample_dimension_makes_one_sample():
    for step in (FILM[2], FILM[2].chunk(y=2)):
        samples = as_samples(step, "time")
        assert (samples.n_samples, samples.n_features) == (1, 24)
        assert np.array_equal(
            np.asarray(samples.array).reshape(1, 24), FILM[2].values.reshape(1, 24)
        )


def test_plain_arrays_are_taken_as_they_are():
    X = np.ones((4, 3))
    assert as_samples(X).array is X
    lazy = da.from_array(X)
    assert as_samples(lazy).array is lazy
    assert as_samples(da.ones((4, 3), dtype=np.float32)).array.dtype == np.float32
    for dtype in (int, bool, np.float16, np.uint8):
        assert as_samples(da.ones((4, 3), dtype=dtype)).array.dtype == np.float64


def test_blocks_become_matrices():
    block = np.arange(24.0).reshape(2, 3, 4)
    assert np.array_equal(flatten(block, 1), block.reshape(2, 12))
    assert np.array_equal(flatten(block, 2), block.reshape(6, 4))
    matrix = np.ones((3, 4))
    assert flatten(matrix, 1) is matrix


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (FILM.to_dataset(name="n"), TypeError, r"X is an xarray.Dataset of \['n'\]; pass one var"),
        (da.ones(4), ValueError, r"a Dask array of shape \(4,\); use X\[:, None\]"),
        (da.ones((4, 2)) * 1j, ValueError, "X has dtype complex128; pass real and imaginary"),
        (da.from_array(np.full((4, 2), "a")), TypeError, "X has dtype <U1; pass numbers"),
        (da.ones((4, 2))[da.ones(4) > 0], ValueError, "unknown chunk sizes.*compute_chunk_sizes"),
    ],
    ids=["Dataset", "1D", "complex", "words", "unknown"],
)
def test_what_is_no_samples_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        as_samples(X)
