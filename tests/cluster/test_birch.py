"""Birch: subclusters of everything that was seen, in bounded memory."""

import subprocess
import sys

import array_api_strict
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import Birch as Peer
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from dask_exa.cluster import Birch
from dask_exa.summaries import moments
from dask_exa.testing.contracts import MergeableEstimatorContract
from dask_exa.testing.strategies import cuts, groupings, merge_grouped, pieces
from tests.naive import cluster_features

X, Y = make_blobs(1500, n_features=3, centers=12, cluster_std=0.6, random_state=0)
RADIUS = 0.8


def by_place(model):
    """Return the subclusters in an order of their own: centres, weights, radii."""
    order = np.lexsort(model.subcluster_centers_.T)
    parts = (model.subcluster_centers_, model.subcluster_weights_, model.subcluster_radii_)
    return [part[order] for part in parts]


def totals(model):
    """Return the moments of everything that a model's subclusters sum up."""
    centers, weights, deviations = model._state.summary.subclusters
    between = moments.summarize(centers, weights)
    return between.weight, between.mean, between.energy + deviations.sum()


class TestContract(MergeableEstimatorContract):
    """Twelve groups that no order of insertion can mistake: there, everything is exact."""

    def make(self):
        return Birch(threshold=0.5, n_clusters=None, compute_labels=False)

    def samples(self):
        rng = np.random.default_rng(0)
        groups = rng.permutation(np.repeat(20.0 * np.arange(12), 5))
        return groups[:, None] + rng.uniform(-0.1, 0.1, (60, 4))

    def learnt(self, estimator):
        centers, weights, radii = by_place(estimator)
        n_samples = np.asarray(estimator.n_samples_seen_)
        return {
            "centers": centers,
            "weights": weights,
            "radii": radii,
            "n_samples_seen_": n_samples,
        }


