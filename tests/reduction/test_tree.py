"""Chunks reduce to what one array in memory folds to, the same to the last bit anywhere."""

import functools

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_exa.reduction.fold import fold
from dask_exa.reduction.tree import tree
from dask_exa.summaries import Reducer, moments
from dask_exa.testing.strategies import cuts, matrices
from dask_exa.testing.strategies import sample_weights as weights
from tests import naive

SCATTER = Reducer(functools.partial(moments.summarize, pairs=True), moments.merge)


def rows_of(X, sample_weight):
    return tuple(zip(X[:, 0], X[:, 0] if sample_weight is None else sample_weight, strict=True))


# Not commutative: which rows were seen, in which order.
ROWS = Reducer(rows_of, lambda summaries: sum(summaries, ()))


def chunked(X, sizes):
    return da.from_array(X, chunks=(sizes, X.shape[1:]))


@pytest.fixture(params=["threads", "synchronous"])
def scheduler(request):
    with dask.config.set(scheduler=request.param):
        yield request.param


@settings(max_examples=40)
@given(data=st.data(), split_every=st.integers(2, 9))
def test_tree_equals_fold_equals_oracle(data, split_every):
    X = data.draw(matrices(offsets=(0.0, 10.0)))
    w = data.draw(weights(len(X)))
    sizes = data.draw(cuts(len(X), empty=True))
    lazy_w = None if w is None else da.from_array(w, chunks=(sizes,))
    with dask.config.set(scheduler="synchronous"):
        summary = tree(SCATTER, chunked(X, sizes), lazy_w, split_every=split_every)
    folded = fold(SCATTER, X, w)
    weight, mean, scatter = naive.moments(X, w)
    for result in (summary, folded):
        np.testing.assert_allclose(result.weight, weight, rtol=1e-13)
        np.testing.assert_allclose(result.mean, mean, rtol=1e-12, atol=1e-14)
        atol = 1e-11 * max(np.trace(scatter), 1e-3 * weight)
        np.testing.assert_allclose(result.m2, scatter, rtol=0, atol=atol)
        assert result.n_samples == len(X)


@pytest.mark.parametrize("split_every", [2, 3, 8])
@pytest.mark.parametrize("n_chunks", [1, 2, 8, 9, 26])
def test_every_row_is_seen_once_and_in_order(n_chunks, split_every, scheduler):
    X = np.arange(130.0)[:, None]
    lazy = da.from_array(X, chunks=(-(-130 // n_chunks), 1))
    expected = tuple((float(i), float(i)) for i in range(130))
    assert tree(ROWS, lazy, split_every=split_every) == expected
    assert tree(ROWS, lazy, lazy[:, 0], start=("start",)) == ("start", *expected)


def test_empty_chunks_are_passed_over(scheduler):
    X = np.arange(6.0)[:, None]
    seen = tree(ROWS, chunked(X, (0, 0, 2, 0, 4, 0)), split_every=2)
    assert seen == tuple((float(i), float(i)) for i in range(6))


def test_no_samples_at_all_are_refused(scheduler):
    with pytest.raises(ValueError, match="X has no samples in any of its 3 chunks"):
        tree(SCATTER, chunked(np.empty((0, 2)), (0, 0, 0)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_error_names_the_chunk(scheduler):
    X = np.ones((50, 2))
    X[37, 1] = np.nan
    with pytest.raises(ValueError, match=r"In chunk 3 of the samples: X contains NaN") as caught:
        tree(SCATTER, chunked(X, (10,) * 5))
    assert "drop the samples" in str(caught.value)


def test_error_of_a_source_comes_through(scheduler):
    def load(i):
        if i == 2:
            raise OSError("disk 2 is gone")
        return np.ones((4, 3))

    parts = [da.from_delayed(dask.delayed(load)(i), (4, 3), float) for i in range(4)]
    with pytest.raises(OSError, match="disk 2 is gone"):
        tree(SCATTER, da.concatenate(parts))


def sources(X):
    """The same chunks from sources of every kind."""
    chunks = np.split(X, 10)
    delayed = [da.from_delayed(dask.delayed(np.array)(x), x.shape, x.dtype) for x in chunks]
    yield "from_array", da.from_array(X, chunks=(len(chunks[0]), -1))
    yield "delayed", da.concatenate(delayed)
    yield (
        "map_blocks",
        da.from_array(X / 2, chunks=(len(chunks[0]), -1)).map_blocks(lambda x: 2 * x),
    )
    yield "rechunked", da.from_array(X, chunks=(100, 20)).rechunk((len(chunks[0]), -1))
    yield "sliced", da.from_array(np.vstack([X, X]), chunks=(len(chunks[0]), -1))[: len(X)]
    yield "persisted", da.from_array(X, chunks=(len(chunks[0]), -1)).persist()


def bits(summary):
    return tuple(np.asarray(part).tobytes() for part in summary)


@pytest.fixture(scope="module")
def data():
    X = np.random.default_rng(0).normal(3, 2, (2000, 60))
    with dask.config.set(scheduler="synchronous"):
        reference = tree(SCATTER, da.from_array(X, chunks=(200, -1)))
    np.testing.assert_allclose(reference.m2, 1999 * np.cov(X.T), rtol=1e-11, atol=1e-8)
    return X, bits(reference)


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_threads_change_no_bit(data, n_threads):
    X, reference = data
    with dask.config.set(scheduler="threads", num_workers=n_threads):
        for _, lazy in sources(X):
            assert bits(tree(SCATTER, lazy)) == reference


@pytest.mark.slow
def test_processes_change_no_bit(data):
    X, reference = data
    with dask.config.set(scheduler="processes", num_workers=2):
        assert bits(tree(SCATTER, da.from_array(X, chunks=(200, -1)))) == reference


def test_two_workers_change_no_bit(client, data):
    X, reference = data
    for name, lazy in sources(X):
        assert bits(tree(SCATTER, lazy)) == reference, name


@pytest.mark.distributed
def test_one_worker_changes_no_bit(data):
    X, reference = data
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        assert bits(tree(SCATTER, da.from_array(X, chunks=(200, -1)))) == reference
        pieces = [da.from_array(X[:, :20], chunks=200), da.from_array(X[:, 20:], chunks=200)]
        assert bits(tree(SCATTER, da.concatenate(pieces, axis=1).rechunk((200, -1)))) == reference


def test_error_on_a_worker_names_the_chunk(client):
    X = np.ones((50, 2))
    X[37, 1] = np.nan
    with pytest.raises(ValueError, match="In chunk 3 of the samples: X contains NaN"):
        tree(SCATTER, chunked(X, (10,) * 5))


def test_futures_are_reduced_where_they_are(client, data):
    X, reference = data
    futures = client.scatter(np.split(X, 10))
    parts = [da.from_delayed(f, (200, 60), float) for f in futures]
    assert bits(tree(SCATTER, da.concatenate(parts))) == reference
    persisted = client.persist(da.from_array(X, chunks=(200, -1)))
    assert bits(tree(SCATTER, persisted)) == reference
