"""GaussianMixture beside scikit-learn's, on NumPy, Dask and labelled arrays."""

import functools
import pickle

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture as Peer

from dask_exa._state import NotEnoughSamplesError
from dask_exa.cluster import GaussianMixture
from dask_exa.summaries.gaussians import TYPES
from tests import naive

N, K, D = 3000, 4, 3
ALL_TYPES = pytest.mark.parametrize("form", TYPES)
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.fixture(autouse=True)
def scheduler():
    with dask.config.set(scheduler="synchronous"):
        yield


def blobs(n_samples=N, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(100).normal(0, spread, (K, D))
    labels = rng.integers(K, size=n_samples)
    roots = np.random.default_rng(101).normal(size=(K, D, D)) + np.eye(D)
    return means[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n_samples, D)))


def start(form):
    """Return parameters that both implementations start from."""
    precisions = {
        "full": np.stack([np.eye(D)] * K),
        "tied": np.eye(D),
        "diag": np.ones((K, D)),
        "spherical": np.ones(K),
    }[form]
    return {
        "weights_init": np.array([0.1, 0.2, 0.3, 0.4]),
        "means_init": np.random.default_rng(102).normal(0, 3, (K, D)),
        "precisions_init": precisions,
    }


def test_constructor_is_that_of_scikit_learn():
    ours, peer = GaussianMixture().get_params(), Peer().get_params()
    assert {name: ours[name] for name in peer} == peer


