"""PerBlock: one model per block, where the block is, and one of all when asked for."""

import pickle
import subprocess
import sys

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDOneClassSVM

from dask_exa.anomaly import IsolationForest
from dask_exa.compose import PerBlock
from dask_exa.decomposition import IncrementalPCA

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1200, 3)) + np.repeat(np.arange(4) * 8.0, 300)[:, None]
ROWS = da.from_array(X, chunks=(300, 3))
FOREST = IsolationForest(n_estimators=20, max_samples=64, random_state=0)
FILM = xr.DataArray(
    RNG.standard_normal((24, 8, 6)) * np.arange(1, 9)[:, None],
    dims=("time", "y", "x"),
    coords={"time": np.arange(24) * 0.5},
)
BLOCKS = {"time": 5, "y": 4, "x": 3}


def one_by_one(estimator, parts):
    models = []
    for number, part in enumerate(parts):
        model = clone(estimator)
        if "stream" in model.get_params():
            model.set_params(stream=number)
        models.append(model.partial_fit(part))
    return models


def blocks_of_film():
    return [FILM.values[:, y : y + 4, x : x + 3].reshape(24, -1) for y in (0, 4) for x in (0, 3)]


def test_every_block_of_rows_has_a_model_of_its_own():
    model = PerBlock(FOREST).fit(ROWS)
    parts = np.split(X, 4)
    alone = one_by_one(FOREST, parts)
    assert model.n_blocks_ == (4, 1)
    scores = model.score_samples(ROWS)
    assert isinstance(scores, da.Array)
    assert scores.chunks == ((300,) * 4,)
    expected = [one.score_samples(part) for one, part in zip(alone, parts, strict=True)]
    np.testing.assert_array_equal(scores.compute(), np.concatenate(expected))
    for method in ("predict", "decision_function"):
        expected = [getattr(one, method)(part) for one, part in zip(alone, parts, strict=True)]
        found = getattr(model, method)(ROWS)
        np.testing.assert_array_equal(found.compute(), np.concatenate(expected))
        assert found.dtype == np.concatenate(expected).dtype


@pytest.mark.parametrize("chunks", [BLOCKS, {"time": -1, "y": 4, "x": 3}], ids=str)
def test_blocks_of_features_learn_their_part_of_every_step(chunks):
    estimator = SGDOneClassSVM(random_state=0)
    film = FILM.chunk(chunks)
    model = PerBlock(estimator, sample_dims="time").fit(film)
    assert model.n_blocks_ == (2, 2)
    scores = model.score_samples(film)
    assert scores.dims == ("time", "y", "x")
    assert scores.shape == (24, 2, 2)
    np.testing.assert_array_equal(scores.time, FILM.time)
    for place, part in zip(np.ndindex(2, 2), blocks_of_film(), strict=True):
        alone = clone(estimator)
        for step in np.split(part, np.cumsum(film.chunksizes["time"])[:-1]):
            alone.partial_fit(step)
        np.testing.assert_allclose(
            scores.values[(slice(None), *place)], alone.score_samples(part), rtol=1e-12
        )


def test_stream_of_steps_is_one_fit():
    estimator = IncrementalPCA(2)
    whole = PerBlock(estimator, sample_dims="time").fit(FILM.chunk(BLOCKS))
    stream = PerBlock(estimator, sample_dims="time")
    for step in range(24):
        stream.partial_fit(FILM.isel(time=step).chunk({"y": 4, "x": 3}))
    for one, other in zip(stream.estimators_.flat, whole.estimators_.flat, strict=True):
        assert one.n_samples_seen_ == 24
        np.testing.assert_allclose(one.singular_values_, other.singular_values_, rtol=1e-10)


def test_blocks_merge_into_the_model_of_everything():
    whole = PerBlock(FOREST).fit(ROWS).merge_blocks()
    ranks = one_by_one(FOREST, np.split(X, 4))
    expected = clone(FOREST).merge(*ranks)
    np.testing.assert_array_equal(whole.score_samples(X), expected.score_samples(X))
    pca = PerBlock(IncrementalPCA(2)).fit(ROWS).merge_blocks()
    np.testing.assert_allclose(
        pca.singular_values_, IncrementalPCA(2).fit(X).singular_values_, rtol=1e-10
    )


def test_models_of_two_runs_merge_block_by_block():
    first, second = PerBlock(IncrementalPCA(2)).fit(ROWS), PerBlock(IncrementalPCA(2)).fit(2 * ROWS)
    merged = PerBlock(IncrementalPCA(2)).merge(first, second)
    for i, model in enumerate(merged.estimators_.flat):
        part = X[300 * i : 300 * i + 300]
        expected = IncrementalPCA(2).fit(np.concatenate([part, 2 * part]))
        np.testing.assert_allclose(model.singular_values_, expected.singular_values_, rtol=1e-10)
        assert first.estimators_.flat[i].n_samples_seen_ == 300
    with pytest.raises(ValueError, match=r"models of \(2, 1\) blocks into models of \(4, 1\)"):
        first.merge(PerBlock(IncrementalPCA(2)).fit(ROWS.rechunk((600, 3))))


