"""Data frames in: pandas, Dask and polars, whose columns are named features."""

import inspect
import re
import subprocess
import sys

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn
import xarray as xr
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils.fixes import parse_version

from dask_exa._state import Fitted
from dask_exa.anomaly import IsolationForest, StreamingThreshold
from dask_exa.base import MergeableEstimator
from dask_exa.compose import PerBlock, StreamingColumnTransformer
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import PatchExtractor, StandardScaler
from dask_exa.testing.estimator_checks import public_estimators
from tests.interoperability._data import NAMES, WEIGHTS, X, nothing_computed, values

FRAME = pd.DataFrame(X, columns=NAMES)
LAZY_FRAME = dd.from_pandas(FRAME, npartitions=4)
MODELS = [IncrementalPCA(2), StandardScaler(), IsolationForest(random_state=0)]
MERGEABLE = [
    cls
    for cls in public_estimators("dask_exa")
    # patches are of neighbouring points, which named columns are not
    if issubclass(cls, MergeableEstimator) and cls is not PatchExtractor
]
WEIGHED = [
    pytest.param(cls, method, id=f"{cls.__name__}-{method}")
    for cls in MERGEABLE
    for method in ("fit", "score")
    if "sample_weight" in inspect.signature(getattr(cls, method, lambda: None)).parameters
]


def vars_of(cls):
    """Return the names of all fitted attributes of a class."""
    return [name for base in cls.__mro__ for name, v in vars(base).items() if isinstance(v, Fitted)]


def names_of(models):
    return [type(model).__name__ for model in models]


def answers(model, X):
    return (model.transform if hasattr(model, "transform") else model.score_samples)(X)


@pytest.fixture(params=MODELS, ids=names_of(MODELS))
def model(request):
    return clone(request.param)


@pytest.mark.parametrize("frame", [FRAME, LAZY_FRAME], ids=["pandas", "Dask"])
def test_frames_are_arrays_with_names(model, frame):
    model.fit(frame)
    assert [*model.feature_names_in_] == NAMES
    assert model.n_features_in_ == len(NAMES)
    expected = type(model)(**model.get_params()).fit(X)
    np.testing.assert_allclose(answers(model, frame), answers(expected, X), rtol=1e-9, atol=1e-12)
    model.partial_fit(frame)
    assert model.n_samples_seen_ == 2 * len(X)


@pytest.mark.parametrize("learnt", [FRAME, LAZY_FRAME], ids=["pandas", "Dask"])
@pytest.mark.parametrize("given", [FRAME, LAZY_FRAME], ids=["pandas", "Dask"])
def test_other_names_are_refused(model, learnt, given):
    model.fit(learnt)
    wrong = {
        "must be in the same order": given[NAMES[::-1]],
        "unseen at fit time:\n- heat": given.rename(columns={"flux": "heat"}),
        "expecting 6 features": given[NAMES[:-1]],
    }
    for message, frame in wrong.items():
        if "expecting" in message and isinstance(frame, pd.DataFrame):
            message = "seen at fit time, yet now missing"  # scikit-learn looks at names first
        for call in (model.partial_fit, lambda frame: answers(model, frame)):
            with pytest.raises(ValueError, match=message):
                call(frame)
    assert model.n_samples_seen_ == len(X)


@pytest.mark.parametrize("cls", MERGEABLE, ids=lambda cls: cls.__name__)
def test_every_estimator_takes_dask_frames_by_name(cls):
    estimator = cls().fit(LAZY_FRAME)
    assert [*estimator.feature_names_in_] == NAMES
    method = "transform" if hasattr(estimator, "transform") else "predict"
    assert isinstance(getattr(estimator, method)(LAZY_FRAME), da.Array)
    with pytest.raises(ValueError, match="must be in the same order"):
        getattr(estimator, method)(LAZY_FRAME[NAMES[::-1]])


@pytest.mark.parametrize(("cls", "method"), WEIGHED)
def test_every_estimator_takes_weights_in_a_dask_series(cls, method):
    estimator = cls()
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    weights = dd.from_pandas(pd.Series(WEIGHTS), npartitions=3)
    if method == "score":
        estimator.fit(LAZY_FRAME)
        found = estimator.score(LAZY_FRAME, sample_weight=weights)
        assert found == pytest.approx(estimator.score(X, sample_weight=WEIGHTS), rel=1e-6)
        assert found != estimator.score(X)
        return
    estimator.fit(LAZY_FRAME, sample_weight=weights)
    array = da.from_array(WEIGHTS, chunks=60)
    expected = clone(estimator).fit(LAZY_FRAME.values.compute_chunk_sizes(), sample_weight=array)
    for name in vars_of(cls):
        assert np.array_equal(getattr(estimator, name), getattr(expected, name)), name


