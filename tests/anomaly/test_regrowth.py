"""Trees that have grown are used again where their rows are the same, and nowhere else."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from dask_exa import kernels
from dask_exa.anomaly import IsolationForest

X = np.random.default_rng(0).standard_normal((4000, 3))
QUERY = np.random.default_rng(1).standard_normal((300, 3)) * 3


def make(**params):
    return IsolationForest(**{"n_estimators": 20, "max_samples": 32, "random_state": 3, **params})


def fresh(model):
    """Return the scores of trees that have all grown from what the model has kept."""
    return make(**{**model.get_params(), "regrow": 1.0}).merge(model).score_samples(QUERY)


@pytest.fixture
def grown(monkeypatch):
    """Record which trees grow."""
    numbers = []
    for name in ("grow_trees", "grow_oblique_trees"):
        original = getattr(kernels, name)

        def record(*args, trees, original=original, **options):
            numbers.append(trees.tolist())
            return original(*args, trees=trees, **options)

        monkeypatch.setattr(kernels, name, record)
    return numbers


@pytest.mark.parametrize(
    "params", [{}, {"forgetting_factor": 0.99}, {"score_by": "path+density"}, {"extended": True}]
)
def test_scores_between_batches_do_not_show(params):
    stream = make(**params)
    for low, high in itertools.pairwise([0, 20, 60, 700, 701, 1500, 4000]):
        stream.partial_fit(X[low:high])
        expected = make(**params).fit(X[:high]).score_samples(QUERY)
        np.testing.assert_array_equal(stream.score_samples(QUERY), expected)


def test_only_trees_whose_rows_have_changed_grow(grown):
    model = make().fit(X)
    model.score_samples(QUERY)
    before = model._state.summary.keys
    model.partial_fit(X[:60])
    model.score_samples(QUERY)
    changed = np.flatnonzero((model._state.summary.keys != before).any(axis=1)).tolist()
    assert 0 < len(changed) < 20
    assert grown == [list(range(20)), changed]


def test_trees_are_the_same_where_no_row_is_taken(grown):
    model = make().fit(X)
    model.score_samples(QUERY)
    trees, seen = model._model.trees, 0
    while model._state.summary.keys is trees.keys and seen < 1000:
        model.partial_fit(X[:1])
        seen += 1
        if model._state.summary.keys is trees.keys:
            assert model._model.trees is trees
    assert seen > 1
    assert len(grown) == 1


def test_a_share_takes_turns(grown):
    model = make(regrow=0.2, forgetting_factor=0.99).partial_fit(X[:500])
    model.score_samples(QUERY)
    for start in range(500, 1000, 100):  # in which every tree takes new rows
        model.partial_fit(X[start : start + 100])
        model.score_samples(QUERY)
    assert grown[0] == list(range(20))
    assert grown[1:] == [list(range(4 * i, 4 * i + 4)) for i in range(5)]
    keys, kept = model._model.trees.keys, model._state.summary.keys
    np.testing.assert_array_equal(keys[16:], kept[16:])
    assert (keys[:4] != kept[:4]).any(axis=1).all()
    assert (model.score_samples(QUERY) != fresh(model)).any()


def test_a_share_lags_behind_but_arrives():
    model = make(regrow=0.25, forgetting_factor=0.99).partial_fit(X[:500])
    for start in range(500, 1500, 100):
        model.score_samples(QUERY)
        model.partial_fit(X[start : start + 100] + 20)
    assert (model.predict(X[:300]) == -1).all()
    assert (model.predict(X[:300] + 20) == 1).mean() > 0.5


@pytest.mark.parametrize("regrow", [1.0, 0.1])
def test_trees_are_never_stored(regrow, tmp_path):
    model = make(regrow=regrow, forgetting_factor=0.99).partial_fit(X[:500])
    for start in (500, 600):
        model.score_samples(QUERY)
        model.partial_fit(X[start : start + 100])
    n_bytes = len(pickle.dumps(make(regrow=regrow).merge(make(regrow=regrow)).fit(X[:700])))
    assert model._state.earlier_model is not None
    assert len(pickle.dumps(model)) < 1.1 * n_bytes
    model.save(tmp_path / "model")
    for stored in (pickle.loads(pickle.dumps(model)), IsolationForest.load(tmp_path / "model")):
        assert stored._state.earlier_model is None
        np.testing.assert_array_equal(stored.score_samples(QUERY), fresh(model))


def test_earlier_trees_are_let_go_once_they_have_grown_on():
    model = make().fit(X[:500]).partial_fit(X[500:600])
    model.score_samples(QUERY)
    model.partial_fit(X[600:700]).partial_fit(X[700:800])
    assert model._state.earlier_model is not None
    model.score_samples(QUERY)
    assert model._state.earlier_model is None


@pytest.mark.parametrize("regrow", [1.0, 0.1])
def test_neither_unions_nor_copies_share_what_grows(regrow):
    a, b = (make(regrow=regrow, stream=i).fit(X[i::2]) for i in range(2))
    scores = [model.score_samples(QUERY) for model in (a, b)]
    union, twin = a | b, copy.copy(a)
    np.testing.assert_array_equal(union.score_samples(QUERY), fresh(union))
    for model in (union, twin):
        model.partial_fit(X + 5).score_samples(QUERY)
    for model, expected in zip((a, b), scores, strict=True):
        np.testing.assert_array_equal(model.score_samples(QUERY), expected)
    a.merge(b)
    np.testing.assert_array_equal(a.score_samples(QUERY), fresh(a))


def test_models_of_equal_streams_do_not_pass_for_each_other():
    a, b = make().fit(X), make().fit(X[::-1] + 1)  # of equal keys, but of other rows
    a.score_samples(QUERY)
    a.fit(X[::-1] + 1)
    np.testing.assert_array_equal(a.score_samples(QUERY), b.score_samples(QUERY))


def test_forgetting_on_call_grows_what_it_should():
    model = make().fit(X)
    model.score_samples(QUERY)
    model.forget(1e-6).partial_fit(X + 20)
    np.testing.assert_array_equal(model.score_samples(QUERY), fresh(model))
    assert (model.predict(X[:300]) == -1).all()


@pytest.mark.slow
def test_forgetting_pays_on_a_stream_that_switches_source(shared_data):
    parts = []
    for name in ("smtp", "http"):
        with np.load(shared_data / "anomaly" / f"{name}.npz") as file:
            some = np.random.default_rng(0).permutation(len(file["y"]))[:10_000]
            parts.append((file["X"][some].astype(np.float32), file["y"][some]))
    rows, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    found = []
    for factor in (1.0, 1 - 1 / 1024):
        model = IsolationForest(random_state=0, forgetting_factor=factor).partial_fit(rows[:256])
        scores = []
        for start in range(256, len(rows), 256):
            scores.append(model.score_samples(rows[start : start + 256]))
            model.partial_fit(rows[start : start + 256])
        found.append(average_precision_score(y[256:], -np.concatenate(scores)))
    assert found[1] > 2 * found[0]  # .34 and .10
