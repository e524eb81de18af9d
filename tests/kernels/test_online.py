"""Online trees learn, forget and split as the naive version and the paper have it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from dask_exa import kernels
from dask_exa._threads import thread_share
from dask_exa.kernels.online_forest import blank_online
from dask_exa.summaries import online
from tests import naive

SEED, STREAM = 11, 2


def data(n_samples, n_features=3, missing=0.0, seed=0):
    """Return two clusters, ties, and a place that moves."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    X += np.linspace(0, 4, n_samples)[:, None] + 5 * rng.integers(0, 2, (n_samples, 1))
    X[:, 0] = np.round(X[:, 0])
    X[rng.random(X.shape) < missing] = np.nan
    return X.astype(np.float32)


def learn(X, how, cuts=(), n_trees=3):
    """Return a forest that has learnt the rows in pieces, and its window."""
    forest = blank_online(SEED, STREAM, n_trees, how.split_at.size, X.shape[1])
    window = X[:0]
    for part in np.split(X, sorted(cuts)):
        rows = np.concatenate([window, part])
        forest = kernels.learn_rows(forest, rows, window.shape[0], how)
        window = rows[-how.window_size :]
    return forest, window


def assert_equal(actual, expected):
    """Compare forests to the last bit."""
    for name, field in expected._asdict().items():
        np.testing.assert_array_equal(getattr(actual, name), field, err_msg=name)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize(
    ("eta", "omega", "subsample", "missing"),
    [(4, 64, 1.0, 0.0), (4, 64, 0.5, 0.0), (1, 30, 1.0, 0.1), (8, 300, 0.9, 0.3)],
)
def test_learns_and_forgets_as_the_naive_version(eta, omega, subsample, missing, adaptive):
    X = data(700, missing=missing)
    forest, window = learn(X, online.growth(eta, omega, subsample, adaptive=adaptive))
    trees = [
        naive.OnlineTree(seed, eta, omega, subsample, adaptive)
        for seed in naive.tree_seeds(SEED, STREAM, 3)
    ]
    for x in X:
        for tree in trees:
            tree.learn(x)
    np.testing.assert_array_equal(window, X[-omega:])
    np.testing.assert_array_equal(forest.counts[:, 1], [tree.root.count for tree in trees])
    queries = np.concatenate([X, data(300, seed=1) * 2, data(100, missing=0.5, seed=2)])
    leaves = [[tree.depth(x) for tree in trees] for x in queries]
    assert np.max(leaves) >= 3
    read, even = kernels.read_online(forest, eta)
    np.testing.assert_allclose(kernels.mean_leaves(queries, read), np.mean(leaves, 1), rtol=1e-6)
    expected = [np.log2(max(1.0, tree.root.count / eta)) for tree in trees]
    np.testing.assert_allclose(even, expected, rtol=1e-6)


def test_boxes_are_those_of_the_naive_version():
    X = data(500)
    forest, _ = learn(X, online.growth(4, 64, 1.0))
    for i, seed in enumerate(naive.tree_seeds(SEED, STREAM, 3)):
        tree = naive.OnlineTree(seed, 4, 64)
        for x in X:
            tree.learn(x)
        nodes, boxes = [tree.root], []
        while nodes:
            node = nodes.pop()
            if node.cut:
                nodes += [node.right, node.left]
            else:
                boxes.append((node.low, node.high))
        kept = (forest.low[i] <= forest.high[i]).any(axis=1)
        low, high = zip(*(box for box in boxes if (box[0] <= box[1]).any()), strict=True)
        # in the order of the leaves; drawn numbers may be rounded otherwise
        np.testing.assert_allclose(forest.low[i, kept], low, rtol=3e-7)
        np.testing.assert_allclose(forest.high[i, kept], high, rtol=3e-7)


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 400), max_size=5),
    st.sampled_from([(4, 64, 1.0), (2, 5, 1.0), (4, 50, 0.6)]),
)
def test_no_cut_of_the_stream_shows(cuts, how):
    how = online.growth(*how)
    X = data(400, missing=0.05)
    actual, window = learn(X, how, cuts)
    expected, whole = learn(X, how)
    assert_equal(actual, expected)
    np.testing.assert_array_equal(window, whole)


def test_single_rows_and_long_streams_give_the_same():
    how = online.growth(4, 64, 1.0)
    X = data(9000)
    expected, _ = learn(X, how)
    assert_equal(learn(X, how, range(4000, 4300))[0], expected)


def test_neither_threads_nor_other_trees_show():
    how = online.growth(32, 2048, 1.0)
    X = data(6000)
    forest, _ = learn(X, how, n_trees=20)
    with thread_share(1):
        assert_equal(learn(X, how, n_trees=20)[0], forest)
    first = type(forest)(*(field[:3] for field in forest))
    assert_equal(learn(X, how, n_trees=3)[0], first)


