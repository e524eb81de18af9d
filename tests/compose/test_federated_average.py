"""FederatedAverage: one model of data that stay where they are."""

import itertools
import pickle
import subprocess
import sys

import dask
import dask.array as da
import joblib
import numpy as np
import pytest
import xarray as xr
from sklearn.base import is_classifier, is_outlier_detector, is_regressor
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, SGDClassifier, SGDOneClassSVM, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor

from dask_exa.compose import FederatedAverage
from tests.naive import federated_average

RNG = np.random.default_rng(0)
X = RNG.standard_normal((400, 3))
Y = X @ [1.0, -2.0, 0.5] + 3 + 0.1 * RNG.standard_normal(400)
LABELS = np.digitize(Y, [1.0, 4.0])
CHUNKS = (50, 150, 120, 80)
LAZY, LAZY_Y = da.from_array(X, chunks=(CHUNKS, 3)), da.from_array(Y, chunks=(CHUNKS,))
LAZY_LABELS = da.from_array(LABELS, chunks=(CHUNKS,))
STEP = 0.01
PLAIN = SGDRegressor(
    penalty=None, learning_rate="constant", eta0=STEP, shuffle=False, random_state=0
)
LOGISTIC = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.05, random_state=0)


def clients():
    edges = np.cumsum((0, *CHUNKS))
    return [(X[a:b], Y[a:b]) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"local_epochs": 3},
        {"batch_size": 16},
        {"batch_size": 7, "local_epochs": 2, "proximal": 0.3},
    ],
    ids=str,
)
def test_coefficients_are_those_of_the_plain_algorithm(how):
    model = FederatedAverage(PLAIN, n_rounds=4, **how).fit(LAZY, LAZY_Y)
    coefficients, intercept = federated_average(clients(), 4, STEP, **how)
    np.testing.assert_allclose(model.coef_, coefficients, rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, [intercept], rtol=1e-10)
    assert (model.n_rounds_, model.n_samples_seen_) == (4, 400)


def test_one_client_in_one_round_is_partial_fit():
    model = FederatedAverage(LOGISTIC, n_rounds=1).fit(X, LABELS)
    expected = LOGISTIC.__class__(**LOGISTIC.get_params())
    expected.partial_fit(X, LABELS, classes=[0, 1, 2])
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_arrays_in_memory_are_split_into_clients():
    found = FederatedAverage(PLAIN, n_rounds=3, n_clients=4).fit(X, Y)
    expected = federated_average([(X[i : i + 100], Y[i : i + 100]) for i in range(0, 400, 100)],
                                 3, STEP)  # fmt: skip
    np.testing.assert_allclose(found.coef_, expected[0], rtol=1e-10)


def test_rounds_converge_to_least_squares():
    model = FederatedAverage(PLAIN, n_rounds=40).fit(LAZY, LAZY_Y)
    exact = np.linalg.lstsq(np.c_[X, np.ones(400)], Y)[0]
    np.testing.assert_allclose([*model.coef_, *model.intercept_], exact, atol=0.02)
    assert model.score(LAZY, LAZY_Y) == pytest.approx(0.998, abs=0.001)


def dealt_digits(how):
    """Return digits of 8 clients, with two shards of sorted classes each or shuffled, and more."""
    rows, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    rows, labels = rows[order] / 16, labels[order]
    train, held = np.arange(1280), np.arange(1280, len(labels))
    if how == "by class":
        shards = np.array_split(np.argsort(labels[:1280], kind="stable"), 16)
        train = np.concatenate([shards[i] for i in np.random.default_rng(0).permutation(16)])
    return rows[train], labels[train], rows[held], labels[held]


def accuracies(how, n_rounds):
    rows, labels, held, truth = dealt_digits(how)
    lazy = da.from_array(rows, chunks=(160, 64)), da.from_array(labels, chunks=160)
    with dask.config.set(scheduler="synchronous"):
        rounds = FederatedAverage(LOGISTIC, n_rounds=n_rounds).fit(*lazy)
    apart = [FederatedAverage(LOGISTIC) for _ in range(8)]
    for i, model in enumerate(apart):
        part = slice(160 * i, 160 * i + 160)
        for _ in range(n_rounds):
            model.partial_fit(rows[part], labels[part], classes=np.arange(10))
    once = FederatedAverage(LOGISTIC).merge(*apart)
    central = FederatedAverage(LOGISTIC, n_rounds=n_rounds).fit(rows, labels)
    return [model.score(held, truth) for model in (central, rounds, once)]


