"""What IsolationForest is not to be given, and what it says then; and odd input that is legal."""

import dask.array as da
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest as Peer
from sklearn.exceptions import NotFittedError

from dask_exa.anomaly import IsolationForest

X = np.random.default_rng(0).standard_normal((400, 3))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"contamination": 0.0}, "contamination=0.0"),
        ({"contamination": 0.6}, "contamination=0.6"),
        ({"contamination": "some"}, "contamination='some'"),
        ({"n_estimators": 0}, "n_estimators=0"),
        ({"max_samples": 0}, "max_samples=0"),
        ({"max_samples": 1.5}, "max_samples=1.5"),
        ({"max_features": 4}, "max_features=4 is more than the 3 features"),
        ({"forgetting_factor": 0.0}, "forgetting_factor=0.0"),
        ({"nan": "drop"}, "nan='drop'"),
        ({"score_by": "depth"}, "score_by='depth'"),
        ({"stream": -1}, "stream=-1"),
        ({"bootstrap": True}, "bootstrap=True"),
    ],
)
def test_parameters_out_of_range(params, message):
    with pytest.raises(ValueError, match=message):
        IsolationForest(**params).fit(X)


@pytest.mark.parametrize("name", ["n_estimators", "max_samples", "stream"])
def test_parameters_of_a_wrong_type(name):
    with pytest.raises(TypeError, match=name):
        IsolationForest(**{name: "many"}).fit(X)


@pytest.mark.parametrize("name", ["score_samples", "decision_function", "predict"])
def test_scoring_before_fit(name):
    with pytest.raises(NotFittedError):
        getattr(IsolationForest(), name)(X)
    assert not hasattr(IsolationForest(), "offset_")


def test_other_number_of_features():
    model = IsolationForest().fit(X)
    for call in (model.partial_fit, model.score_samples, model.predict):
        for other in (X[:, :2], da.from_array(X[:, :2])):
            with pytest.raises(ValueError, match="2 features"):
                call(other)


@pytest.mark.parametrize(
    "params", [{"n_estimators": 7}, {"max_samples": 9}, {"forgetting_factor": 0.5}]
)
def test_forests_of_other_parameters_do_not_merge(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        IsolationForest().fit(X).merge(IsolationForest(**params).fit(X))


def test_forests_of_other_seeds_merge_in_any_order():
    one, two = IsolationForest(random_state=1).fit(X), IsolationForest(random_state=2).fit(X + 1)
    np.testing.assert_array_equal((one | two).score_samples(X), (two | one).score_samples(X))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, lambda X: da.from_array(X, chunks=(100, 3))])
def test_policy_raise_refuses_bad_values_and_changes_nothing(kind, bad):
    model = IsolationForest(nan="raise", random_state=0).fit(X)
    before = model.score_samples(X)
    broken = X.copy()
    broken[250, 1] = bad
    with pytest.raises(ValueError, match=r"row (250|50)"):
        model.partial_fit(kind(broken))
    np.testing.assert_array_equal(model.score_samples(X), before)


def test_policy_score_lets_bad_values_pass():
    broken = X.copy()
    broken[::7, 1], broken[5], broken[6, 0] = np.nan, np.nan, np.inf
    scores = IsolationForest(random_state=0).fit(broken).score_samples(broken)
    assert np.isfinite(scores).all()
    assert scores[6] == scores.min()


def test_missing_values_are_scored_as_scikit_learn_does():
    broken = X.copy()
    broken[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    ours = [IsolationForest(random_state=i).fit(X).score_samples(broken) for i in range(5)]
    peer = [Peer(random_state=i).fit(X).score_samples(broken) for i in range(5)]
    assert np.corrcoef(np.mean(ours, axis=0), np.mean(peer, axis=0))[0, 1] > 0.98


def test_constant_features():
    constant = np.ones((50, 3))
    model = IsolationForest(random_state=0).fit(constant)
    assert len(np.unique(model.score_samples(constant))) == 1
    constant[:, 0] = X[:50, 0]
    assert np.isfinite(IsolationForest().fit(constant).score_samples(X)).all()


def test_one_row():
    model = IsolationForest(random_state=0).partial_fit(X[:1])
    np.testing.assert_array_equal(model.score_samples(X[:4]), -0.5)
    stream = IsolationForest(random_state=0)
    for row in X[:40]:
        stream.partial_fit(row[None])
    whole = IsolationForest(random_state=0).fit(X[:40])
    np.testing.assert_array_equal(stream.score_samples(X), whole.score_samples(X))


def test_values_beyond_float32_are_legal():
    huge = X * 1e300
    assert np.isfinite(IsolationForest(random_state=0).fit(huge).score_samples(huge)).all()
