"""OnlineIsolationForest: one forest whatever the batches, and what its unions are worth."""

import collections
import itertools
import pickle
import sys

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_exa.anomaly import IsolationForest, OnlineIsolationForest
from dask_exa.kernels import _online_numba
from tests import naive

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3000, 4)) * (1, 2, 3, 4)
QUERY = RNG.standard_normal((200, 4)) * 8


def make(**params):
    small = {"n_estimators": 10, "max_leaf_samples": 8, "window_size": 500, "random_state": 3}
    return OnlineIsolationForest(**{**small, **params})


EXPECTED = make().fit(X).score_samples(QUERY)


@parametrize_with_checks(
    [
        OnlineIsolationForest(n_estimators=20),
        OnlineIsolationForest(n_estimators=20, nan="raise", subsample=0.9),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_scores_are_those_of_the_naive_version():
    model = make(subsample=0.8).fit(X[:1200])
    seeds = [int(seed) for seed in model._state.summary.forest.seed]
    trees = [naive.OnlineTree(seed, 8, 500, subsample=0.8) for seed in seeds]
    for x in X[:1200]:
        for tree in trees:
            tree.learn(x)
    depth = np.mean([[tree.depth(x) for tree in trees] for x in QUERY], axis=1)
    scale = np.mean([np.log2(tree.root.count / 8) for tree in trees])
    np.testing.assert_allclose(model.score_samples(QUERY), -(2 ** -(depth / scale)), rtol=1e-6)


@pytest.mark.parametrize("chunks", [(3000, 4), (1000, 2), (97, 4), ((0, 10, 0, 2990), 4)])
def test_neither_chunks_nor_workers_show(chunks):
    with dask.config.set(scheduler="threads", num_workers=4):
        model = make().fit(da.from_array(X, chunks=chunks))
    np.testing.assert_array_equal(model.score_samples(QUERY), EXPECTED)
    assert model.n_samples_seen_ == 3000


def test_worker_processes_do_not_show(client):
    model = make().fit(da.from_array(X, chunks=(300, 4)))
    lazy = model.score_samples(da.from_array(QUERY, chunks=(50, 4)))
    np.testing.assert_array_equal(lazy.compute(), EXPECTED)


def test_chunks_stay_where_they_are(client):
    lazy = da.random.default_rng(0).standard_normal((80_000, 10), chunks=(10_000, 10))
    lazy = client.persist(lazy)
    distributed.wait(lazy)
    before = moved(client)
    model = make(n_estimators=5).fit(lazy)
    keys = moved(client) - before
    assert all(key.startswith("('exa-") for key in keys), "a chunk has moved"
    expected = make(n_estimators=5).fit(lazy.compute())
    np.testing.assert_array_equal(
        model.score_samples(X[:, :1] * np.ones(10)), expected.score_samples(X[:, :1] * np.ones(10))
    )


def moved(client):
    """Keys of all that workers have received from each other so far."""

    def keys(dask_worker):
        return [str(key) for entry in dask_worker.transfer_incoming_log for key in entry["keys"]]

    return collections.Counter(itertools.chain(*client.run(keys).values()))


@pytest.mark.parametrize("how", ["pickle", "save"])
@pytest.mark.parametrize("n_samples", [1, 400, 1700])
def test_resumes_to_the_last_bit(how, n_samples, tmp_path):
    model = make(subsample=0.7).partial_fit(X[:n_samples])
    if how == "pickle":
        resumed = pickle.loads(pickle.dumps(model))
    else:
        model.save(tmp_path / "forest")
        resumed = OnlineIsolationForest.load(tmp_path / "forest")
    for batch in (X[n_samples:2000], X[2000:]):
        model.partial_fit(batch)
        resumed.partial_fit(batch)
    np.testing.assert_array_equal(resumed.score_samples(QUERY), model.score_samples(QUERY))
    assert resumed.n_samples_seen_ == 3000


def test_interrupted_learning_leaves_the_model_as_it_was(monkeypatch):
    model = make().partial_fit(X[:2000])
    before = pickle.dumps(model._state.summary)

    def interrupted(learn, trees):
        learn(0)
        raise KeyboardInterrupt

    monkeypatch.setattr(_online_numba, "map_threads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X[2000:])
    assert pickle.dumps(model._state.summary) == before


def test_state_has_a_window_and_no_more():
    model = make()
    model.partial_fit(X)
    early = len(pickle.dumps(model))
    for _ in range(5):
        model.partial_fit(X)
    assert len(pickle.dumps(model)) == early
    np.testing.assert_array_equal(model._state.summary.rows, X[-500:].astype(np.float32))
    assert sys.getsizeof(pickle.dumps(OnlineIsolationForest().fit(X))) < 2e6


def test_forgetting_follows_a_drift():
    drifted = np.concatenate([X, X + 40])
    model = make().fit(drifted)
    assert (model.predict(X[:500] + 40) == 1).mean() > 0.8
    assert (model.predict(X[:500]) == -1).all()


@pytest.mark.parametrize("factor", [0.5, 0.301, 1e-9])
def test_forget_shortens_the_window(factor):
    model = make().fit(X)
    model.forget(factor)
    kept = int(np.ceil(factor * 500))
    summary = model._state.summary
    np.testing.assert_array_equal(summary.rows, X[3000 - kept :].astype(np.float32))
    assert (summary.forest.counts[:, 1] == kept).all()
    assert model.n_samples_seen_ == 3000
    model.partial_fit(X[:600])
    assert (model._state.summary.forest.counts[:, 1] == 500).all()
    assert make().fit(X).forget(1.0).score_samples(QUERY).tolist() == EXPECTED.tolist()


def test_contamination_flags_its_share_of_the_window_and_may_change():
    model = make(n_estimators=100, window_size=1000, contamination=0.1).fit(X)
    for share in (0.1, 0.25):
        model.contamination = share
        assert abs((model.predict(X[-1000:]) == -1).mean() - share) < 0.02
    assert make().fit(X).offset_ == -0.5


def test_nan_and_infinity_pass_or_not():
    rows = X.copy()
    rows[::7, 0], rows[::11, 1], rows[5, 2], rows[6, 2] = np.nan, np.inf, np.inf, -np.inf
    model = make().fit(rows)
    assert np.isfinite(model.score_samples(rows)).all()
    strict = make(nan="raise").fit(X)
    for call in (strict.fit, strict.partial_fit, strict.score_samples):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            call(rows)
    with pytest.raises(ValueError, match=r"In chunk 0 of the samples.*first in row 0"):
        strict.partial_fit(da.from_array(rows, chunks=(1000, 4)))
    np.testing.assert_array_equal(strict.score_samples(QUERY), EXPECTED)


def test_odd_input_is_legal():
    assert (make().fit(X[:1]).score_samples(QUERY) == -0.5).all()
    assert (make().fit(np.ones((900, 2))).score_samples(np.ones((1, 2))) <= -0.5).all()
    assert (make().fit(np.full((900, 2), np.nan)).predict(X[:5, :2]) == 1).all()
    huge = np.where(np.arange(2000)[:, None] % 2, 1e300, -1e300) * np.ones(2)
    assert np.isfinite(make().fit(huge).score_samples(huge)).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_estimators": 0}, "n_estimators=0"),
        ({"max_leaf_samples": 0}, "max_leaf_samples=0"),
        ({"window_size": 8}, "window_size=8 is not more than max_leaf_samples=8"),
        ({"subsample": 0.0}, "subsample=0.0"),
        ({"subsample": 1.5}, "subsample=1.5"),
        ({"growth_criterion": "some"}, "growth_criterion='some'"),
        ({"contamination": 0.6}, "contamination=0.6"),
        ({"nan": "drop"}, "nan='drop'"),
        ({"stream": -1}, "stream=-1"),
    ],
)
def test_parameters_out_of_range(params, message):
    with pytest.raises(ValueError, match=message):
        make(**params).fit(X)


def test_wrong_input_is_refused_and_changes_nothing():
    model = make().fit(X)
    for call in (model.partial_fit, model.score_samples):
        for other in (X[:, :2], da.from_array(X[:, :2])):
            with pytest.raises(ValueError, match="2 features"):
                call(other)
    with pytest.raises(ValueError, match="no samples in any of its 1 chunks"):
        model.partial_fit(da.from_array(X[:0], chunks=(0, 4)))
    with pytest.raises(TypeError, match="sample_weight"):
        model.partial_fit(X, sample_weight=np.ones(3000))
    for params in ({"window_size": 100}, {"subsample": 0.5}, {"n_estimators": 9}):
        with pytest.raises(ValueError, match=next(iter(params))):
            model.merge(make(**params).fit(X))
    np.testing.assert_array_equal(model.score_samples(QUERY), EXPECTED)


def ranks(parts, cls=OnlineIsolationForest, **params):
    return [cls(random_state=0, stream=i, **params).fit(part) for i, part in enumerate(parts)]


@given(st.permutations(range(4)), st.integers(1, 3))
@settings(max_examples=15)
def test_unions_do_not_depend_on_order_and_grouping(order, split):
    models = [make(stream=i).fit(X[i::4]) for i in range(4)]
    expected = make().merge(*models)
    shuffled = [models[i] for i in order]
    union = make().merge(*shuffled[:split]) | make().merge(*shuffled[split:])
    np.testing.assert_array_equal(union.score_samples(QUERY), expected.score_samples(QUERY))
    assert union.n_samples_seen_ == 3000


def test_a_union_has_trees_of_all_with_the_windows_they_know():
    parts = [X, X[:700] + 100]
    one, two = ranks(parts, n_estimators=40, window_size=500)
    before = pickle.dumps((one._state.summary, two._state.summary))
    union = one | two
    assert pickle.dumps((one._state.summary, two._state.summary)) == before
    summary = union._state.summary
    seeds = [model._state.summary.forest.seed for model in (one, two)]
    np.testing.assert_array_equal(summary.forest.seed, np.sort(np.concatenate(seeds))[:40])
    np.testing.assert_array_equal(np.diff(summary.edges), [500, 500])
    owner = np.isin(summary.forest.seed, seeds[1])
    assert 10 < owner.sum() < 30
    known = np.split(summary.rows, summary.edges[1:-1])
    for i in range(40):
        expected = parts[int(owner[i])][-500:].astype(np.float32)
        np.testing.assert_array_equal(known[summary.window[i]], expected)


def test_trees_of_a_union_learn_on_as_they_would_have_alone():
    one, two = ranks([X, X[:700] + 10], n_estimators=30, window_size=500)
    union = one | two
    for batch in (X[:200], X[200:450], X[450:700]):
        for model in (one, two, union):
            model.partial_fit(batch)
        forests = [model._state.summary.forest for model in (one, two, union)]
        alone = {int(seed): (f, i) for f in forests[:2] for i, seed in enumerate(f.seed)}
        for i, seed in enumerate(forests[2].seed):
            forest, k = alone[int(seed)]
            for field, expected in zip(forests[2], forest, strict=True):
                np.testing.assert_array_equal(field[i], expected[k])
    # 700 rows later all know the same ones, once
    assert union._state.summary.edges.tolist() == [0, 500]
    assert union.n_samples_seen_ == 4400


def test_a_union_forgets_and_is_stored(tmp_path):
    one, two = ranks([X, X[:100] + 10], n_estimators=30, window_size=500)
    union = (one | two).forget(0.5)
    assert np.diff(union._state.summary.edges).tolist() == [250, 50]
    union.save(tmp_path / "union")
    resumed = OnlineIsolationForest.load(tmp_path / "union").partial_fit(X)
    expected = union.partial_fit(X).score_samples(QUERY)
    np.testing.assert_array_equal(resumed.score_samples(QUERY), expected)


def dealt_by_class():
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((8, 4)) * 6
    parts = [centre + rng.standard_normal((2000, 4)) for centre in centres]
    outliers = rng.uniform(-25, 25, (300, 4))
    y = np.r_[np.zeros(16_000), np.ones(300)]
    return parts, np.concatenate([*parts, outliers]), y


def test_a_union_is_one_forest_where_ranks_saw_the_same_law():
    parts, queries, y = dealt_by_class()
    rows = np.random.default_rng(0).permutation(np.concatenate(parts))
    whole = OnlineIsolationForest(random_state=0).fit(rows)
    union = OnlineIsolationForest().merge(*ranks(np.array_split(rows, 8)))
    quality = [roc_auc_score(y, -model.score_samples(queries)) for model in (whole, union)]
    assert quality[1] > quality[0] - 0.01


def test_a_union_flags_what_only_some_ranks_know_where_a_merge_does_not():
    """The numbers that the class docstring warns of, beside those of the exact merge."""
    parts, queries, y = dealt_by_class()
    union = OnlineIsolationForest().merge(*ranks(parts))
    merged = IsolationForest().merge(*ranks(parts, IsolationForest))
    flagged = [(model.predict(queries[y == 0]) == -1).mean() for model in (union, merged)]
    assert flagged[0] > 0.99  # every normal sample is unknown to most of the trees
    assert flagged[1] < 0.35
    quality = [roc_auc_score(y, -model.score_samples(queries)) for model in (union, merged)]
    assert quality[0] < quality[1] - 0.02  # .971 and .999
    rows = np.random.default_rng(0).permutation(np.concatenate(parts))
    union.partial_fit(rows[:2048])  # after a window of all classes it knows them all
    assert roc_auc_score(y, -union.score_samples(queries)) > 0.99
    assert (union.predict(queries[y == 0]) == -1).mean() < 0.35


# Published in ../shared/data/README.md; the authors' own code on the same streams.
REFERENCE = {
    "shuttle": 0.996,
    "mammography": 0.853,
    "annthyroid": 0.677,
    "satellite": 0.592,
    "cover": 0.845,
    "http": 0.940,
    "skab": 0.517,
    "nab_machine": 0.624,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCE)
def test_detects_as_well_as_the_authors_on_real_streams(shared_data, name):
    """Score, then learn, in batches of 256; series keep their order."""
    with np.load(shared_data / "anomaly" / f"{name}.npz") as file:
        rows, y = file["X"].astype(np.float32), file["y"]
    if name not in ("skab", "nab_machine"):
        order = np.random.default_rng(0).permutation(len(y))
        rows, y = rows[order], y[order]
    rows, y = rows[:20_000], y[:20_000]
    quality = []
    for seed in range(3):
        model, scores = OnlineIsolationForest(random_state=seed), [np.full(256, -0.5)]
        for start in range(256, len(y), 256):
            model.partial_fit(rows[start - 256 : start])
            scores.append(model.score_samples(rows[start : start + 256]))
        quality.append(roc_auc_score(y, -np.concatenate(scores)))
    assert np.mean(quality) > REFERENCE[name] - 0.02
