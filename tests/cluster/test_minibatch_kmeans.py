"""MiniBatchKMeans: the rule it follows, merges, streams, Dask arrays and bad input."""

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from sklearn.cluster import MiniBatchKMeans as Peer
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from dask_exa.cluster import MiniBatchKMeans
from dask_exa.testing.contracts import MergeableEstimatorContract
from tests import naive


def blobs(n_samples, n_features, n_clusters, seed=0, spread=3.0, dtype="float32"):
    """Return samples of Gaussians of unit width whose means have that spread, and their labels."""
    rng = np.random.default_rng(seed)
    means = spread * rng.standard_normal((n_clusters, n_features))
    y = rng.integers(0, n_clusters, n_samples)
    return (means[y] + rng.standard_normal((n_samples, n_features))).astype(dtype), y


@pytest.fixture(autouse=True)
def _one_thread():
    """OpenMP waits actively, which takes other processes' time."""
    with threadpool_limits(1):
        yield


def stream(model, X, batch_size=1024):
    for start in range(0, len(X), batch_size):
        model.partial_fit(X[start : start + batch_size])
    return model


def inertia(model, X):
    """Of all samples, by centres alone."""
    offsets = X[:, None, :] - np.asarray(model.cluster_centers_, dtype=np.float64)
    return float(np.sum(np.min(np.sum(offsets**2, axis=2), axis=1)))


class TestContract(MergeableEstimatorContract):
    """As long as samples wait, a merge is exact; centres have no order of their own."""

    def make(self):
        return MiniBatchKMeans(n_clusters=3, random_state=0)

    def samples(self):
        rng = np.random.default_rng(0)
        return rng.standard_normal((60, 5)) + 20 * (np.arange(60) % 3)[:, None]

    def learnt(self, estimator):
        values = super().learnt(estimator)
        order = np.argsort(values["cluster_centers_"][:, 0])
        for name in ("cluster_centers_", "counts_"):
            values[name] = values[name][order]
        for name in ("inertia_", "n_steps_"):  # what was done, not what was learnt
            del values[name]
        return values


def test_a_step_is_the_running_mean_of_what_a_centre_attracts():
    X, _ = blobs(500, 4, 5, dtype="float64")
    start = X[:5]
    model = MiniBatchKMeans(5, init=start, batch_size=100, reassignment_ratio=0.0)
    model.partial_fit(X)
    centers, counts = naive.follow(X, start, 100)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-12)
    assert np.array_equal(model.counts_, counts)
    assert model.n_steps_ == 5


def test_weights_repeat_samples():
    X, _ = blobs(300, 4, 5, dtype="float64")
    times = np.random.default_rng(0).integers(0, 3, len(X))
    weighted = MiniBatchKMeans(5, init=X[:5], batch_size=10_000)
    weighted.partial_fit(X, sample_weight=times.astype(float))
    repeated = MiniBatchKMeans(5, init=X[:5], batch_size=10_000).partial_fit(
        X.repeat(times, axis=0)
    )
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, rtol=1e-12)
    assert np.array_equal(weighted.counts_, repeated.counts_)


def test_first_samples_wait_however_they_come():
    """Single rows, short batches and all at once: the same to the last bit."""
    X, _ = blobs(400, 3, 4)
    made = [MiniBatchKMeans(4, init_size=300, batch_size=100, random_state=0) for _ in range(3)]
    for size, model in zip((1, 7, 300), made, strict=True):
        stream(model, X[:300], size).partial_fit(X[300:])
    for model in made[1:]:
        assert np.array_equal(model.cluster_centers_, made[0].cluster_centers_)
        assert np.array_equal(model.counts_, made[0].counts_)


