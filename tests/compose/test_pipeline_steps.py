"""StreamingPipeline: steps of every kind, copies of it, and what it refuses."""

import pickle
import subprocess
import sys

import dask.array as da
import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import xarray as xr
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.preprocessing import StandardScaler as SklearnScaler

from dask_exa.anomaly import IsolationForest
from dask_exa.cluster import MiniBatchKMeans
from dask_exa.compose import StreamingPipeline, make_streaming_pipeline
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler

RNG = np.random.default_rng(0)
N = 960
X = RNG.standard_normal((N, 6)) @ RNG.standard_normal((6, 6)) * np.arange(1, 7) + 10
LAZY = da.from_array(X, chunks=(120, -1))


def scale_reduce(n_components=3, **params):
    return StreamingPipeline(
        [("scale", StandardScaler()), ("reduce", IncrementalPCA(n_components, **params))]
    )


def scale_reduce_cluster(**params):
    steps = [*scale_reduce().steps, ("cluster", MiniBatchKMeans(4, random_state=0))]
    return StreamingPipeline(steps, **params)


def snapshot(pipeline):
    return pickle.dumps([vars(step) for _, step in pipeline.steps])


def test_output_in_pandas_and_its_names():
    pipeline = scale_reduce().set_output(transform="pandas")
    pipeline.partial_fit(pd.DataFrame(X, columns=list("abcdef")))
    found = pipeline.transform(pd.DataFrame(X, columns=list("abcdef")))
    names = ["incrementalpca0", "incrementalpca1", "incrementalpca2"]
    assert list(found.columns) == names == list(pipeline.get_feature_names_out())
    assert list(pipeline.feature_names_in_) == list("abcdef")


def test_grid_search_finds_the_number_of_components():
    random = np.random.default_rng(0)
    factors = random.standard_normal((400, 2)) @ random.standard_normal((2, 8))
    samples = factors + 0.1 * random.standard_normal((400, 8))

    def explained(estimator, data, y=None):
        return -np.mean((estimator.inverse_transform(estimator.transform(data)) - data) ** 2)

    search = GridSearchCV(scale_reduce(), {"reduce__n_components": [1, 2]}, scoring=explained, cv=3)
    search.fit(samples)
    assert search.best_params_ == {"reduce__n_components": 2}
    assert isinstance(search.best_estimator_.partial_fit(samples), StreamingPipeline)


def test_copies_resume_to_the_last_bit(tmp_path):
    pipeline = scale_reduce_cluster(batch_size=7).partial_fit(X[:500])
    joblib.dump(pipeline, tmp_path / "pipeline.joblib")
    pipeline.save(tmp_path / "pipeline.zarr")
    copies = [
        pickle.loads(pickle.dumps(pipeline)),
        joblib.load(tmp_path / "pipeline.joblib"),
        StreamingPipeline.load(tmp_path / "pipeline.zarr"),
    ]
    expected = pipeline.partial_fit(X[500:]).transform(X)
    for copied in copies:
        assert copied.batch_size == 7
        np.testing.assert_array_equal(copied.partial_fit(X[500:]).transform(X), expected)
    assert not hasattr(clone(pipeline)[0], "mean_")


def test_skops_keeps_a_pipeline(tmp_path):
    io = pytest.importorskip("skops.io")
    pipeline = scale_reduce().fit(X)
    io.dump(pipeline, tmp_path / "pipeline.skops")
    trusted = io.get_untrusted_types(file=tmp_path / "pipeline.skops")
    assert all(name.startswith(("dask_exa", "numpy")) for name in trusted)
    restored = io.load(tmp_path / "pipeline.skops", trusted=trusted)
    np.testing.assert_array_equal(restored.transform(X), pipeline.transform(X))


def test_checkpoints_hold_steps_that_do_not_learn(tmp_path):
    pipeline = make_streaming_pipeline("passthrough", None, StandardScaler()).fit(X)
    pipeline.save(tmp_path / "model")
    restored = StreamingPipeline.load(tmp_path / "model")
    assert [step for _, step in restored.steps[:2]] == ["passthrough", None]
    np.testing.assert_array_equal(restored.transform(X), pipeline.transform(X))
    foreign = make_streaming_pipeline(StandardScaler(), SklearnScaler()).fit(X)
    with pytest.raises(TypeError, match=r"In step 'standardscaler-2': a StandardScaler has no st"):
        foreign.save(tmp_path / "foreign")
    assert not (tmp_path / "foreign").exists()