def test_learning_changes_neither_the_forest_nor_the_rows():
    how = online.growth(4, 64, 1.0)
    X = data(300)
    forest, window = learn(X[:200], how)
    before = [field.copy() for field in forest]
    rows = np.concatenate([window, X[200:]])
    rows.flags.writeable = False
    kernels.learn_rows(forest, rows, window.shape[0], how)
    kernels.forget_rows(forest, rows[: window.shape[0]], 30, how)
    for field, same in zip(forest, before, strict=True):
        np.testing.assert_array_equal(field, same)


@pytest.mark.parametrize("subsample", [1.0, 0.7])
def test_forgetting_is_what_the_window_would_do(subsample):
    X = data(100)
    how = online.growth(4, 64, subsample)
    forest, window = learn(X, how)
    tree = naive.OnlineTree(naive.tree_seeds(SEED, STREAM, 1)[0], 4, 64, subsample)
    for x in X:
        tree.learn(x)
    for n_old in (1, 20, 64):
        while len(tree.window) > 64 - n_old:
            tree.forget()
        less = kernels.forget_rows(forest, window, n_old, how)
        assert less.counts[0, 1] == tree.root.count
        read, _ = kernels.read_online(less, 4)
        alone = type(read)(*(field[:1] for field in read))
        depths = [tree.depth(x) for x in X]
        np.testing.assert_allclose(kernels.mean_leaves(X, alone), depths, rtol=1e-6)
    assert (less.counts[:, 1] == 0).all()
    assert np.isinf(less.threshold).all()


def test_depth_is_limited_and_constant_features_are_never_cut():
    X = data(4000)
    X[:, 1] = 3.0
    forest, _ = learn(X, online.growth(8, 128, 1.0, adaptive=False))
    assert set(forest.feature[np.isfinite(forest.threshold)]) == {0, 2}
    assert kernels.read_online(forest, 10**9)[0].leaf.max() == 4  # log2(128 / 8)
    forest, _ = learn(np.ones((500, 2), np.float32), online.growth(8, 128, 1.0))
    assert np.isinf(forest.threshold).all()


def test_counts_of_parts_add_up():
    forest, _ = learn(data(3000), online.growth(4, 200, 1.0), n_trees=10)
    cut = np.isfinite(forest.threshold)
    for counts, is_cut in zip(forest.counts, cut, strict=True):
        for node in np.flatnonzero(is_cut):
            assert counts[node] == counts[2 * node] + counts[2 * node + 1]
            assert counts[node] >= 4 * 2 ** int(np.log2(node))
    assert (forest.counts[:, 1] == 200).all()


def split_once(n_trees, eta):
    """Return the first split of many trees: feature, threshold, counts and boxes."""
    rows = np.random.default_rng(3).uniform(-1, 1, (eta + 1, 2)).astype(np.float32)
    rows[:2] = (-1, -2), (1, 2)
    how = online.growth(eta, 2 * eta, 1.0)
    forest = blank_online(SEED, STREAM, n_trees, 1, 2)
    forest = kernels.learn_rows(forest, rows, 0, how)
    half = forest.low.shape[1] // 2
    return forest, forest.low[:, [0, half]], forest.high[:, [0, half]], rows


@pytest.mark.parametrize("eta", [2, 3, 32])
def test_a_split_is_distributed_as_one_of_rows_drawn_anew(eta):
    forest, low, high, rows = split_once(4000, eta)
    rng = np.random.default_rng(4)
    box = rows.min(axis=0), rows.max(axis=0)
    drawn = [naive.redrawn_split(*box, eta + 1, rng) for _ in range(4000)]
    feature = forest.feature[:, 1]
    assert abs(np.mean(feature) - 0.5) < 0.04
    for chosen in (0, 1):
        ours = feature == chosen
        theirs = [parts for j, _, parts in drawn if j == chosen]
        cuts = [cut for j, cut, _ in drawn if j == chosen]
        pairs = {"cut": (forest.threshold[ours, 1], cuts)}
        for i in (0, 1):
            pairs["count", i] = forest.counts[ours, 2 + i], [parts[i][0] for parts in theirs]
            for j in (0, 1):
                pairs["low", i, j] = low[ours, i, j], [parts[i][1][j] for parts in theirs]
                pairs["high", i, j] = high[ours, i, j], [parts[i][2][j] for parts in theirs]
        for name, (actual, expected) in pairs.items():
            assert ks_2samp(actual, expected).pvalue > 1e-4, name


@pytest.mark.gpu
def test_a_gpu_reads_the_same():
    import cupy

    forest, _ = learn(data(3000), online.growth(4, 512, 1.0), n_trees=10)
    X, (read, _) = data(500, missing=0.1, seed=5), kernels.read_online(forest, 4)
    actual = kernels.mean_leaves(cupy.asarray(X), read)
    np.testing.assert_allclose(actual.get(), kernels.mean_leaves(X, read), rtol=1e-12)
