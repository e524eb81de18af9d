"""Principal axes: those of the full SVD, orthonormal to the last digit, with fixed signs."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa.summaries import axes, moments, svd
from dask_exa.summaries.axes import Selection
from dask_exa.summaries.svd import Truncation
from dask_exa.summaries.tiles import Batch, Tiles
from dask_exa.testing.strategies import matrices
from tests import naive

SOLVERS = pytest.mark.parametrize("solver", ["gram", "qr"])


def low_rank(X, solver="gram"):
    return svd.compress(Tiles([Batch(X)]), Truncation(None, solver=solver))


def axes_by(solver, X, selection):
    if solver == "scatter":
        return axes.of_scatter(moments.summarize(X, pairs=True), selection)
    return axes.of_rows(low_rank(X, solver), selection, solver, "float64")


def spectrum(singular, n_samples=60, n_features=30, seed=0):
    """Centred samples with the given singular values."""
    rng = np.random.default_rng(seed)
    k = len(singular)
    U = np.linalg.qr(np.c_[np.ones(n_samples), rng.standard_normal((n_samples, k))])[0][:, 1:]
    V = np.linalg.qr(rng.standard_normal((n_features, k)))[0]
    return U * np.asarray(singular) @ V.T


@pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])
@pytest.mark.parametrize("n_components", [3, 12])  # a few of 30, and too many for that path
def test_axes_are_those_of_the_full_svd(solver, n_components):
    X = spectrum(2.0 ** -np.arange(15.0)) + 3.0
    found = axes_by(solver, X, Selection(n_components))
    exact = naive.pca(X, n_components)
    np.testing.assert_allclose(found.components, exact.components, atol=1e-8)
    squared = found.squared_singular_values
    np.testing.assert_allclose(squared, exact.singular_values**2, rtol=1e-7)
    np.testing.assert_allclose(found.energy, (X.var(axis=0) * len(X)).sum(), rtol=1e-12)


@pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])
@given(data=st.data())
def test_axes_are_orthonormal_whatever_the_rank(solver, data):
    X = data.draw(matrices(min_samples=2))
    n_components = data.draw(st.integers(1, min(X.shape)))
    found = axes_by(solver, X, Selection(n_components))
    C = found.components
    assert C.shape == (n_components, X.shape[1])
    np.testing.assert_allclose(C @ C.T, np.eye(n_components), atol=1e-12)
    largest = np.take_along_axis(C, np.abs(C).argmax(axis=1)[:, None], axis=1)
    assert np.all(largest > 0)
    assert np.all(np.diff(found.squared_singular_values) <= 0)
    # the axes found hold as much of the data as any others could
    centred = X - X.mean(axis=0)
    rounding = np.finfo(float).eps * np.abs(X).max()  # of the data themselves
    best = np.linalg.svd(centred, compute_uv=False)[:n_components]
    held = np.linalg.norm(centred @ C.T)
    tolerance = 1e-7 * np.linalg.norm(best) + 10 * rounding * X.size**0.5
    assert held >= np.linalg.norm(best) - tolerance
    assert abs(np.sqrt(found.squared_singular_values.sum()) - np.linalg.norm(best)) <= tolerance


@SOLVERS
def test_small_axes_are_as_orthonormal_as_large_ones(solver):
    """Dividing by small singular values alone would leave them with no digit at all."""
    smallest = 1e-7 if solver == "gram" else 1e-13
    X = spectrum(np.geomspace(1, smallest, 12))
    C = axes_by(solver, X, Selection(12)).components
    np.testing.assert_allclose(C @ C.T, np.eye(12), atol=1e-13)


@SOLVERS
def test_float32_axes_are_orthonormal_to_float32(solver):
    X = spectrum(np.geomspace(1, 1e-5, 12), n_features=500).astype(np.float32)
    rows = svd.compress(Tiles([Batch(X)]), Truncation(24, solver=solver, dtype="float32"))
    found = axes.of_rows(rows, Selection(12), solver, "float32")
    assert found.components.dtype == np.float32
    C = found.components.astype(float)
    np.testing.assert_allclose(C @ C.T, np.eye(12), atol=1e-6)


@pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])
def test_directions_without_variance_complete_the_basis(solver):
    X = spectrum([3.0, 2.0], n_features=8) + 1.0
    X[:, 5] = 7.0  # a constant feature
    found = axes_by(solver, X, Selection(6))
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(found.components[:2, 5], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.squared_singular_values[2:], 0.0, atol=1e-12)
    exact = naive.pca(X, 2)
    np.testing.assert_allclose(found.components[:2], exact.components, atol=1e-10)
    again = axes_by(solver, X, Selection(6))
    assert np.array_equal(found.components, again.components)


@pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])
def test_equal_entries_take_the_sign_of_the_first(solver):
    direction = np.array([[1.0, -1.0, 1.0, -1.0]]) / 2
    X = np.array([[1.0], [-1.0], [2.0], [-2.0]]) @ direction
    found = axes_by(solver, X, Selection(1))
    np.testing.assert_allclose(np.abs(found.components), 0.5, rtol=1e-14)
    signs = np.sign(found.components[0] * direction[0])
    assert abs(signs.sum()) == 4
    exact = np.array([[-0.25, 0.5, -0.5], [0.0, 0.0, -3.0]])
    assert np.array_equal(axes.extremes(exact), [0.5, -3.0])


@pytest.mark.parametrize(
    ("loss", "n_kept"), [(0.5, 1), (0.37, 1), (0.35, 2), (0.08, 3), (0.07, 3), (0.01, 4), (0.0, 6)]
)
def test_loss_picks_the_smallest_number_of_axes(loss, n_kept):
    values = np.array([9.0, 4.0, 1.0, 0.25, 0.0, 0.0])  # lost: 5.25, 1.25, 0.25, 0 of 14.25
    assert Selection(6, loss).n_kept(values, 14.25) == n_kept
    assert Selection(2, loss).n_kept(values, 14.25) == min(n_kept, 2)
    X = spectrum(np.sqrt(values[:4]), n_features=6)
    for solver in ("scatter", "gram", "qr"):
        found = axes_by(solver, X, Selection(6, loss)).components
        assert found.shape[0] == n_kept or loss == 0.0


def test_what_merging_dropped_counts_as_lost():
    values = np.array([9.0, 4.0])
    assert Selection(2, 0.5).n_kept(values, 14.25) == 1
    assert Selection(2, 0.5).n_kept(values, 14.25 + 13.0) == 2


@SOLVERS
@pytest.mark.parametrize("edges", [(4,), (1, 2, 9), (3, 6, 9, 12)])
def test_slabs_of_columns_find_the_axes_of_the_whole(solver, edges):
    X = spectrum(2.0 ** -np.arange(10.0), n_features=16) + 3.0
    summary = low_rank(X, solver)
    whole = axes.of_rows(summary, Selection(6), solver, "float64")
    m = summary.moments
    slabs = [
        summary._replace(rows=rows, moments=m._replace(mean=mean, m2=m2))
        for rows, mean, m2 in zip(
            np.split(summary.rows, edges, axis=1),
            np.split(m.mean, edges),
            np.split(m.m2, edges),
            strict=True,
        )
    ]

    def gather(function, combine):
        return combine([function(slab) for slab in slabs])

    values, weights, energy = axes.normalize(gather, Selection(6), solver)
    np.testing.assert_allclose(values, whole.squared_singular_values, rtol=1e-12)
    np.testing.assert_allclose(energy, whole.energy, rtol=1e-14)
    together = np.hstack([weights @ slab.rows for slab in slabs])
    np.testing.assert_allclose(together, whole.components, atol=1e-10)


@SOLVERS
def test_no_rows_have_no_axes_but_a_basis(solver):
    alone = Tiles([Batch(np.arange(5.0)[None, :])]).rotate(svd.Turn(None, 0.0, 0.0), "float64")
    found = axes.of_rows(alone, Selection(2), solver, "float64")
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(2), atol=1e-13)
    assert np.array_equal(found.squared_singular_values, [0.0, 0.0])
    assert found.energy == 0.0


@pytest.mark.parametrize("solver", ["scatter", "gram", "qr"])
def test_twins(solver, namespace):
    X = spectrum(2.0 ** -np.arange(6.0), n_samples=20, n_features=9) + 1.0

    def compute(xp):
        by_count = functools.partial(axes_by, solver, xp.asarray(X))
        return by_count(Selection(5)), by_count(Selection(9, 0.01)), by_count(Selection(8))

    namespace.assert_equal(compute(namespace.xp), compute(np))