def test_attributes_are_there_from_as_many_samples_as_clusters_on():
    X, _ = blobs(10, 3, 4)
    model = MiniBatchKMeans(4, random_state=0).partial_fit(X[:3])
    with pytest.raises(ValueError, match="n_clusters=4 but only 3 samples"):
        model.predict(X)
    assert not hasattr(model, "cluster_centers_")
    model.partial_fit(X[3:4])
    assert sorted(model.predict(X[:4])) == [0, 1, 2, 3]


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_stream_is_no_worse_than_scikit_learn(spread):
    ratios = []
    for seed in range(5):
        X, _ = blobs(20_000, 16, 20, seed, spread)
        ours = stream(MiniBatchKMeans(20, random_state=seed), X)
        peer = stream(Peer(20, random_state=seed), X)
        ratios.append(ours.score(X) / peer.score(X))
    assert np.mean(ratios) < 1.01


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_fit_is_no_worse_than_scikit_learn(spread):
    ratios = []
    for seed in range(5):
        X, _ = blobs(20_000, 16, 20, seed, spread)
        ours = MiniBatchKMeans(20, random_state=seed).fit(X)
        ratios.append(ours.inertia_ / Peer(20, random_state=seed).fit(X).inertia_)
        assert ours.inertia_ == pytest.approx(inertia(ours, X), rel=1e-6)
        assert np.array_equal(ours.labels_, ours.predict(X))
        assert ours.counts_.sum() == len(X)
    assert np.mean(ratios) <= 1.0


def test_centres_without_samples_move():
    X, _ = blobs(5000, 4, 6, spread=5.0)
    lost = np.concatenate([X[:3], np.full((3, 4), 1e6, dtype=np.float32)])
    moved = stream(MiniBatchKMeans(6, init=lost, random_state=0), X)
    stuck = stream(MiniBatchKMeans(6, init=lost, reassignment_ratio=0.0), X)
    assert np.abs(moved.cluster_centers_).max() < 100
    assert np.abs(stuck.cluster_centers_).max() == 1e6
    assert inertia(moved, X) < 0.8 * inertia(stuck, X)


@pytest.mark.parametrize("n_models", [2, 8])
@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_models_of_other_clusters_merge_as_if_samples_were_shuffled(n_models, spread):
    ratios = []
    for seed in range(3):
        X, y = blobs(24_000, 16, 8, seed, spread)
        whole = stream(MiniBatchKMeans(8, random_state=seed), X)
        models = [stream(MiniBatchKMeans(8, random_state=seed), X[y % n_models == rank])
                  for rank in range(n_models)]  # fmt: skip
        merged = MiniBatchKMeans(8, random_state=seed).merge(*models)
        ratios.append(merged.score(X) / whole.score(X))
    assert np.mean(ratios) < 1.02


def test_merging_in_any_grouping_keeps_samples_and_quality():
    X, y = blobs(24_000, 8, 6, spread=4.0)
    best = np.sum((X - np.array([X[y == c].mean(axis=0) for c in range(6)])[y]) ** 2)
    parts = np.array_split(np.argsort(y, kind="stable"), 6)
    a, b, c, d, e, f = (stream(MiniBatchKMeans(6, random_state=0), X[part]) for part in parts)
    for merged in (((a | b) | c) | ((d | e) | f), (f | e) | (d | (c | (b | a)))):
        assert merged.n_samples_seen_ == len(X)
        assert -merged.score(X) < 1.02 * best


def test_clusters_keep_the_numbers_of_the_first_model():
    X, _ = blobs(20_000, 8, 5, spread=5.0)
    first = stream(MiniBatchKMeans(5, random_state=0), X[:10_000])
    second = stream(MiniBatchKMeans(5, random_state=7), X[10_000:])
    assert np.mean((first | second).predict(X) == first.predict(X)) > 0.99


def test_merged_models_go_on():
    X, _ = blobs(30_000, 8, 5, spread=5.0)
    halves = [stream(MiniBatchKMeans(5, random_state=0), X[i:20_000:2]) for i in range(2)]
    merged = stream(halves[0] | halves[1], X[20_000:])
    assert merged.n_samples_seen_ == len(X)
    assert merged.score(X) > 1.01 * MiniBatchKMeans(5, random_state=0).fit(X).score(X)