def test_names_that_are_missing_are_warned_of(model):
    lazy = da.from_array(X, chunks=(60, -1))
    model.fit(LAZY_FRAME)
    for data in (X, lazy):
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            answers(model, data)
    model.fit(lazy)
    assert not hasattr(model, "feature_names_in_")
    for data in (FRAME, LAZY_FRAME):
        with pytest.warns(UserWarning, match="fitted without feature names"):
            answers(model, data)


def test_answers_are_lazy_arrays_of_the_same_partitions(model):
    model.fit(LAZY_FRAME)
    frame = LAZY_FRAME.persist()  # partitions are counted; nothing else is computed
    result = answers(model, frame)
    assert isinstance(result, da.Array)
    assert result.chunks[0] == (60, 60, 60, 60)
    with nothing_computed():
        result[:, None].sum()


def test_partitions_are_made_once_to_be_counted_and_once_to_be_learnt():
    made = []

    def make(frame):
        made.append(len(frame))
        return frame

    frame = LAZY_FRAME.map_partitions(make, meta=FRAME.iloc[:0])
    with dask.config.set(scheduler="synchronous"):
        IncrementalPCA(2).fit(frame)
    assert made == [60] * 8


def test_partitions_may_be_of_any_length():
    few = LAZY_FRAME[LAZY_FRAME.density > 6]
    lengths = tuple(len(part) for part in few.partitions)
    projected = IncrementalPCA(2).fit(few).transform(few)
    assert projected.chunks[0] == lengths
    expected = IncrementalPCA(2).fit_transform(FRAME[FRAME.density > 6])
    np.testing.assert_allclose(np.abs(projected), np.abs(expected), atol=1e-9)


def test_files_whose_partitions_dask_puts_together(tmp_path):
    """Dask reads fewer, larger chunks than there are partitions where few columns are asked for."""
    LAZY_FRAME.to_parquet(tmp_path)
    few = dd.read_parquet(tmp_path)[NAMES[:2]]
    projected = IncrementalPCA(1).fit(few).transform(few)
    assert projected.numblocks[0] < few.npartitions
    np.testing.assert_allclose(projected, IncrementalPCA(1).fit_transform(X[:, :2]), atol=1e-9)


@pytest.mark.parametrize("X_form", [X, FRAME, LAZY_FRAME], ids=["NumPy", "pandas", "Dask"])
@pytest.mark.parametrize("weights", ["NumPy", "pandas", "Dask", "xarray"])
def test_weights_may_be_a_series(X_form, weights):
    weight = {
        "NumPy": WEIGHTS,
        "pandas": pd.Series(WEIGHTS),
        "Dask": dd.from_pandas(pd.Series(WEIGHTS), npartitions=3),
        "xarray": xr.DataArray(WEIGHTS, dims="time"),
    }[weights]
    found = IncrementalPCA(2).fit(X_form, sample_weight=weight)
    expected = IncrementalPCA(2).fit(X, sample_weight=WEIGHTS)
    np.testing.assert_allclose(found.components_, expected.components_, atol=1e-12)
    np.testing.assert_allclose(found.explained_variance_, expected.explained_variance_, rtol=1e-12)


def test_columns_of_several_types_become_float64():
    frame = FRAME.assign(
        count=np.arange(len(X)), flag=X[:, 0] > 0, gap=pd.array([1, 2, None] * 80, dtype="Int64")
    )
    gap = frame.gap.astype("float64")
    lazy = dd.from_pandas(frame, npartitions=3)
    scores = IsolationForest(random_state=0).fit(lazy).score_samples(lazy)
    expected = IsolationForest(random_state=0).fit(frame.assign(gap=gap).astype(float))
    assert np.array_equal(
        values(scores), expected.score_samples(frame.assign(gap=gap).astype(float))
    )
    single = IncrementalPCA(2).fit(LAZY_FRAME.astype("float32"))
    assert single.components_.dtype == np.float32


def test_pipelines_and_unions_take_dask_frames():
    union = FeatureUnion([("pca", IncrementalPCA(2)), ("scaled", StandardScaler())])
    pipeline = make_pipeline(union, IsolationForest(random_state=0)).fit(LAZY_FRAME)
    scores = pipeline.score_samples(LAZY_FRAME)
    assert isinstance(scores, da.Array)
    assert [*union.get_feature_names_out()][-1] == "scaled__flux"
    expected = clone(pipeline).fit(X).score_samples(X)
    np.testing.assert_allclose(values(scores), expected, atol=0.02)


PARTS = [("first", IncrementalPCA(2), NAMES[:3]), ("rest", StandardScaler(), NAMES[3:])]


def test_columns_of_dask_frames_are_picked_by_our_transformer_of_columns():
    found = StreamingColumnTransformer(PARTS).fit(LAZY_FRAME).transform(LAZY_FRAME)
    assert isinstance(found, da.Array)
    expected = ColumnTransformer(PARTS).fit_transform(FRAME)
    np.testing.assert_allclose(values(found), expected, atol=1e-9)


