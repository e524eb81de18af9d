"""Tiles, batches and threads: how the work is cut changes nothing but the last digits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_exa import _threads
from dask_exa.summaries import svd, tiles
from dask_exa.summaries.svd import Truncation, Turn
from dask_exa.summaries.tiles import Batch, Tiles
from dask_exa.testing.strategies import cuts, matrices, pieces
from dask_exa.testing.strategies import sample_weights as weights
from tests import naive

KEEP_ALL = Truncation(10_000)


def summarize(X, sample_weight=None):
    """Return a block as a summary that is not compressed."""
    return Tiles([Batch(X, sample_weight)]).rotate(Turn(None, 0.0, 0.0), "float64")


def assert_scatter(summary, X, sample_weight=None, rtol=1e-11):
    weight, mean, scatter = naive.moments(X, sample_weight)
    digits = 8 * np.finfo(float).eps * np.abs(X).max()  # of the mean
    spread = np.sqrt(np.trace(scatter) / weight)
    atol = weight * (rtol * spread**2 + digits * (spread + digits))
    np.testing.assert_allclose(summary.rows.T @ summary.rows, scatter, rtol=0, atol=atol)
    np.testing.assert_allclose(summary.moments.mean, mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(summary.moments.weight, weight, rtol=1e-13)
    assert summary.moments.n_samples == len(X)


@settings(max_examples=60)
@given(data=st.data(), batch_size=st.integers(1, 50), capacity=st.sampled_from([0, 5, 100]))
def test_batches_and_waiting_are_not_seen(data, batch_size, capacity):
    X = data.draw(matrices(offsets=(0.0, 1.0, -1e3)))
    w = data.draw(weights(len(X)))
    sizes = data.draw(cuts(len(X)))
    parts = [Batch(x, v) for x, v in zip(pieces(X, sizes), pieces(w, sizes), strict=True)]
    truncation = KEEP_ALL._replace(capacity=capacity)
    assert_scatter(tiles.merge(parts, truncation, batch_size), X, w)
    state = None
    for part in parts:
        state = tiles.merge([part] if state is None else [state, part], truncation, batch_size)
    assert_scatter(state, X, w)


@pytest.mark.parametrize("solver", ["gram", "qr"])
def test_tiles_of_columns_are_not_seen(solver, monkeypatch):
    X = np.random.default_rng(0).normal(3, 2, (40, 1000))
    parts = [Batch(X[:25]), summarize(X[25:])]
    truncation = Truncation(12, solver=solver)
    monkeypatch.setattr(tiles, "_TILE_BYTES", 1 << 30)
    whole = tiles.merge(parts, truncation, 100)
    monkeypatch.setattr(tiles, "_TILE_BYTES", 1)  # the narrowest there are: 256 columns
    tiled = tiles.merge(parts, truncation, 100)
    np.testing.assert_allclose(np.abs(tiled.rows), np.abs(whole.rows), atol=1e-8)
    np.testing.assert_allclose(tiled.moments.m2, whole.moments.m2, rtol=1e-13)
    np.testing.assert_allclose([tiled.tail, tiled.bound], [whole.tail, whole.bound], rtol=1e-11)
    exact = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(tiled.rows, axis=1), exact[:12], rtol=1e-11)
    np.testing.assert_allclose(tiled.tail, (exact[12:] ** 2).sum(), rtol=1e-11)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_change_no_bit_from_run_to_run(n_threads):
    X = np.random.default_rng(0).normal(3, 2, (300, 6000))
    with _threads.thread_share(n_threads):
        first, *others = [tiles.merge([Batch(X)], Truncation(10), 100) for _ in range(3)]
    for other in others:
        assert np.array_equal(other.rows, first.rows)
        assert np.array_equal(other.moments.m2, first.moments.m2)
        assert other.tail == first.tail
    exact = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
    kept = (np.linalg.norm(first.rows, axis=1) ** 2).sum()
    np.testing.assert_allclose(kept + first.tail, exact.sum(), rtol=1e-12)


def test_short_batches_wait_and_lose_nothing():
    X = np.random.default_rng(0).normal(3, 2, (21, 50))
    truncation = Truncation(4, capacity=20)
    state = summarize(X[:1])
    for i in range(1, 21):
        state = tiles.merge([state, Batch(X[i : i + 1])], truncation, 16)
        assert (state.tail, state.bound) == (0.0, 0.0)
        assert state.rows.shape == (i, 50)
        assert_scatter(state, X[: i + 1])
    state = tiles.merge([state, Batch(X[:1])], truncation, 16)
    assert state.rows.shape == (4, 50)
    assert state.tail > 0


@pytest.fixture
def stacked(monkeypatch):
    """Number of rows of every stack that is compressed."""
    n_rows = []
    compress = svd.compress

    def spy(columns, truncation):
        n_rows.append(columns.n_rows)
        return compress(columns, truncation)

    monkeypatch.setattr(svd, "compress", spy)
    return n_rows


@pytest.mark.parametrize("truncation", [Truncation(4), Truncation(4, capacity=8)])
def test_memory_does_not_grow_with_the_number_of_samples(truncation, stacked):
    X = np.random.default_rng(0).standard_normal((1000, 30))
    tiles.merge([Batch(X)], truncation, 16)
    assert len(stacked) > 50
    assert max(stacked) <= 2 * (16 + 1)  # two batches at first, then the state and one


def test_memory_does_not_grow_with_a_loss_either(stacked):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3)) @ rng.standard_normal((3, 1000))
    tiles.merge([Batch(X)], Truncation(1000, 0.01), 16)
    assert max(stacked) <= 100


def test_one_summary_is_taken_as_it_is():
    summary = summarize(np.random.default_rng(0).standard_normal((5, 30)))
    assert tiles.merge([summary], Truncation(10, capacity=20), 16) is summary


def test_samples_and_summaries_are_left_alone():
    X = np.random.default_rng(0).normal(3, 2, (40, 30))
    w = np.random.default_rng(1).uniform(0.5, 2, 40)
    summary = summarize(X[:20], w[:20])
    arrays = (X, w, summary.rows, summary.moments.mean, summary.moments.m2)
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    tiles.merge([summary, Batch(X[20:], w[20:])], Truncation(4), 7)
    assert all(np.array_equal(array, old) for array, old in zip(arrays, before, strict=True))


def test_truncated_batches_stay_near_the_full_svd():
    """What a later batch adds to a direction just below the cut is what oversampling is for."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((600, 40)) * 0.8 ** np.arange(40)) @ rng.standard_normal((40, 60))
    exact = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)[:5]
    oversampled = tiles.merge([Batch(X)], Truncation(15, capacity=30), 60)
    np.testing.assert_allclose(np.linalg.norm(oversampled.rows, axis=1)[:5], exact, rtol=1e-4)
    assert np.all(np.linalg.norm(oversampled.rows, axis=1)[:5] <= exact * (1 + 1e-12))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_batches_that_weigh_nothing_change_nothing():
    X = np.random.default_rng(0).normal(3, 2, (100, 6))
    w = (np.arange(100) >= 60).astype(float)
    merged = tiles.merge([Batch(X, w)], KEEP_ALL, 20)
    np.testing.assert_allclose(merged.rows.T @ merged.rows, naive.moments(X[60:])[2], atol=1e-11)


@pytest.mark.parametrize("solver", ["gram", "qr"])
def test_twins(solver, namespace):
    X = np.random.default_rng(0).normal(3, 2, (40, 300))
    w = np.random.default_rng(1).uniform(0.5, 2, 40)

    def compute(xp):
        batch = Batch(xp.asarray(X[:30, :]), xp.asarray(w[:30]))
        merged = tiles.merge([batch], Truncation(4, solver=solver), 13)
        later = summarize(xp.asarray(X[30:, :]))
        return merged, tiles.merge([merged, later], Truncation(4, capacity=50, solver=solver), 13)

    namespace.assert_equal(compute(namespace.xp), compute(np))