def test_state_is_bounded():
    X, _ = blobs(40_000, 4, 5)
    models = [stream(MiniBatchKMeans(5, random_state=i), X[i::30]) for i in range(30)]
    waiting = [MiniBatchKMeans(5, random_state=i).partial_fit(X[i::30]) for i in range(30)]
    for parts in (models, waiting):
        merged = MiniBatchKMeans(5).merge(*parts, *parts)
        assert merged._state.summary.points.shape[0] <= 3 * 1024


def test_forgetting_halves_the_weight_with_every_half_life():
    X, _ = blobs(4000, 3, 4)
    model = MiniBatchKMeans(4, init=X[:4], batch_size=37, forgetting_factor=0.5 ** (1 / 100))
    stream(model, X, 1000)
    rate = 0.5 ** (1 / 100)
    assert model.counts_.sum() == pytest.approx((1 - rate**4000) / (1 - rate), rel=0.02)
    before = model.counts_
    assert np.array_equal(model.forget(0.25).counts_, before / 4)


def test_centres_follow_a_drift():
    X, _ = blobs(20_000, 3, 4, spread=5.0)
    there = X + 40
    keeps, forgets = MiniBatchKMeans(4, random_state=0), None
    forgets = MiniBatchKMeans(4, random_state=0, forgetting_factor=0.999)
    for model in (keeps, forgets):
        stream(stream(model, X), there)
    assert inertia(forgets, there) < 0.5 * inertia(keeps, there)


@pytest.mark.parametrize("planning", [False, True])
def test_chunks_are_read_once_by_partial_fit(planning):
    X, _ = blobs(24_000, 8, 6, spread=4.0)
    with dask.config.set({"array.query-planning": planning, "scheduler": "synchronous"}):
        made = []

        def make(block):
            made.append(block.shape[0])
            return block

        lazy = da.from_array(X, chunks=(6000, -1)).map_blocks(make, meta=X[:0])
        model = MiniBatchKMeans(6, random_state=0).partial_fit(lazy)
        assert sum(made) == len(X)
        assert model.n_samples_seen_ == len(X)
        first = -model.score(X)
        model.partial_fit(lazy)
        assert sum(made) == 2 * len(X)
    assert model.counts_.sum() == 2 * len(X)
    reference = MiniBatchKMeans(6, random_state=0).fit(X).inertia_
    assert first < 1.02 * reference
    assert -model.score(X) < 1.02 * reference


def test_fit_of_chunks():
    X, _ = blobs(24_000, 8, 6, spread=4.0)
    lazy = da.from_array(X, chunks=(7000, 3))
    with dask.config.set(scheduler="synchronous"):
        model = MiniBatchKMeans(6, random_state=0).fit(lazy)
        assert isinstance(model.labels_, da.Array)
        assert np.array_equal(model.labels_.compute(), model.predict(X))
    assert model.inertia_ <= 1.01 * MiniBatchKMeans(6, random_state=0).fit(X).inertia_
    assert model.inertia_ == pytest.approx(inertia(model, X), rel=1e-5)
    assert model.counts_.sum() == len(X)
    assert model.n_iter_ < 10


def test_result_depends_neither_on_workers_nor_on_threads(client):
    X, _ = blobs(12_000, 8, 6)
    lazy = da.from_array(X, chunks=(3000, -1))
    there = MiniBatchKMeans(6, random_state=0).partial_fit(lazy).partial_fit(lazy)
    with dask.config.set(scheduler="synchronous"):
        here = MiniBatchKMeans(6, random_state=0).partial_fit(lazy).partial_fit(lazy)
    assert np.array_equal(there.cluster_centers_, here.cluster_centers_)


