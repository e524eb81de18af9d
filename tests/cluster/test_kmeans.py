"""KMeans against the plain Lloyd and scikit-learn's, in memory and chunk by chunk."""

import subprocess
import sys

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans as Peer
from sklearn.cluster import kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from dask_exa._array import to_host
from dask_exa._samples import as_samples
from dask_exa.cluster import KMeans, _seeding
from dask_exa.cluster._lloyd import ATTRACT, lloyd
from dask_exa.reduction.broadcast import Rounds
from dask_exa.testing.strategies import cuts, sample_weights
from tests import naive

FEW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def scheduler():
    with dask.config.set(scheduler="synchronous"):
        yield


def blobs(n_samples=300, n_features=3, n_clusters=4, spread=6.0, seed=0, dtype=np.float64):
    """Return shuffled samples about centres that are `spread` deviations apart."""
    rng = np.random.default_rng(seed)
    centers = spread * rng.standard_normal((n_clusters, n_features))
    labels = rng.permutation(np.arange(n_samples) % n_clusters)
    X = centers[labels] + rng.standard_normal((n_samples, n_features))
    return X.astype(dtype), labels


def far_start(X, n_clusters=4):
    return X[:n_clusters].astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [0.5, 6.0])
@pytest.mark.parametrize("lazy", [False, True])
def test_rounds_are_those_of_the_plain_algorithm_and_of_scikit_learn(dtype, weighted, spread, lazy):
    X, _ = blobs(spread=spread, dtype=dtype)
    weight = np.random.default_rng(1).uniform(0.1, 3, len(X)) if weighted else None
    start = far_start(X)
    given = da.from_array(X, chunks=((100, 0, 7, 193), -1)) if lazy else X
    model = KMeans(4, init=start, tol=0).fit(given, sample_weight=weight)
    centers, labels, inertia = naive.lloyd(X, start, weight)
    rtol = 1e-12 if dtype is np.float64 else 1e-6
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(np.asarray(model.labels_), labels)
    np.testing.assert_allclose(model.inertia_, inertia, rtol=rtol)
    peer = Peer(4, init=start.astype(dtype), n_init=1, tol=0).fit(X, sample_weight=weight)
    assert model.n_iter_ == peer.n_iter_
    np.testing.assert_allclose(model.cluster_centers_, peer.cluster_centers_, rtol=1e-5, atol=1e-5)
    assert model.cluster_centers_.dtype == dtype
    assert str(model.labels_.dtype) == "int32"


@pytest.mark.filterwarnings("ignore:Number of distinct clusters:UserWarning")
@pytest.mark.parametrize("tol", [1e-4, 1e-2])
@pytest.mark.parametrize("max_iter", [1, 3, 300])
def test_rounds_end_where_those_of_scikit_learn_do(tol, max_iter):
    X, _ = blobs(2000, 4, 8, spread=1.0)
    model = KMeans(8, init=X[:8], tol=tol, max_iter=max_iter).fit(X)
    peer = Peer(8, init=X[:8], n_init=1, tol=tol, max_iter=max_iter).fit(X)
    assert model.n_iter_ == peer.n_iter_
    np.testing.assert_allclose(model.cluster_centers_, peer.cluster_centers_, rtol=1e-9)
    np.testing.assert_allclose(model.inertia_, peer.inertia_, rtol=1e-9)


def test_inertia_is_the_sum_of_squares():
    X, _ = blobs()
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    model = KMeans(4, random_state=0).fit(da.from_array(X, chunks=(90, -1)), sample_weight=weight)
    squares = naive.nearest_centers(X, model.cluster_centers_)[1]
    np.testing.assert_allclose(model.inertia_, np.sum(weight * squares), rtol=1e-12)
    np.testing.assert_allclose(model.score(X, sample_weight=weight), -model.inertia_, rtol=1e-12)