@pytest.mark.parametrize("branching_factor", [2, 3, 5, 50])
@pytest.mark.parametrize("threshold", [0.2, RADIUS, 3.0])
def test_subclusters_are_those_of_the_plain_tree(branching_factor, threshold):
    part = X[:400]
    model = Birch(threshold=threshold, branching_factor=branching_factor, n_clusters=None).fit(part)
    expected = cluster_features(part, threshold, branching_factor)
    centers = np.array([samples.mean(axis=0) for samples in expected])
    order = np.lexsort(centers.T)
    radii = [np.sqrt(((s - s.mean(axis=0)) ** 2).sum(axis=1).mean()) for s in expected]
    found = by_place(model)
    np.testing.assert_allclose(found[0], centers[order], rtol=1e-12)
    np.testing.assert_array_equal(found[1], np.array(list(map(len, expected)))[order])
    np.testing.assert_allclose(found[2], np.array(radii)[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("threshold", [0.3, RADIUS, 1.2])
def test_subclusters_and_clusters_are_scikit_learns(threshold):
    ours = Birch(threshold=threshold, n_clusters=12).fit(X)
    peer = Peer(threshold=threshold, n_clusters=12).fit(X)
    order = np.lexsort(peer.subcluster_centers_.T)
    np.testing.assert_allclose(by_place(ours)[0], peer.subcluster_centers_[order], rtol=1e-10)
    assert adjusted_rand_score(ours.labels_, peer.labels_) == 1
    assert ours.labels_.dtype == np.int32
    np.testing.assert_allclose(
        np.sort(ours.transform(X[:20])), np.sort(peer.transform(X[:20])), atol=1e-6
    )


def test_digits_are_not_lost_far_from_zero():
    expected = Birch(threshold=RADIUS, n_clusters=12).fit(X)
    found = Birch(threshold=RADIUS, n_clusters=12).fit(X + 1e9)
    assert len(found.subcluster_centers_) == len(expected.subcluster_centers_) == 73
    np.testing.assert_allclose(by_place(found)[0] - 1e9, by_place(expected)[0], atol=1e-6)
    assert adjusted_rand_score(found.labels_, expected.labels_) > 0.999
    peer = Peer(threshold=RADIUS, n_clusters=12).fit(X + 1e9)
    assert len(peer.subcluster_centers_) > 300
    assert adjusted_rand_score(peer.labels_, expected.labels_) < 0.1


@given(st.data())
def test_stream_in_any_pieces_is_one_fit_to_the_last_bit(data):
    part = X[:300]
    params = {"threshold": 0.3, "branching_factor": 4, "max_subclusters": 60}
    expected = Birch(**params).fit(part)._state.summary
    stream = Birch(**params)
    for piece in pieces(part, data.draw(cuts(len(part)))):
        stream.partial_fit(piece)
    for found, wanted in zip(stream._state.summary, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@given(st.data())
def test_totals_are_exact_in_any_grouping(data):
    part = X[:300]
    params = {"threshold": 0.3, "branching_factor": 4, "max_subclusters": 40, "n_clusters": 1}
    parts = pieces(part, data.draw(cuts(len(part))))
    models = data.draw(st.permutations([Birch(**params).fit(piece) for piece in parts]))
    grouping = data.draw(groupings(len(models)))
    merged = merge_grouped(lambda group: Birch(**params).merge(*group), models, grouping)
    whole = moments.summarize(part)
    weight, mean, energy = totals(merged)
    assert weight == merged.n_samples_seen_ == 300
    np.testing.assert_allclose(mean, whole.mean, rtol=1e-10)
    np.testing.assert_allclose(energy, whole.energy, rtol=1e-10)
    assert len(merged.subcluster_weights_) <= 40
    assert merged.subcluster_radii_.max() <= merged.threshold_ * (1 + 1e-12)


@pytest.mark.parametrize("max_subclusters", [1, 20, 150])
def test_threshold_rises_until_memory_is_enough(max_subclusters):
    model = Birch(threshold=0.01, max_subclusters=max_subclusters, n_clusters=None).fit(X)
    assert len(model.subcluster_centers_) <= max_subclusters
    assert model.threshold_ > 0.01
    assert model.subcluster_radii_.max() <= model.threshold_ * (1 + 1e-12)
    weight, mean, energy = totals(model)
    whole = moments.summarize(X)
    assert weight == len(X)
    np.testing.assert_allclose(mean, whole.mean, rtol=1e-10)
    np.testing.assert_allclose(energy, whole.energy, rtol=1e-10)


def test_bounded_memory_costs_little_quality():
    centers = 10 * np.random.default_rng(3).standard_normal((30, 8))
    rows, y = make_blobs(20_000, centers=centers, random_state=3)
    bounded = Birch(threshold=0.1, max_subclusters=500, n_clusters=30).fit(rows)
    assert adjusted_rand_score(y, bounded.labels_) > 0.99
    # Lloyd's algorithm with as many centres, the best that could be hoped for
    best = KMeans(len(bounded.subcluster_centers_), n_init=1, max_iter=20, random_state=0)
    ratio = bounded.score(rows) / best.fit(rows).score(rows)
    assert ratio < 1.35


def test_models_of_unlike_ranks_find_the_clusters_of_everything():
    order = np.argsort(Y, kind="stable")
    ranks = [Birch(threshold=RADIUS).fit(part) for part in np.array_split(X[order], 8)]
    merged = Birch(threshold=RADIUS, n_clusters=12).merge(*ranks)
    whole = Birch(threshold=RADIUS, n_clusters=12).fit(X)
    assert adjusted_rand_score(Y, merged.predict(X)) > 0.98 * adjusted_rand_score(Y, whole.labels_)
    assert merged.score(X) > 1.1 * whole.score(X)
    assert not hasattr(merged, "labels_")


@pytest.mark.parametrize("chunks", [1500, 200])
def test_chunks_are_merged_models(chunks):
    lazy = da.from_array(X, chunks=(chunks, 2))
    model = Birch(threshold=RADIUS, n_clusters=12).fit(lazy)
    parts = [X[i : i + chunks] for i in range(0, len(X), chunks)]
    models = [Birch(threshold=RADIUS, n_clusters=12).fit(part) for part in parts]
    expected = models[0].merge(*models[1:])
    np.testing.assert_array_equal(model.subcluster_centers_, expected.subcluster_centers_)
    assert isinstance(model.labels_, da.Array)
    np.testing.assert_array_equal(model.labels_.compute(), expected.predict(X))
    assert adjusted_rand_score(Y, model.labels_.compute()) > 0.97


def test_worker_processes_do_not_show(client):
    lazy = da.from_array(X, chunks=(200, 3))
    found = Birch(threshold=RADIUS).fit(lazy)
    expected = Birch(threshold=RADIUS)
    for i in range(0, len(X), 200):
        expected.merge(Birch(threshold=RADIUS).fit(X[i : i + 200]))
    np.testing.assert_array_equal(found.subcluster_weights_, expected.subcluster_weights_)
    np.testing.assert_array_equal(found.labels_.compute(), expected.predict(X))


def test_query_planning_mode_gives_the_same():
    script = (
        "import dask; dask.config.set({'array.query-planning': True})\n"
        "import dask.array as da, numpy as np\n"
        "from dask_exa.cluster import Birch\n"
        "X = np.random.default_rng(0).standard_normal((90, 3))\n"
        "model = Birch().fit(da.from_array(X, chunks=(30, 3)))\n"
        "parts = [Birch().fit(X[i : i + 30]) for i in (0, 30, 60)]\n"
        "expected = parts[0].merge(*parts[1:]).predict(X)\n"
        "assert np.array_equal(model.labels_.compute(), expected)\n"
        "print('same')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "same\n", done.stderr


def test_labelled_data_keep_their_labels():
    film = xr.DataArray(X.reshape(500, 3, 3), dims=("time", "y", "x"))
    model = Birch(threshold=2.0, sample_dims="time").fit(film)
    assert model.subcluster_centers_.dims == ("subcluster", "y", "x")
    assert model.labels_.dims == ("time",)
    plain = Birch(threshold=2.0).fit(film.values.reshape(500, 9))
    np.testing.assert_array_equal(model.labels_.values, plain.labels_)


def test_clusters_may_be_asked_for_anew():
    model = Birch(threshold=RADIUS, n_clusters=None).fit(X)
    np.testing.assert_array_equal(
        model.subcluster_labels_, np.arange(len(model.subcluster_centers_))
    )
    assert model.subcluster_centers_[model.labels_].shape == X.shape
    model.set_params(n_clusters=12)
    assert adjusted_rand_score(Y, model.predict(X)) > 0.98
    model.set_params(n_clusters=KMeans(12, n_init=5, random_state=0))
    weighted = KMeans(12, n_init=5, random_state=0)
    weighted.fit(model.subcluster_centers_, sample_weight=model.subcluster_weights_)
    np.testing.assert_array_equal(model.subcluster_labels_, weighted.labels_)


def test_fewer_subclusters_than_clusters_is_a_warning():
    model = Birch(threshold=100.0, n_clusters=1).fit(X)
    with pytest.warns(ConvergenceWarning, match="1 subclusters but n_clusters=7"):
        labels = model.set_params(n_clusters=7).predict(X)
    assert not labels.any()


def test_what_was_forgotten_gives_way():
    old, new = X[Y == 0], X[Y == 0] + 0.3
    model = Birch(threshold=5.0, n_clusters=1).fit(old).forget(1e-3).partial_fit(new)
    np.testing.assert_allclose(model.subcluster_centers_[0], new.mean(axis=0), atol=1e-3)
    assert model.n_samples_seen_ == 2 * len(old)
    apart = Birch(threshold=RADIUS, n_clusters=None).fit(X[Y == 1])
    for _ in range(60):
        apart.forget(0.5).partial_fit(X[Y == 2])
    near = np.linalg.norm(apart.subcluster_centers_ - X[Y == 1].mean(axis=0), axis=1)
    assert near.min() > 2  # nothing is left of what weighs 2**-60
    for _ in range(1200):
        apart.forget(0.5)
    assert np.isfinite(apart.partial_fit(X[Y == 2]).subcluster_centers_).all()


def test_rows_without_weight_make_no_subcluster():
    weights = np.where(Y == 3, 0.0, 1.5)
    model = Birch(threshold=RADIUS).fit(X, sample_weight=weights)
    expected = Birch(threshold=RADIUS).fit(X[Y != 3])
    np.testing.assert_allclose(model.subcluster_centers_, expected.subcluster_centers_, rtol=1e-12)
    np.testing.assert_allclose(model.subcluster_weights_, 1.5 * expected.subcluster_weights_)
    assert model.n_samples_seen_ == len(X)


def test_float32_stays_and_is_accumulated_in_float64():
    model = Birch(threshold=RADIUS, n_clusters=12).fit(X.astype(np.float32))
    assert model.subcluster_centers_.dtype == np.float32
    assert model.transform(X.astype(np.float32)).dtype == np.float32
    exact = Birch(threshold=RADIUS, n_clusters=12).fit(X.astype(np.float32).astype(float))
    np.testing.assert_array_equal(
        model.subcluster_centers_, exact.subcluster_centers_.astype(np.float32)
    )


def test_other_namespaces_are_read_on_the_host():
    strict = array_api_strict.asarray(X)
    model = Birch(threshold=RADIUS).fit(strict)
    expected = Birch(threshold=RADIUS).fit(X)
    assert type(model.labels_) is type(strict)
    np.testing.assert_array_equal(np.asarray(model.labels_), expected.labels_)


def test_labels_are_made_on_demand():
    model = Birch(compute_labels=False).fit(X)
    assert not hasattr(model, "labels_")
    assert model.predict(X).shape == (1500,)


def test_many_equal_samples_are_one_subcluster():
    model = Birch(threshold=1e-9, n_clusters=None).fit(np.full((10_000, 2), 0.1))
    assert model.subcluster_weights_ == [10_000]
    np.testing.assert_allclose(model.subcluster_centers_, [[0.1, 0.1]], rtol=1e-12)


def test_nested_outliers_make_a_deep_tree():
    # every split cuts off the farthest sample alone: the worst case for the height of the tree
    series = 4.0 ** -np.arange(400.0)[:, None]
    model = Birch(threshold=1e-300, branching_factor=2, n_clusters=None).fit(series)
    assert model.n_samples_seen_ == 400
    assert model._state.summary.heads[3] > 10
    weight, mean, _ = totals(model)
    assert weight == 400
    np.testing.assert_allclose(mean, series.mean(), rtol=1e-12)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"threshold": 0.0}, "threshold=0.0 must be a finite number above 0"),
        ({"threshold": -1}, "threshold=-1 must be a finite number above 0"),
        ({"threshold": "a"}, "threshold='a' must be"),
        ({"branching_factor": 1}, "branching_factor=1 must be an int of at least 2"),
        ({"max_subclusters": 0}, "max_subclusters=0 must be an int of at least 1"),
        ({"n_clusters": 0}, "n_clusters=0 must be an int of at least 1"),
        ({"n_clusters": "many"}, "n_clusters='many' must be an int"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Birch(**params).fit(X)


def test_bad_values_name_their_chunk():
    broken = X.copy()
    broken[700, 1] = np.nan
    with pytest.raises(ValueError, match="In chunk 3 of the samples: X contains NaN"):
        Birch().fit(da.from_array(broken, chunks=(200, 3)))
