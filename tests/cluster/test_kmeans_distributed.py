"""KMeans on a cluster: what moves, how many tasks a round has, and where chunks stay."""

import collections

import dask
import dask.array as da
import distributed
import numpy as np
import pytest

from dask_exa._samples import as_samples
from dask_exa.cluster import KMeans, _seeding
from dask_exa.cluster._lloyd import ATTRACT
from dask_exa.reduction.broadcast import Rounds

N_CHUNKS, ROWS, N_FEATURES, N_CLUSTERS = 16, 500, 20, 6


def make(block_info=None):
    """Make a chunk of samples where it is needed, from its place alone."""
    start, stop = block_info[None]["array-location"][0]
    rng = np.random.default_rng(start)
    centers = 5 * np.random.default_rng(7).standard_normal((N_CLUSTERS, N_FEATURES))
    labels = rng.integers(N_CLUSTERS, size=stop - start)
    return centers[labels] + rng.standard_normal((stop - start, N_FEATURES))


def made():
    chunks = ((ROWS,) * N_CHUNKS, (N_FEATURES,))
    return da.map_blocks(make, chunks=chunks, dtype=float, meta=np.empty((0, 0)))


def received(client):
    """Bytes that workers have received from each other so far."""

    def log(dask_worker):
        return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)

    return sum(client.run(log).values())


class TaskCounter(distributed.SchedulerPlugin):
    """Counts the tasks that workers run, by name."""

    name = "task-counter"

    def __init__(self):
        self.names = collections.Counter()

    def transition(self, key, start, finish, *args, **kwargs):
        if start == "processing" and finish == "memory":
            name = key[0] if isinstance(key, tuple) else key
            self.names[name.rsplit("-", 1)[0]] += 1


def count(dask_scheduler):
    return dict(dask_scheduler.plugins["task-counter"].names)


@pytest.fixture
def tasks(client):
    """Numbers of tasks run since the test began, by name."""
    client.register_plugin(TaskCounter())
    yield lambda: client.run_on_scheduler(count)
    client.unregister_scheduler_plugin("task-counter")


@pytest.mark.parametrize("persisted", [False, True])
def test_round_is_one_task_a_chunk_and_moves_only_sums(client, tasks, persisted):
    X = made().persist() if persisted else made()
    distributed.wait(X)
    before, run_before = received(client), tasks()
    rounds = Rounds(as_samples(X))
    n_asked = 3
    for _ in range(n_asked):
        rounds.ask(ATTRACT, np.zeros((N_CLUSTERS, N_FEATURES)))
    run = collections.Counter(tasks())
    run.subtract(run_before)
    assert run["exa-answer"] == n_asked * N_CHUNKS
    assert sum(run.values()) <= n_asked * (N_CHUNKS + 4)  # merges, the value
    per_round = (received(client) - before) / n_asked
    # made where neighbours merge, a few sums move; persisted anywhere, none moves more than once
    sums = 8 * N_CLUSTERS * (N_FEATURES + 1) + 1000
    assert per_round < (N_CHUNKS + 4 if persisted else 6) * sums
    assert per_round < X.nbytes / 25


def test_fit_is_one_task_a_chunk_and_pass_and_moves_centres(client, tasks):
    X = made()
    before, run_before = received(client), tasks()
    model = KMeans(N_CLUSTERS, random_state=0).fit(X)
    answers = tasks()["exa-answer"] - run_before.get("exa-answer", 0)
    n_passes = 1 + _seeding.N_PASSES + model.n_iter_
    assert answers in (N_CHUNKS * n_passes, N_CHUNKS * (n_passes + 1))
    candidates = 8 * (1 + 2 * (_seeding.N_PASSES - 1)) * N_CLUSTERS * (N_FEATURES + 1)
    moved = received(client) - before
    assert moved < 6 * n_passes * (candidates + 2000)
    assert moved < X.nbytes / 5


@pytest.mark.parametrize("init", ["k-means||", "random"])
def test_workers_make_no_difference(client, init):
    X = made()

    def fit(X):
        return KMeans(N_CLUSTERS, init=init, n_init=1, random_state=2).fit(X)

    both = fit(X)
    with dask.config.set(scheduler="synchronous"):
        alone = fit(X)
    np.testing.assert_array_equal(both.cluster_centers_, alone.cluster_centers_)
    assert both.inertia_ == alone.inertia_
    in_memory = fit(X.compute())
    np.testing.assert_allclose(both.cluster_centers_, in_memory.cluster_centers_, rtol=1e-11)
    np.testing.assert_array_equal(both.labels_.compute(), in_memory.labels_)
    np.testing.assert_array_equal(fit(X.persist()).cluster_centers_, both.cluster_centers_)


def test_one_worker_gives_what_two_do(client):
    X = made()
    two = KMeans(N_CLUSTERS, random_state=2).fit(X)
    first = sorted(client.nthreads())[0]
    with dask.annotate(workers=[first], allow_other_workers=False):
        X = X.map_blocks(np.asarray)  # not fused by anybody: the annotation pins the chunks
        pinned = client.persist(X, workers=[first])
    distributed.wait(pinned)
    one = KMeans(N_CLUSTERS, random_state=2).fit(pinned)
    np.testing.assert_array_equal(one.cluster_centers_, two.cluster_centers_)
    assert one.inertia_ == two.inertia_


def test_bad_chunk_is_named(client):
    X = made()

    def spoil(block, block_info=None):
        if block_info[None]["chunk-location"][0] == 3:
            block = block.copy()
            block[5] = np.inf
        return block

    with pytest.raises(ValueError, match="In chunk 3 of the samples: X contains NaN, infinity"):
        KMeans(N_CLUSTERS).fit(X.map_blocks(spoil, meta=np.empty((0, 0))))
