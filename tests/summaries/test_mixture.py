"""Statistics of mixtures against the definition, and the laws that make them merge."""

import itertools

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from dask_exa.summaries import densities, mixture
from dask_exa.summaries.gaussians import TYPES, from_covariances, from_precisions
from dask_exa.testing.strategies import cuts, pieces
from tests import naive

K, D = 3, 4
ALL_TYPES = pytest.mark.parametrize("form", TYPES)


def parameters(form, spread=2.0, seed=0):
    """Return a mixture; `spread` is how far its means are from each other."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(K, D, D)) + 2 * np.eye(D)
    matrices = roots @ np.swapaxes(roots, 1, 2)
    covariances = {
        "full": matrices,
        "tied": matrices[0],
        "diag": np.diagonal(matrices, axis1=1, axis2=2).copy(),
        "spherical": matrices[:, 0, 0].copy(),
    }[form]
    means = rng.normal(0, spread, (K, D))
    return from_covariances(form, np.array([0.5, 0.3, 0.2]), means, covariances)


def samples(gaussians, n_samples=60, seed=1):
    rng = np.random.default_rng(seed)
    labels = rng.integers(K, size=n_samples)
    return gaussians.means[labels] + 2 * rng.normal(size=(n_samples, D))


def expected(X, gaussians, weight=None):
    form = gaussians.covariance_type
    matrices = naive.full_covariances(form, gaussians.covariances, K, D)
    shares, log_norms = naive.mixture_shares(X, gaussians.weights, gaussians.means, matrices)
    w = np.ones(len(X)) if weight is None else weight
    return (*naive.mixture_moments(X, shares * w[:, None], form), float(w @ log_norms))


def assert_near(summary, counts, means, m2, log_likelihood, rtol=1e-10):
    for value, wanted in (
        (summary.counts, counts),
        (summary.means, means),
        (summary.m2, m2),
        (summary.log_likelihood, log_likelihood),
    ):
        atol = rtol * np.abs(wanted).max()
        np.testing.assert_allclose(value, wanted, rtol=0, atol=atol)


@ALL_TYPES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [2.0, 1e5])
def test_equals_the_oracle(form, weighted, spread):
    gaussians = parameters(form, spread)
    X = samples(gaussians)
    weight = np.random.default_rng(2).uniform(0.1, 3, len(X)) if weighted else None
    summary = mixture.summarize(X, weight, gaussians)
    assert summary.n_samples == len(X)
    assert_near(summary, *expected(X, gaussians, weight), rtol=1e-9)


def test_far_means_are_not_expanded():
    near, far = parameters("diag"), parameters("diag", 1e6)
    assert isinstance(densities.prepare(near, np.empty((1, D))), densities.Expansion)
    assert isinstance(densities.prepare(far, np.empty((1, D))), densities.Differences)
    single = np.empty((1, D), dtype=np.float32)
    assert densities.prepare(near, single).origin.dtype == np.float32
    assert densities.prepare(parameters("tied", 1e3), single).origin.dtype == np.float64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numba", "array-api"])
def test_full_covariances_expand_to_the_same(dtype, xp, monkeypatch):
    gaussians = parameters("full", spread=1.0)
    X = samples(gaussians).astype(dtype)
    weight = np.random.default_rng(2).uniform(0.1, 3, len(X))
    exact = mixture.summarize(X.astype(float), weight, gaussians)
    monkeypatch.setattr(densities, "_MIN_PAIRED", 1)
    monkeypatch.setitem(densities._MAX_SPREAD, "float32", 1e6)
    way = densities.prepare(gaussians, xp.asarray(X))
    assert isinstance(way, densities.Expansion)
    assert str(way.origin.dtype).endswith(dtype)
    found = mixture.summarize(xp.asarray(X), xp.asarray(weight), gaussians)
    assert_near(found, *exact[2:], rtol=1e-4 if dtype == "float32" else 1e-11)
    far = gaussians._replace(means=1e5 * gaussians.means)
    assert isinstance(densities.prepare(far, X), densities.Differences)
    wide = from_covariances("full", np.ones(4) / 4, np.zeros((4, 200)), np.stack([np.eye(200)] * 4))
    assert isinstance(densities.prepare(wide, np.empty((1, 200))), densities.Differences)


@ALL_TYPES
@pytest.mark.parametrize("offset", [0.0, 3e3])
def test_float32_far_from_the_origin_survives(form, offset):
    gaussians = parameters(form)
    X = (samples(gaussians) + offset).astype(np.float32)
    gaussians = gaussians._replace(means=gaussians.means + offset)
    wanted = expected(X.astype(np.float64), gaussians)
    assert_near(mixture.summarize(X, None, gaussians), *wanted, rtol=3e-5)


@ALL_TYPES
def test_blocks_do_not_show(form, monkeypatch):
    gaussians = parameters(form)
    X = samples(gaussians, 700)
    whole = mixture.summarize(X, None, gaussians)
    monkeypatch.setattr(densities, "_MIN_ROWS", 1)
    monkeypatch.setattr(densities, "_BLOCK_BYTES", 2500)
    assert densities.prepare(gaussians, X).n_rows < 40
    parts = mixture.summarize(X, None, gaussians)
    assert_near(parts, whole.counts, whole.means, whole.m2, whole.log_likelihood, rtol=1e-12)
    blockwise = densities.log_density(X, gaussians)
    np.testing.assert_allclose(blockwise.sum(), whole.log_likelihood, rtol=1e-12)


@ALL_TYPES
@settings(max_examples=20)
@given(data=st.data())
def test_statistics_of_pieces_merge_to_those_of_all(form, data):
    gaussians = parameters(form)
    X = samples(gaussians) + data.draw(st.sampled_from([0.0, 100.0]))
    gaussians = gaussians._replace(means=gaussians.means + X.mean(axis=0) - gaussians.means[0])
    parts = [
        mixture.summarize(piece, None, gaussians) for piece in pieces(X, data.draw(cuts(len(X))))
    ]
    parts = data.draw(st.permutations(parts))
    cut = data.draw(st.integers(0, len(parts) - 1))
    groups = [part for part in (parts[:cut], parts[cut:]) if part]
    merged = mixture.merge([mixture.merge(group) for group in groups])
    whole = mixture.summarize(X, None, gaussians)
    assert merged.n_samples == len(X)
    assert_near(merged, whole.counts, whole.means, whole.m2, whole.log_likelihood, rtol=1e-10)


@ALL_TYPES
def test_weight_is_repetition(form):
    gaussians = parameters(form)
    X = samples(gaussians)
    times = np.random.default_rng(3).integers(0, 4, len(X))
    repeated = mixture.summarize(np.repeat(X, times, axis=0), None, gaussians)
    weighted = mixture.summarize(X, times.astype(float), gaussians)
    assert_near(weighted, *repeated[2:])


@ALL_TYPES
def test_maximize_is_a_pass_of_em(form):
    gaussians = parameters(form)
    X = samples(gaussians)
    fitted = mixture.maximize(mixture.summarize(X, None, gaussians), 1e-3)
    wanted = naive.em_pass(
        X, form, gaussians.weights, gaussians.means, gaussians.covariances, reg_covar=1e-3
    )
    for value, exact in zip(fitted[1:4], wanted[:3], strict=True):
        np.testing.assert_allclose(value, exact, rtol=1e-10, atol=1e-12)
    inverse = fitted.precisions
    if form in ("full", "tied"):
        identity = np.broadcast_to(np.eye(D), inverse.shape)
        np.testing.assert_allclose(inverse @ fitted.covariances, identity, atol=1e-10)
    else:
        np.testing.assert_allclose(inverse * fitted.covariances, 1, rtol=1e-13)
    back = from_precisions(form, fitted.weights, fitted.means, inverse)
    np.testing.assert_allclose(back.covariances, fitted.covariances, rtol=1e-9, atol=1e-12)


@ALL_TYPES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_densities_are_those_of_scipy(form, dtype):
    gaussians = parameters(form)
    X = samples(gaussians).astype(dtype)
    matrices = naive.full_covariances(form, gaussians.covariances, K, D)
    each = np.array([
        weight * multivariate_normal(mean, matrix).pdf(X)
        for weight, mean, matrix in zip(gaussians.weights, gaussians.means, matrices, strict=True)
    ]).T  # fmt: skip
    rtol = 2e-4 if dtype == "float32" else 1e-9
    density = densities.log_density(X, gaussians)
    np.testing.assert_allclose(density, np.log(each.sum(axis=1)), rtol=rtol)
    shares = densities.memberships(X, gaussians)
    np.testing.assert_allclose(shares, each / each.sum(axis=1, keepdims=True), atol=rtol)
    assert density.dtype == shares.dtype == dtype
    np.testing.assert_array_equal(densities.most_likely(X, gaussians), each.argmax(axis=1))


@ALL_TYPES
@pytest.mark.parametrize("spread", [2.0, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twins(form, spread, dtype):
    """Statistics stay on the host, whatever the samples are."""
    gaussians = parameters(form, spread)
    X, w = samples(gaussians).astype(dtype), np.random.default_rng(2).uniform(0.1, 3, 60)
    here = mixture.summarize(X, w, gaussians)
    strict = array_api_strict
    there = mixture.summarize(strict.asarray(X), strict.asarray(w), gaussians)
    rtol = 1e-5 if dtype == "float32" else 1e-11
    assert_near(there, *here[2:], rtol=rtol)
    for function in (densities.log_density, densities.memberships, densities.most_likely):
        values = function(strict.asarray(X), gaussians)
        assert isinstance(values, type(strict.zeros(1)))
        expected_values = function(X, gaussians)
        assert np.asarray(values).dtype == expected_values.dtype
        np.testing.assert_allclose(np.asarray(values), expected_values, rtol=rtol, atol=rtol)


@pytest.mark.gpu
@ALL_TYPES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gpu_statistics(form, dtype):
    cupy = pytest.importorskip("cupy")
    gaussians = parameters(form)
    X = samples(gaussians, 3000).astype(dtype)
    here = mixture.summarize(X, None, gaussians)
    there = mixture.summarize(cupy.asarray(X), None, gaussians)
    assert_near(there, *here[2:], rtol=1e-4 if dtype == "float32" else 1e-10)


@ALL_TYPES
def test_given_shares_give_their_moments(form):
    X = samples(parameters(form))
    shares = np.random.default_rng(0).dirichlet(np.ones(K), len(X))
    found = mixture.attribute(X, shares, form)
    assert_near(found, *naive.mixture_moments(X, shares, form), 0.0)


@ALL_TYPES
def test_forgetting_leaves_the_mixture(form):
    gaussians = parameters(form)
    summary = mixture.summarize(samples(gaussians), None, gaussians)
    forgotten = mixture.forget(summary, 0.01)
    old, new = (mixture.maximize(s, 1e-6) for s in (summary, forgotten))
    for value, wanted in zip(new[1:], old[1:], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(forgotten.weight, 0.6, rtol=1e-12)


@pytest.mark.parametrize("exponent", [0.6, 0.8, 1.0])
def test_share_of_a_batch_does_not_depend_on_how_the_stream_is_cut(exponent):
    gaussians = parameters("diag")
    known = mixture.summarize(samples(gaussians, 500), None, gaussians)
    batch = mixture.summarize(samples(gaussians, 60, seed=5), None, gaussians)
    half = mixture.scale(batch, 0.5)
    at_once = mixture.step(known, batch, 50, exponent)
    in_turn = mixture.step(mixture.step(known, half, 50, exponent), half, 50, exponent)
    assert_near(in_turn, *at_once[2:], rtol=1e-12)
    assert at_once.weight == pytest.approx(560)


@pytest.mark.parametrize("exponent", [0.6, 0.8, 1.0])
def test_step_is_that_of_cappe_and_moulines(exponent):
    """For small batches the share of a new sample is γ_t, per sample of a step."""
    gaussians = parameters("full")
    known = mixture.summarize(samples(gaussians, 700), None, gaussians)
    batch = mixture.summarize(samples(gaussians, 1, seed=5), None, gaussians)
    after = mixture.step(known, batch, 100, exponent)
    gamma = (700 / 100 + 2) ** -exponent / 100
    # Σ_k of counts times means is linear in the statistics: the mean of all samples
    mean_before, mean_new, mean_after = (
        s.counts @ s.means / s.weight for s in (known, batch, after)
    )
    wanted = (1 - gamma) * mean_before + gamma * mean_new
    np.testing.assert_allclose(mean_after, wanted, rtol=1e-4, atol=3e-6)


def test_empty_component_keeps_its_mean():
    gaussians = from_covariances(
        "diag", np.array([0.5, 0.5]), np.array([[0.0], [1e4]]), np.ones((2, 1))
    )
    summary = mixture.summarize(np.array([[-1.0], [1.0]]), None, gaussians)
    np.testing.assert_array_equal(summary.counts, [2, 0])
    np.testing.assert_array_equal(summary.means, [[0], [1e4]])
    other = mixture.summarize(np.array([[1e4]]), None, gaussians)
    np.testing.assert_array_equal(mixture.merge([summary, other]).means, [[0], [1e4]])


@ALL_TYPES
def test_collapsed_component_is_named(form):
    X = np.ones((5, D))
    summary = mixture.attribute(X, np.eye(K)[[0, 0, 1, 1, 2]], form)
    who = "all components" if form == "tied" else "component 0"
    message = f"the {form} covariance of {who} is singular with reg_covar=0.0.*raise reg_covar"
    with pytest.raises(ValueError, match=message):
        mixture.maximize(summary, 0.0)
    assert mixture.maximize(summary, 1e-3).covariance_type == form


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("form", ["full", "tied", "diag"])
def test_non_finite_values_are_refused(form, bad):
    X = np.zeros((600, D))
    X[555, 2] = bad
    with pytest.raises(ValueError, match="X contains NaN, infinity or a value too large"):
        mixture.summarize(X, None, parameters(form))


def test_numbers_of_parameters():
    numbers = [parameters(form).n_parameters for form in TYPES]
    means_and_weights = K * D + K - 1
    assert numbers == [means_and_weights + more for more in (K * 10, 10, K * D, K)]


def test_all_pairs_of_forms_differ():
    shapes = [parameters(form).covariances.shape for form in TYPES]
    assert all(a != b for a, b in itertools.combinations(shapes, 2))