@FEW
@given(data=st.data())
def test_chunks_make_no_difference(data):
    X, _ = blobs(120, 3, 12, spread=2.0)
    weight = data.draw(sample_weights(len(X)))
    sizes = data.draw(cuts(len(X), empty=True))
    init = data.draw(st.sampled_from(["k-means||", "random"]))
    model = KMeans(12, init=init, n_init=2, random_state=3).fit(X, sample_weight=weight)
    lazy = KMeans(12, init=init, n_init=2, random_state=3)
    lazy.fit(da.from_array(X, chunks=(sizes, -1)), sample_weight=weight)
    np.testing.assert_allclose(lazy.cluster_centers_, model.cluster_centers_, rtol=1e-11)
    np.testing.assert_allclose(lazy.inertia_, model.inertia_, rtol=1e-12)
    np.testing.assert_array_equal(lazy.labels_.compute(), model.labels_)
    assert lazy.n_iter_ == model.n_iter_


def test_far_from_the_origin_float32_samples_keep_their_clusters():
    X, _ = blobs(400, 2, 4, spread=8.0, seed=3)
    moved = (X + 4096).astype(np.float32)
    near = KMeans(4, random_state=0).fit((moved - 4096).astype(np.float32))
    far = KMeans(4, random_state=0).fit(da.from_array(moved, chunks=(150, -1)))
    np.testing.assert_array_equal(far.labels_.compute(), near.labels_)
    np.testing.assert_allclose(far.inertia_, near.inertia_, rtol=1e-4)


def test_empty_clusters_move_to_the_farthest_samples():
    X, _ = blobs()
    start = np.vstack([X[:2], np.full((2, 3), 1e4)])  # nothing is near to these
    centers, labels, inertia = naive.lloyd(X, start)
    for samples in (X, da.from_array(X, chunks=(37, -1))):
        model = KMeans(4, init=start, tol=0).fit(samples)
        np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-12)
        np.testing.assert_array_equal(np.asarray(model.labels_), labels)
        np.testing.assert_allclose(model.inertia_, inertia, rtol=1e-12)
    peer = Peer(4, init=start, n_init=1, tol=0).fit(X)
    np.testing.assert_allclose(np.sort(centers, axis=0), np.sort(peer.cluster_centers_, axis=0))


def test_weightless_samples_never_become_centres():
    X, _ = blobs()
    X[7] = 1e3
    weight = np.ones(len(X))
    weight[7] = 0
    start = np.vstack([X[:2], np.full((2, 3), 1e6)])
    for init in (start, "k-means||", "k-means++", "random"):
        model = KMeans(4, init=init, random_state=0).fit(X, sample_weight=weight)
        assert np.abs(model.cluster_centers_).max() < 100


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
@pytest.mark.parametrize("lazy", [False, True])
def test_fewer_distinct_samples_than_clusters(init, lazy):
    X = np.repeat([[0.0, 1.0], [5.0, 5.0], [9.0, 0.0]], 20, axis=0)
    given = da.from_array(X, chunks=(7, -1)) if lazy else X
    with pytest.warns(ConvergenceWarning, match="n_clusters=5 but only 3 clusters"):
        model = KMeans(5, init=init, random_state=0).fit(given)
    assert model.cluster_centers_.shape == (5, 2)
    assert model.inertia_ == pytest.approx(0.0, abs=1e-20)
    assert len(np.unique(np.asarray(model.labels_))) == 3
    assert model.n_iter_ <= 3


def test_every_sample_may_be_a_cluster():
    X, _ = blobs(8)
    model = KMeans(8, random_state=0).fit(X)
    assert model.inertia_ == pytest.approx(0.0, abs=1e-20)
    assert sorted(model.labels_) == list(range(8))
    assert KMeans(1).fit(X).inertia_ == pytest.approx(np.sum((X - X.mean(axis=0)) ** 2))


@pytest.mark.parametrize("seed", range(2))
def test_parallel_start_finds_every_cluster(seed):
    X, labels = blobs(6000, 8, 64, spread=8.0, seed=seed)
    rounds = Rounds(as_samples(da.from_array(X, chunks=(1700, -1))))
    centers = _seeding.parallel_plus_plus(rounds, X[:1], 64, seed)
    assert rounds.n_rounds == _seeding.N_PASSES
    means = np.array([X[labels == label].mean(axis=0) for label in range(64)])
    optimum = naive.sum_nearest(X, means)[3]
    assert rounds.ask(ATTRACT, centers).inertia < 1.01 * optimum
    sequential = kmeans_plusplus(X, 64, random_state=seed)[0]
    assert rounds.ask(ATTRACT, centers).inertia < rounds.ask(ATTRACT, sequential).inertia


