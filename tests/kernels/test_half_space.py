"""Half-space trees cut, count and weigh as the naive versions and River have it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa import kernels
from dask_exa._threads import thread_share
from dask_exa.summaries import windows
from tests import naive

SEED = 11
LOW, HIGH = np.array([-2.0, 0.0, 5.0]), np.array([2.0, 1.0, 5.5])


def data(n_samples, missing=0.0, seed=0, n_features=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) + np.resize([0, 0.5, 5.2], n_features)
    X[rng.random(X.shape) < missing] = np.nan
    return X.astype(np.float32)


@pytest.mark.parametrize(
    ("low", "high"),
    [(LOW, HIGH), (LOW, np.array([2.0, 0.0, 5.5])), (LOW, LOW), (LOW * 1e30, HIGH * 1e30)],
    ids=["varying", "one constant", "all constant", "huge"],
)
@pytest.mark.parametrize("max_depth", [4, 7])
def test_cuts_as_the_naive_version(low, high, max_depth):
    forest = kernels.grow_half_spaces(low, high, SEED, 6, max_depth)
    trees = naive.half_space_trees(low, high, SEED, 6, max_depth)
    nodes = range(1, 1 << max_depth)
    features = [[cuts[node][0] for node in nodes] for cuts in trees]
    thresholds = [[cuts[node][1] for node in nodes] for cuts in trees]
    np.testing.assert_array_equal(forest.feature[:, 1:], features)
    np.testing.assert_array_equal(forest.threshold[:, 1:], thresholds)


def test_cells_reach_from_end_to_end_and_beyond():
    forest = kernels.grow_half_spaces(LOW, HIGH, SEED, 200, 6)
    beyond = HIGH + (HIGH - LOW)
    for j in range(3):
        cuts = forest.threshold[:, 1:][forest.feature[:, 1:] == j]
        assert LOW[j] - (HIGH - LOW)[j] <= cuts.min() < LOW[j]
        assert HIGH[j] < cuts.max() <= beyond[j]
    assert len(np.unique(forest.threshold[:, 1])) == 200


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counts_as_the_naive_version(missing, weighted, dtype):
    X = data(700, missing).astype(dtype)
    X[3, 0], X[4, 1] = np.inf, -np.inf
    weight = np.random.default_rng(1).gamma(1.0, size=700) if weighted else None
    forest = kernels.grow_half_spaces(LOW, HIGH, SEED, 5, 6)
    counts = kernels.leaf_counts(X, weight, forest)
    trees = naive.half_space_trees(LOW, HIGH, SEED, 5, 6)
    for tree, cuts in enumerate(trees):
        masses = naive.half_space_masses(cuts, X, weight)
        expected = [masses.get(node, 0.0) for node in range(64, 128)]
        np.testing.assert_allclose(counts[tree], expected, rtol=1e-13)


@pytest.mark.parametrize("score_by", ["mass", "log"])
@pytest.mark.parametrize("size_limit", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("max_depth", [1, 3, 6])
def test_weighs_as_the_naive_version(max_depth, size_limit, score_by):
    X, queries = data(300), data(200, missing=0.05, seed=1) * 1.5
    forest = kernels.grow_half_spaces(LOW, HIGH, SEED, 5, max_depth)
    leaf = kernels.leaf_scores(
        kernels.leaf_counts(X, None, forest),
        max_depth,
        size_limit * 300,
        in_logarithm=score_by == "log",
    )
    means = kernels.mean_leaves(queries, forest._replace(leaf=leaf))
    scores = means / 300 if score_by == "mass" else means - np.log2(300.5)
    trees = naive.half_space_trees(LOW, HIGH, SEED, 5, max_depth)
    expected = naive.half_space_scores(trees, X, queries, size_limit, score_by)
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


@given(st.integers(0, 3000), st.sampled_from([0.0, 0.01]))
def test_counts_add_up_over_any_cut(cut, missing):
    X = data(3000, missing)
    forest = kernels.grow_half_spaces(LOW, HIGH, SEED, 7, 8)
    whole = kernels.leaf_counts(X, None, forest)
    parts = [kernels.leaf_counts(part, None, forest) for part in (X[:cut], X[cut:])]
    np.testing.assert_array_equal(parts[0] + parts[1], whole)
    np.testing.assert_array_equal(whole.sum(axis=1), 3000)


@pytest.mark.parametrize("n_features", [3, 700])
@pytest.mark.parametrize("n_threads", [1, 2, 4, 8])
def test_neither_threads_nor_memory_layout_show(n_features, n_threads):
    X, weight = data(900, n_features=n_features), np.random.default_rng(2).random(900)
    forest = kernels.grow_half_spaces(X.min(0), X.max(0), SEED, 25, 8)
    with thread_share(3):
        expected = kernels.leaf_counts(X, weight, forest)
    with thread_share(n_threads):
        for same in (X, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]):
            np.testing.assert_array_equal(kernels.leaf_counts(same, weight, forest), expected)


def assert_equals_river(model, row, X, n_learnt):
    """Compare after every window, on River's trees; `row` is a sample as the model takes it."""
    forest, size = naive.river_forest(model), model.window_size
    most = size * (2 ** (model.height + 1) - 1)
    for end in range(size, len(X), size):
        for x in X[n_learnt:end]:
            model.learn_one(row(x))
        n_learnt = end
        masses = windows.count(X[:end], None, range(end), forest, size)[0].masses
        leaf = naive.river_leaves(masses, model.height, size).astype(np.float32)
        shares = kernels.mean_leaves(X, forest._replace(leaf=leaf)) / most
        expected = [1 - model.score_one(row(x)) for x in X]
        np.testing.assert_allclose(shares, expected, rtol=1e-6)


@pytest.mark.parametrize("height", [3, 8])
def test_rivers_trees_give_rivers_scores(height):
    X = np.random.default_rng(4).beta(2, 5, (400, 3)).astype(np.float32)
    model = naive.RiverHalfSpaceTrees(10, height, 120, n_features=3, seed=2)
    assert_equals_river(model, np.asarray, X, 0)


@pytest.mark.parametrize("height", [3, 8])
def test_scores_of_river_itself(height):
    anomaly = pytest.importorskip("river.anomaly")
    X = np.random.default_rng(4).beta(2, 5, (400, 3)).astype(np.float32)

    def row(x):
        return dict(enumerate(map(float, x)))

    model = anomaly.HalfSpaceTrees(n_trees=10, height=height, window_size=120, seed=2)
    model.learn_one(row(X[0]))  # River grows its trees now
    assert_equals_river(model, row, X, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_gpu_twin_is_equal(missing, weighted):
    import cupy

    X = data(5000, missing)
    weight = np.random.default_rng(1).random(5000) if weighted else None
    forest = kernels.grow_half_spaces(LOW, HIGH, SEED, 25, 12)
    expected = kernels.leaf_counts(X, weight, forest)
    for same in (X, X.astype(np.float64)):
        on_device = None if weight is None else cupy.asarray(weight)
        actual = kernels.leaf_counts(cupy.asarray(same), on_device, forest)
        np.testing.assert_allclose(actual.get(), expected, rtol=1e-12)
