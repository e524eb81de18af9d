"""Low-rank summaries: exact while nothing is dropped, and honest about what was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_exa.summaries import moments, svd
from dask_exa.summaries.svd import Truncation, Turn
from dask_exa.summaries.tiles import Batch, Tiles
from dask_exa.testing.strategies import cuts, groupings, matrices, merge_grouped, pieces
from dask_exa.testing.strategies import sample_weights as weights
from tests import naive

SOLVERS = pytest.mark.parametrize("solver", ["gram", "qr"])
EPS = np.finfo(float).eps


def summarize(X, sample_weight=None, dtype="float64"):
    """Return a block as a summary that is not compressed."""
    return Tiles([Batch(X, sample_weight)]).rotate(Turn(None, 0.0, 0.0), dtype)


def compress(parts, truncation):
    return svd.compress(Tiles(parts), truncation)


def eigenvalues(rows, n):
    """Eigenvalues of rowsᵀ rows, largest first, padded to n with zeros."""
    values = np.linalg.svd(np.asarray(rows, dtype=float), compute_uv=False) ** 2
    return np.pad(values[:n], (0, max(0, n - len(values))))


def scale_of(X, w):
    """Size of rounding errors of a second moment: of the scatter and of the mean's digits."""
    weight, mean, scatter = naive.moments(X, w)
    digits = np.linalg.norm(mean) * EPS
    energy = np.trace(scatter)
    spread = np.sqrt(energy / weight)
    return energy, 50 * EPS * energy + 8 * weight * digits * (spread + 8 * digits)


@SOLVERS
@given(data=st.data())
def test_any_grouping_is_exact_while_nothing_is_dropped(solver, data):
    X = data.draw(matrices(max_samples=25))
    w = data.draw(weights(len(X)))
    sizes = data.draw(cuts(len(X)))
    parts = [summarize(*xw) for xw in zip(pieces(X, sizes), pieces(w, sizes), strict=True)]
    keep_all = Truncation(None, solver=solver)
    merged = merge_grouped(
        lambda group: compress(group, keep_all), parts, data.draw(groupings(len(parts)))
    )
    _, _, scatter = naive.moments(X, w)
    _, atol = scale_of(X, w)
    np.testing.assert_allclose(merged.rows.T @ merged.rows, scatter, rtol=0, atol=atol)
    np.testing.assert_allclose(merged.moments.m2, scatter.diagonal(), rtol=0, atol=atol)
    assert (merged.tail, merged.bound) == (0.0, 0.0)
    assert merged.moments.n_samples == len(X)


@SOLVERS
@pytest.mark.parametrize("factor", [1.0, 0.9])
@settings(max_examples=60)
@given(data=st.data())
def test_certificate_holds(solver, factor, data):
    """0 ≤ λ_i(A) - λ_i(B) ≤ bound ≤ tail, and Σ λ_i(A) = Σ λ_i(B) + tail."""
    X = data.draw(matrices(min_samples=2, offsets=(0.0, 10.0)))
    w = data.draw(weights(len(X)))
    sizes = data.draw(cuts(len(X)))
    rank = data.draw(st.integers(1, 5))
    merged, remembered = None, np.empty(0)
    for x, v in zip(pieces(X, sizes), pieces(w, sizes), strict=True):
        part = summarize(x, v)
        parts = [part] if merged is None else [svd.forget(merged, factor), part]
        merged = compress(parts, Truncation(rank, solver=solver))
        remembered = np.r_[factor * remembered, np.ones(len(x)) if v is None else v]
    energy, atol = scale_of(X, remembered)
    _, _, scatter = naive.moments(X, remembered)
    exact = np.maximum(np.linalg.eigvalsh(scatter)[::-1], 0)
    kept = eigenvalues(merged.rows, len(exact))
    assert merged.rows.shape[0] <= rank
    assert np.all(exact - kept >= -atol)
    assert np.all(exact - kept <= merged.bound + atol)
    assert merged.bound <= merged.tail + atol
    np.testing.assert_allclose(kept.sum() + merged.tail, energy, rtol=0, atol=len(exact) * atol)
    np.testing.assert_allclose(merged.moments.energy, energy, rtol=0, atol=len(exact) * atol)