def test_parallel_start_is_no_worse_than_scikit_learns_on_rare_clusters():
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 41) ** 1.5
    labels = rng.choice(40, size=8000, p=shares / shares.sum())
    X = (4 * rng.standard_normal((40, 6)))[labels] + rng.standard_normal((8000, 6))
    ours = [KMeans(40, random_state=seed).fit(X).inertia_ for seed in range(4)]
    theirs = [Peer(40, random_state=seed).fit(X).inertia_ for seed in range(4)]
    assert np.mean(ours) < np.mean(theirs)


def test_far_samples_are_drawn_by_their_squared_distance():
    X = np.array([[0.0], [1.0], [2.0], [3.0], [0.0]])
    weight = np.array([1.0, 1.0, 2.0, 1.0, 5.0])
    counts = np.zeros(4)
    n_draws = 8000
    for seed in range(n_draws):
        draw = _seeding._draw_far(X[:1], X, weight, 0, size=1, seed=seed, stream=1)
        counts[int(draw.rows[0, 0])] += 1
    expected = n_draws * np.array([0, 1, 8, 9]) / 18
    assert counts[0] == 0
    assert np.sum((counts - expected)[1:] ** 2 / expected[1:]) < 13.8  # chi², 2 degrees, p = .001


def test_draws_depend_on_the_numbers_of_the_samples_alone():
    X, _ = blobs(500, 2)
    lazy = [da.from_array(X, chunks=(size, -1)) for size in (500, 61, 1)]
    starts = [_seeding.parallel_plus_plus(Rounds(as_samples(x)), X[:4], 4, 9) for x in (X, *lazy)]
    for start in starts[1:]:
        np.testing.assert_allclose(start, starts[0], rtol=1e-12)


def test_best_of_several_starts_is_kept():
    X, _ = blobs(400, 2, 10, spread=4.0)
    one = [KMeans(10, init="random", n_init=1, random_state=seed).fit(X) for seed in range(5)]
    best = KMeans(10, init="random", random_state=0).fit(X)
    assert best.inertia_ <= np.median([model.inertia_ for model in one])
    starts = []

    def init(X, n_clusters, random_state):
        starts.append(X[random_state.choice(len(X), n_clusters, replace=False)])
        return starts[-1]

    model = KMeans(10, init=init, n_init=3, random_state=0, tol=0).fit(X)
    assert len(starts) == 3
    assert model.inertia_ == pytest.approx(min(naive.lloyd(X, start)[2] for start in starts))


def test_labelled_fields_give_labelled_centres():
    X, _ = blobs(60, 6, 3)
    field = xr.DataArray(
        X.reshape(60, 2, 3).transpose(1, 0, 2), dims=("y", "time", "x"), coords={"x": [1, 2, 3]}
    )
    for samples in (field, field.chunk(time=25)):
        model = KMeans(3, random_state=0, sample_dims="time").fit(samples)
        assert model.cluster_centers_.dims == ("cluster", "y", "x")
        assert model.labels_.dims == ("time",)
        plain = KMeans(3, random_state=0).fit(X)
        np.testing.assert_array_equal(model.labels_.values, plain.labels_)
        np.testing.assert_allclose(model.cluster_centers_.values.reshape(3, 6),
                                   plain.cluster_centers_, rtol=1e-12)  # fmt: skip
        again = KMeans(3, init=model.cluster_centers_, sample_dims="time").fit(samples)
        assert again.n_iter_ == 1


def test_other_namespaces_give_the_same_in_their_arrays():
    X, _ = blobs(200, 3)
    weight = np.random.default_rng(0).uniform(0, 2, 200)
    plain = KMeans(4, random_state=0).fit(X, sample_weight=weight)
    strict = array_api_strict.asarray
    model = KMeans(4, random_state=0).fit(strict(X), sample_weight=strict(weight))
    assert type(model.cluster_centers_) is type(strict(X))
    np.testing.assert_allclose(to_host(model.cluster_centers_), plain.cluster_centers_, rtol=1e-11)
    np.testing.assert_array_equal(to_host(model.predict(strict(X))), plain.labels_)
    merged = model | KMeans(4, random_state=1).fit(strict(X))
    assert type(merged.cluster_centers_) is type(strict(X))


