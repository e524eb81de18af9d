"""Oblique forests grow and are read as the naive version has it."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dask_exa import kernels
from dask_exa._threads import thread_share
from tests import naive
from tests.kernels.test_forest import GROWTH, SEED, data


def grown(rows, members, n_cut, max_depth=6, **options):
    n_features = rows.shape[1]
    return kernels.grow_oblique_trees(rows, members, SEED, n_features, max_depth, n_cut, **options)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("n_cut", [1, 2, 4])
def test_grows_and_reads_as_the_naive_version(n_cut, missing):
    rows = data(50, missing=missing) * np.array([1, 1e-3, 1e6, 1], np.float32)
    rows[:5] = rows[7]
    rows[10, 0], rows[11, 1], rows[:, 3] = np.inf, -np.inf, rows[:, 3] + 1e4
    members = np.stack([np.arange(50), np.arange(50)[::-1]])
    forest, density = grown(rows, members, n_cut, with_density=True)
    X = np.concatenate([rows, data(200, missing=missing, seed=1)])
    X[60, :2] = np.inf, -np.inf
    seeds = naive.tree_seeds(SEED, GROWTH, 2)
    trees = [
        naive.oblique_tree(rows[order], seed, 6, n_cut)
        for order, seed in zip(members, seeds, strict=True)
    ]
    leaves = [[naive.oblique_leaf(*tree, x) for tree in trees] for x in X]
    paths, densities = np.mean(leaves, axis=1).T
    np.testing.assert_allclose(kernels.mean_leaves(X, forest), paths, rtol=1e-6)
    forest = forest._replace(leaf=density)
    np.testing.assert_allclose(kernels.mean_leaves(X, forest), densities, rtol=1e-5, atol=1e-5)


def test_one_feature_a_cut_is_an_isolation_tree():
    rows = data(3000, 5)
    rows[:20] *= 4
    members = np.random.default_rng(0).permuted(np.tile(np.arange(3000), (100, 1)), axis=1)
    members = members[:, :256]
    straight, _ = kernels.grow_trees(rows, members, SEED, 5, 8)
    oblique, _ = grown(rows, members, 1, 8)
    paths = [kernels.mean_leaves(rows, forest) for forest in (straight, oblique)]
    np.testing.assert_allclose(*(path.mean() for path in paths), rtol=0.01)
    np.testing.assert_allclose(*(path.std() for path in paths), rtol=0.05)
    assert np.corrcoef(*paths)[0, 1] > 0.95


def test_scales_of_features_are_of_no_consequence():
    rows = data(500, 4)
    scaled = rows * np.float32([1, 2**10, 2**-20, 2**5])
    members = np.arange(500).reshape(5, 100)
    paths = [kernels.mean_leaves(X, grown(X, members, 4)[0]) for X in (rows, scaled)]
    np.testing.assert_allclose(*paths, rtol=1e-4)


def test_sees_what_no_single_feature_shows():
    rng = np.random.default_rng(0)
    along = rng.standard_normal(4000)
    rows = np.stack([along, along + 0.1 * rng.standard_normal(4000)], axis=1)
    outliers = np.stack([along[:100], -along[:100]], axis=1)[np.abs(along[:100]) > 0.5]
    members = rng.permuted(np.tile(np.arange(4000), (100, 1)), axis=1)[:, :256]
    rows = rows.astype(np.float32)
    X = np.concatenate([rows, outliers.astype(np.float32)])
    y = np.r_[np.zeros(4000), np.ones(len(outliers))]
    straight, _ = kernels.grow_trees(rows, members, SEED, 2, 8)
    oblique, _ = grown(rows, members, 2, 8)
    aucs = [roc_auc_score(y, -kernels.mean_leaves(X, forest)) for forest in (straight, oblique)]
    assert aucs[1] > 0.97
    assert aucs[1] > aucs[0]


@pytest.mark.parametrize("n_cut", [1, 3])
def test_nothing_to_cut_and_beyond_float32(n_cut):
    rows = np.full((40, 3), 7.0, np.float32)
    forest, _ = grown(rows, np.arange(40)[None], n_cut)
    assert np.isinf(forest.threshold).all()
    empty, _ = grown(np.full((8, 3), np.nan, np.float32), np.arange(8)[None], n_cut)
    leaves = kernels.mean_leaves(np.full((1, 3), np.nan, np.float32), empty)
    np.testing.assert_allclose(leaves, naive.mean_path(8), rtol=1e-6)
    huge = np.clip(data(64, 3), -1, 1) * np.float32(3e38)
    forest, _ = grown(huge, np.arange(64)[None], n_cut)
    assert np.isfinite(forest.normal).all()
    assert np.isfinite(kernels.mean_leaves(huge, forest)).all()


def test_trees_may_use_fewer_features():
    members = np.tile(np.arange(200), (10, 1))
    for n_cut in (1, 2, 3):
        forest, _ = kernels.grow_oblique_trees(data(200, 6), members, SEED, 3, 8, n_cut)
        used = [
            set(np.broadcast_to(f, n.shape)[n != 0].tolist())
            for f, n in zip(forest.feature, forest.normal, strict=True)
        ]
        assert all(len(features) == 3 for features in used)
        assert len(set.union(*used)) == 6


@pytest.mark.parametrize("missing", [0.0, 0.01])
@pytest.mark.parametrize(("n_features", "n_cut"), [(4, 4), (4, 2), (600, 3), (600, 600)])
def test_neither_threads_nor_the_cut_into_blocks_show(n_features, n_cut, missing):
    rows = data(9000 if n_features == 4 else 600, n_features, missing=missing)
    members = np.arange(300).reshape(10, 30)
    forest, _ = grown(rows, members, n_cut, 5)
    some = np.array([7, 2])
    alone, _ = grown(rows, members[some], n_cut, 5, trees=some)
    for actual, expected in zip(alone, forest, strict=True):
        np.testing.assert_array_equal(actual, expected[some])
    together = kernels.mean_leaves(rows, forest)
    with thread_share(1):
        np.testing.assert_array_equal(kernels.mean_leaves(rows, forest), together)
    single = [kernels.mean_leaves(row[None], forest)[0] for row in rows[:100]]
    np.testing.assert_array_equal(single, together[:100])
    np.testing.assert_array_equal(kernels.mean_leaves(rows.astype(np.float64), forest), together)


@pytest.mark.gpu
@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("n_cut", [2, 4])
def test_gpu_twin_is_equal(n_cut, missing):
    import cupy

    rows = data(3000, missing=missing)
    rows[5, 0], rows[6, 1] = np.inf, -np.inf
    forest, _ = grown(rows, np.arange(3000).reshape(10, 300), n_cut, 8)
    for X in (rows, rows.astype(np.float64)):
        actual = kernels.mean_leaves(cupy.asarray(X), forest)
        np.testing.assert_allclose(actual.get(), kernels.mean_leaves(X, forest), rtol=1e-12)
