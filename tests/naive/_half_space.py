"""Half-space trees, node by node and row by row: ours and River's."""

import random
from types import SimpleNamespace

import numpy as np

from dask_exa.kernels import forest as forests
from tests.naive._isolation import below, drawn, tree_seeds, unit


def half_space_trees(low, high, seed, n_trees, max_depth):
    """Return for every tree its cuts, a dict from node to (feature, threshold)."""
    varying = [j for j in range(len(low)) if high[j] > low[j]]
    if not varying:
        varying, high = list(range(len(low))), np.asarray(low) + 1.0

    def cut(tree_seed, node, depth, box, cuts):
        if depth == max_depth:
            return cuts
        base = drawn(tree_seed, node)
        j = varying[below(drawn(base, 0), len(varying))]
        start, stop = box[j]
        share = 0.15 + 0.7 * unit(drawn(base, 1))
        threshold = np.float32(start + share * (stop - start))
        cuts[node] = j, threshold
        cut(tree_seed, 2 * node, depth + 1, {**box, j: (start, float(threshold))}, cuts)
        return cut(tree_seed, 2 * node + 1, depth + 1, {**box, j: (float(threshold), stop)}, cuts)

    trees = []
    for tree_seed in tree_seeds(seed, 0x68616C66, n_trees):
        box = {}
        for j in range(len(low)):
            s = low[j] + unit(drawn(drawn(tree_seed, 0), j)) * (high[j] - low[j])
            reach = max(s - low[j], high[j] - s)
            box[j] = (s - reach, s + reach)
        trees.append(cut(tree_seed, 1, 0, box, {}))
    return trees


def half_space_path(cuts, x):
    """Return the nodes that a row passes, the root first."""
    path = [1]
    while path[-1] in cuts:
        feature, threshold = cuts[path[-1]]
        goes_left = np.float32(x[feature]) <= threshold  # NaN does not
        path.append(2 * path[-1] + (not goes_left))
    return path


def half_space_masses(cuts, X, weight=None):
    """Return the mass of every node that any row passes."""
    masses = {}
    for i, x in enumerate(X):
        for node in half_space_path(cuts, x):
            masses[node] = masses.get(node, 0.0) + (1.0 if weight is None else weight[i])
    return masses


def half_space_scores(trees, X, queries, size_limit, score_by, weight=None):
    """Return the scores of the queries once the rows of `X` are learnt."""
    total = float(len(X)) if weight is None else float(np.sum(weight))
    masses = [half_space_masses(cuts, X, weight) for cuts in trees]

    def worth(cuts, mass, x):
        path = half_space_path(cuts, x)
        for k, node in enumerate(path):
            m = mass.get(node, 0.0)
            if m <= size_limit * total or k == len(path) - 1:
                break
        return m * 2.0**k / total if score_by == "mass" else np.log2((m + 0.5) / (total + 0.5)) + k

    pairs = list(zip(trees, masses, strict=True))
    return np.array([np.mean([worth(*pair, x) for pair in pairs]) for x in queries])


class RiverHalfSpaceTrees:
    """River's algorithm: every node keeps two masses, and every level adds to the score."""

    def __init__(self, n_trees, height, window_size, n_features, seed):
        rng = random.Random(seed)
        self.height, self.window_size = height, window_size
        limits = [(0.0, 1.0)] * n_features
        self.trees = [self._tree(rng, limits, height) for _ in range(n_trees)]
        self.n_learnt = 0

    def _tree(self, rng, limits, height):
        node = SimpleNamespace(l_mass=0, r_mass=0)
        if height:
            j = rng.randrange(len(limits))
            low, high = limits[j]
            node.feature = j
            node.threshold = rng.uniform(0.85 * low + 0.15 * high, 0.15 * low + 0.85 * high)
            parts = (low, node.threshold), (node.threshold, high)
            node.children = [
                self._tree(rng, [*limits[:j], part, *limits[j + 1 :]], height - 1) for part in parts
            ]
        return node

    def _nodes(self, tree, x):
        yield tree
        for _ in range(self.height):
            tree = tree.children[0 if x[tree.feature] < tree.threshold else 1]
            yield tree

    def learn_one(self, x):
        for tree in self.trees:
            for node in self._nodes(tree, x):
                node.l_mass += 1
        self.n_learnt += 1
        if self.n_learnt % self.window_size == 0:
            frontier = list(self.trees)
            while frontier:
                node = frontier.pop()
                node.r_mass, node.l_mass = node.l_mass, 0
                frontier.extend(getattr(node, "children", ()))

    def score_one(self, x):
        if self.n_learnt < self.window_size:
            return 0
        score = 0.0
        for tree in self.trees:
            for k, node in enumerate(self._nodes(tree, x)):
                score += node.r_mass * 2**k
                if node.r_mass < 0.1 * self.window_size:
                    break
        return 1 - score / (len(self.trees) * self.window_size * (2 ** (self.height + 1) - 1))


def river_forest(model):
    """Return the cuts of River's trees, or of those above, as ours; features are numbers."""
    forest = forests.blank(len(model.trees), model.height)
    forest.missing_left[:] = 0
    for i, tree in enumerate(model.trees):
        level = [tree]
        for depth in range(model.height):
            for place, node in enumerate(level, start=1 << depth):
                exact = node.threshold
                cut = np.float32(exact)  # River goes left below the threshold, we at it as well
                forest.threshold[i, place] = cut if cut < exact else np.nextafter(cut, -np.inf)
                forest.feature[i, place] = node.feature
            level = [child for node in level for child in node.children]
    return forest


def river_leaves(masses, height, window_size):
    """Return for every leaf what River sums over the levels above it, up to the first thin one."""
    leaves = np.zeros(masses.shape)
    for depth in reversed(range(height + 1)):
        nodes = masses.reshape(len(masses), 1 << depth, -1)
        mass = np.repeat(nodes.sum(axis=2), nodes.shape[2], axis=1)
        leaves = mass * 2.0**depth + np.where(mass < 0.1 * window_size, 0.0, leaves)
    return leaves
