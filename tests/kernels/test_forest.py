"""Forests grow and are read as the naive versions and scikit-learn have it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from dask_exa import kernels
from dask_exa._threads import thread_share
from dask_exa.kernels import forest as forests
from tests import naive

SEED, GROWTH = 11, 0x67726F77


def data(n_samples, n_features=4, missing=0.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)).astype(np.float32)
    X[rng.random(X.shape) < missing] = np.nan
    return X


def from_sklearn(estimator):
    """Return the trees of a fitted scikit-learn forest as ours."""
    depth = max(tree.tree_.max_depth for tree in estimator.estimators_)
    forest = forests.blank(len(estimator.estimators_), depth)
    n_leaves = forest.leaf.shape[1]
    for i, fitted in enumerate(estimator.estimators_):
        tree = fitted.tree_
        places = [(0, 1, 0)]
        while places:
            node, place, level = places.pop()
            if tree.children_left[node] < 0:
                span = n_leaves >> level
                first = place * span - n_leaves
                worth = level + naive.mean_path(tree.n_node_samples[node])
                forest.leaf[i, first : first + span] = worth
                continue
            exact = tree.threshold[node]
            cut = np.float32(exact)
            forest.threshold[i, place] = np.nextafter(cut, -np.inf) if cut > exact else cut
            forest.feature[i, place] = tree.feature[node]
            forest.missing_left[i, place] = tree.missing_go_to_left[node]
            places.append((tree.children_left[node], 2 * place, level + 1))
            places.append((tree.children_right[node], 2 * place + 1, level + 1))
    return forest


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("max_samples", [2, 60, 256, 700])
def test_scikit_learns_trees_give_scikit_learns_scores(max_samples, missing):
    X = data(2000, missing=missing)
    peer = IsolationForest(n_estimators=20, max_samples=max_samples, random_state=0).fit(X)
    paths = kernels.mean_leaves(X, from_sklearn(peer))
    scores = -(2 ** (-paths / naive.mean_path(max_samples)))
    np.testing.assert_allclose(scores, peer.score_samples(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_grows_and_reads_as_the_naive_version(missing):
    rows = data(50, missing=missing)
    rows[:5] = rows[7]
    rows[10, 0], rows[11, 1] = np.inf, -np.inf
    members = np.stack([np.arange(50), np.arange(50)[::-1]])
    forest, density = kernels.grow_trees(rows, members, SEED, 4, 6, with_density=True)
    X = np.concatenate([rows, data(300, missing=missing, seed=1)])
    seeds = naive.tree_seeds(SEED, GROWTH, 2)
    trees = [naive.isolation_tree(rows, seed, 6) for seed in seeds]
    leaves = [[naive.isolation_leaf(tree, x) for tree in trees] for x in X]
    paths, densities = np.mean(leaves, axis=1).T
    np.testing.assert_allclose(kernels.mean_leaves(X, forest), paths, rtol=1e-6)
    forest = forest._replace(leaf=density)
    np.testing.assert_allclose(kernels.mean_leaves(X, forest), densities, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 99), st.sampled_from([1, 2, 17, 64]), st.booleans())
def test_order_of_rows_is_of_no_consequence(seed, n_samples, some_missing):
    rows = data(n_samples, missing=0.2 * some_missing, seed=seed)
    members = np.random.default_rng(seed).permutation(n_samples)[None]
    forest, _ = kernels.grow_trees(rows, np.sort(members), SEED, 4, 6)
    shuffled, _ = kernels.grow_trees(rows, members, SEED, 4, 6)
    for actual, expected in zip(shuffled, forest, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_every_sample_is_isolated_by_deep_trees():
    rows = data(32)
    forest, _ = kernels.grow_trees(rows, np.arange(32)[None], SEED, 4, 16)
    leaves = kernels.mean_leaves(rows, forest)
    np.testing.assert_array_equal(leaves, np.round(leaves))
    assert leaves.max() < 16


def test_constant_features_are_never_cut():
    rows = data(40)
    rows[:, 1:] = 3.0
    forest, _ = kernels.grow_trees(rows, np.arange(40)[None], SEED, 4, 6)
    assert not forest.feature.any()
    rows[:, 0] = -1.0
    forest, _ = kernels.grow_trees(rows, np.arange(40)[None], SEED, 4, 6)
    assert np.isinf(forest.threshold).all()


def test_every_tree_uses_as_many_features_as_asked_for():
    members = np.tile(np.arange(200), (10, 1))
    forest, _ = kernels.grow_trees(data(200, 6), members, SEED, 2, 8)
    used = [set(f[np.isfinite(t)]) for f, t in zip(forest.feature, forest.threshold, strict=True)]
    assert all(len(features) == 2 for features in used)
    assert len(set.union(*used)) == 6


@pytest.mark.parametrize("n_features", [4, 700])
def test_neither_threads_nor_the_cut_into_blocks_show(n_features):
    rows = data(20_000 if n_features == 4 else 700, n_features)
    members = np.arange(600).reshape(20, 30)
    forest, _ = kernels.grow_trees(rows, members, SEED, n_features, 5)
    together = kernels.mean_leaves(rows, forest)
    with thread_share(1):
        np.testing.assert_array_equal(kernels.mean_leaves(rows, forest), together)
    alone = [kernels.mean_leaves(row[None], forest)[0] for row in rows[:300]]
    np.testing.assert_array_equal(alone, together[:300])
    np.testing.assert_array_equal(kernels.mean_leaves(rows.astype(np.float64), forest), together)


@pytest.mark.gpu
@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("max_depth", [8, 14])
def test_gpu_twin_is_equal(max_depth, missing):
    import cupy

    rows = data(3000, missing=missing)
    forest, _ = kernels.grow_trees(rows, np.arange(3000).reshape(10, 300), SEED, 4, max_depth)
    for X in (rows, rows.astype(np.float64)):
        actual = kernels.mean_leaves(cupy.asarray(X), forest)
        np.testing.assert_allclose(actual.get(), kernels.mean_leaves(X, forest), rtol=1e-12)
