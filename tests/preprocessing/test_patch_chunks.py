"""Patches of Dask arrays: made where the chunks are, in any chunks, in little memory."""

import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from dask_exa.preprocessing import PatchExtractor
from tests.preprocessing.films import box as film
from tests.preprocessing.films import run_with_query_planning

PADDINGS = ("none", "wrap", "reflect")


@settings(max_examples=15)
@drawn(data=st.data())
def test_any_chunks_give_the_same(data):
    X = film(3)
    padding = data.draw(st.sampled_from(PADDINGS))
    size = data.draw(st.tuples(st.integers(1, 10), st.integers(1, 9)))
    stride = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    chunks = {dim: data.draw(st.integers(2, n)) for dim, n in X.sizes.items()}
    lazy = X.chunk(chunks)
    whole = PatchExtractor(size, stride=stride, padding=padding).fit(X)
    tiled = PatchExtractor(size, stride=stride, padding=padding).fit(lazy)
    with dask.config.set(scheduler="synchronous"):
        rows = tiled.transform(lazy)
        order = np.lexsort((*tiled.positions_.T[::-1], np.zeros(len(tiled.positions_))))
        np.testing.assert_array_equal(tiled.positions_[order], whole.positions_)
        np.testing.assert_array_equal(rows, tiled.transform(X))  # in memory, in the same order
        keys = np.lexsort((rows.coords["x"], rows.coords["y"], rows.coords["time"]))
        np.testing.assert_array_equal(rows.values[keys], whole.transform(X).values)
        back = tiled.inverse_transform(rows).values
        np.testing.assert_allclose(back, whole.inverse_transform(whole.transform(X)), rtol=1e-13)
        np.testing.assert_allclose(tiled.inverse_transform(rows.values), back, rtol=1e-13)
        labels = np.arange(len(rows))
        np.testing.assert_array_equal(
            tiled.unstack_samples(rows[:, 0]), tiled.unstack_samples(rows.values[:, 0])
        )
        found = tiled.unstack_samples(labels)
        assert found.dims == ("time", "y", "x")
        starts = {dim: np.unique(tiled.positions_[:, i]) for i, dim in enumerate(("y", "x"))}
        first = X.isel(starts)
        np.testing.assert_array_equal(tiled.unstack_samples(rows.values[:, 0]), first)


def test_lazy_patches_stay_with_their_chunk():
    X = film(4, y=12, x=12).chunk(time=2, y=6, x=4)
    patches = PatchExtractor({"y": 4, "x": 4}, padding="wrap").fit(X)
    rows = patches.transform(X)
    assert rows.chunks[0] == (2 * 3 * 2,) * 12
    assert dask.is_dask_collection(rows.coords["x"].data)
    graph = dict(rows.data.__dask_graph__())
    names = [str(key[0]) for key in graph]
    ours = [name for name in names if name.startswith("exa-cut_region-")]
    assert sum(not name.endswith("-cut") for name in ours) == 12
    assert patches.inverse_transform(rows).chunks == X.chunks


def test_only_halos_are_cut():
    X = film(4, y=12, x=12).chunk(time=2, y=6, x=4)
    rows = PatchExtractor({"y": 4, "x": 4}, padding="wrap").fit(X).transform(X)
    graph = dict(rows.data.__dask_graph__())
    cuts = [key for key in graph if str(key[0]).endswith("-cut")]
    parts = dask.get(graph, cuts)
    assert max(part.size for part in parts) <= 2 * 6 * 2
    # a chunk of 6 × 4 with halos of 2: one below, one beside it, one corner
    assert sum(part.size for part in parts) == 12 * 2 * (2 * 4 + 6 * 2 + 2 * 2)


def test_nothing_is_computed():
    def fail(block):
        raise AssertionError("computed")

    lazy = da.zeros((4, 12, 12), chunks=(2, 6, 6)).map_blocks(fail, meta=np.empty((0, 0, 0)))
    X = film(4, y=12, x=12).copy(data=lazy)
    patches = PatchExtractor(4).fit(X).partial_fit(X)
    rows = patches.transform(X)
    patches.inverse_transform(rows)
    patches.unstack_samples(rows[:, 0])


def test_memory_is_that_of_a_few_chunks():
    field = da.random.default_rng(0).random((32, 96, 96), chunks=(1, 96, 96))
    patches = PatchExtractor(8, stride=2, padding="wrap").fit(field)
    chunk = 48 * 48 * 64 * 8  # bytes of the patches of one chunk
    with dask.config.set(scheduler="synchronous"):
        tracemalloc.start()
        total = patches.inverse_transform(patches.transform(field)).sum().compute()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == pytest.approx(field.sum().compute())
    assert peak < 8 * chunk < 32 * chunk


def test_query_planning_mode_gives_the_same():
    script = (
        "from dask_exa.preprocessing import PatchExtractor\n"
        "values = np.random.default_rng(0).standard_normal((4, 2, 9, 8))\n"
        "X = xr.DataArray(values, dims=('t', 'z', 'y', 'x'), coords={'t': np.arange(4.0)})\n"
        "lazy = X.chunk(t=3, y=4, x=3)\n"
        "for padding in ('none', 'wrap', 'reflect'):\n"
        "    for samples in (None, 't'):\n"
        "        patches = PatchExtractor({'y': 3, 'x': 4}, padding=padding, sample_dims=samples)\n"
        "        rows = patches.fit_transform(lazy)\n"
        "        assert rows.chunks is not None\n"
        "        xr.testing.assert_identical(rows.compute(), patches.transform(X))\n"
        "        back = patches.inverse_transform(rows).compute()\n"
        "        xr.testing.assert_allclose(back, X)\n"
        "        patches.unstack_samples(rows[:, 0]).compute()\n"
    )
    run_with_query_planning(script)


def test_distributed_patches_are_the_same(client):
    X = film(4, y=24, x=24)
    lazy = X.chunk(time=2, y=12, x=8)
    patches = PatchExtractor({"y": 6, "x": 6}, padding="wrap").fit(lazy)
    rows = patches.transform(lazy)
    xr.testing.assert_identical(rows.compute(), patches.transform(X))
    xr.testing.assert_allclose(patches.inverse_transform(rows).compute(), X)
