"""On a cluster: what moves between workers, where the basis stays, and what a lost worker costs."""

import collections
import os
import pickle
import signal
import time

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
import xarray as xr

from dask_exa.decomposition import IncrementalPCA
from tests import naive

K = 3


def spectrum(n_samples, n_features, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n_samples, 8)) * np.arange(8, 0, -1)
    return scores @ rng.standard_normal((8, n_features)) + 5


def make(block_info=None, n_features=None):
    """Make a chunk of samples where it is needed, from its place alone."""
    (start, stop), (left, right) = block_info[None]["array-location"]
    rng = np.random.default_rng(7)
    axes = rng.standard_normal((8, n_features))[:, left:right]
    scores = np.random.default_rng(start).standard_normal((stop - start, 8))
    return scores * np.arange(8, 0, -1) @ axes + 5


def made(shape, chunks, dtype=float):
    chunks = da.core.normalize_chunks(chunks, shape, dtype=dtype)
    meta = np.empty((0, 0), dtype=dtype)
    return da.map_blocks(make, chunks=chunks, n_features=shape[1], dtype=dtype, meta=meta)


def transfers(client):
    """Bytes and keys of all that workers have received from each other so far."""

    def log(dask_worker):
        entries = dask_worker.transfer_incoming_log
        return [(entry["total"], [str(key) for key in entry["keys"]]) for entry in entries]

    entries = [entry for log in client.run(log).values() for entry in log]
    return sum(total for total, _ in entries), [key for _, keys in entries for key in keys]


@pytest.fixture
def moved(client):
    """Bytes that workers have sent each other since the test began."""
    before = transfers(client)[0]
    return lambda: transfers(client)[0] - before


@pytest.fixture
def moved_keys(client):
    """Names of what workers have sent each other since the test began."""
    before = collections.Counter(transfers(client)[1])
    return lambda: collections.Counter(transfers(client)[1]) - before


def assert_exact(model, X, atol=1e-9):
    exact = naive.pca(X, K)
    axes = np.asarray(model.components_)
    np.testing.assert_allclose(axes.reshape(K, -1), exact.components, atol=atol)
    np.testing.assert_allclose(model.singular_values_, exact.singular_values, rtol=1e-9)
    np.testing.assert_allclose(np.asarray(model.mean_).ravel(), exact.mean, rtol=1e-11)
    assert model.n_samples_seen_ == len(X)


@pytest.mark.parametrize("chunks", [(50, 60), (50, 15), (400, 15), (7, 60), (400, 60)], ids=str)
@pytest.mark.parametrize("kind", ["lazy", "persisted", "futures"])
def test_every_layout_is_exact(client, chunks, kind):
    lazy = made((400, 60), chunks)
    X = lazy.compute(scheduler="synchronous")
    if kind == "persisted":
        lazy = client.persist(lazy)
    elif kind == "futures":
        grid = [
            [client.submit(np.asarray, X[r : r + chunks[0], c : c + chunks[1]], pure=False)
             for c in range(0, 60, chunks[1])]
            for r in range(0, 400, chunks[0])
        ]  # fmt: skip
        lazy = da.block(
            [
                [da.from_delayed(f, (min(chunks[0], 400 - i * chunks[0]), chunks[1]), float)
                 for f in row]
                for i, row in enumerate(grid)
            ]
        )  # fmt: skip
    model = IncrementalPCA(K).fit(lazy)
    assert_exact(model, X)
    scores = model.transform(lazy)
    assert isinstance(scores, da.Array)
    expected = (X - X.mean(axis=0)) @ naive.pca(X, K).components.T
    np.testing.assert_allclose(scores.compute(), expected, atol=1e-8)


