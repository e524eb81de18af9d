"""Ensemble: models that were fitted apart answer together."""

import itertools
import pickle
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone, is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import load_digits, make_blobs, make_classification
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.metrics import adjusted_rand_score
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from dask_exa.anomaly import IsolationForest
from dask_exa.compose import Ensemble
from tests.naive import majority_vote, mean_probabilities

X, Y = make_classification(600, 6, n_informative=4, n_classes=4, class_sep=1.5, random_state=0)
CHUNKS = (100, 250, 150, 100)
LAZY, LAZY_Y = da.from_array(X, chunks=(CHUNKS, 6)), da.from_array(Y, chunks=(CHUNKS,))
EDGES = np.cumsum((0, *CHUNKS))
PARTS = [slice(*pair) for pair in itertools.pairwise(EDGES)]
TREE = DecisionTreeClassifier(max_depth=4, random_state=0)


def fitted(estimator, parts=PARTS):
    return [clone(estimator).fit(X[part], Y[part]) for part in parts]


def unlike():
    """Return classifiers of which each knows other classes."""
    known = ([0, 1], [1, 2, 3], [0, 2, 3], [1, 3])
    rows = [np.isin(Y, classes) for classes in known]
    return [GaussianNB().fit(X[some], Y[some]) for some in rows]


def test_every_chunk_has_a_member():
    ensemble = Ensemble(TREE).fit(LAZY, LAZY_Y)
    for found, expected in zip(ensemble.estimators_, fitted(TREE), strict=True):
        np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    assert ensemble.n_samples_seen_ == 600
    assert ensemble.weights_.tolist() == [1.0] * 4
    sized = Ensemble(TREE, weights="n_samples").fit(LAZY, LAZY_Y)
    assert sized.weights_.tolist() == list(CHUNKS)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 0.0]])
@pytest.mark.parametrize("make", [unlike, lambda: fitted(TREE)])
def test_votes_are_those_of_the_plain_count(make, weights):
    models = make()
    given = [1.0] * 4 if weights is None else weights
    hard = Ensemble.of_fitted(models, weights, voting="hard")
    expected = majority_vote([model.predict(X) for model in models], given)
    np.testing.assert_array_equal(hard.predict(X), expected)
    soft = Ensemble.of_fitted(models, weights)
    mean = mean_probabilities(models, given, X)
    found = soft.predict_proba(X)
    np.testing.assert_array_equal(soft.classes_, [0, 1, 2, 3])
    for i in range(0, 600, 7):
        wanted = [mean[i].get(label, 0) for label in soft.classes_]
        np.testing.assert_allclose(found[i], wanted, rtol=1e-12)
    np.testing.assert_array_equal(soft.predict(X), soft.classes_[found.argmax(axis=1)])
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_members_of_all_samples_vote_as_scikit_learns(voting):
    models = [("a", TREE), ("b", GaussianNB()), ("c", LogisticRegression())]
    peer = VotingClassifier(models, voting=voting, weights=[1, 2, 3]).fit(X, Y)
    own = [clone(model).fit(X, Y) for _, model in models]
    ensemble = Ensemble.of_fitted(own, weights=[1, 2, 3], voting=voting)
    np.testing.assert_array_equal(ensemble.predict(X), peer.predict(X))
    if voting == "soft":
        np.testing.assert_allclose(ensemble.predict_proba(X), peer.predict_proba(X), rtol=1e-12)


def test_decisions_count_those_who_know_the_class():
    known = ([0, 1], [0, 1, 2])
    models = []
    for classes in known:
        rows = np.isin(Y, classes)
        models.append(LinearSVC(random_state=0).fit(X[rows], Y[rows]))
    ensemble = Ensemble.of_fitted(models, weights=[1, 3])
    pair, three = models[0].decision_function(X), models[1].decision_function(X)
    wanted = np.stack([(3 * three[:, 0] - pair) / 4, (3 * three[:, 1] + pair) / 4, three[:, 2]], 1)
    np.testing.assert_allclose(ensemble.decision_function(X), wanted, rtol=1e-12)
    np.testing.assert_array_equal(ensemble.predict(X), wanted.argmax(axis=1))
    two = Ensemble.of_fitted(models[:1])
    np.testing.assert_allclose(two.decision_function(X), pair)
    np.testing.assert_array_equal(two.predict(X), models[0].predict(X))


