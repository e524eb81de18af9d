"""Streams: short batches, drift, weights, and what truncation costs at most."""

import dask.array as da
import numpy as np
import pytest
import sklearn.decomposition
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dask_exa.decomposition import IncrementalPCA
from dask_exa.testing.strategies import cuts, matrices, pieces
from tests import naive

SOLVERS = pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])


def stream(batches, *args, weights=None, **params):
    model = IncrementalPCA(*args, **params)
    for i, batch in enumerate(batches):
        model.partial_fit(batch, sample_weight=None if weights is None else weights[i])
    return model


def host(array):
    return np.asarray(getattr(array, "values", array))


def decaying(n_samples=300, n_features=120, decay=0.8, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n_samples, n_features)) * decay ** np.arange(n_features)
    return scores @ np.linalg.qr(rng.standard_normal((n_features, n_features)))[0] + 2


def sine_of_angle(components, exact):
    """Sine of the largest angle between two subspaces."""
    cosines = np.linalg.svd(components @ exact.T, compute_uv=False)
    return np.sqrt(max(1 - cosines.min() ** 2, 0))


@pytest.mark.parametrize("step", [1, 2, 5, 18])
@pytest.mark.parametrize("solver", ["gram", "qr"])
def test_short_steps_find_the_axes_of_the_full_svd(solver, step):
    X = decaying()
    model = stream(np.array_split(X, len(X) // step), 6, solver=solver)
    exact = naive.pca(X, 6)
    np.testing.assert_allclose(model.singular_values_, exact.singular_values, rtol=1e-4)
    assert sine_of_angle(model.components_, exact.components) < 1e-2
    np.testing.assert_allclose(model.noise_variance_, exact.noise_variance, rtol=1e-2)
    np.testing.assert_allclose(model.var_, exact.var, rtol=1e-10)


def test_short_steps_cost_no_more_than_long_ones():
    """At rank 6, eighteen rows at a time: 1e-5 (STYLE, "two traps")."""
    X = decaying()
    exact = naive.pca(X, 6).singular_values
    errors = {}
    for step in (1, 18):
        model = stream(np.array_split(X, len(X) // step), 6, solver="gram", oversampling=12)
        errors[step] = np.abs(model.singular_values_ / exact - 1).max()
    assert max(errors.values()) < 1e-5


@pytest.mark.parametrize("decay", [0.99, 0.9, 0.5])
@pytest.mark.parametrize("solver", ["gram", "qr"])
def test_never_farther_from_the_full_svd_than_sklearn(solver, decay):
    X = decaying(decay=decay)
    exact = naive.pca(X, 8)
    batches = np.array_split(X, 10)
    ours = stream(batches, 8, solver=solver)
    theirs = sklearn.decomposition.IncrementalPCA(8)
    for batch in batches:
        theirs.partial_fit(batch)
    assert sine_of_angle(ours.components_, exact.components) <= 1e-7 + sine_of_angle(
        theirs.components_, exact.components
    )
    error = [np.abs(m.singular_values_ - exact.singular_values).max() for m in (ours, theirs)]
    assert error[0] <= 1e-10 + error[1]


@SOLVERS
@settings(max_examples=30)
@given(data=st.data(), factor=st.sampled_from([0.99, 0.7, 0.1]))
def test_forgetting_does_not_depend_on_the_batches(solver, data, factor):
    X = data.draw(matrices(min_samples=5, min_features=3, offsets=(0.0, 10.0)))
    assume(X.std(axis=0).max() > 1e-6)
    batches = pieces(X, data.draw(cuts(len(X))))
    model = stream(batches, 2, solver=solver, oversampling=10, forgetting_factor=factor)
    exact = naive.pca(X, 2, naive.forgetting_weights(len(X), factor))
    scale = exact.singular_values[0] + 1e-9 * np.abs(X).max()
    # a Gram matrix has half of the digits
    np.testing.assert_allclose(
        model.singular_values_, exact.singular_values, rtol=0, atol=1e-6 * scale
    )
    np.testing.assert_allclose(model.mean_, exact.mean, rtol=1e-10, atol=1e-10)
    spread = (X.max() - X.min()) ** 2
    np.testing.assert_allclose(model.var_, exact.var, rtol=0, atol=1e-10 * spread + 1e-14)
    assert model.n_samples_seen_ == len(X)


@SOLVERS
def test_forgetting_follows_the_naive_stream(solver):
    chunks = np.array_split(decaying(100, 8, 0.7), 7)
    weight, mean, rows = naive.svd_chunk_by_chunk(chunks, factor=0.95)
    model = stream(chunks, 3, solver=solver, forgetting_factor=0.95)
    singular = np.linalg.norm(rows, axis=1)[:3]
    np.testing.assert_allclose(model.singular_values_, singular, rtol=1e-9)
    np.testing.assert_allclose(model.explained_variance_, singular**2 / (weight - 1), rtol=1e-9)
    np.testing.assert_allclose(model.mean_, mean, rtol=1e-12)


def test_forgetting_on_every_kind_of_array(present):
    X = decaying(60, 9, 0.7)
    exact = naive.pca(X, 3, naive.forgetting_weights(60, 0.9))
    once = IncrementalPCA(3, forgetting_factor=0.9).fit(present(X))
    steps = stream([present(X[:40]), present(X[40:])], 3, forgetting_factor=0.9)
    for model in (once, steps):
        np.testing.assert_allclose(host(model.components_), exact.components, atol=1e-9)
        np.testing.assert_allclose(model.explained_variance_, exact.explained_variance, rtol=1e-9)
        np.testing.assert_allclose(host(model.var_), exact.var, rtol=1e-9)


def test_forgetting_follows_a_drift():
    rng = np.random.default_rng(0)
    old, new = rng.standard_normal((2, 2000, 1)) * 5 * np.eye(6)[[0, 3]][:, None, :]
    X = np.vstack([old, new]) + 0.1 * rng.standard_normal((4000, 6))
    forgetting = IncrementalPCA(1, forgetting_factor=0.5 ** (1 / 200)).fit(X)
    assert abs(forgetting.components_[0, 3]) > 0.999
    remembering = IncrementalPCA(1).fit(X)
    assert abs(remembering.components_[0, 3]) < 0.999
    np.testing.assert_allclose(remembering.explained_variance_, 12.5, rtol=0.1)


def test_thousands_of_forgotten_samples_are_no_trouble():
    X = decaying(9000, 4, 0.7)
    for batches in ([X], np.array_split(X, 5), [X[:8990], X[8990:]]):
        model = stream(batches, 2, forgetting_factor=0.5)
        exact = naive.pca(X[-60:], 2, naive.forgetting_weights(60, 0.5))
        np.testing.assert_allclose(model.explained_variance_, exact.explained_variance, rtol=1e-9)
        np.testing.assert_allclose(model.components_, exact.components, atol=1e-9)


@SOLVERS
def test_forget_scales_what_was_learnt(solver):
    X = decaying(80, 6, 0.7)
    model = IncrementalPCA(2, solver=solver).fit(X[:50]).forget(0.25).partial_fit(X[50:])
    exact = naive.pca(X, 2, np.r_[np.full(50, 0.25), np.ones(30)])
    np.testing.assert_allclose(model.explained_variance_, exact.explained_variance, rtol=1e-9)
    np.testing.assert_allclose(model.components_, exact.components, atol=1e-9)
    assert model.n_samples_seen_ == 80


@pytest.mark.parametrize("chunks", [(40, 60), (40, 15)])
def test_forget_keeps_what_does_not_depend_on_weight(chunks):
    X = decaying(80, 60)
    model = IncrementalPCA(2, solver="gram", oversampling=1).fit(da.from_array(X, chunks=chunks))
    names = ("explained_variance_ratio_", "truncation_error_", "mean_", "var_", "components_")
    before = {name: host(getattr(model, name)) for name in names}
    bound = model._state.summary.bound
    assert before["truncation_error_"] > 0.01
    model.forget(0.25)
    for name in names:
        np.testing.assert_allclose(host(getattr(model, name)), before[name], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model._state.summary.bound, bound / 4, rtol=1e-12)
    assert model.n_samples_seen_ == 80


@SOLVERS
@pytest.mark.parametrize("kind", ["repetitions", "any"])
def test_weights_are_those_of_the_oracle(solver, kind, present):
    X = decaying(60, 9, 0.7)
    rng = np.random.default_rng(1)
    w = rng.integers(0, 3, 60) if kind == "repetitions" else 10 ** rng.uniform(-3, 3, 60)
    lazy = present(X)
    if getattr(lazy, "numblocks", (1, 1))[-1] > 1:
        solver = {"scatter": "auto"}.get(solver, solver)  # needs all features in one chunk
    model = IncrementalPCA(3, solver=solver).fit(lazy, sample_weight=w)
    exact = naive.pca(X, 3, w)
    np.testing.assert_allclose(host(model.components_), exact.components, atol=1e-8)
    np.testing.assert_allclose(model.explained_variance_, exact.explained_variance, rtol=1e-9)
    np.testing.assert_allclose(host(model.mean_), exact.mean, rtol=1e-11)
    np.testing.assert_allclose(host(model.var_), exact.var, rtol=1e-10)
    np.testing.assert_allclose(model.noise_variance_, exact.noise_variance, rtol=1e-9)


@SOLVERS
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_may_mask_long_runs(solver):
    X = decaying(400, 9, 0.7)
    w = (np.arange(400) >= 200).astype(float)
    model = IncrementalPCA(3, solver=solver, batch_size=40).fit(X, sample_weight=w)
    np.testing.assert_allclose(model.components_, naive.pca(X[200:], 3).components, atol=1e-8)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("chunks", [(50, 9), (50, 3)])
def test_weights_may_mask_chunks(chunks):
    X = decaying(400, 9, 0.7)
    w = (np.arange(400) >= 200).astype(float)
    model = IncrementalPCA(3).fit(da.from_array(X, chunks=chunks), sample_weight=w)
    np.testing.assert_allclose(host(model.components_), naive.pca(X[200:], 3).components, atol=1e-8)


@SOLVERS
def test_attributes_wait_for_enough_samples(solver):
    X = decaying(10, 6)
    model = IncrementalPCA(4, solver=solver)
    for i in range(3):
        model.partial_fit(X[i : i + 1])
        assert model.n_samples_seen_ == i + 1
        assert not hasattr(model, "components_")
        with pytest.raises(ValueError, match=f"{i + 1} samples seen so far"):
            model.transform(X)
    model.partial_fit(X[3:])
    np.testing.assert_allclose(model.components_, naive.pca(X, 4).components, atol=1e-8)


def test_short_stream_can_be_shown_in_a_notebook():
    model = IncrementalPCA(4).partial_fit(decaying(10, 6)[:1])
    assert "IncrementalPCA" in model._repr_html_()
    assert not hasattr(model, "components_")


@settings(max_examples=40)
@given(data=st.data(), solver=st.sampled_from(["gram", "qr"]))
def test_truncation_error_bounds_what_was_lost(data, solver):
    """No projection on the components is worse than the best one by more than the bound says."""
    X = data.draw(matrices(min_samples=4, min_features=4, offsets=(0.0, 1.0)))
    assume(X.std(axis=0).max() > 1e-6)
    batches = pieces(X, data.draw(cuts(len(X))))
    model = stream(batches, 2, solver=solver, oversampling=0, batch_size=3)
    centred = X - X.mean(axis=0)
    energy = (centred**2).sum()
    lost = centred - centred @ model.components_.T @ model.components_
    best = np.linalg.svd(centred, compute_uv=False)[2:]
    allowed = (best**2).sum() / energy + model.truncation_error_**2
    assert (lost**2).sum() / energy <= allowed + 1e-10
    assert 0 <= model.truncation_error_ <= 1


def test_nothing_is_truncated_while_there_is_room():
    X = decaying(200, 12)
    assert IncrementalPCA(3).fit(X).truncation_error_ == 0
    assert IncrementalPCA(3, solver="gram", oversampling=9).fit(X).truncation_error_ < 1e-7
    assert IncrementalPCA(3, solver="gram", oversampling=0).fit(X).truncation_error_ > 0.01


@pytest.mark.parametrize("solver", ["gram", "qr"])
def test_merged_models_add_up_what_they_lost(solver):
    X = decaying(300, 60)
    models = [IncrementalPCA(4, solver=solver).fit(part) for part in np.split(X, 3)]
    whole = models[0] | models[1] | models[2]
    exact = naive.pca(X, 4)
    assert sine_of_angle(whole.components_, exact.components) < 0.01
    values = np.linalg.svd(whole._state.summary.rows, compute_uv=False)[:4]
    difference = exact.singular_values**2 - values**2
    assert np.all(difference >= -1e-9 * values[0] ** 2)
    assert np.all(difference <= whole._state.summary.bound * (1 + 1e-9))