@pytest.mark.xfail(
    parse_version(sklearn.__version__) >= parse_version("1.9"),
    strict=True,
    raises=ValueError,
    reason="scikit-learn 1.9: ColumnTransformer picks columns by name of frames that narwhals "
    "takes for eager ones",
)
def test_columns_of_dask_frames_are_picked_by_that_of_scikit_learn():
    ColumnTransformer(PARTS).fit(LAZY_FRAME)


def test_searches_take_dask_frames_as_arrays():
    """Folds are picked by row number, which a Dask frame does not have."""
    search = GridSearchCV(IncrementalPCA(), {"n_components": [1, 2, 3]}, cv=KFold(4))
    with pytest.raises(AttributeError, match="take"):
        search.fit(LAZY_FRAME)
    search.fit(LAZY_FRAME.values.compute_chunk_sizes())
    expected = clone(search).fit(X)
    scores = "mean_test_score"
    np.testing.assert_allclose(search.cv_results_[scores], expected.cv_results_[scores], rtol=1e-9)


def test_columns_that_are_no_numbers_are_named():
    frame = LAZY_FRAME.assign(station="core", start=pd.Timestamp("2026-01-01"))
    message = re.escape("the columns ['station', 'start'] are not numeric")
    pca = IncrementalPCA(2)
    with pytest.raises(TypeError, match=message):
        pca.fit(frame)
    assert not hasattr(pca, "n_features_in_")


def test_models_of_frames_merge_if_their_names_agree():
    parts = [LAZY_FRAME.partitions[:2], LAZY_FRAME.partitions[2:]]
    merged = IncrementalPCA(2).fit(parts[0]) | IncrementalPCA(2).fit(parts[1])
    assert [*merged.feature_names_in_] == NAMES
    expected = IncrementalPCA(2).fit(X)
    np.testing.assert_allclose(merged.components_, expected.components_, atol=1e-9)
    with pytest.raises(ValueError, match="cannot merge a model whose names"):
        merged.merge(IncrementalPCA(2).fit(parts[1][NAMES[::-1]]))


def test_names_survive_storage(tmp_path):
    IncrementalPCA(2).fit(LAZY_FRAME).save(tmp_path / "model")
    loaded = IncrementalPCA.load(tmp_path / "model")
    assert [*loaded.feature_names_in_] == NAMES
    with pytest.raises(ValueError, match="must be in the same order"):
        loaded.transform(LAZY_FRAME[NAMES[::-1]])


def test_series_of_scores_has_a_threshold():
    scores = FRAME.density
    lazy = dd.from_pandas(scores, npartitions=4)
    threshold = StreamingThreshold(false_alarm_rate=0.01).fit(lazy)
    expected = StreamingThreshold(false_alarm_rate=0.01).fit(scores)
    p = threshold.p_values(lazy)
    assert isinstance(p, da.Array)
    np.testing.assert_allclose(p, expected.p_values(scores), rtol=1e-12)
    assert np.array_equal(values(threshold.predict(lazy)), expected.predict(scores))


def test_every_partition_has_a_model_of_its_own():
    blocks = PerBlock(IsolationForest(random_state=0)).fit(LAZY_FRAME)
    assert blocks.n_blocks_ == (4, 1)
    assert [*blocks.feature_names_in_] == NAMES
    scores = np.asarray(blocks.score_samples(LAZY_FRAME))
    third = IsolationForest(random_state=0, stream=2).fit(X[120:180]).score_samples(X[120:180])
    assert np.array_equal(scores[120:180], third)
    with pytest.raises(ValueError, match="must be in the same order"):
        blocks.predict(LAZY_FRAME[NAMES[::-1]])


def test_dask_frames_are_not_imported_for_other_data():
    code = (
        "import sys, numpy as np, dask.array as da\n"
        "from dask_exa.decomposition import IncrementalPCA\n"
        "X = np.random.default_rng(0).standard_normal((20, 3))\n"
        "IncrementalPCA(1).fit(X, sample_weight=np.ones(20)).partial_fit(da.from_array(X))\n"
        "assert 'dask.dataframe' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_query_planning_of_arrays_knows_no_frames():
    """Control: with it on, Dask's own conversion has neither a dtype nor chunk sizes."""
    code = (
        "import dask; dask.config.set({'array.query-planning': True})\n"
        "import dask.dataframe as dd, pandas as pd\n"
        "from dask_exa.decomposition import IncrementalPCA\n"
        "frame = pd.DataFrame({'a': [1.0, 2, 3], 'b': [2.0, 1, 5]})\n"
        "frame = dd.from_pandas(frame, npartitions=2)\n"
        "try: frame.values.dtype\n"
        "except AttributeError: pass\n"
        "else: raise SystemExit('Dask converts frames now: so can we')\n"
        "try: IncrementalPCA(1).fit(frame)\n"
        "except NotImplementedError as error: assert 'array.query-planning' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