def test_words_are_classes_in_any_order():
    words = np.array(["north", "east", "south", "west"])[Y]
    rows = [np.isin(Y, some) for some in ([0, 1, 2], [1, 2, 3])]
    models = [GaussianNB().fit(X[some], words[some]) for some in rows]
    ensemble = Ensemble.of_fitted(models)
    assert ensemble.classes_.tolist() == ["east", "north", "south", "west"]
    mean = mean_probabilities(models, [1, 1], X[:20])
    wanted = [max(sorted(some), key=some.get) for some in mean]
    assert ensemble.predict(X[:20]).tolist() == wanted


def test_regressors_are_averaged():
    y = X @ np.arange(6.0)
    ensemble = Ensemble(DecisionTreeRegressor(random_state=0), weights="n_samples")
    ensemble.fit(LAZY, da.from_array(y, chunks=(CHUNKS,)))
    members = [DecisionTreeRegressor(random_state=0).fit(X[part], y[part]) for part in PARTS]
    wanted = np.average([member.predict(X) for member in members], axis=0, weights=CHUNKS)
    np.testing.assert_allclose(ensemble.predict(LAZY).compute(), wanted, rtol=1e-12)
    assert is_regressor(ensemble)
    assert ensemble.score(LAZY, y) > 0.9


def test_detectors_are_averaged():
    forest = IsolationForest(n_estimators=20, random_state=0)
    ensemble = Ensemble(forest).fit(LAZY)
    members = [clone(forest).fit(X[part]) for part in PARTS]
    assert is_outlier_detector(ensemble)
    assert not hasattr(ensemble, "score")
    for method in ("score_samples", "decision_function"):
        wanted = np.mean([getattr(member, method)(X) for member in members], axis=0)
        np.testing.assert_allclose(getattr(ensemble, method)(X), wanted, rtol=1e-12)
    wanted = np.where(ensemble.decision_function(X) >= 0, 1, -1)
    np.testing.assert_array_equal(ensemble.predict(X), wanted)
    hard = Ensemble(forest, voting="hard").fit(LAZY)
    votes = np.sum([member.predict(X) for member in members], axis=0)
    np.testing.assert_array_equal(hard.predict(X), np.where(votes >= 0, 1, -1))


def test_clusters_of_the_same_centres_have_one_number():
    centers = 12 * np.random.default_rng(0).standard_normal((6, 2))
    rows, y = make_blobs(900, centers=centers, random_state=1)
    models = [KMeans(6, n_init=3, random_state=i).fit(rows[i::3]) for i in range(3)]
    ensemble = Ensemble.of_fitted(models)
    assert is_clusterer(ensemble)
    assert adjusted_rand_score(y, ensemble.predict(rows)) > 0.95
    # what has fewer clusters than others votes for some of theirs
    fewer = KMeans(5, n_init=3, random_state=0).fit(rows[y < 5])
    both = Ensemble.of_fitted([fewer, models[0]], weights=[0.1, 1])
    np.testing.assert_array_equal(both.predict(rows), models[0].predict(rows))
    for model in (DBSCAN(), DBSCAN().fit(rows)):
        with pytest.raises((TypeError, NotFittedError)):
            Ensemble.of_fitted([model])
    with pytest.raises(TypeError, match="DBSCAN has no cluster_centers_"):
        Ensemble(DBSCAN()).fit(rows)


def test_votes_of_ranks_are_better_than_any_of_them():
    rows, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, held = order[:1280], order[1280:]
    tree = DecisionTreeClassifier(random_state=0)
    lazy = da.from_array(rows[train], chunks=(160, 64))
    ensemble = Ensemble(tree).fit(lazy, labels[train])
    alone = [member.score(rows[held], labels[held]) for member in ensemble.estimators_]
    whole = clone(tree).fit(rows[train], labels[train]).score(rows[held], labels[held])
    assert ensemble.score(rows[held], labels[held]) > max(whole, *alone) + 0.02