def test_weights_are_those_of_repeated_samples():
    times = np.random.default_rng(0).integers(1, 4, N)
    weights = times.astype(float)
    named = scale_reduce().partial_fit(
        X, scale__sample_weight=weights, reduce__sample_weight=weights
    )
    expected = scale_reduce().fit(np.repeat(X, times, axis=0))
    np.testing.assert_allclose(named[1].mean_, expected[1].mean_, atol=1e-9)
    np.testing.assert_allclose(named[1].singular_values_, expected[1].singular_values_, rtol=1e-9)
    with sklearn.config_context(enable_metadata_routing=True):
        steps = [
            ("scale", StandardScaler().set_partial_fit_request(sample_weight=True)),
            ("reduce", IncrementalPCA(3).set_partial_fit_request(sample_weight=True)),
        ]
        routed = StreamingPipeline(steps).partial_fit(X, sample_weight=weights)
        lazy = clone(routed).set_params(batch_size=240)
        lazy.partial_fit(LAZY, sample_weight=da.from_array(weights, chunks=120))
        nested = StreamingPipeline([("inner", clone(routed))])
        nested.partial_fit(X, sample_weight=weights)
    np.testing.assert_array_equal(routed.transform(X), named.transform(X))
    np.testing.assert_allclose(lazy[1].singular_values_, named[1].singular_values_, rtol=1e-9)
    np.testing.assert_array_equal(nested.transform(X), named.transform(X))


def test_a_classifier_learns_classes():
    y = (X[:, 1] > X[:, 2]).astype(int)
    order = np.random.default_rng(0).permutation(N)
    steps = [("scale", StandardScaler()), ("classify", SGDClassifier(random_state=0))]
    pipeline = StreamingPipeline(steps)
    for rows in np.array_split(order, 8):
        pipeline.partial_fit(X[rows], y[rows], classes=[0, 1])
    assert pipeline.score(X, y) > 0.9
    np.testing.assert_array_equal(pipeline.classes_, [0, 1])
    lazy = clone(pipeline).set_params(batch_size=240)
    lazy.partial_fit(LAZY, da.from_array(y, chunks=120), classes=[0, 1])
    assert lazy[1].t_ == N + 1


def test_a_detector_is_a_last_step():
    detector = IsolationForest(n_estimators=20, random_state=0)
    pipeline = StreamingPipeline([("scale", StandardScaler()), ("detect", detector)])
    pipeline.partial_fit(LAZY)
    assert pipeline.score_samples(LAZY).chunks == LAZY.chunks[:1]
    far = X.mean(axis=0) + 50 * X.std(axis=0)
    assert pipeline.predict(far[None, :]) == [-1]


