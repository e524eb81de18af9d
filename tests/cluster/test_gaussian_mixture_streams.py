"""Mixtures of streams and of several ranks: laws where there are any, measured limits elsewhere."""

import pickle
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as Peer
from sklearn.preprocessing import StandardScaler

from dask_exa.cluster import GaussianMixture
from dask_exa.summaries.gaussians import TYPES
from dask_exa.testing.contracts import ROUND_TRIPS, refusal, snapshot
from tests import naive

N, K, D = 8000, 4, 3
ALL_TYPES = pytest.mark.parametrize("form", TYPES)
ATTRIBUTES = ("weights_", "means_", "covariances_", "lower_bound_")


@pytest.fixture(autouse=True)
def scheduler():
    with dask.config.set(scheduler="synchronous"):
        yield


def blobs(n_samples=N, seed=0, spread=4.0):
    """Return samples of four Gaussians and which of them each is of."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(100).normal(0, spread, (K, D))
    labels = rng.integers(K, size=n_samples)
    roots = np.random.default_rng(101).normal(size=(K, D, D)) + np.eye(D)
    noise = np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n_samples, D)))
    return means[labels] + noise, labels


def make(form="full", **params):
    return GaussianMixture(K, covariance_type=form, **{"random_state": 0, **params})


def stream(X, sizes, form="full", **params):
    model = make(form, **params)
    for batch in np.split(X, np.cumsum(sizes)[:-1]):
        model.partial_fit(batch)
    return model


def assert_near(model, other, rtol):
    for name in ATTRIBUTES:
        wanted = getattr(other, name)
        atol = rtol * np.abs(wanted).max()
        np.testing.assert_allclose(getattr(model, name), wanted, rtol=0, atol=atol, err_msg=name)


@ALL_TYPES
@pytest.mark.parametrize("size", [80, 500, 4000])
def test_stream_is_nearly_as_likely_as_a_fit(form, size):
    """Measured: at most .003 below the fit, .7 to 2 above a single component."""
    X, _ = blobs()
    fitted = make(form).fit(X)
    model = stream(X, [size] * (N // size), form)
    assert model.n_samples_seen_ == N
    assert not model.converged_
    assert fitted.score(X) - model.score(X) < 0.01
    assert fitted.score(X) - GaussianMixture(covariance_type=form).fit(X).score(X) > 0.5
    assert model.lower_bound_ == pytest.approx(model.score(X), abs=0.05)


@pytest.mark.parametrize("decay", [0.6, 1.0])
def test_learning_decay_of_either_end_learns(decay):
    X, _ = blobs()
    model = stream(X, [400] * 20, learning_decay=decay)
    assert make().fit(X).score(X) - model.score(X) < 0.02


def test_single_samples_after_the_start():
    """Each is a small part of a step: no other result than that of batches, but for the order."""
    X, _ = blobs(1600)
    single = stream(X, [1300] + [1] * 300)
    batch = stream(X, [1300, 300])
    assert abs(single.score(X) - batch.score(X)) < 1e-3
    np.testing.assert_allclose(single.means_, batch.means_, atol=0.05)


@ALL_TYPES
@pytest.mark.parametrize("size", [300, 2000])
def test_chunks_of_a_batch_are_the_batch(form, size):
    X, _ = blobs(4000)
    local, lazy = make(form), make(form)
    for batch in np.array_split(X, 4000 // size):
        local.partial_fit(batch)
        lazy.partial_fit(da.from_array(batch, chunks=(size // 3, 2)))
    assert_near(lazy, local, 1e-8)


def test_every_chunk_is_made_once_per_partial_fit():
    X, _ = blobs(6000)
    made = []

    def make_chunk(block_info=None):
        begin, end = block_info[None]["array-location"][0]
        made.append(begin)
        return X[begin:end]

    chunks = ((500,) * 4, (D,))
    model = make()
    for _ in range(3):
        lazy = da.map_blocks(make_chunk, chunks=chunks, dtype=float, meta=np.empty((0, 0)))
        made.clear()
        model.partial_fit(lazy)
        assert sorted(made) == [0, 500, 1000, 1500]
    made.clear()
    fitted = make().fit(lazy)
    # one pass draws, the others are those of EM
    assert len(made) == 4 * (1 + fitted.n_iter_)


@ALL_TYPES
def test_merge_of_ranks_is_nearly_a_fit_and_keeps_the_order_of_the_first(form):
    X, _ = blobs()
    ranks = [make(form, random_state=i).fit(X[i::4]) for i in range(4)]
    first = ranks[0].means_
    merged = make(form).merge(*ranks)
    assert make(form).fit(X).score(X) - merged.score(X) < 0.005
    distance = np.linalg.norm(first[:, None] - merged.means_[None], axis=2)
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(K))
    assert merged.n_samples_seen_ == N
    np.testing.assert_array_equal(first, ranks[0].means_)


@ALL_TYPES
def test_merge_keeps_mean_and_covariance_of_all_samples(form):
    X, labels = blobs()
    order = np.argsort(labels, kind="stable")
    ranks = [make(form, reg_covar=0.0).fit(X[part]) for part in np.array_split(order, 4)]
    merged = make(form, reg_covar=0.0).merge(*ranks)
    np.testing.assert_allclose(merged.weights_ @ merged.means_, X.mean(axis=0), atol=1e-9)
    offsets = merged.means_ - X.mean(axis=0)
    between = np.einsum("k,ki,kj->ij", merged.weights_, offsets, offsets)
    matrices = naive.full_covariances(form, merged.covariances_, K, D)
    within = np.einsum("k,kij->ij", merged.weights_, np.array(matrices))
    total, exact = between + within, np.cov(X.T, bias=True)
    if form in ("full", "tied"):
        np.testing.assert_allclose(total, exact, rtol=1e-9, atol=1e-9)
    elif form == "diag":
        np.testing.assert_allclose(np.diag(total), np.diag(exact), rtol=1e-9)
    else:
        np.testing.assert_allclose(np.trace(total), np.trace(exact), rtol=1e-9)


@ALL_TYPES
def test_clusters_dealt_one_a_rank_are_all_found(form):
    """Measured: at most .03 below a fit on all samples; a step over them brings it to .002."""
    X, labels = blobs()
    ranks = [make(form, random_state=i).fit(X[labels == i]) for i in range(K)]
    merged = make(form).merge(*ranks)
    best = make(form).fit(X).score(X)
    assert best - merged.score(X) < 0.06
    assert best - merged.partial_fit(X).score(X) < 0.02
    centers = np.array([X[labels == i].mean(axis=0) for i in range(K)])
    distance = np.linalg.norm(centers[:, None] - merged.means_[None], axis=2)
    np.testing.assert_array_equal(np.sort(distance.argmin(axis=1)), np.arange(K))


def test_merge_of_what_waits_and_what_is_learnt():
    X, _ = blobs()
    learnt = make().fit(X[:4000])
    some, few = make().partial_fit(X[4000:4500]), make().partial_fit(X[4500:4503])
    merged = make().merge(few, learnt, some)
    assert merged.n_samples_seen_ == 4503
    np.testing.assert_allclose(merged.weights_ @ merged.means_, X[:4503].mean(axis=0), atol=1e-9)
    assert make().fit(X[:4503]).score(X) - merged.score(X) < 0.01
    assert make().merge(few, make().partial_fit(X[:2])).n_samples_seen_ == 5
    together = make().merge(*(make().partial_fit(part) for part in np.array_split(X[:1200], 8)))
    assert make().fit(X[:1200]).score(X) - together.score(X) < 0.01


def test_grouping_of_merges_changes_little():
    X, _ = blobs()
    a, b, c = (make(random_state=i).fit(X[i::3]) for i in range(3))
    one, other = (a | b) | c, a | (b | c)
    np.testing.assert_allclose(one.means_, other.means_, atol=1e-6)
    np.testing.assert_allclose(one.covariances_, other.covariances_, atol=1e-6)


def test_unfitted_models_change_nothing():
    fitted = make().fit(blobs()[0])
    before = snapshot(fitted)
    fitted.merge(make(), make())
    assert snapshot(fitted) == before
    assert_near(make() | fitted, fitted, 0)


@ALL_TYPES
@pytest.mark.parametrize("how", ["pickle", "joblib", "save"])
def test_resumes_from_storage_to_the_last_bit(form, how, tmp_path):
    X, _ = blobs(3000)
    model = stream(X[:2000], [600] * 3 + [200], form)
    again = ROUND_TRIPS[how](model, tmp_path / "checkpoint")
    assert_near(again, model, 0)
    for batch in (X[2000:2500], X[2500:]):
        model.partial_fit(batch)
        again.partial_fit(batch)
    assert_near(again, model, 0)
    assert again.n_iter_ == model.n_iter_


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_errors_leave_everything_as_it_was():
    X, _ = blobs()
    nan = X[:600].copy()
    nan[333, 1] = np.nan
    calls = {
        "NaN": lambda model: model.partial_fit(nan),
        "NaN in a chunk": lambda model: model.partial_fit(da.from_array(nan, chunks=(100, 3))),
        "NaN in fit": lambda model: model.fit(nan),
        "negative weights": lambda model: model.partial_fit(X, sample_weight=np.full(N, -1.0)),
        "no weight": lambda model: model.partial_fit(X, sample_weight=np.zeros(N)),
        "no weight in any chunk": lambda model: model.partial_fit(
            da.from_array(X, chunks=(999, 3)), sample_weight=da.zeros(N, chunks=999)
        ),
        "another number of components": lambda model: model.merge(GaussianMixture(2).fit(X)),
        "another form": lambda model: model.merge(make("tied").fit(X)),
        "another number of features": lambda model: model.merge(make().fit(X[:, 1:])),
    }
    for model in (make().fit(X), make().partial_fit(X[:100])):
        before = snapshot(model)
        for name, call in calls.items():
            with refusal(name):
                call(model)
            assert snapshot(model) == before, name


def test_samples_are_never_written_to():
    for dtype in (np.float32, np.float64):
        X = blobs()[0].astype(dtype)
        before = X.copy()
        X.flags.writeable = False
        model = make().partial_fit(X).partial_fit(X).fit(X)
        model.predict_proba(X)
        assert np.array_equal(X, before)


@ALL_TYPES
def test_state_is_bounded(form):
    X, _ = blobs()
    short, long = make(form).partial_fit(X), stream(np.tile(X, (3, 1)), [1000] * 24, form)
    assert len(pickle.dumps(long)) <= len(pickle.dumps(short)) + 100
    waiting = make(form).partial_fit(X[:1000])
    assert len(pickle.dumps(waiting)) < 1000 * (D + 3) * 8 + 3000


def test_weights_of_a_stream_are_repetitions():
    X, _ = blobs(3000)
    times = np.random.default_rng(7).integers(0, 3, 3000)
    model, repeated = make(), make()
    for rows in np.array_split(np.arange(3000), 5):
        model.partial_fit(X[rows], sample_weight=times[rows])
        repeated.partial_fit(np.repeat(X[rows], times[rows], axis=0))
    # the samples to start from are others, where not all are kept
    assert abs(model.score(X) - repeated.score(X)) < 0.01
    few = make().partial_fit(X[:400], sample_weight=times[:400])
    exact = make().partial_fit(np.repeat(X[:400], times[:400], axis=0))
    assert_near(few, exact, 1e-9)


@pytest.mark.parametrize("n_before", [700, 6000])
def test_forgetting_makes_room_for_what_is_new(n_before):
    X, _ = blobs()
    moved = X[6000:] + 30
    kept, forgetful = (stream(X[:n_before], [n_before // 2] * 2) for _ in range(2))
    forgetful.forget(1e-3)
    assert forgetful.n_samples_seen_ == n_before
    for model in (kept, forgetful):
        model.partial_fit(moved)
    assert forgetful.score(moved) > kept.score(moved) + 0.1
    with pytest.raises(ValueError, match=r"factor=0 must be in \(0, 1\]"):
        kept.forget(0)


def test_other_array_mode():
    """Nothing of Dask is used that only one of its modes has."""
    code = (
        "import dask; dask.config.set({'array.query-planning': True, 'scheduler': 'synchronous'})\n"
        "import dask.array as da\n"
        "from dask_exa.cluster import GaussianMixture\n"
        "X = da.random.default_rng(0).normal(size=(3000, 4), chunks=(500, 2))\n"
        "model = GaussianMixture(2, random_state=0).fit(X)\n"
        "assert model.partial_fit(X).predict_proba(X).compute().shape == (3000, 2)\n"
        "print(da.Array.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "dask.array._array_expr._collection\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thyroid", "shuttle", "annthyroid", "mammography"])
def test_real_data_are_as_likely_as_under_scikit_learn(shared_data, name):
    with np.load(shared_data / "anomaly" / f"{name}.npz") as file:
        X = StandardScaler().fit_transform(file["X"].astype(np.float64))
    X = X[np.random.default_rng(0).permutation(len(X))[:20_000]]
    options = {"covariance_type": "diag", "max_iter": 300, "reg_covar": 1e-3}
    peer = max(Peer(5, random_state=i, **options).fit(X).score(X) for i in range(3))
    gain = peer - Peer(1, **options).fit(X).score(X)
    model = GaussianMixture(5, random_state=0, n_init=3, **options)
    for batch in np.array_split(X, 20):
        model.partial_fit(batch)
    ranks = [GaussianMixture(5, random_state=i, **options).fit(X[i::4]) for i in range(4)]
    models = {
        "fit": GaussianMixture(5, random_state=0, n_init=3, **options).fit(X),
        "stream": model,
        "ranks": GaussianMixture(5, **options).merge(*ranks),
    }
    lost = {how: (peer - model.score(X)) / gain for how, model in models.items()}
    print(name, f"gain {gain:.2f}", {how: f"{share:.3f}" for how, share in lost.items()})
    assert lost["fit"] < 0.05
    assert lost["stream"] < 0.2
    assert lost["ranks"] < 0.2