def test_repeats_to_the_last_bit_on_any_placement(client):
    """As the threads of one process, and as itself."""
    for chunks in ((40, 60), (100, 15)):
        lazy = made((400, 60), chunks)
        models = [IncrementalPCA(K, solver="gram").fit(lazy) for _ in range(3)]
        with dask.config.set(scheduler="threads"):
            models.append(IncrementalPCA(K, solver="gram").fit(lazy))
            local = np.asarray(models[-1].components_)
        for model in models[:-1]:
            assert np.array_equal(np.asarray(model.components_), local)
            assert np.array_equal(model.singular_values_, models[-1].singular_values_)


def test_rows_move_states_only(client, moved):
    lazy = made((32_000, 50), (1000, 50))
    model = IncrementalPCA(K)
    assert least_moved(moved, lambda: model.fit(lazy)) <= 0.01 * lazy.nbytes
    assert model.n_samples_seen_ == 32_000
    X = lazy.compute(scheduler="synchronous")
    np.testing.assert_allclose(model.var_, X.var(axis=0), rtol=1e-10)


def test_rows_that_are_on_workers_stay_there(client, moved, moved_keys):
    n_chunks, n_features = 32, 50
    lazy = client.persist(made((32_000, n_features), (1000, n_features)))
    distributed.wait(lazy)
    model = IncrementalPCA(K).fit(lazy)
    assert all(key.startswith("('exa-") for key in moved_keys()), "a chunk has moved"
    assert moved() <= n_chunks * 8 * n_features**2
    X = lazy.compute()
    np.testing.assert_allclose(model.var_, X.var(axis=0), rtol=1e-10)


def least_moved(moved, act):
    """Bytes that something moves once Dask knows how long its tasks take.

    Before it does, or when other programs keep a worker busy, Dask lends its tasks to idle ones.
    """
    totals = [moved()]
    for _ in range(3):
        act()
        totals.append(moved())
    return min(np.diff(totals))


def test_columns_move_gram_matrices_only(client, moved):
    wide = made((32, 40_000), (8, 5000))
    model = IncrementalPCA(K)
    assert least_moved(moved, lambda: model.fit(wide)) <= 0.01 * wide.nbytes
    X = wide.compute(scheduler="synchronous")
    exact = naive.pca(X, K)
    np.testing.assert_allclose(model.singular_values_, exact.singular_values, rtol=1e-9)
    scores = model.transform(wide)
    assert least_moved(moved, scores.compute) <= 0.01 * wide.nbytes
    expected = (X - exact.mean) @ exact.components.T
    np.testing.assert_allclose(scores.compute(), expected, atol=1e-7)


def test_columns_keep_their_slabs_where_they_are(client, moved):
    """Steps of a stream find their slab of the basis on the worker that made it."""
    steps = [made((8, 80_000), (8, 10_000)) * (1 + i) for i in range(6)]
    model = IncrementalPCA(K).partial_fit(steps[0])
    places = None
    for step in steps[1:]:
        model.partial_fit(step)
        slabs = model._state.summary.slabs
        assert all(isinstance(slab, distributed.Future) for slab in slabs)
        distributed.wait(slabs)
        found = [client.who_has([slab])[slab.key] for slab in slabs]
        assert places is None or found == places, "a slab has moved"
        places = found
    assert len({place for (place,) in places}) == 2, "one worker has all of the basis"
    assert moved() <= 0.02 * sum(step.nbytes for step in steps)


def test_components_are_arrays_of_what_workers_hold(client, moved):
    X = spectrum(40, 4000)
    model = IncrementalPCA(K).fit(da.from_array(X, chunks=(40, 1000)))
    components = model.components_
    assert isinstance(components, da.Array)
    assert components.chunks == ((K,), (1000,) * 4)
    before = moved()
    norms = (components**2).sum(axis=1).compute()
    np.testing.assert_allclose(norms, 1, rtol=1e-12)
    assert moved() - before < 10_000
    assert_exact(model, X)