@SOLVERS
def test_one_compression_drops_exactly_the_small_eigenvalues(solver):
    spectrum = np.array([9.0, 4.0, 1.0, 0.25])
    rng = np.random.default_rng(0)
    U = np.linalg.qr(np.c_[np.ones(30), rng.standard_normal((30, 4))])[0][:, 1:]  # centred
    V = np.linalg.qr(rng.standard_normal((6, 4)))[0]
    X = U * np.sqrt(spectrum) @ V.T + 5.0
    kept = compress([summarize(X)], Truncation(2, solver=solver))
    np.testing.assert_allclose(eigenvalues(kept.rows, 2), spectrum[:2], rtol=1e-12)
    np.testing.assert_allclose(kept.tail, 1.25, rtol=1e-12)
    np.testing.assert_allclose(kept.bound, 1.0, rtol=1e-12)
    # half of the share may go: 1.25 of 14.25 is enough for two directions, 0.25 for three
    for loss, n_rows in ((0.09, 2), (0.08, 3), (0.0175, 4), (0.7, 1), (0.999, 1)):
        by_loss = compress([summarize(X)], Truncation(None, loss, solver=solver))
        assert by_loss.rows.shape[0] == n_rows
        np.testing.assert_allclose(by_loss.tail, spectrum[n_rows:].sum(), atol=1e-12)


@settings(max_examples=50)
@given(data=st.data(), loss=st.sampled_from([0.3, 0.05, 1e-3]))
def test_loss_is_kept_over_all_merges(data, loss):
    X = data.draw(matrices(min_samples=2, offsets=(0.0, 10.0)))
    parts = [summarize(x) for x in pieces(X, data.draw(cuts(len(X))))]
    truncation = Truncation(None, loss)
    merged = merge_grouped(
        lambda group: compress(group, truncation), parts, data.draw(groupings(len(parts)))
    )
    energy, atol = scale_of(X, None)
    assert 0.0 <= merged.tail <= loss * energy + atol