def test_rounds_find_what_averaging_once_does_not():
    """On digits dealt by class to 8 clients: the figures of the class's notes."""
    central, rounds, once = accuracies("by class", 30)
    assert central == pytest.approx(0.971, abs=0.01)
    assert rounds == pytest.approx(0.942, abs=0.015)
    assert once == pytest.approx(0.760, abs=0.03)


def test_averaging_once_is_enough_where_clients_are_alike():
    central, rounds, once = accuracies("shuffled", 30)
    assert rounds > central - 0.025
    assert once > central - 0.03


def test_proximal_term_keeps_clients_together():
    edge = FederatedAverage(LOGISTIC, n_rounds=1, proximal=1e12).fit(LAZY, LAZY_LABELS)
    assert np.abs(edge.coef_).max() < 1e-9
    spread = []
    for proximal in (0.0, 1.0, 10.0):
        start = FederatedAverage(LOGISTIC, proximal=proximal, local_epochs=5)
        start.partial_fit(X, LABELS)
        before = start.coef_.copy()
        start.partial_fit(X[LABELS == 0], LABELS[LABELS == 0])
        spread.append(np.linalg.norm(start.coef_ - before))
    assert spread[0] > 1.5 * spread[1] > 3 * spread[2]


def test_client_of_a_single_class_trains():
    order = np.argsort(LABELS, kind="stable")
    chunks = (tuple(np.bincount(LABELS)),)
    rows, labels = da.from_array(X[order], chunks=(*chunks, 3)), LABELS[order]
    model = FederatedAverage(LOGISTIC, n_rounds=60)
    model.fit(rows, da.from_array(labels, chunks=chunks))
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    assert model.score(X, LABELS) > 0.8


def test_words_are_classes():
    words = np.array(["low", "middle", "high"])[LABELS]
    model = FederatedAverage(LOGISTIC).fit(LAZY, da.from_array(words, chunks=(CHUNKS,)))
    assert model.classes_.tolist() == ["high", "low", "middle"]
    predicted = model.predict(LAZY)
    assert predicted.dtype == words.dtype
    assert (predicted.compute() == words).mean() > 0.8


def test_answers_are_lazy_and_labelled():
    model = FederatedAverage(LOGISTIC).fit(LAZY, LABELS)
    for method in ("predict", "predict_proba", "decision_function"):
        found = getattr(model, method)(LAZY)
        assert isinstance(found, da.Array)
        assert found.chunks[0] == CHUNKS
        np.testing.assert_allclose(found.compute(), getattr(model.estimator_, method)(X))
    film = xr.DataArray(X, dims=("time", "x"), coords={"time": np.arange(400)})
    labelled = FederatedAverage(LOGISTIC).fit(film.chunk(time=100), LABELS)
    probabilities = labelled.predict_proba(film.chunk(time=100))
    assert probabilities.dims == ("time", "class")
    assert probabilities["class"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(probabilities.time, film.time)


def test_float32_stays():
    lazy = LAZY.astype(np.float32)
    model = FederatedAverage(PLAIN, proximal=0.1).fit(lazy, LAZY_Y)
    assert model.coef_.dtype == np.float32
    exact = FederatedAverage(PLAIN, proximal=0.1).fit(LAZY, LAZY_Y)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=1e-4)


@pytest.mark.parametrize("estimator", [
    MLPClassifier((16,), learning_rate_init=0.02, random_state=0),
    MLPRegressor(hidden_layer_sizes=(16,), learning_rate_init=0.02, random_state=0),
    MLPRegressor(hidden_layer_sizes=(16,), solver="sgd", learning_rate_init=0.02, random_state=0),
], ids=str)  # fmt: skip
def test_networks_are_averaged_layer_by_layer(estimator):
    y = LABELS if is_classifier(estimator) else Y
    model = FederatedAverage(estimator, n_rounds=40, local_epochs=2).fit(LAZY, y)
    assert [layer.shape for layer in model.coefs_] == [(3, 16), (16, 1 if y is Y else 3)]
    assert model.score(X, y) > 0.9


