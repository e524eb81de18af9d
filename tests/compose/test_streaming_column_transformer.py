"""ColumnTransformers of scikit-learn and ours, with our estimators inside."""

import copy
import pickle

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.decomposition import IncrementalPCA as SklearnPCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler as SklearnScaler

from dask_exa import cluster
from dask_exa.compose import StreamingColumnTransformer, StreamingPipeline, make_streaming_pipeline
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler

RNG = np.random.default_rng(0)
N = 600
X = RNG.standard_normal((N, 6)) @ RNG.standard_normal((6, 6)) * np.arange(1, 7) + 10
X[N // 2 :] = 3 * X[N // 2 :] + 40
LAZY = da.from_array(X, chunks=(100, -1))
NAMES = list("abcdef")
FRAME = pd.DataFrame(X, columns=NAMES)
NUMBERS = [("scale", StandardScaler(), [0, 1]), ("reduce", IncrementalPCA(2), [2, 3, 5])]
BY_NAME = [("scale", StandardScaler(), ["a", "b"]), ("reduce", IncrementalPCA(2), ["c", "d", "f"])]


def reference(remainder="drop"):
    transformers = [("scale", SklearnScaler(), [0, 1]), ("reduce", PCA(2), [2, 3, 5])]
    return ColumnTransformer(transformers, remainder=remainder).fit(X)


def assert_same_transform(found, remainder="drop"):
    """Values are equal, those of components but for their sign."""
    expected = reference(remainder).transform(X)
    found = np.asarray(found)
    signs = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-9 * np.abs(expected).max())


def snapshot(columns):
    return pickle.dumps([vars(t) for _, t, _ in columns.transformers_ if hasattr(t, "_state")])


@pytest.mark.parametrize("remainder", ["drop", "passthrough"])
@pytest.mark.parametrize("cls", [ColumnTransformer, StreamingColumnTransformer])
def test_our_transformers_work_in_columns(cls, remainder):
    """In scikit-learn's class and in ours, on arrays, lazy arrays and data frames."""
    for data in (X, LAZY, FRAME):
        found = cls(NUMBERS, remainder=remainder).fit(data).transform(data)
        assert isinstance(found, da.Array) == (data is LAZY)
        assert_same_transform(found, remainder)
    by_name = cls(copy.deepcopy(BY_NAME), remainder=remainder).set_output(transform="pandas")
    by_name.fit(FRAME)
    found = by_name.transform(FRAME)
    assert list(found.columns) == list(by_name.get_feature_names_out())
    assert list(found.columns)[:3] == ["scale__a", "scale__b", "reduce__incrementalpca0"]
    assert_same_transform(found, remainder)


@pytest.mark.parametrize("transformers", [NUMBERS, BY_NAME], ids=["numbers", "names"])
@pytest.mark.parametrize("remainder", ["drop", "passthrough"])
def test_batches_are_one_fit(transformers, remainder):
    columns = StreamingColumnTransformer(transformers, remainder=remainder)
    for i in range(0, N, 75):
        assert columns.partial_fit(FRAME[i : i + 75]) is columns
    assert columns.named_transformers_["scale"].n_samples_seen_ == N
    assert_same_transform(columns.transform(FRAME), remainder)


def test_what_selects_columns_may_be_anything_that_scikit_learn_takes():
    ways = {
        "mask": [True, True, False, False, False, False],
        "slice": slice(0, 2),
        "slice of names": slice("a", "b"),
        "callable": make_column_selector("[ab]"),
        "array": np.array([0, 1]),
    }
    for columns in ways.values():
        found = StreamingColumnTransformer([("scale", StandardScaler(), columns)])
        for i in range(0, N, 200):
            found.partial_fit(FRAME[i : i + 200])
        expected = SklearnScaler().fit_transform(X[:, :2])
        np.testing.assert_allclose(found.transform(FRAME), expected, atol=1e-12)


def test_lazy_arrays_stay_lazy_and_in_one_chunk_of_features():
    columns = StreamingColumnTransformer(NUMBERS, remainder="passthrough").partial_fit(LAZY)
    found = columns.transform(LAZY)
    assert found.chunks == ((100,) * 6, (5,))
    assert_same_transform(found, "passthrough")


def test_lazy_data_frames_select_by_name():
    lazy = dd.from_pandas(FRAME, npartitions=4)
    columns = StreamingColumnTransformer(BY_NAME)
    columns.partial_fit(lazy.partitions[:2]).partial_fit(lazy.partitions[2:])
    found = columns.transform(lazy)
    assert isinstance(found, da.Array)
    assert_same_transform(found)
    assert_same_transform(columns.transform(FRAME))
    assert columns.transformers[0][2] == ["a", "b"]
    shuffled = lazy[["f", "e", "d", "c", "b", "a"]]
    assert_same_transform(columns.transform(shuffled))
    with pytest.raises(ValueError, match=r"columns are missing: \['a'\]"):
        columns.transform(lazy[["b", "c", "d", "e", "f"]])


@pytest.mark.parametrize("remainder", ["drop", "passthrough", StandardScaler()], ids=str)
def test_later_steps_follow_the_columns(remainder):
    """To the last digit where nothing is left out of the columns."""
    transformers = [NUMBERS[0], ("reduce", IncrementalPCA(3), [2, 3, 5])]

    def make():
        columns = StreamingColumnTransformer(transformers, remainder=remainder)
        return clone(make_streaming_pipeline(columns, IncrementalPCA(3)))

    whole, stream = make().fit(X), make()
    for batch in np.array_split(X, 6):
        stream.partial_fit(batch)
    merged = make().merge(*(make().fit(part) for part in np.array_split(X, 3)))
    lazy = make().set_params(batch_size=200).partial_fit(LAZY)
    expected = whole[1].explained_variance_
    for pipeline in (stream, merged, lazy):
        np.testing.assert_allclose(pipeline[1].explained_variance_, expected, rtol=1e-9)