def test_merge_equals_the_naive_one():
    rng = np.random.default_rng(0)
    chunks = [rng.normal(3, 2, (n, 7)) for n in (5, 1, 9, 2)]
    weight, mean, rows = naive.svd_chunk_by_chunk(chunks)
    merged = None
    for chunk in chunks:
        parts = [summarize(chunk)] if merged is None else [merged, summarize(chunk)]
        merged = compress(parts, Truncation(None))
    assert merged.moments.weight == weight
    np.testing.assert_allclose(merged.moments.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(merged.rows.T @ merged.rows, rows.T @ rows, atol=1e-12)
    # both are unnormalised: rows are orthogonal, their lengths are the singular values
    np.testing.assert_allclose(
        np.linalg.norm(merged.rows, axis=1)[:7], np.linalg.norm(rows, axis=1)[:7], rtol=1e-12
    )


def test_single_samples_carry_their_step_of_the_mean():
    X = np.random.default_rng(0).normal(3, 2, (20, 5))
    single = [summarize(x[None, :]) for x in X]
    assert all(one.rows.shape == (0, 5) for one in single)
    stacked = Tiles(single).stack(slice(0, 5))
    assert stacked.rows.shape == (19, 5)
    np.testing.assert_allclose(stacked.rows.T @ stacked.rows, naive.moments(X)[2], atol=1e-12)


def test_qr_sees_what_a_gram_matrix_squares_away():
    rng = np.random.default_rng(0)
    singular = 10.0 ** -np.arange(0, 12, 2.0)
    U = np.linalg.qr(np.c_[np.ones(40), rng.standard_normal((40, 6))])[0][:, 1:]
    V = np.linalg.qr(rng.standard_normal((50, 6)))[0]
    parts = [summarize(x) for x in np.split(U * singular @ V.T, 4)]

    def found(solver):
        halves = [compress(pair, Truncation(6, solver=solver)) for pair in (parts[:2], parts[2:])]
        merged = compress(halves, Truncation(6, solver=solver))
        return np.sqrt(eigenvalues(merged.rows, 6))

    np.testing.assert_allclose(found("qr"), singular, rtol=1e-4)
    np.testing.assert_allclose(found("gram")[:4], singular[:4], rtol=1e-2)


@SOLVERS
def test_float32_storage_loses_no_more_than_its_rounding(solver):
    """A hundred merges of float32 rows stay as near as one rounding of them: sums are float64."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((8, 400)) * 10.0 ** -np.arange(0, 4, 0.5)[:, None]
    X = (rng.standard_normal((1000, 8)) @ directions + 100).astype(np.float32)
    rows, singular = {}, {}
    for dtype in ("float32", "float64"):
        merged = None
        for chunk in np.split(X, 100):
            part = summarize(chunk)
            parts = [part] if merged is None else [merged, part]
            merged = compress(parts, Truncation(16, solver=solver, dtype=dtype))
        rows[dtype] = merged.rows
        singular[dtype] = np.sqrt(eigenvalues(merged.rows, 8))
        assert merged.moments.mean.dtype == merged.moments.m2.dtype == np.float64
        np.testing.assert_allclose(merged.moments.mean, X.mean(axis=0, dtype=float), rtol=1e-13)
    assert rows["float32"].dtype == np.float32
    exact = np.linalg.svd(X - X.mean(axis=0, dtype=float), compute_uv=False)[:8]
    np.testing.assert_allclose(singular["float64"], exact, rtol=1e-10, atol=1e-4)
    rounding = np.finfo(np.float32).eps
    assert np.abs(singular["float32"] - singular["float64"]).max() < rounding * exact[0]
    np.testing.assert_allclose(singular["float32"], exact, rtol=2e-3)


def test_rows_wait_in_the_dtype_asked_for():
    X = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    waiting = Truncation(1, capacity=7, dtype="float32")
    kept = compress([summarize(X[:3]), Batch(X[3:])], waiting)
    assert kept.rows.dtype == np.float32
    assert kept.rows.shape == (7, 5)
    assert (kept.tail, kept.bound) == (0.0, 0.0)
    scatter = naive.moments(X.astype(float))[2]
    np.testing.assert_allclose(kept.rows.T @ kept.rows, scatter, atol=1e-5)


def test_scatter_matrix_becomes_rows():
    X = np.random.default_rng(0).normal(3, 2, (40, 6))
    scatter = moments.summarize(X, pairs=True)
    rows = svd.from_scatter(scatter, "float64")
    np.testing.assert_allclose(rows.rows.T @ rows.rows, scatter.m2, rtol=1e-12, atol=1e-10)
    assert np.array_equal(rows.moments.m2, scatter.m2.diagonal())
    assert svd.from_scatter(scatter, "float32").rows.dtype == np.float32


def test_forgetting_scales_everything_that_weighs():
    X = np.random.default_rng(0).normal(3, 2, (40, 6))
    summary = compress([summarize(X)], Truncation(2))
    forgotten = svd.forget(summary, 0.25)
    np.testing.assert_allclose(forgotten.rows, summary.rows / 2, rtol=1e-15)
    assert forgotten.moments.weight == 10.0
    assert forgotten.moments.n_samples == 40
    assert forgotten.tail == summary.tail / 4
    assert forgotten.bound == summary.bound / 4


@pytest.mark.parametrize("cut", [1, 3, 6])
@SOLVERS
def test_slabs_of_columns_are_one_algorithm(cut, solver):
    """What slabs contribute adds up to what the whole would, and they all turn alike."""
    X = np.random.default_rng(0).normal(3, 2, (20, 7))
    truncation = Truncation(3, solver=solver)
    whole = compress([summarize(X)], truncation)
    slabs = [summarize(X[:, :cut]), summarize(X[:, cut:])]
    small = svd.combine([svd.contribute(slab, solver) for slab in slabs], solver)
    turn = svd._turn(small, truncation)
    together = np.hstack([turn.rotation @ slab.rows for slab in slabs])
    np.testing.assert_allclose(together.T @ together, whole.rows.T @ whole.rows, atol=1e-11)
    np.testing.assert_allclose([turn.tail, turn.bound], [whole.tail, whole.bound], rtol=1e-11)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_non_finite_values_are_refused(bad):
    X = np.ones((4, 3))
    X[2, 1] = bad
    with pytest.raises(ValueError, match="X contains NaN, infinity"):
        compress([Batch(X)], Truncation(2))
    with pytest.raises(ValueError, match="X contains NaN, infinity"):
        compress([Batch(X)], Truncation(2, capacity=10))


@SOLVERS
def test_twins(solver, namespace):
    X = np.random.default_rng(0).normal(3, 2, (24, 9))
    w = np.random.default_rng(1).uniform(0.5, 2, 24)

    def compute(xp):
        a = summarize(xp.asarray(X[:12, :]), xp.asarray(w[:12]))
        b = summarize(xp.asarray(X[12:, :]))
        merged = compress([a, b], Truncation(4, solver=solver))
        by_loss = compress([svd.forget(merged, 0.5), a], Truncation(None, 0.05, solver=solver))
        waiting = compress([merged, by_loss], Truncation(4, capacity=50, dtype="float32"))
        scatter = svd.from_scatter(moments.summarize(xp.asarray(X), pairs=True), "float64")
        return merged, by_loss, waiting, scatter

    namespace.assert_equal(compute(namespace.xp), compute(np))
