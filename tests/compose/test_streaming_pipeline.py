"""StreamingPipeline: the steps of scikit-learn's pipeline, learnt in pieces, anywhere."""

import functools
import pickle

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask._task_spec import Alias, DataNode
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler as SklearnScaler

from dask_exa.cluster import MiniBatchKMeans
from dask_exa.compose import StreamingPipeline, make_streaming_pipeline
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import FieldStacker, StandardScaler

RNG = np.random.default_rng(0)
N = 960
X = RNG.standard_normal((N, 6)) @ RNG.standard_normal((6, 6)) * np.arange(1, 7) + 10
X[N // 2 :] = 3 * X[N // 2 :] + 40  # the scale moves on while the stream runs
X[N // 2 :, 0] *= 5
LAZY = da.from_array(X, chunks=(120, -1))
LABELLED = xr.DataArray(
    X.reshape(N, 2, 3), dims=("time", "y", "x"), coords={"time": np.arange(N) * 0.5}
)


def scale_reduce(n_components=3, **params):
    return StreamingPipeline(
        [("scale", StandardScaler()), ("reduce", IncrementalPCA(n_components, **params))]
    )


def scale_reduce_cluster(**params):
    steps = [*scale_reduce().steps, ("cluster", MiniBatchKMeans(4, random_state=0))]
    return StreamingPipeline(steps, **params)


def reference(n_components=3):
    return make_pipeline(SklearnScaler(), PCA(n_components)).fit(X)


def assert_same_components(pipeline, expected, rtol=1e-9):
    """Components are equal but for their signs, as are the variances."""
    ours, theirs = pipeline[-1], expected[-1]
    np.testing.assert_allclose(
        ours.explained_variance_, theirs.explained_variance_, rtol=rtol, atol=0
    )
    overlap = np.abs(np.sum(ours.components_ * theirs.components_, axis=1))
    np.testing.assert_allclose(overlap, 1, rtol=rtol)
    np.testing.assert_allclose(pipeline[0].scale_, expected[0].scale_, rtol=rtol)


def snapshot(pipeline):
    return pickle.dumps([vars(step) for _, step in pipeline.steps])


def test_it_is_a_pipeline():
    pipeline = scale_reduce()
    assert isinstance(pipeline, Pipeline)
    assert isinstance(pipeline[:1], StreamingPipeline)
    assert pipeline["reduce"] is pipeline[1] is pipeline.named_steps.reduce
    assert "StandardScaler" in pipeline._repr_html_()
    made = make_streaming_pipeline(StandardScaler(), "passthrough", batch_size=7)
    assert [name for name, _ in made.steps] == ["standardscaler", "passthrough"]
    assert made.batch_size == 7


@pytest.mark.parametrize("kind", ["numpy", "pandas", "dask", "labelled", "lazy labelled"])
def test_fit_is_that_of_scikit_learn(kind):
    data = {
        "numpy": X,
        "pandas": pd.DataFrame(X, columns=list("abcdef")),
        "dask": LAZY,
        "labelled": LABELLED,
        "lazy labelled": LABELLED.chunk({"time": 120}),
    }[kind]
    pipeline = scale_reduce(6).fit(data)
    expected = reference(6)
    components = np.asarray(pipeline[-1].components_).reshape(6, 6)
    overlap = np.abs(np.sum(components * expected[-1].components_, axis=1))
    np.testing.assert_allclose(overlap, 1, rtol=1e-9)
    signs = np.sign(np.sum(components * expected[-1].components_, axis=1))
    found = pipeline.transform(data)
    np.testing.assert_allclose(np.asarray(found), signs * expected.transform(X), atol=1e-9)
    restored = np.asarray(pipeline.inverse_transform(found)).reshape(N, 6)
    np.testing.assert_allclose(restored, X, atol=1e-9)


@pytest.mark.parametrize("solver", ["scatter", "gram"])
@pytest.mark.parametrize("n_batches", [2, 40])
def test_a_stream_gives_what_one_fit_gives(n_batches, solver):
    pipeline = scale_reduce(solver=solver)
    for batch in np.array_split(X, n_batches):
        assert pipeline.partial_fit(batch) is pipeline
    assert_same_components(pipeline, reference())


def test_a_loop_over_the_steps_does_not():
    scaler, reducer = StandardScaler(), IncrementalPCA(3)
    for batch in np.array_split(X, 40):
        reducer.partial_fit(scaler.partial_fit(batch).transform(batch))
    overlap = np.abs(np.sum(reducer.components_ * reference()[-1].components_, axis=1))
    assert overlap.min() < 0.9


@pytest.mark.parametrize("solver", ["scatter", "gram"])
def test_merged_pipelines_are_one_fit(solver):
    ranks = [scale_reduce(solver=solver).fit(part) for part in np.array_split(X, 5)]
    before = [snapshot(rank) for rank in ranks]
    merged = ranks[0] | ranks[1]
    assert snapshot(ranks[0]) == before[0]
    assert merged.merge(*ranks[2:]) is merged
    assert [snapshot(rank) for rank in ranks] == before
    assert_same_components(merged, reference())


def test_three_affine_steps_merge_to_one_fit():
    def make():
        return make_streaming_pipeline(StandardScaler(), IncrementalPCA(6), IncrementalPCA(6))

    ranks = [make().fit(part) for part in np.array_split(X, 4)]
    merged = make().merge(*ranks)
    whole = make().fit(X)
    np.testing.assert_allclose(
        merged[2].explained_variance_, whole[2].explained_variance_, rtol=1e-9
    )
    np.testing.assert_allclose(
        merged.inverse_transform(merged.transform(X)), X, rtol=0, atol=1e-9 * np.abs(X).max()
    )


def test_unfitted_pipelines_are_the_identity_of_merging():
    fitted, blank = scale_reduce().fit(X), scale_reduce()
    for merged in (blank | fitted, fitted | blank, scale_reduce().merge(blank, fitted)):
        assert snapshot(merged) == snapshot(fitted)
    with pytest.raises(NotFittedError):
        (blank | blank).transform(X)


def test_clusters_stay_when_components_turn():
    """What is clustered lies in coordinates that turn with every batch."""
    random = np.random.default_rng(1)
    centers = 12 * random.standard_normal((4, 6))
    labels = random.integers(0, 4, 4000)
    samples = (centers[labels] + random.standard_normal((4000, 6))) * np.arange(1, 7)
    pipeline = scale_reduce_cluster()
    for batch in np.array_split(samples, 50):
        pipeline.partial_fit(batch)
    ideal = scale_reduce_cluster().fit(samples)
    assert pipeline.score(samples) / ideal.score(samples) < 1.02
    agreement = [np.bincount(pipeline.predict(samples[labels == i])).max() for i in range(4)]
    assert sum(agreement) > 0.99 * len(samples)


def test_merged_clusterings_are_close_to_one_fit():
    ranks = [scale_reduce_cluster().fit(part) for part in np.array_split(X, 4)]
    merged = scale_reduce_cluster().merge(*ranks)
    assert_same_components(merged[:2], reference())
    ideal = max(scale_reduce_cluster().set_params(cluster__random_state=i).fit(X).score(X)
                for i in range(5))  # fmt: skip
    assert merged.score(X) / ideal < 1.2


def n_tasks(lazy):
    graph = dict(dask.optimize(lazy)[0].__dask_graph__())
    return sum(not isinstance(task, DataNode | Alias) for task in graph.values())


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("method", ["transform", "predict"])
def test_a_chunk_is_transformed_in_one_task(method, whiten):
    pipeline = scale_reduce_cluster().set_params(reduce__whiten=whiten).fit(X)
    made = da.map_blocks(np.copy, LAZY)
    found = getattr(pipeline, method)(made)
    assert n_tasks(found) == LAZY.npartitions
    np.testing.assert_allclose(found.compute(), getattr(pipeline, method)(X), rtol=1e-9)


def read(folder, block_info=None):
    (start, stop), _ = block_info[None]["array-location"]
    with (folder / str(start)).open("a") as log:
        log.write("x")
    return X[start:stop].copy()


def counted(folder, chunk=120):
    """Return a lazy array whose chunks note in a folder that they are made."""
    chunks = ((chunk,) * (N // chunk), (6,))
    return da.map_blocks(
        functools.partial(read, folder), chunks=chunks, dtype=float, meta=np.empty((0, 0))
    )


def counts(folder):
    return [len(path.read_text()) for path in folder.iterdir()]


@pytest.mark.parametrize("batch_size", [None, 240, 1])
def test_every_chunk_is_read_once(tmp_path, batch_size):
    pipeline = scale_reduce_cluster(batch_size=batch_size).partial_fit(counted(tmp_path))
    assert counts(tmp_path) == [1] * 8
    assert pipeline[0].n_samples_seen_ == pipeline[2].n_samples_seen_ == N
    assert_same_components(pipeline[:2], reference())


@pytest.mark.parametrize("batch_size", [None, 240])
def test_every_chunk_is_read_once_on_workers(client, tmp_path, batch_size):
    pipeline = scale_reduce_cluster(batch_size=batch_size).partial_fit(counted(tmp_path))
    assert counts(tmp_path) == [1] * 8
    with dask.config.set(scheduler="synchronous"):
        expected = scale_reduce_cluster(batch_size=batch_size).partial_fit(LAZY)
    np.testing.assert_array_equal(pipeline.predict(X), expected.predict(X))
    np.testing.assert_array_equal(pipeline[2].cluster_centers_, expected[2].cluster_centers_)


def test_raw_chunks_stay_on_their_workers(client):
    def moved():
        logs = client.run(
            lambda dask_worker: sum(e["total"] for e in dask_worker.transfer_incoming_log)
        )
        return sum(logs.values())

    def make(block_info=None):
        (start, stop), _ = block_info[None]["array-location"]
        return np.random.default_rng(start).standard_normal((stop - start, 50)) + start

    lazy = da.map_blocks(make, chunks=((8000,) * 4, (50,)), dtype=float, meta=np.empty((0, 0)))
    pipeline = scale_reduce_cluster().partial_fit(lazy)
    before = moved()
    pipeline.partial_fit(lazy)
    assert moved() - before < 0.02 * lazy.nbytes


def test_groups_of_chunks_are_batches_of_a_stream():
    grouped = scale_reduce_cluster(batch_size=250).partial_fit(LAZY)
    stream = scale_reduce_cluster()
    for i in range(0, N, 240):
        stream.partial_fit(LAZY[i : i + 240])
    assert snapshot(grouped) == snapshot(stream)


def test_labels_come_out():
    labelled = LABELLED.chunk({"time": 120})
    pipeline = scale_reduce_cluster(batch_size=240).partial_fit(labelled)
    coefficients, clusters = pipeline[:2].transform(labelled), pipeline.predict(labelled)
    assert coefficients.dims == ("time", "component")
    assert clusters.dims == ("time",)
    np.testing.assert_array_equal(clusters["time"], LABELLED["time"])
    assert isinstance(clusters.data, da.Array)
    assert pipeline[0].mean_.dims == ("y", "x")
    plain = scale_reduce_cluster(batch_size=240).partial_fit(LAZY)
    np.testing.assert_array_equal(clusters.values, plain.predict(X))


def test_fields_are_stacked_scaled_and_reduced():
    """A Dataset is no samples, but its variables stacked are."""
    fields = xr.Dataset({"n": LABELLED, "potential": 2 * LABELLED + RNG.standard_normal((N, 2, 3))})

    def make(**params):
        return make_streaming_pipeline(
            FieldStacker("time"), StandardScaler(), IncrementalPCA(3), **params
        )

    stream, parts = make(), []
    for i in range(0, N, 240):
        parts.append(fields.isel(time=slice(i, i + 240)))
        stream.partial_fit(parts[-1])
    lazy = make().partial_fit(fields.chunk(time=120))
    merged = make().merge(*(make().fit(part) for part in parts))
    expected = make().fit(fields)[-1].explained_variance_
    for pipeline in (stream, lazy, merged):
        np.testing.assert_allclose(pipeline[-1].explained_variance_, expected, rtol=1e-9)


def test_lazy_data_frames_are_samples():
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abcdef")), npartitions=4)
    pipeline = scale_reduce().partial_fit(frame)
    assert_same_components(pipeline, reference())
    assert isinstance(pipeline.transform(frame), da.Array)
    assert list(pipeline.feature_names_in_) == list("abcdef")