def test_merge_is_the_union_of_members():
    ranks = [Ensemble(TREE, n_estimators=1, weights="n_samples").fit(X[part], Y[part])
             for part in PARTS]  # fmt: skip
    merged = ranks[0] | ranks[1]
    assert len(ranks[0].estimators_) == 1
    merged.merge(ranks[2], ranks[3], Ensemble(TREE))
    whole = Ensemble(TREE, weights="n_samples").fit(LAZY, LAZY_Y)
    assert merged.weights_.tolist() == whole.weights_.tolist()
    np.testing.assert_array_equal(merged.predict_proba(X), whole.predict_proba(X))
    nothing = Ensemble(TREE).merge(whole)
    np.testing.assert_array_equal(nothing.predict(X), whole.predict(X))
    assert nothing.n_features_in_ == 6
    stream = Ensemble(TREE, n_estimators=1, weights="n_samples")
    for part in PARTS:
        stream.partial_fit(X[part], Y[part])
    np.testing.assert_array_equal(stream.predict_proba(X), whole.predict_proba(X))


def test_members_in_memory_are_dealt_samples_of_all_kinds():
    order = np.argsort(Y, kind="stable")
    ensemble = Ensemble(TREE, n_estimators=3).fit(X[order], Y[order])
    assert len(ensemble.estimators_) == 3
    assert all(len(member.classes_) == 4 for member in ensemble.estimators_)
    again = Ensemble(TREE, n_estimators=3).fit(X[order], Y[order])
    np.testing.assert_array_equal(again.predict_proba(X), ensemble.predict_proba(X))
    assert len(Ensemble(TREE, n_estimators=9).fit(X[:5], Y[:5]).estimators_) == 5


def test_members_are_weighed_by_what_they_get_right():
    models = [*fitted(TREE), clone(TREE).fit(X, Y[::-1])]
    for samples, targets in ((X, Y), (LAZY, LAZY_Y)):
        ensemble = Ensemble.of_fitted(models).weigh(samples, targets)
        scores = [model.score(X, Y) for model in models]
        np.testing.assert_allclose(ensemble.weights_, scores, rtol=1e-12)
    with pytest.raises(ValueError, match="weights are zero for every model"):
        Ensemble.of_fitted(models[:1]).weigh(X, Y + 10)


def test_weights_may_be_what_each_has_seen():
    forests = [IsolationForest(n_estimators=5, random_state=0).fit(X[part]) for part in PARTS]
    assert Ensemble.of_fitted(forests, weights="n_samples").weights_.tolist() == list(CHUNKS)
    with pytest.raises(ValueError, match="model 0 has no n_samples_seen_"):
        Ensemble.of_fitted(fitted(TREE), weights="n_samples")


def test_answers_are_lazy_and_labelled():
    ensemble = Ensemble(TREE).fit(LAZY, LAZY_Y)
    for method in ("predict", "predict_proba"):
        found = getattr(ensemble, method)(LAZY)
        assert isinstance(found, da.Array)
        assert found.chunks[0] == CHUNKS
        wanted = getattr(ensemble, method)(X)
        np.testing.assert_array_equal(found.compute(), wanted)
        assert found.dtype == wanted.dtype
    film = xr.DataArray(X.reshape(600, 2, 3), dims=("time", "y", "x")).chunk(time=150)
    labelled = Ensemble(TREE, sample_dims="time").fit(film, Y)
    assert labelled.predict(film).dims == ("time",)
    probabilities = labelled.predict_proba(film)
    assert probabilities.dims == ("time", "class")
    assert isinstance(probabilities.data, da.Array)


def test_worker_processes_do_not_show(client):
    found = Ensemble(TREE).fit(LAZY, LAZY_Y)
    np.testing.assert_array_equal(
        found.predict(LAZY).compute(), Ensemble.of_fitted(fitted(TREE)).predict(X)
    )
    np.testing.assert_allclose(
        found.weigh(LAZY, LAZY_Y).weights_, [model.score(X, Y) for model in fitted(TREE)]
    )


