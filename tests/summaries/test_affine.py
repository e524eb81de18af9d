"""Summaries carried over to where their samples are now are those of the samples there."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dask_exa.summaries import affine, centroids, mixture, moments, ranges, reservoir, svd, tiles
from dask_exa.summaries.affine import Change, Coordinates, carry, change, scaling
from dask_exa.summaries.reservoir import Sampling
from dask_exa.summaries.subspace import SubspaceSummary
from dask_exa.summaries.tiles import Batch

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 5)) @ RNG.standard_normal((5, 5)) + 3
CHANGES = {
    "scaled": Change(np.array([0.5, -2.0, 3.0, 1.0, 10.0]), np.arange(5.0)),
    "turned": Change(RNG.standard_normal((5, 5)), np.arange(5.0)),
    "reduced": Change(RNG.standard_normal((3, 5)), np.arange(3.0)),
}


def moved(samples, way):
    matrix = np.diag(way.matrix) if way.matrix.ndim == 1 else way.matrix
    return samples @ matrix.T + way.offset


@pytest.fixture(params=CHANGES)
def way(request):
    return CHANGES[request.param]


def test_the_change_of_a_map_takes_old_outputs_to_new_ones(way):
    """z = M (x - origin) + start, whose inputs move too, is where a change says it is."""
    before = Coordinates(
        matrix := RNG.standard_normal((5, 5)), np.linalg.inv(matrix), np.ones(5), np.arange(5.0)
    )
    n_new = way.offset.shape[0]
    after = Coordinates(
        RNG.standard_normal((4, n_new)), np.ones((n_new, 4)), X[0, :n_new], X[1, :4]
    )
    old = (X - before.origin) @ before.matrix.T + before.start
    new = (moved(X, way) - after.origin) @ after.matrix.T + after.start
    assert_allclose(moved(old, change(before, after, way)), new, atol=1e-10)


def test_scalers_lose_no_digits_far_from_zero():
    """The offset is a difference of origins, not of scaled origins."""
    before = scaling(np.full(1, 2.0), np.full(1, 1e15), np.zeros(1))
    after = scaling(np.full(1, 4.0), np.full(1, 1e15 + 1), np.zeros(1))
    assert change(before, after) == Change(np.array([2.0]), np.array([-4.0]))


def test_scatter_matrices_follow_exactly(way):
    found = carry(moments.summarize(X, pairs=True), way)
    expected = moments.summarize(moved(X, way), pairs=True)
    assert found[:2] == expected[:2]
    assert_allclose(found.mean, expected.mean, rtol=1e-12)
    assert_allclose(found.m2, expected.m2, rtol=1e-10)


def test_variances_follow_exactly_where_features_are_uncorrelated(way):
    centred = X - X.mean(axis=0)
    samples = centred @ np.linalg.svd(centred, full_matrices=False)[2].T + 1
    found, expected = carry(moments.summarize(samples), way), moments.summarize(moved(samples, way))
    assert_allclose(found.mean, expected.mean, rtol=1e-12)
    assert_allclose(found.m2, expected.m2, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_untruncated_rows_follow_exactly(way, dtype):
    summary = svd.from_scatter(moments.summarize(X, pairs=True), dtype)
    found = carry(summary, way)
    expected = moments.summarize(moved(X, way), pairs=True)
    rtol = 1e-5 if dtype == "float32" else 1e-10
    atol = rtol * np.abs(expected.m2).max()
    assert found.rows.dtype == dtype
    assert_allclose(found.rows.T @ found.rows, expected.m2, rtol=rtol, atol=atol)
    assert_allclose(found.moments.m2, np.diagonal(expected.m2), rtol=rtol, atol=atol)
    assert (found.tail, found.bound) == (0, 0)


def test_truncated_rows_keep_the_account_of_what_was_dropped():
    truncation = svd.Truncation(2)
    summary = tiles.merge([Batch(X, None)], truncation, 400)
    for way in (CHANGES["scaled"], CHANGES["turned"]):
        found = carry(summary, way)
        energy = float(np.sum(found.moments.m2))
        assert found.tail == pytest.approx(energy - float(np.sum(found.rows**2)))
        stretch = affine.largest_stretch(way.matrix)
        assert found.bound == pytest.approx(summary.bound * stretch**2)
    exact = moments.summarize(moved(X, CHANGES["scaled"]))
    assert_allclose(carry(summary, CHANGES["scaled"]).moments.m2, exact.m2, rtol=1e-10)


def test_reservoirs_hold_the_same_rows_where_they_are_now(way):
    sampling = Sampling(n_trees=3, capacity=20, seed=0)
    found = carry(reservoir.summarize(X, None, sampling), way)
    expected = reservoir.summarize(moved(X, way), None, sampling)
    assert_allclose(found.rows, expected.rows, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.keys, expected.keys)
    assert found.rows.dtype == np.float32


def test_a_subspace_and_its_samples_follow_together(way):
    sampling = Sampling(n_trees=1, capacity=20, seed=0)

    def summarize(samples):
        return SubspaceSummary(
            moments.summarize(samples, pairs=True), reservoir.summarize(samples, None, sampling)
        )

    found, expected = carry(summarize(X), way), summarize(moved(X, way))
    assert_allclose(found.moments.m2, expected.moments.m2, rtol=1e-10)
    assert_allclose(found.kept.rows, expected.kept.rows, rtol=1e-4, atol=1e-4)


def test_points_follow_exactly(way):
    summary = centroids.summarize(X, None, 0)
    assert_allclose(carry(summary, way).points, moved(X, way), rtol=1e-10)


def test_ranges_follow_scaled_features_only():
    summary, way = ranges.summarize(X), CHANGES["scaled"]
    expected = ranges.summarize(moved(X, way))
    for found, wanted in zip(carry(summary, way), expected, strict=True):
        assert_allclose(found, wanted, rtol=1e-12)
    assert carry(summary, CHANGES["turned"]) is None


@pytest.mark.parametrize("form", ["full", "tied", "diag", "spherical"])
def test_a_mixture_follows(form):
    """Exactly where its covariances can say how: all, or for scaled features, or for one scale."""
    shares = RNG.dirichlet(np.ones(2), len(X))
    ways = {
        "full": CHANGES["reduced"],
        "tied": CHANGES["turned"],
        "diag": CHANGES["scaled"],
        "spherical": Change(np.full(5, -3.0), np.arange(5.0)),
    }
    found = carry(mixture.attribute(X, shares, form), ways[form])
    expected = mixture.attribute(moved(X, ways[form]), shares, form)
    assert_allclose(found.means, expected.means, rtol=1e-10)
    assert_allclose(found.m2, expected.m2, rtol=1e-9, atol=1e-9)


def test_what_is_bound_to_its_coordinates_does_not_follow():
    assert carry(object(), CHANGES["scaled"]) is None


@pytest.mark.parametrize("way", CHANGES.values(), ids=CHANGES)
def test_any_namespace_does(namespace, way):
    xp = namespace.xp
    there = Change(*map(xp.asarray, way))
    summary, ours = (moments.summarize(samples, pairs=True) for samples in (X, xp.asarray(X)))
    namespace.assert_equal(tuple(carry(ours, there)), tuple(carry(summary, way)))
    if way.matrix.ndim == 2:
        rows = [svd.from_scatter(known, "float64") for known in (ours, summary)]
        namespace.assert_equal(carry(rows[0], there), carry(rows[1], way))
    if way.matrix.shape == (5, 5):
        maps = Coordinates(way.matrix, way.matrix, way.offset, way.offset)
        found = change(*[Coordinates(*map(xp.asarray, maps))] * 2, there)
        namespace.assert_equal(tuple(found), tuple(change(maps, maps, way)))