def test_merging_is_one_fit_and_leaves_the_others():
    parts = [StreamingColumnTransformer(NUMBERS).fit(part) for part in np.array_split(X, 3)]
    before = [snapshot(part) for part in parts]
    merged = parts[0] | parts[1]
    assert [snapshot(part) for part in parts] == before
    merged.merge(parts[2], StreamingColumnTransformer(NUMBERS))
    assert_same_transform(merged.transform(X))
    taken = StreamingColumnTransformer(NUMBERS).merge(merged)
    np.testing.assert_array_equal(taken.transform(X), merged.transform(X))
    with pytest.raises(NotFittedError):
        StreamingColumnTransformer(NUMBERS).merge(StreamingColumnTransformer(NUMBERS)).transform(X)
    with pytest.raises(TypeError, match="cannot merge a StandardScaler"):
        merged.merge(StandardScaler())
    other = StreamingColumnTransformer(NUMBERS[:1]).fit(X)
    with pytest.raises(ValueError, match="cannot merge a model of the transformers"):
        merged.merge(other)


def test_forgetting_reaches_every_transformer():
    columns = StreamingColumnTransformer(NUMBERS).fit(X).forget(0.5)
    for transformer in columns.named_transformers_.values():
        weight = getattr(transformer, "_state", None)
        assert weight is None or weight.summary.weight == N / 2


def test_transformers_of_others_learn_too():
    transformers = [("scale", SklearnScaler(), [0, 1]), ("reduce", SklearnPCA(2), [2, 3, 5])]
    columns = StreamingColumnTransformer(transformers)
    for batch in np.array_split(X, 4):
        columns.partial_fit(batch)
    expected = SklearnScaler().fit(X[:, :2])
    np.testing.assert_allclose(columns.named_transformers_["scale"].mean_, expected.mean_)
    assert columns.named_transformers_["reduce"].n_samples_seen_ == N
    clusters = StreamingColumnTransformer([("c", MiniBatchKMeans(3, random_state=0), [0, 1])])
    clusters.partial_fit(X[:300])
    alone = MiniBatchKMeans(3, random_state=0).partial_fit(X[:300, :2])
    np.testing.assert_array_equal(clusters.transform(X), alone.transform(X[:, :2]))
    with pytest.raises(TypeError, match="step 'c' is a MiniBatchKMeans, which has no merge"):
        clusters.merge(clusters)


def test_what_only_fits_is_refused():
    columns = StreamingColumnTransformer([("pca", PCA(2), [0, 1, 2])])
    with pytest.raises(TypeError, match="step 'pca' is a PCA, which has no partial_fit"):
        columns.partial_fit(X)
    plain = make_streaming_pipeline(ColumnTransformer(NUMBERS))
    with pytest.raises(TypeError, match=r"take dask_exa[.]compose.StreamingColumnTransformer"):
        plain.partial_fit(X)


@pytest.mark.parametrize("fitted", [False, True])
def test_an_error_leaves_all_as_they_were(fitted):
    columns = StreamingColumnTransformer(NUMBERS)
    if fitted:
        columns.partial_fit(X)
    before = snapshot(columns) if fitted else None
    broken = X.copy()
    broken[7, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        columns.partial_fit(broken)
    assert hasattr(columns, "transformers_") == fitted
    assert not fitted or snapshot(columns) == before
    pipeline = StreamingPipeline([("columns", clone(columns)), ("reduce", IncrementalPCA(2))])
    pipeline.partial_fit(X)
    before = pickle.dumps(pipeline)
    with pytest.raises(ValueError, match="NaN"):
        pipeline.partial_fit(broken)
    assert pickle.dumps(pipeline) == before


def test_weights_are_routed():
    weights = RNG.integers(1, 4, N).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_partial_fit_request(sample_weight=True)
        scaler.set_fit_request(sample_weight=True)
        columns = StreamingColumnTransformer([("scale", scaler, [0, 1])])
        pipeline = StreamingPipeline([("columns", columns)])
        for rows in (slice(0, 300), slice(300, N)):
            pipeline.partial_fit(X[rows], sample_weight=weights[rows])
    expected = SklearnScaler().fit(X[:, :2], sample_weight=weights)
    found = pipeline[0].named_transformers_["scale"]
    np.testing.assert_allclose(found.mean_, expected.mean_, rtol=1e-12)


def test_search_and_copies():
    columns = StreamingColumnTransformer(NUMBERS)
    search = GridSearchCV(
        make_pipeline(columns, PCA(1)), {"streamingcolumntransformer__reduce__n_components": [1, 2]}
    ).fit(X)
    assert set(search.best_params_.values()) <= {1, 2}
    columns.partial_fit(X[:300])
    copied = pickle.loads(pickle.dumps(columns))
    expected = columns.partial_fit(X[300:]).transform(X)
    np.testing.assert_array_equal(copied.partial_fit(X[300:]).transform(X), expected)


def test_first_batch_is_learnt_as_a_stream_learns_it():
    X = np.random.default_rng(0).standard_normal((400, 3))
    clustering = cluster.MiniBatchKMeans(4, init_size=100, batch_size=50, random_state=0)
    columns = StreamingColumnTransformer([("cluster", clustering, [0, 2])]).partial_fit(X)
    alone = clone(clustering).partial_fit(X[:, [0, 2]])
    found = columns.named_transformers_["cluster"]
    np.testing.assert_array_equal(found.cluster_centers_, alone.cluster_centers_)
    assert found.n_steps_ == alone.n_steps_