class FitOnly(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


class Fails(FitOnly):
    """Learns in place; raises where a sample is far below all others."""

    def fit(self, X, y=None):
        return self.partial_fit(X)

    def partial_fit(self, X, y=None):
        if not hasattr(self, "seen_"):
            self.seen_ = np.zeros(1)
        self.seen_ += len(X)
        if np.min(X) < -10:
            raise ValueError("broken")
        return self


def test_a_step_that_only_fits_is_refused():
    pipeline = StreamingPipeline([("scale", StandardScaler()), ("pca", PCA(2))])
    with pytest.raises(TypeError, match=r"step 'pca' is a PCA, which has no partial_fit .*FrozenE"):
        pipeline.partial_fit(X)
    assert not hasattr(pipeline[0], "mean_")
    assert pipeline.fit(X).transform(X).shape == (N, 2)
    with pytest.raises(TypeError, match=r"take dask_exa[.]compose[.]StreamingPipeline"):
        make_streaming_pipeline(make_pipeline(SklearnScaler())).partial_fit(X)
    with pytest.raises(TypeError, match="step 'kmeans' is a SGDClassifier, which has no transform"):
        StreamingPipeline([("kmeans", SGDClassifier()), ("b", StandardScaler())]).partial_fit(X)


def test_steps_that_do_not_learn():
    frozen = FrozenEstimator(SklearnScaler().fit(X))
    steps = [
        ("nothing", None),
        ("frozen", frozen),
        ("function", FunctionTransformer(np.tanh)),
        ("reduce", IncrementalPCA(2)),
        ("end", "passthrough"),
    ]
    pipeline = StreamingPipeline(steps)
    for batch in np.array_split(X, 4):
        pipeline.partial_fit(batch)
    expected = IncrementalPCA(2).fit(np.tanh(frozen.transform(X)))
    np.testing.assert_allclose(pipeline["reduce"].singular_values_, expected.singular_values_)
    halves = [clone(pipeline).fit(half) for half in np.array_split(X, 2)]
    merged = halves[0] | halves[1]
    np.testing.assert_allclose(merged["reduce"].singular_values_, expected.singular_values_)


@pytest.mark.parametrize("fitted", [False, True])
def test_an_error_in_a_later_step_leaves_all_as_they_were(fitted):
    pipeline = make_streaming_pipeline(StandardScaler(with_std=False), SklearnScaler(), Fails())
    if fitted:
        pipeline.partial_fit(X)
    before, steps = snapshot(pipeline), [step for _, step in pipeline.steps]
    broken = np.vstack([X[:500], np.full((1, 6), -1e3)])
    for call in (pipeline.partial_fit, pipeline.fit):
        with pytest.raises(ValueError, match="broken"):
            call(broken)
        assert snapshot(pipeline) == before
        assert [step for _, step in pipeline.steps] == steps


def test_an_error_in_a_later_group_leaves_all_as_they_were():
    broken = X.copy()
    broken[700, 1] = np.nan
    pipeline = scale_reduce(2).set_params(batch_size=120).partial_fit(LAZY)
    before = snapshot(pipeline)
    with pytest.raises(ValueError, match=r"In step 'scale': In chunk 0 of the samples: X contains"):
        pipeline.partial_fit(da.from_array(broken, chunks=(120, -1)))
    assert snapshot(pipeline) == before


def test_a_merge_that_fails_leaves_all_as_they_were():
    first = scale_reduce().fit(X)
    before = snapshot(first)
    cases = {
        "cannot merge a StandardScaler": StandardScaler().fit(X),
        "cannot merge a pipeline of the steps": first[:1],
        "In step 'scale': cannot merge a model whose features": scale_reduce().fit(X[:, :5]),
        "In step 'reduce': n_components": scale_reduce(2).fit(X),
    }
    for message, other in cases.items():
        with pytest.raises((TypeError, ValueError), match=message):
            first.merge(other)
        assert snapshot(first) == before


def test_what_cannot_follow_its_samples_is_not_merged():
    class Stays(IncrementalPCA):
        def _carry_summary(self, summary, change):
            return None

    def make(scaler):
        return StreamingPipeline([("scale", scaler), ("stay", Stays(2))])

    ranks = [make(StandardScaler()).fit(half) for half in np.array_split(X, 2)]
    with pytest.raises(ValueError, match="In step 'stay': what a Stays has learnt cannot follow"):
        ranks[0].merge(ranks[1])
    frozen = FrozenEstimator(StandardScaler().fit(X))
    ranks = [make(frozen).fit(half) for half in np.array_split(X, 2)]
    whole = make(frozen).fit(X)
    np.testing.assert_allclose((ranks[0] | ranks[1])[1].mean_, whole[1].mean_, atol=1e-12)
    with pytest.raises(TypeError, match="step 'sgd' is a SGDClassifier, which has no merge"):
        StreamingPipeline([("sgd", SGDClassifier())]).merge(
            StreamingPipeline([("sgd", SGDClassifier())])
        )


def test_forgetting_reaches_every_step():
    pipeline = scale_reduce().fit(X).forget(0.25)
    alone = StandardScaler().fit(X).forget(0.25)
    assert pipeline[0]._state.summary.weight == alone._state.summary.weight
    pipeline.partial_fit(X[:240] + 100)
    assert pipeline[0].mean_[0] == pytest.approx(
        (X.mean(axis=0) + X[:240].mean(axis=0) + 100)[0] / 2
    )
    with pytest.raises(ValueError, match="factor"):
        pipeline.forget(2)


def test_bad_arguments_say_so():
    with pytest.raises(ValueError, match="The pipeline is empty"):
        StreamingPipeline([]).partial_fit(X)
    with pytest.raises(ValueError, match="batch_size=0 must be"):
        scale_reduce().set_params(batch_size=0).partial_fit(X)
    with pytest.raises(ValueError, match="write step__sample_weight=… with one of the steps"):
        scale_reduce().partial_fit(X, sample_weight=np.ones(N))
    with pytest.raises(TypeError, match="Dataset"):
        scale_reduce().partial_fit(xr.Dataset({"n": ("time", X[:, 0])}))
    with pytest.raises(ValueError, match="In step 'reduce': n_components=3 is more than the 2"):
        scale_reduce_cluster().partial_fit(X[:2])


def test_query_planning_mode_gives_the_same():
    script = (
        "import dask; dask.config.set({'array.query-planning': True})\n"
        "import dask.array as da, numpy as np\n"
        "from dask_exa.compose import make_streaming_pipeline\n"
        "from dask_exa.decomposition import IncrementalPCA\n"
        "from dask_exa.preprocessing import StandardScaler\n"
        "X = np.random.default_rng(0).standard_normal((60, 4))\n"
        "lazy = da.from_array(X, chunks=(10, 4))\n"
        "model = make_streaming_pipeline(StandardScaler(), IncrementalPCA(4), batch_size=20)\n"
        "model.partial_fit(lazy)\n"
        "found = model.inverse_transform(model.transform(lazy)).compute()\n"
        "assert np.allclose(found, X)\n"
        "print('same')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "same\n", done.stderr