def test_labelled_samples():
    X, _ = blobs(600, 6, 3, dtype="float64")
    film = xr.DataArray(X.reshape(600, 2, 3), dims=("time", "y", "x"))
    model = MiniBatchKMeans(3, random_state=0, sample_dims="time").fit(film)
    assert model.cluster_centers_.dims == ("cluster", "y", "x")
    assert model.labels_.dims == ("time",)


def test_arrays_of_other_namespaces():
    X, _ = blobs(6000, 4, 5, dtype="float64")
    there = array_api_strict.asarray(X)
    model = MiniBatchKMeans(5, random_state=0)
    for start in range(0, 6000, 1000):
        model.partial_fit(there[start : start + 1000, :])
    reference = stream(MiniBatchKMeans(5, random_state=0), X, 1000)
    np.testing.assert_allclose(model.cluster_centers_, reference.cluster_centers_, rtol=1e-9)
    fitted = MiniBatchKMeans(5, random_state=0).fit(there)
    whole = MiniBatchKMeans(5, random_state=0).fit(X)
    np.testing.assert_allclose(fitted.cluster_centers_, whole.cluster_centers_, rtol=1e-9)


def test_centres_are_in_the_dtype_of_the_samples():
    X, _ = blobs(5000, 4, 5)
    model = stream(MiniBatchKMeans(5, random_state=0), X)
    assert model.cluster_centers_.dtype == np.float32
    assert model.transform(X).dtype == np.float32


def test_duplicates_give_centres_more_than_once():
    X = np.repeat([[0.0, 0.0], [1.0, 5.0], [7.0, 2.0]], 50, axis=0)
    with pytest.warns(ConvergenceWarning, match="n_clusters=5 but only 3 clusters"):
        model = MiniBatchKMeans(5, random_state=0).fit(X)
    assert model.inertia_ == 0
    assert np.array_equal(np.unique(model.cluster_centers_, axis=0), np.unique(X, axis=0))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 0}, "n_clusters=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"init": "k-means"}, "init='k-means'"),
        ({"init": np.zeros((2, 2))}, "init has the shape"),
        ({"n_init": "many"}, "n_init='many'"),
        ({"max_no_improvement": -1}, "max_no_improvement=-1"),
        ({"reassignment_ratio": -0.1}, "reassignment_ratio=-0.1"),
        ({"forgetting_factor": 0.0}, "forgetting_factor=0.0"),
    ],
)
def test_parameters_without_sense(parameters, message):
    X, _ = blobs(100, 4, 5)
    for learn in ("fit", "partial_fit"):
        with pytest.raises((ValueError, TypeError), match=message):
            getattr(MiniBatchKMeans(**parameters), learn)(X)


def test_more_clusters_than_samples():
    with pytest.raises(ValueError, match="n_samples=5 is less than n_clusters=8"):
        MiniBatchKMeans(8).fit(np.zeros((5, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_at_every_stage(bad):
    X, _ = blobs(6000, 4, 5)
    broken = X.copy()
    broken[4000, 2] = bad
    fitted = stream(MiniBatchKMeans(5, random_state=0), X)
    before = fitted.cluster_centers_.copy()
    for model in (MiniBatchKMeans(5), fitted):
        for samples in (broken, da.from_array(broken, chunks=(3000, -1))):
            with pytest.raises(ValueError, match="NaN, infinity"):
                model.partial_fit(samples)
            with pytest.raises(ValueError, match="NaN, infinity"):
                model.fit(samples)
    assert np.array_equal(fitted.cluster_centers_, before)


def test_weights_of_chunks_are_checked():
    X, _ = blobs(6000, 4, 5)
    lazy = da.from_array(X, chunks=(2000, -1))
    weight = da.from_array(np.where(np.arange(6000) == 5000, -1.0, 1.0), chunks=2000)
    for learn in (MiniBatchKMeans(5).fit, MiniBatchKMeans(5).partial_fit):
        with pytest.raises(ValueError, match="sample_weight"):
            learn(lazy, sample_weight=weight)