def test_query_planning_mode_gives_the_same():
    script = (
        "import dask; dask.config.set({'array.query-planning': True})\n"
        "import dask.array as da, numpy as np\n"
        "from sklearn.naive_bayes import GaussianNB\n"
        "from dask_exa.compose import Ensemble\n"
        "X = np.random.default_rng(0).standard_normal((90, 3)); y = X[:, 0] > 0\n"
        "lazy = da.from_array(X, chunks=(30, 3)), da.from_array(y, chunks=30)\n"
        "parts = [GaussianNB().fit(X[i : i + 30], y[i : i + 30]) for i in (0, 30, 60)]\n"
        "found = Ensemble(GaussianNB()).fit(*lazy).predict_proba(lazy[0]).compute()\n"
        "assert np.array_equal(found, Ensemble.of_fitted(parts).predict_proba(X))\n"
        "print('same')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "same\n", done.stderr


def test_pickles_with_its_members():
    ensemble = Ensemble(TREE, weights="n_samples").fit(LAZY, LAZY_Y)
    resumed = pickle.loads(pickle.dumps(ensemble))
    np.testing.assert_array_equal(resumed.predict_proba(X), ensemble.predict_proba(X))
    assert is_classifier(clone(ensemble))
    assert not hasattr(clone(ensemble), "classes_")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.merge(TREE), TypeError, "cannot merge a DecisionTreeClassifier"),
        (lambda e: e.merge(Ensemble(LinearRegression()).fit(X, Y)), ValueError,
         "a LinearRegression of 6 features vote with a DecisionTreeClassifier of 6"),
        (lambda e: e.merge(Ensemble(TREE).fit(X[:, :2], Y)), ValueError,
         "a DecisionTreeClassifier of 2 features vote with"),
        (lambda e: e.partial_fit(X[:, :2], Y), ValueError, "X has 2 features"),
        (lambda e: e.fit(LAZY, da.from_array(Y, chunks=100)), ValueError, "y has chunks of 100"),
        (lambda e: e.fit(LAZY, Y[1:]), ValueError, r"y has shape \(599,\)"),
        (lambda e: e.fit(LAZY), ValueError, "requires y to be passed"),
        (lambda e: e.set_params(estimator=SGDClassifier()).fit(LAZY, np.repeat([0, 1], 300)),
         ValueError, r"In chunk \d of the samples: The number of classes has to be greater"),
        (lambda e: e.set_params(voting="loud").fit(X, Y), ValueError, "voting='loud' must be"),
        (lambda e: e.set_params(voting="loud").predict(X), ValueError, "voting='loud' must be"),
        (lambda e: e.set_params(weights="age").fit(X, Y), ValueError, "weights='age' must be"),
        (lambda e: e.set_params(n_estimators=0).fit(X, Y), ValueError, "n_estimators=0 must be"),
        (lambda e: Ensemble.of_fitted([]), ValueError, "models is empty"),
        (lambda e: Ensemble.of_fitted([TREE]), NotFittedError, "not fitted"),
        (lambda e: Ensemble.of_fitted(e.estimators_, [1, 2]), ValueError,
         r"weights has shape \(2,\) for 4 models"),
        (lambda e: Ensemble.of_fitted(e.estimators_, [1, 2, -1, 0]), ValueError, "negative"),
    ],
)  # fmt: skip
def test_errors_name_the_cause_and_change_nothing(call, error, message):
    ensemble = Ensemble(TREE).fit(LAZY, LAZY_Y)
    before = ensemble.estimators_, ensemble.weights_.tolist(), ensemble.n_features_in_
    with pytest.raises(error, match=message):
        call(ensemble)
    assert (ensemble.estimators_, ensemble.weights_.tolist(), ensemble.n_features_in_) == before


def test_unfitted_ensembles_say_so():
    with pytest.raises(NotFittedError):
        Ensemble(TREE).predict(X)
    for name in ("estimators_", "weights_", "classes_", "n_samples_seen_"):
        assert not hasattr(Ensemble(TREE), name)