@ALL_TYPES
@pytest.mark.parametrize("n_samples", [500, N])
@pytest.mark.parametrize("lazy", [False, True])
def test_equals_scikit_learn_from_the_same_start(form, n_samples, lazy):
    X = blobs(n_samples)
    params = {"covariance_type": form, "tol": 1e-6, "max_iter": 300, **start(form)}
    peer = Peer(K, **params).fit(X)
    model = GaussianMixture(K, **params).fit(da.from_array(X, chunks=(700, 2)) if lazy else X)
    assert model.converged_ is peer.converged_ is True
    assert model.n_iter_ == peer.n_iter_ > 5
    for name in (*ATTRIBUTES, "lower_bound_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(model, name), getattr(peer, name), rtol=1e-6, atol=1e-8)
    Y = blobs(200, seed=1)
    np.testing.assert_array_equal(model.predict(Y), peer.predict(Y))
    for name in ("predict_proba", "score_samples", "score", "aic", "bic"):
        value = getattr(model, name)(Y)
        np.testing.assert_allclose(value, getattr(peer, name)(Y), rtol=1e-6, atol=1e-8)


@ALL_TYPES
def test_passes_equal_the_oracle(form):
    X = blobs(150)
    begin = start(form)
    now = begin["weights_init"], begin["means_init"], begin["precisions_init"]  # their own inverses
    bounds = []
    for _ in range(3):
        *now, bound = naive.em_pass(X, form, *now, reg_covar=1e-3)
        bounds.append(bound)
    with pytest.warns(ConvergenceWarning, match="tol=0.* max_iter=3 passes; raise one"):
        model = GaussianMixture(
            K, covariance_type=form, tol=0.0, reg_covar=1e-3, max_iter=3, **begin
        ).fit(X)
    assert not model.converged_
    np.testing.assert_allclose(model.lower_bounds_, bounds, rtol=1e-12)
    for name, exact in zip(ATTRIBUTES[:3], now, strict=True):
        np.testing.assert_allclose(getattr(model, name), exact, rtol=1e-9, atol=1e-12)


@ALL_TYPES
def test_float32_and_a_large_mean(form):
    X = (blobs() + 500).astype(np.float32)
    params = {"covariance_type": form, **start(form)}
    params["means_init"] = params["means_init"] + 500
    exact = Peer(K, **params).fit(X.astype(np.float64))
    model = GaussianMixture(K, **params).fit(X)
    assert model.n_iter_ == exact.n_iter_
    assert model.lower_bound_ == pytest.approx(exact.lower_bound_, rel=1e-6)
    np.testing.assert_allclose(model.means_, exact.means_, rtol=1e-6)
    np.testing.assert_allclose(model.covariances_, exact.covariances_, rtol=1e-3, atol=1e-4)
    assert model.predict_proba(X).dtype == model.score_samples(X).dtype == np.float32
    assert model.predict_proba(da.from_array(X, chunks=(700, 3))).dtype == np.float32


@functools.cache
def best_score(form):
    X = blobs()
    return max(Peer(K, covariance_type=form, random_state=i).fit(X).score(X) for i in range(2))


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data", "random"])
@ALL_TYPES
def test_own_start_is_as_good_as_scikit_learns(form, init):
    X = blobs()
    model = GaussianMixture(
        K, covariance_type=form, init_params=init, n_init=2, max_iter=300, random_state=0
    ).fit(X)
    if init == "random":  # hardly a start: as in scikit-learn, it may stay one big component
        assert model.score(X) > GaussianMixture(covariance_type=form).fit(X).score(X) - 1e-3
    else:
        assert model.score(X) > best_score(form) - 0.01


@ALL_TYPES
@pytest.mark.parametrize("n_samples", [700, N])
def test_weight_is_repetition(form, n_samples):
    X = blobs(n_samples)
    times = np.random.default_rng(0).integers(0, 4, n_samples)
    params = {"covariance_type": form, **start(form)}
    repeated = GaussianMixture(K, **params).fit(np.repeat(X, times, axis=0))
    model = GaussianMixture(K, **params).fit(X, sample_weight=times)
    lazy = GaussianMixture(K, **params).fit(da.from_array(X, chunks=(300, 3)), sample_weight=times)
    for name in ATTRIBUTES:
        for weighted in (model, lazy):
            wanted = getattr(repeated, name)
            np.testing.assert_allclose(getattr(weighted, name), wanted, rtol=1e-9, atol=1e-9)
    score = model.score(X, sample_weight=times)
    assert score == pytest.approx(repeated.score(np.repeat(X, times, axis=0)), rel=1e-12)


@ALL_TYPES
def test_any_chunks_give_what_memory_does(form):
    X = blobs()
    whole = GaussianMixture(K, covariance_type=form, random_state=0).fit(X)
    for chunks in ((N, 3), (1000, 1), (37, 2)):
        lazy = da.from_array(X, chunks=chunks)
        model = GaussianMixture(K, covariance_type=form, random_state=0).fit(lazy)
        assert model.n_iter_ == whole.n_iter_
        for name in ATTRIBUTES:
            wanted = getattr(whole, name)
            np.testing.assert_allclose(getattr(model, name), wanted, rtol=1e-8, atol=1e-8)
        for name in ("predict", "predict_proba", "score_samples"):
            values = getattr(model, name)(lazy)
            assert isinstance(values, da.Array)
            assert values.chunks[0] == lazy.chunks[0]
            expected = getattr(model, name)(X)
            assert values.dtype == expected.dtype
            np.testing.assert_allclose(values.compute(), expected, rtol=1e-9, atol=1e-12)
        assert model.score(lazy) == pytest.approx(model.score(X), rel=1e-12)
        assert model.bic(lazy) == pytest.approx(model.bic(X), rel=1e-12)


@pytest.mark.parametrize("lazy", [False, True])
def test_labelled_in_labelled_out(lazy):
    X = blobs(1200)
    film = xr.DataArray(
        X.reshape(30, 40, D), dims=("time", "x", "field"), coords={"field": ["n", "u", "T"]}
    )
    film = film.chunk({"time": 7}) if lazy else film
    model = GaussianMixture(K, random_state=0, sample_dims=("time", "x")).fit(film)
    plain = GaussianMixture(K, random_state=0).fit(X)
    assert model.means_.dims == ("component", "field")
    np.testing.assert_array_equal(model.means_.field, ["n", "u", "T"])
    np.testing.assert_allclose(model.means_.values, plain.means_, rtol=1e-9)
    shares = model.predict_proba(film)
    assert shares.dims == ("time", "x", "component")
    np.testing.assert_allclose(shares.values.reshape(-1, K), plain.predict_proba(X), atol=1e-9)
    assert model.predict(film).dims == model.score_samples(film).dims == ("time", "x")
    assert model.score(film) == pytest.approx(plain.score(X), rel=1e-9)
    assert model.aic(film) == pytest.approx(plain.aic(X), rel=1e-9)


@ALL_TYPES
def test_array_api_strict(form):
    X = blobs(N)
    there = array_api_strict.asarray(X)
    model = GaussianMixture(K, covariance_type=form, random_state=0).fit(there)
    plain = GaussianMixture(K, covariance_type=form, random_state=0).fit(X)
    np.testing.assert_allclose(model.means_, plain.means_, rtol=1e-8, atol=1e-8)
    for name in ("predict", "predict_proba", "score_samples"):
        values = getattr(model, name)(there)
        assert isinstance(values, type(there))
        np.testing.assert_allclose(np.asarray(values), getattr(model, name)(X), atol=1e-9)
    assert model.score(there) == pytest.approx(model.score(X), rel=1e-9)


@ALL_TYPES
def test_samples_have_the_law_of_the_mixture(form):
    model = GaussianMixture(K, covariance_type=form, random_state=0).fit(blobs())
    X, y = model.sample(20_000)
    assert X.shape == (20_000, D)
    np.testing.assert_allclose(np.bincount(y) / len(y), model.weights_, atol=0.02)
    matrices = naive.full_covariances(form, model.covariances_, K, D)
    for k in range(K):
        white = np.linalg.solve(np.linalg.cholesky(matrices[k]), (X[y == k] - model.means_[k]).T)
        assert kstest(white[-1], "norm").pvalue > 1e-3
        np.testing.assert_allclose(np.cov(white), np.eye(D), atol=0.1)
    Y, _ = model.sample(20_000)
    np.testing.assert_array_equal(X, Y)
    assert model.score(X) == pytest.approx(model.score(blobs(20_000, seed=3)), abs=0.2)


def test_fit_predict_and_clone():
    X = blobs()
    model = GaussianMixture(K, random_state=0)
    np.testing.assert_array_equal(model.fit_predict(X), model.predict(X))
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


def test_random_state_decides_and_an_instance_goes_on():
    X = blobs()
    one, other = (GaussianMixture(K, random_state=0).fit(X) for _ in range(2))
    np.testing.assert_array_equal(one.means_, other.means_)


def test_passes_are_printed(capsys):
    GaussianMixture(2, verbose=1, random_state=0).fit(blobs(200))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Pass 1: mean log-likelihood -")


@pytest.mark.parametrize("name", ["save", "pickle"])
def test_given_starts_survive_storage(name, tmp_path):
    X = blobs()
    model = GaussianMixture(K, covariance_type="diag", **start("diag")).fit(X)
    if name == "save":
        model.save(tmp_path / "model")
        again = GaussianMixture.load(tmp_path / "model")
    else:
        again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.covariances_, model.covariances_)
    np.testing.assert_array_equal(again.fit(X).covariances_, model.covariances_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components=0 must be an int of at least 1"),
        ({"n_components": 2.5}, "n_components=2.5 must be an int"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"n_init": 0}, "n_init=0"),
        ({"tol": -1.0}, "tol=-1.0 must be a finite number of at least 0"),
        ({"reg_covar": -1.0}, "reg_covar=-1.0 must be a finite number of at least 0"),
        ({"batch_size": 0}, "batch_size=0 must be a finite number above 0"),
        ({"learning_decay": 0.5}, r"learning_decay=0.5 must be in \(0.5, 1\]"),
        ({"learning_decay": 1.1}, r"learning_decay=1.1 must be in \(0.5, 1\]"),
        ({"covariance_type": "round"}, "covariance_type='round' must be 'full', 'tied'"),
        ({"init_params": "best"}, "init_params='best' must be 'kmeans'"),
        ({"warm_start": True}, "warm_start=True is not possible.*partial_fit"),
        ({"weights_init": [1.0]}, r"weights_init has shape \(1,\).*must have \(4,\)"),
        ({"weights_init": [0.5, 0.5, 0.0, 0.0]}, "weights_init=.*must be above 0"),
        ({"weights_init": [0.5, 0.5, 0.5, 0.5]}, "add up to 1; divide them by their sum"),
        ({"means_init": np.zeros((4, 2))}, r"means_init has shape \(4, 2\).*must have \(4, 3\)"),
        ({"means_init": np.full((4, 3), np.nan)}, "means_init contains NaN"),
        ({"precisions_init": np.ones((4, 3))}, r"precisions_init has shape.*\(4, 3, 3\)"),
        ({"precisions_init": -np.stack([np.eye(3)] * 4)}, "precisions_init must be full inverse"),
        ({"precisions_init": np.stack([np.tri(3)] * 4)}, "symmetric and positive definite"),
        (
            {"precisions_init": np.zeros((4, 3)), "covariance_type": "diag"},
            "precisions_init must be diag",
        ),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GaussianMixture(**{"n_components": K, **params}).fit(blobs(100))