def test_labelled_fields_on_workers(client):
    X = spectrum(40, 48)
    film = xr.DataArray(X.reshape(40, 8, 6), dims=("time", "y", "x")).chunk(time=10, y=4, x=3)
    model = IncrementalPCA(K, sample_dims="time").fit(film)
    assert model.components_.chunksizes == {"component": (K,), "y": (4, 4), "x": (3, 3)}
    assert_exact(model, X)
    fields = model.inverse_transform(model.transform(film))
    exact = naive.pca(X, K)
    expected = (X - exact.mean) @ exact.components.T @ exact.components + exact.mean
    np.testing.assert_allclose(fields.values.reshape(40, -1), expected, atol=1e-9)


def test_large_basis_in_memory_is_sent_once(client):
    n_features = 60_000  # 1.4 MB of components: too much to go with every task
    lazy = made((40, n_features), (4, n_features))
    X = lazy.compute(scheduler="synchronous")
    model = IncrementalPCA(K).fit(X)
    scores = model.transform(lazy.rechunk((4, 15_000)))
    sizes = [len(pickle.dumps(task)) for task in dict(scores.__dask_graph__()).values()]
    assert max(sizes) < 200_000
    np.testing.assert_allclose(scores.compute(), model.transform(X), atol=1e-8)


def test_models_merge_where_their_slabs_are(client, moved):
    wide = made((32, 40_000), (8, 5000))
    parts = [IncrementalPCA(K).fit(part) for part in (wide[:16], wide[16:])]
    merged = parts[0] | parts[1]
    assert least_moved(moved, lambda: parts[0] | parts[1]) <= 0.02 * wide.nbytes
    X = wide.compute(scheduler="synchronous")
    exact = naive.pca(X, K).singular_values
    np.testing.assert_allclose(merged.singular_values_, exact, rtol=1e-9)


def test_checkpoint_is_written_by_the_workers(client, moved, tmp_path):
    wide = made((32, 40_000), (8, 5000))
    model = IncrementalPCA(K).fit(wide[:16])
    assert least_moved(moved, lambda: model.save(tmp_path / "state")) <= 1000
    again = IncrementalPCA.load(tmp_path / "state")
    assert all(isinstance(slab, distributed.Future) for slab in again._state.summary.slabs)
    for one in (model, again):
        one.partial_fit(wide[16:])
    assert np.array_equal(again.singular_values_, model.singular_values_)
    assert np.array_equal(again.components_.compute(), model.components_.compute())


def test_nothing_is_left_on_the_cluster(client):
    def tasks(dask_scheduler):
        return len(dask_scheduler.tasks)

    before = client.run_on_scheduler(tasks)
    for chunks in ((50, 60), (50, 15)):
        model = IncrementalPCA(K).fit(made((400, 60), chunks))
        model.transform(made((400, 60), chunks)).compute()
    del model
    for _ in range(100):
        if client.run_on_scheduler(tasks) <= before:
            break
        time.sleep(0.05)
    assert client.run_on_scheduler(tasks) <= before


def test_error_on_a_worker_leaves_the_state(client):
    X = spectrum(40, 12)
    model = IncrementalPCA(K).fit(da.from_array(X, chunks=(10, 12)))
    before = pickle.dumps(model._state.summary)
    X[33, 5] = np.nan
    with pytest.raises(ValueError, match="In chunk 3 of the samples: X contains NaN"):
        model.partial_fit(da.from_array(X, chunks=(10, 12)))
    assert pickle.dumps(model._state.summary) == before


def kill_once(block, mark, block_info=None):
    """Kill the worker that makes the fourth chunk, the first time that it does so."""
    if block_info[0]["chunk-location"][0] == 3:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return block
        os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.distributed
@pytest.mark.parametrize("chunks", [(10, 12), (10, 6)], ids=["rows", "columns"])
def test_fit_survives_a_killed_worker(chunks, tmp_path):
    X = spectrum(80, 12)
    mark = str(tmp_path / "killed")
    with (
        dask.config.set({"distributed.comm.retry.count": 0}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        source = da.from_array(X, chunks=chunks).map_blocks(kill_once, mark, dtype=float)
        model = IncrementalPCA(K).fit(source)
        assert os.path.exists(mark), "nobody was killed"
        assert_exact(model, X)