def test_detectors_need_no_targets():
    model = FederatedAverage(SGDOneClassSVM(nu=0.05, random_state=0), n_rounds=20).fit(LAZY)
    assert is_outlier_detector(model)
    assert not hasattr(model, "score")
    far = 20 * X  # some of them on the other side, in every version of scikit-learn
    decision = far @ model.coef_.ravel() - model.offset_
    np.testing.assert_allclose(model.decision_function(far), decision, rtol=1e-12)
    assert set(np.unique(model.predict(far))) == {-1, 1}
    np.testing.assert_array_equal(model.predict(far), np.where(decision < 0, -1, 1))


def test_kind_is_that_of_the_wrapped_estimator():
    assert is_classifier(FederatedAverage(LOGISTIC))
    assert is_regressor(FederatedAverage(PLAIN))


def test_stream_is_a_round_for_every_step():
    stream = FederatedAverage(LOGISTIC)
    for step in range(0, 400, 50):
        stream.partial_fit(X[step : step + 50], LABELS[step : step + 50], classes=[0, 1, 2])
    assert (stream.n_rounds_, stream.n_samples_seen_) == (8, 400)
    expected = LOGISTIC.__class__(**LOGISTIC.get_params())
    for step in range(0, 400, 50):
        expected.partial_fit(X[step : step + 50], LABELS[step : step + 50], classes=[0, 1, 2])
    np.testing.assert_array_equal(stream.coef_, expected.coef_)


def test_merge_is_the_weighted_mean():
    one = FederatedAverage(PLAIN).fit(X[:300], Y[:300])
    two = FederatedAverage(PLAIN).fit(X[300:], Y[300:])
    mean = 0.75 * one.coef_ + 0.25 * two.coef_
    before = one.coef_.copy()
    union = one | two
    np.testing.assert_allclose(union.coef_, mean, rtol=1e-12)
    np.testing.assert_array_equal(one.coef_, before)
    assert union.n_samples_seen_ == 400
    np.testing.assert_array_equal(one.merge(two).coef_, union.coef_)
    nothing = FederatedAverage(PLAIN)
    assert union.merge(nothing).coef_ is union.coef_
    np.testing.assert_array_equal(nothing.merge(union).coef_, union.coef_)
    assert nothing.n_features_in_ == 3


def test_what_differs_does_not_merge():
    model = FederatedAverage(LOGISTIC).fit(X, LABELS)
    with pytest.raises(ValueError, match="a model of 2 features into one of 3"):
        model.merge(FederatedAverage(LOGISTIC).fit(X[:, :2], LABELS))
    with pytest.raises(ValueError, match=r"the classes \[0, 1\] into one of \[0, 1, 2\]"):
        model.merge(FederatedAverage(LOGISTIC).fit(X, (LABELS > 1).astype(int)))
    with pytest.raises(TypeError, match="cannot merge a SGDClassifier"):
        model.merge(LOGISTIC)


def test_worker_processes_do_not_show(client):
    found = FederatedAverage(LOGISTIC, n_rounds=3).fit(LAZY, LAZY_LABELS)
    with dask.config.set(scheduler="synchronous"):
        expected = FederatedAverage(LOGISTIC, n_rounds=3).fit(LAZY, LAZY_LABELS)
    np.testing.assert_array_equal(found.coef_, expected.coef_)
    np.testing.assert_array_equal(found.predict(LAZY).compute(), expected.predict(X))


def test_samples_never_move(client):
    def received():
        logs = client.run(
            lambda dask_worker: [e["total"] for e in dask_worker.transfer_incoming_log]
        )
        return sum(sum(entries) for entries in logs.values())

    def make(block_info=None):
        (start, stop), _ = block_info[None]["array-location"]
        return np.random.default_rng(start).standard_normal((stop - start, 50))

    lazy = da.map_blocks(make, chunks=((4000,) * 4, (50,)), dtype=float, meta=np.empty((0, 0)))
    y = lazy[:, 0]
    before = received()
    FederatedAverage(SGDRegressor(random_state=0), n_rounds=3).fit(lazy, y)
    assert received() - before < 0.02 * lazy.nbytes