def test_too_few_samples_are_refused_by_fit_and_waited_for_in_a_stream():
    X = blobs(3)
    with pytest.raises(ValueError, match="n_samples=3 is fewer than the 4 that n_components=4"):
        GaussianMixture(K).fit(X)
    stream = GaussianMixture(K, random_state=0).partial_fit(X)
    assert stream.n_samples_seen_ == 3
    assert not hasattr(stream, "means_")
    with pytest.raises(NotEnoughSamplesError, match="at least 4 samples, 3 with a weight"):
        stream.predict(X)
    stream.partial_fit(blobs(50))
    assert stream.means_.shape == (K, D)


@ALL_TYPES
@pytest.mark.parametrize("lazy", [False, True])
def test_collapsed_components_say_what_to_do(form, lazy):
    X = np.zeros((N, D))
    X[:, 0] = 1.0
    X = da.from_array(X, chunks=(700, 3)) if lazy else X
    with pytest.raises(ValueError, match=r"singular with reg_covar=0.0.*raise reg_covar"):
        GaussianMixture(2, covariance_type=form, reg_covar=0.0, random_state=0).fit(X)
    model = GaussianMixture(2, covariance_type=form, random_state=0).fit(X)
    assert np.isfinite(model.lower_bound_)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("n_samples", [200, N])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_non_finite_samples_are_refused(n_samples, bad):
    X = blobs(n_samples)
    X[n_samples // 2, 1] = bad
    lazy = da.from_array(X, chunks=(n_samples // 10, 3))
    fitted = GaussianMixture(K, random_state=0).fit(blobs())
    for model in (GaussianMixture(K, random_state=0), fitted):
        with pytest.raises(ValueError, match="X contains NaN"):
            model.fit(X)
        with pytest.raises(ValueError, match="In chunk 5 of the samples: X contains NaN"):
            model.partial_fit(lazy)
    with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
        fitted.predict(X)


@pytest.mark.parametrize("weight", [np.ones(3), np.full(200, -1.0), np.zeros(200)])
def test_score_refuses_what_are_no_weights(weight):
    X = np.random.default_rng(0).standard_normal((200, 2))
    with pytest.raises(ValueError, match="sample_weight"):
        GaussianMixture(2, random_state=0).fit(X).score(X, sample_weight=weight)
