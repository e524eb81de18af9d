"""From a reservoir to trees, anew or on from what has grown before."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, namespace
from dask_exa.kernels.forest import Forest, ObliqueForest
from dask_exa.summaries.reservoir import Reservoir


class Growth(NamedTuple):
    """How trees grow."""

    n_features: int
    """Features that a tree may use."""
    n_cut: int
    """Features that a node cuts along at once; 0 for cuts of a single feature."""
    with_density: bool


class Trees(NamedTuple):
    """Trees, and what each of them has grown from; never written to once it is made."""

    forest: Forest | ObliqueForest
    density: np.ndarray
    keys: np.ndarray
    """Shape (n_trees, n_kept): the keys of the rows that a tree has grown from."""
    turn: int = 0
    """The tree whose turn it is, where not all can grow anew."""


class ForestModel:
    """A forest that has grown, and what its scores are measured by.

    Parameters
    ----------
    summary : Reservoir
    growth : Growth
    regrow : float in (0, 1], default=1.0
        Share of the trees that may grow anew.
    earlier : ForestModel, optional
        The forest of a state that was extended to this one, of equal growth.
    """

    offset = -0.5

    def __init__(
        self,
        summary: Reservoir,
        growth: Growth,
        regrow: float = 1.0,
        earlier: ForestModel | None = None,
    ) -> None:
        self.max_samples = summary.members.shape[1]
        if earlier is None or earlier.max_samples < self.max_samples:
            self.trees = grow(summary, growth)
        else:
            self.trees = grow_on(earlier.trees, summary, growth, regrow)
        forest = self.trees.forest
        if growth.with_density:
            forest = _with_density(forest, self.trees.density, summary.rows)
        self.score_block = ForestScorer(forest, mean_path(self.max_samples))
        self._rows = summary.rows

    @functools.cached_property
    def kept_scores(self) -> np.ndarray:
        """Scores of all rows that the trees have kept."""
        return self.score_block(self._rows)


class ForestScorer(NamedTuple):
    """Scores ``-2 ** (-mean leaf / scale)`` by a forest."""

    forest: Forest | ObliqueForest
    scale: float
    """The mean depth of samples that are like all others; 0 where there was one sample only."""

    def __call__(self, X: Array) -> Array:
        """Return the scores (n_samples,) of samples (n_samples, n_features)."""
        paths = kernels.mean_leaves(X, self.forest)
        xp = namespace(paths)
        if not self.scale:
            return xp.full_like(paths, -0.5)
        paths /= -self.scale
        return xp.negative(xp.exp2(paths, out=paths), out=paths)


def grow(summary: Reservoir, growth: Growth, some: np.ndarray | None = None) -> Trees:
    """Grow all trees, or those of some numbers, from the rows that they have kept."""
    keys, members = summary.keys, summary.members
    numbers = np.arange(keys.shape[0]) if some is None else some
    if some is not None:
        keys, members = keys[some], members[some]
    rows, seed, n_features = summary.rows, summary.seed, growth.n_features
    depth = math.ceil(math.log2(max(members.shape[1], 2)))
    options: Any = {"trees": numbers, "with_density": growth.with_density}
    if not growth.n_cut:
        return Trees(*kernels.grow_trees(rows, members, seed, n_features, depth, **options), keys)
    forest, density = kernels.grow_oblique_trees(
        rows, members, seed, n_features, depth, growth.n_cut, **options
    )
    return Trees(forest, density, keys)


def grow_on(trees: Trees, summary: Reservoir, growth: Growth, share: float) -> Trees:
    """Grow those trees anew whose rows have changed; at most a share of them, in turn.

    In what a state is extended to, a tree has kept other rows if and only if its keys are others.
    """
    if trees.keys is summary.keys:
        return trees
    changed = np.flatnonzero((trees.keys != summary.keys).any(axis=1))
    n_trees = trees.keys.shape[0]
    most = math.ceil(share * n_trees)
    if changed.size > most:
        changed = changed[np.argsort((changed - trees.turn) % n_trees)[:most]]
    if changed.size == 0:
        return trees
    if changed.size == n_trees:
        return grow(summary, growth)
    grown = grow(summary, growth, changed)
    return Trees(
        type(trees.forest)(
            *(_replaced(*pair, changed) for pair in zip(trees.forest, grown.forest, strict=True))
        ),
        _replaced(trees.density, grown.density, changed),
        _replaced(trees.keys, grown.keys, changed),
        int(changed[-1] + 1) % n_trees,
    )


def mean_path(count: int) -> float:
    """Return c(n), the mean length of a path that isolates one of `count` samples.

    Examples
    --------
    >>> mean_path(1), mean_path(2), round(mean_path(256), 4)
    (0.0, 1.0, 10.2448)
    """
    if count <= 2:
        return max(0.0, count - 1.0)
    return 2 * (math.log(count - 1) + np.euler_gamma) - 2 * (count - 1) / count


def count_features(max_features: int | float, n_features: int) -> int:
    """Return how many features a tree may use, as scikit-learn counts them."""
    if isinstance(max_features, int | np.integer):
        return min(int(max_features), n_features)
    return max(1, int(max_features * n_features))


def count_cut(extended: bool, extension_level: int | None, n_features: int) -> int:
    """Return along how many features a node cuts, as `Growth` has it."""
    if not extended:
        return 0
    return n_features if extension_level is None else min(extension_level + 1, n_features)


def _with_density(
    forest: Forest | ObliqueForest, density: np.ndarray, rows: np.ndarray
) -> Forest | ObliqueForest:
    """Add to the paths how much denser than the mean of all kept rows a leaf is."""
    mean = kernels.mean_leaves(rows, forest._replace(leaf=density)).mean()
    return forest._replace(leaf=(forest.leaf + (density - mean)).astype(np.float32))


def _replaced(values: np.ndarray, new: np.ndarray, places: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[places] = new
    return values
