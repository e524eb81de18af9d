"""IsolationForest: one forest, however the rows came."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest as Peer
from sklearn.metrics import roc_auc_score

from dask_exa.anomaly import IsolationForest

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3000, 5))
QUERY = RNG.standard_normal((200, 5)) * 3


def make(**params):
    return IsolationForest(**{"n_estimators": 25, "max_samples": 64, "random_state": 3, **params})


EXPECTED = make().fit(X).score_samples(QUERY)


def test_worker_processes_do_not_show(client):
    model = make().fit(da.from_array(X, chunks=(300, 5)))
    lazy = model.score_samples(da.from_array(QUERY, chunks=(50, 5)))
    np.testing.assert_array_equal(lazy.compute(), EXPECTED)


@given(st.permutations(range(4)), st.integers(1, 3))
def test_models_of_different_streams_merge_in_any_order_and_grouping(order, split):
    models = [make(stream=i).fit(X[i::4]) for i in range(4)]
    expected = make().merge(*models).score_samples(QUERY)
    shuffled = [models[i] for i in order]
    left, right = make().merge(*shuffled[:split]), make().merge(*shuffled[split:])
    np.testing.assert_array_equal((left | right).score_samples(QUERY), expected)


def test_models_of_equal_streams_merge_into_a_sample_of_all():
    models = [make(n_estimators=200).fit(X[i::4] + i) for i in range(4)]
    merged = make(n_estimators=200).merge(*models)
    rows = merged._state.summary.rows[merged._state.summary.members]
    shares = [
        np.isin(rows[..., 0], (X[i::4] + i).astype(np.float32)[:, 0]).mean() for i in range(4)
    ]
    np.testing.assert_allclose(shares, 0.25, atol=0.03)


def dealt_by_class(n_features=4):
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((8, n_features)) * 6
    parts = [centre + rng.standard_normal((2000, n_features)) for centre in centres]
    outliers = rng.uniform(-25, 25, (300, n_features))
    y = np.r_[np.zeros(16_000), np.ones(300)]
    return parts, np.concatenate([*parts, outliers]), y


def test_ranks_that_saw_different_classes_agree_with_a_fit_on_everything():
    parts, queries, y = dealt_by_class()
    whole = IsolationForest(random_state=0).fit(np.concatenate(parts))
    ranks = [IsolationForest(random_state=0, stream=i).fit(part) for i, part in enumerate(parts)]
    merged = IsolationForest(random_state=0).merge(*ranks)
    auc = roc_auc_score(y, -merged.score_samples(queries))
    assert abs(auc - roc_auc_score(y, -whole.score_samples(queries))) < 0.01
    assert (ranks[0].predict(parts[3]) == -1).mean() > 0.9  # what one rank has not seen
    assert (merged.predict(parts[3]) == -1).mean() < 0.7


def test_scores_are_distributed_as_scikit_learns():
    queries = np.concatenate([X[:300], QUERY])
    ours = [IsolationForest(random_state=i).fit(X).score_samples(queries) for i in range(8)]
    peers = [Peer(random_state=i).fit(X).score_samples(queries) for i in range(8)]
    spread = np.std(peers, axis=0).mean()
    difference = np.mean(ours, axis=0) - np.mean(peers, axis=0)
    assert abs(difference.mean()) < 0.5 * spread
    assert np.std(difference) < spread
    np.testing.assert_allclose(np.std(ours, axis=0).mean(), spread, rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["annthyroid", "cover", "http", "mammography", "satellite", "shuttle", "smtp", "thyroid"],
)
def test_detects_as_well_as_scikit_learn_on_real_data(shared_data, name):
    with np.load(shared_data / "anomaly" / f"{name}.npz") as file:
        rows, y = file["X"].astype(np.float32), file["y"]
    by_class = np.argsort(y, kind="stable")
    quality = {"peer": [], "ours": [], "dealt": []}
    for seed in range(5):
        peer = Peer(random_state=seed).fit(rows)
        ours = IsolationForest(random_state=seed).fit(rows)
        ranks = [
            IsolationForest(random_state=seed, stream=i).fit(rows[part])
            for i, part in enumerate(np.array_split(by_class, 8))
        ]
        dealt = IsolationForest(random_state=seed).merge(*ranks)
        for key, model in (("peer", peer), ("ours", ours), ("dealt", dealt)):
            quality[key].append(roc_auc_score(y, -model.score_samples(rows)))
    # a mean of 5 seeds is itself uncertain by this much
    noise = 2 * np.sqrt(sum(np.var(quality[key], ddof=1) for key in ("peer", "ours")) / 5)
    for key in ("ours", "dealt"):
        assert np.mean(quality[key]) > np.mean(quality["peer"]) - 0.01 - noise


def test_density_tells_thin_regions_from_dense_ones():
    inside, outside = X[:, :2] * 0.1, np.random.default_rng(4).uniform(-1, 1, (200, 2))
    rows, y = np.concatenate([inside, outside]), np.r_[np.zeros(3000), np.ones(200)]
    path, both = (
        IsolationForest(random_state=0, score_by=score).fit(rows)
        for score in ("path", "path+density")
    )
    quality = [roc_auc_score(y, -model.score_samples(rows)) for model in (path, both)]
    assert quality[1] > quality[0] - 0.01
    # the means of both are equal: an offset that suits the one suits the other
    means = [
        np.log2(-model.score_samples(model._state.summary.rows)).mean() for model in (path, both)
    ]
    np.testing.assert_allclose(*means, rtol=1e-4)
    with pytest.raises(ValueError, match="score_by="):
        path.merge(both)


def test_contamination_flags_its_share_and_may_change():
    model = make(contamination=0.1).fit(X[:60])
    assert np.count_nonzero(model.predict(X[:60]) == -1) == 6
    model.contamination = 0.25
    assert np.count_nonzero(model.predict(X[:60]) == -1) == 15
    assert make().fit(X).offset_ == -0.5


def test_forgetting_follows_a_drift():
    drifted = np.concatenate([X, X + 20])
    stale, fresh = make().fit(drifted), make(forgetting_factor=0.99).fit(drifted)
    assert (fresh.predict(X[:500] + 20) == 1).mean() > 0.5
    assert (fresh.predict(X[:500]) == -1).all()
    assert (stale.predict(X[:500]) == 1).mean() > 0.5
    forced = make().partial_fit(X).forget(1e-6).partial_fit(X + 20)
    assert (forced.predict(X[:500]) == -1).all()


def test_forgetting_does_not_depend_on_the_batches():
    whole = make(forgetting_factor=0.995).fit(X)
    stream = make(forgetting_factor=0.995)
    for part in np.array_split(X, 11):
        stream.partial_fit(part)
    np.testing.assert_array_equal(whole.score_samples(QUERY), stream.score_samples(QUERY))


def test_state_stays_small():
    model = IsolationForest(n_estimators=10, random_state=0)
    for i in range(40):
        model.partial_fit(np.random.default_rng(i).standard_normal((2000, 3)))
    summary = model._state.summary
    assert summary.rows.shape[0] <= 10 * 256
    assert summary.rows.dtype == np.float32
    assert model.max_samples_ == 256


def test_survives_storage(tmp_path):
    model = make().partial_fit(X[:1700])
    model.save(tmp_path / "forest")
    resumed = IsolationForest.load(tmp_path / "forest").partial_fit(X[1700:])
    np.testing.assert_array_equal(resumed.score_samples(QUERY), EXPECTED)