def test_lazy_samples_stay_lazy():
    X, _ = blobs()
    lazy = da.from_array(X, chunks=(90, -1))
    model = KMeans(4, random_state=0).fit(lazy)
    assert isinstance(model.labels_, da.Array)
    assert model.transform(lazy).chunks[0] == lazy.chunks[0]
    np.testing.assert_array_equal(model.labels_.compute(), model.predict(X))
    np.testing.assert_allclose(
        model.transform(lazy).compute().min(axis=1) ** 2,
        naive.nearest_centers(X, model.cluster_centers_)[1],
        atol=1e-9,
    )


BAD = {
    "n_clusters=0": {"n_clusters": 0},
    "n_clusters=2.5": {"n_clusters": 2.5},
    "n_samples=300 is less than n_clusters=301": {"n_clusters": 301},
    "max_iter=0": {"max_iter": 0},
    "tol=-1": {"tol": -1},
    "algorithm='fast'": {"algorithm": "fast"},
    "n_init='many'": {"n_init": "many"},
    "init='best'": {"init": "best"},
    r"init has the shape \(3, 3\)": {"init": np.ones((3, 3))},
    r"init has the shape \(4,\)": {"init": np.ones(4)},
    "init has centres that are NaN": {"init": np.full((4, 3), np.nan)},
}


@pytest.mark.parametrize("message", BAD)
@pytest.mark.parametrize("lazy", [False, True])
def test_bad_parameters_are_named(message, lazy):
    X, _ = blobs()
    model = KMeans(**{"n_clusters": 4, **BAD[message]})
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(da.from_array(X, chunks=(90, -1)) if lazy else X)
    assert not hasattr(model, "cluster_centers_")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bad_samples_are_named_with_their_chunk():
    X, _ = blobs()
    X[150, 1] = np.nan
    with pytest.raises(ValueError, match=r"In chunk 1 of the samples: X contains NaN"):
        KMeans(4).fit(da.from_array(X, chunks=(90, -1)))
    with pytest.raises(ValueError, match="X contains NaN"):
        KMeans(4).fit(X)
    good, _ = blobs()
    lazy = da.from_array(good, chunks=(90, -1))
    for weight, message in ((np.zeros(300), "zero"), (np.full(300, -1.0), "negative")):
        for samples, weights in ((good, weight), (lazy, da.from_array(weight, chunks=90))):
            with pytest.raises(ValueError, match=message):
                KMeans(4).fit(samples, sample_weight=weights)
    few = np.zeros(300)
    few[:3] = 1
    with pytest.raises(ValueError, match="only 3 samples with a weight"):
        KMeans(4).fit(good, sample_weight=few)


def test_verbose_prints_every_round(capsys):
    X, _ = blobs()
    model = KMeans(4, init=X[:4], verbose=1).fit(X)
    assert len(capsys.readouterr().out.splitlines()) == model.n_iter_


def test_converged_rounds_need_no_last_pass():
    X, _ = blobs()
    rounds = Rounds(as_samples(X))
    centers, _, n_iter = lloyd(rounds, X[:4])
    assert rounds.n_rounds == n_iter
    again = Rounds(as_samples(X))
    np.testing.assert_array_equal(lloyd(again, centers)[0], centers)
    assert again.n_rounds == 1


@pytest.mark.parametrize("planning", [False, True])
def test_both_array_modes_of_dask_give_the_same(planning):
    script = (
        "import dask, sys\n"
        f"dask.config.set({{'array.query-planning': {planning}, 'scheduler': 'synchronous'}})\n"
        "import dask.array as da, numpy as np\n"
        "from dask_exa.cluster import KMeans\n"
        "X = da.from_array(np.arange(60.0).reshape(30, 2) ** 1.5, chunks=(7, -1))\n"
        "weight = da.arange(1.0, 31.0, chunks=30)\n"
        "model = KMeans(3, random_state=0).fit(X * 2, sample_weight=weight)\n"
        "print(round(model.inertia_, 3), *model.labels_.compute())\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    X = 2 * np.arange(60.0).reshape(30, 2) ** 1.5
    model = KMeans(3, random_state=0).fit(X, sample_weight=np.arange(1.0, 31.0))
    assert run.stdout.split() == [str(round(model.inertia_, 3)), *map(str, model.labels_)]
