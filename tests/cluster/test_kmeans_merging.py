"""Merging KMeans: exact where clusters are far apart, an upper bound elsewhere."""

import itertools

import dask
import dask.array as da
import numpy as np
import pytest

from dask_exa._state import NotEnoughSamplesError
from dask_exa.cluster import KMeans
from dask_exa.cluster._alignment import align
from dask_exa.testing.contracts import MergeableEstimatorContract
from tests import naive


class TestKMeans(MergeableEstimatorContract):
    """Clusters that no start confuses: then every order of merges gives the same."""

    def make(self):
        return KMeans(3, random_state=0)

    def samples(self):
        rng = np.random.default_rng(0)
        labels = rng.permutation(np.arange(60) % 3)
        return 100 * np.eye(3)[labels] + rng.standard_normal((60, 3))

    def learnt(self, estimator):
        centers = np.asarray(estimator.cluster_centers_)
        return {
            "n_samples_seen_": np.asarray(estimator.n_samples_seen_),
            "centers": centers[np.argsort(centers.argmax(axis=1))],
            "inertia_": np.asarray(estimator.inertia_),
        }


@pytest.fixture(autouse=True)
def scheduler():
    with dask.config.set(scheduler="synchronous"):
        yield


def overlapping(n_samples=6000, n_features=6, n_clusters=12, seed=0):
    """Return samples whose clusters overlap, by cluster."""
    rng = np.random.default_rng(seed)
    centers = 1.5 * rng.standard_normal((n_clusters, n_features))
    labels = np.sort(np.arange(n_samples) % n_clusters)
    return centers[labels] + rng.standard_normal((n_samples, n_features))


def dealt(X, how, n_ranks=4):
    """Deal samples to ranks: at random, or clusters one after the other."""
    order = np.random.default_rng(1).permutation(len(X)) if how == "iid" else np.arange(len(X))
    return np.array_split(X[order], n_ranks)


def learn(X):
    return KMeans(12, random_state=0).fit(X)


def inertia(X, model):
    return naive.sum_nearest(X, model.cluster_centers_)[3]


@pytest.mark.parametrize("how", ["iid", "sorted"])
def test_merge_is_near_to_a_fit_and_rounds_close_the_gap(how):
    X = overlapping()
    whole = learn(X)
    merged = KMeans(12, random_state=0).merge(*map(learn, dealt(X, how)))
    assert merged.n_samples_seen_ == len(X)
    once = inertia(X, merged) / whole.inertia_
    assert once < 1.04
    again = KMeans(12, init=merged.cluster_centers_).fit(X)
    assert again.inertia_ / whole.inertia_ < min(once, 1.005)


@pytest.mark.parametrize("how", ["iid", "sorted"])
def test_inertia_of_a_merge_is_exact_for_its_split_and_a_bound(how):
    X = overlapping(1200)
    models = list(map(learn, dealt(X, how)))
    merged = KMeans(12, random_state=0).merge(*models)
    split = 0.0
    counts = np.zeros(12)
    for model, part in zip(models, dealt(X, how), strict=True):
        # the published centres of a part may be a rounding error, or a last move, from its means
        labels = naive.nearest_centers(part, model.cluster_centers_)[0]
        means = np.array([part[labels == label].mean(axis=0) for label in range(12)])
        goes_to = naive.nearest_centers(means, merged.cluster_centers_)[0][labels]
        split += np.sum((part - merged.cluster_centers_[goes_to]) ** 2)
        counts += np.bincount(goes_to, minlength=12)
    np.testing.assert_allclose(merged.inertia_, split, rtol=1e-10)
    np.testing.assert_allclose(merged._state.summary.counts, counts)
    assert inertia(X, merged) < merged.inertia_


def test_groupings_of_merges_are_close():
    X = overlapping()
    a, b, c, d = map(learn, dealt(X, "sorted"))
    ways = [a | b | c | d, a | (b | (c | d)), (a | b) | (c | d), d | b | a | c]
    found = [inertia(X, model) for model in ways]
    assert max(found) / min(found) < 1.03


def test_merged_centres_keep_the_numbers_of_the_first_model():
    rng = np.random.default_rng(0)
    centers = 30 * rng.standard_normal((10, 4))
    X = centers[np.arange(1000) % 10] + rng.standard_normal((1000, 4))
    a = KMeans(10, random_state=0).fit(X[:500])
    b = KMeans(10, random_state=5).fit(X[500:])
    assert not np.array_equal(a.predict(X), b.predict(X))
    np.testing.assert_array_equal((a | b).predict(X), a.predict(X))
    np.testing.assert_array_equal((b | a).predict(X), b.predict(X))
    np.testing.assert_array_equal(a.predict(X), (a.partial_fit(X[500:])).predict(X))


def test_alignment_is_the_cheapest_of_all_orders():
    rng = np.random.default_rng(0)
    reference, centers = rng.standard_normal((4, 2)) + 50, rng.standard_normal((6, 2)) + 50
    order = align(reference, centers)
    assert sorted(order) == list(range(6))

    def cost(places):
        return np.sum((centers[list(places)] - reference) ** 2)

    best = min(itertools.permutations(range(6), 4), key=cost)
    assert tuple(order[:4]) == best


def test_stream_of_batches_stays_near_to_a_fit():
    X = overlapping()
    stream = KMeans(12, random_state=0)
    for batch in dealt(X, "iid", 30):
        stream.partial_fit(batch)
    assert not hasattr(stream, "labels_")
    assert inertia(X, stream) / learn(X).inertia_ < 1.06
    assert stream.n_samples_seen_ == len(X)


def test_short_batches_wait_until_there_are_enough():
    X = overlapping(20)
    model = KMeans(12, random_state=0).partial_fit(X[:5])
    with pytest.raises(NotEnoughSamplesError, match="only 5 samples"):
        model.cluster_centers_  # noqa: B018
    assert not hasattr(model, "inertia_")
    model.partial_fit(da.from_array(X[5:12], chunks=(3, -1)))
    assert model.inertia_ == 0
    np.testing.assert_array_equal(np.sort(model.cluster_centers_, axis=0), np.sort(X[:12], axis=0))
    assert model.partial_fit(X[12:]).inertia_ > 0


def test_forgetting_lets_new_samples_decide():
    rng = np.random.default_rng(0)
    old, new = rng.standard_normal((400, 1)), rng.standard_normal((400, 1)) + 10
    model = KMeans(1, random_state=0).fit(old)
    before = model.inertia_
    np.testing.assert_allclose(model.forget(0.25).inertia_, before / 4)
    model.partial_fit(new)
    expected = np.average([old.mean(), new.mean()], weights=[0.25, 1])
    np.testing.assert_allclose(model.cluster_centers_, [[expected]])
    weight = np.repeat([0.25, 1.0], 400)
    squares = (np.vstack([old, new]) - expected)[:, 0] ** 2
    np.testing.assert_allclose(model.inertia_, np.sum(weight * squares))