def test_query_planning_mode_gives_the_same():
    script = (
        "import dask; dask.config.set({'array.query-planning': True})\n"
        "import dask.array as da, numpy as np\n"
        "from sklearn.linear_model import SGDClassifier\n"
        "from dask_exa.compose import FederatedAverage\n"
        "X = np.random.default_rng(0).standard_normal((90, 3)); y = X[:, 0] > 0\n"
        "lazy = da.from_array(X, chunks=(30, 3)), da.from_array(y, chunks=30)\n"
        "make = lambda: FederatedAverage(SGDClassifier(random_state=0), n_clients=3)\n"
        "found, expected = make().fit(*lazy), make().fit(X, y)\n"
        "assert np.allclose(found.coef_, expected.coef_, rtol=1e-12)\n"
        "assert np.array_equal(found.predict(lazy[0]).compute(), expected.predict(X))\n"
        "print('same')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "same\n", done.stderr


@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_resumes_from_storage_to_the_last_bit(how, tmp_path):
    model = FederatedAverage(LOGISTIC, n_rounds=2).fit(LAZY, LABELS)
    if how == "pickle":
        resumed = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model")
        resumed = joblib.load(tmp_path / "model")
    np.testing.assert_array_equal(
        resumed.partial_fit(X, LABELS).coef_, model.partial_fit(X, LABELS).coef_
    )


def nan_chunk():
    broken = X.copy()
    broken[230, 1] = np.nan
    return da.from_array(broken, chunks=(CHUNKS, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(LAZY, da.from_array(LABELS, chunks=100)),
         r"y has chunks of 100, 100, 100, 100 samples but X has chunks of 50, 150, 120, 80"),
        (lambda m: m.fit(LAZY, LABELS[:-1]), r"y has shape \(399,\) but X has 400 samples"),
        (lambda m: m.fit(nan_chunk(), LABELS), "In chunk 2 of the samples: .*NaN"),
        (lambda m: m.fit(X, np.zeros(400)), r"y has the only class \[0.0\]"),
        (lambda m: m.fit(LAZY), "requires y to be passed"),
        (lambda m: m.partial_fit(X, LABELS + 1), r"classes \[3\] but the model knows \[0, 1, 2\]"),
        (lambda m: m.partial_fit(X, LABELS, classes=[0, 1]), r"classes=\[0, 1\] but the model"),
        (lambda m: m.partial_fit(X[:, :2], LABELS), "X has 2 features"),
        (lambda m: m.partial_fit(LAZY[:, :2], LABELS), "X has 2 features"),
        (lambda m: m.set_params(proximal=-1).fit(X, LABELS), "proximal=-1 must be"),
        (lambda m: m.set_params(n_rounds=0).fit(X, LABELS), "n_rounds=0 must be"),
        (lambda m: m.set_params(batch_size=0).fit(X, LABELS), "batch_size=0 must be"),
    ],
)  # fmt: skip
def test_errors_name_the_cause_and_change_nothing(call, message):
    model = FederatedAverage(LOGISTIC, n_rounds=2).fit(LAZY, LABELS)
    before = model.coef_.copy(), model.n_rounds_, model.n_samples_seen_, model.n_features_in_
    with pytest.raises(ValueError, match=message):
        call(model)
    np.testing.assert_array_equal(model.coef_, before[0])
    assert (model.n_rounds_, model.n_samples_seen_, model.n_features_in_) == before[1:]


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (LogisticRegression(), TypeError, "LogisticRegression.* has no partial_fit"),
        (KMeans(2), TypeError, "has no partial_fit"),
        (GaussianNB(), TypeError, r"GaussianNB\(\) has no coef_ after partial_fit"),
        (SGDClassifier(average=True), ValueError, "average=True of the estimator"),
    ],
    ids=str,
)
def test_estimators_that_cannot_be_averaged_are_refused(estimator, error, message):
    with pytest.raises(error, match=message):
        FederatedAverage(estimator).fit(X, LABELS)


def test_unfitted_models_say_so():
    with pytest.raises(NotFittedError):
        FederatedAverage(LOGISTIC).predict(X)
    assert not hasattr(FederatedAverage(LOGISTIC), "coef_")