def test_array_in_memory_is_one_block():
    model = PerBlock(FOREST).fit(X)
    assert model.n_blocks_ == (1, 1)
    np.testing.assert_array_equal(model.predict(X), clone(FOREST).fit(X).predict(X))
    scores = PerBlock(SGDOneClassSVM(), sample_dims="time").fit(FILM).score_samples(FILM)
    assert scores.dims == ("time",)
    assert isinstance(scores.data, np.ndarray)


def test_query_planning_mode_gives_the_same():
    script = (
        "import dask, sys; dask.config.set({'array.query-planning': True})\n"
        "import dask.array as da, numpy as np\n"
        "from dask_exa.compose import PerBlock\n"
        "from dask_exa.decomposition import IncrementalPCA\n"
        "from dask_exa.anomaly import IsolationForest\n"
        "X = np.random.default_rng(0).standard_normal((60, 3))\n"
        "lazy = da.from_array(X, chunks=(20, 3))\n"
        "model = PerBlock(IsolationForest(random_state=0)).fit(lazy)\n"
        "scores = model.score_samples(lazy).compute()\n"
        "alone = IsolationForest(random_state=0, stream=2).fit(X[40:])\n"
        "assert np.array_equal(scores[40:], alone.score_samples(X[40:]))\n"
        "assert model.merge_blocks().n_samples_seen_ == 60\n"
        "print('same')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "same\n", done.stderr


def test_models_stay_on_their_workers(client):
    film = FILM.chunk(BLOCKS)
    model = PerBlock(FOREST, sample_dims="time").fit(film)
    assert all(isinstance(handle, distributed.Future) for handle in model._models)
    model.partial_fit(film)
    with dask.config.set(scheduler="synchronous"):
        expected = PerBlock(FOREST, sample_dims="time").fit(film).partial_fit(film)
    np.testing.assert_array_equal(
        model.score_samples(film).values, expected.score_samples(film).values
    )
    assert model.merge_blocks().n_samples_seen_ == 4 * 48
    resumed = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(resumed.predict(film).values, expected.predict(film).values)


def test_no_chunk_moves(client):
    def log():
        logs = client.run(
            lambda dask_worker: [e["total"] for e in dask_worker.transfer_incoming_log]
        )
        return sum(sum(entries) for entries in logs.values())

    def make(block_info=None):
        (start, stop), _ = block_info[None]["array-location"]
        return np.random.default_rng(start).standard_normal((stop - start, 50))

    lazy = da.map_blocks(make, chunks=((4000,) * 4, (50,)), dtype=float, meta=np.empty((0, 0)))
    model = PerBlock(IncrementalPCA(3)).fit(lazy)
    before = log()
    model.partial_fit(lazy)
    assert log() - before < 0.01 * lazy.nbytes


def test_bad_values_name_their_block_and_change_nothing():
    broken = X.copy()
    broken[700, 1] = np.nan
    model = PerBlock(IncrementalPCA(2)).fit(ROWS)
    with pytest.raises(ValueError, match=r"In block \(2, 0\): "):
        model.partial_fit(da.from_array(broken, chunks=(300, 3)))
    assert [one.n_samples_seen_ for one in model.estimators_.flat] == [300] * 4


def test_bad_values_on_workers_name_their_block(client):
    broken = X.copy()
    broken[700, 1] = np.nan
    model = PerBlock(IncrementalPCA(2)).fit(ROWS)
    with pytest.raises(ValueError, match=r"In block \(2, 0\): "):
        model.partial_fit(da.from_array(broken, chunks=(300, 3)))
    assert [one.n_samples_seen_ for one in model.estimators_.flat] == [300] * 4


def test_other_grids_are_refused():
    model = PerBlock(FOREST).fit(ROWS)
    for call in (model.partial_fit, model.predict):
        with pytest.raises(ValueError, match=r"X has \(2, 1\) blocks, the models \(4, 1\)"):
            call(ROWS.rechunk((600, 3)))
    with pytest.raises(ValueError, match=r"block_dims='z' names \['z'\] but X has the"):
        PerBlock(FOREST, block_dims="z").fit(FILM)
    with pytest.raises(ValueError, match="block_dims='y' but X has no names"):
        PerBlock(FOREST, block_dims="y").fit(X)


def test_blocks_may_be_told_apart_by_one_dimension_only():
    film = FILM.chunk({"time": -1, "y": 4, "x": 3})
    model = PerBlock(SGDOneClassSVM(), sample_dims="time", block_dims="y").fit(
        film.chunk({"x": -1})
    )
    assert model.n_blocks_ == (2,)
    assert model.score_samples(film).dims == ("time", "y")


def test_estimators_without_partial_fit_learn_one_chunk():
    model = PerBlock(KMeans(2, n_init=1, random_state=0)).fit(ROWS)
    expected = [
        KMeans(2, n_init=1, random_state=0).fit(part).predict(part) for part in np.split(X, 4)
    ]
    np.testing.assert_array_equal(model.predict(ROWS).compute(), np.concatenate(expected))
    assert not hasattr(model, "partial_fit")
    assert not hasattr(model, "score_samples")


def test_unfitted_models_say_so():
    model = PerBlock(FOREST)
    for call in (lambda: model.predict(X), model.merge_blocks):
        with pytest.raises(NotFittedError):
            call()
    assert not hasattr(model, "estimators_")
