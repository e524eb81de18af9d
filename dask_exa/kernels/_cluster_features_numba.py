"""Insertion into a tree of clustering features; on the host alone, one feature after the other."""

from __future__ import annotations

import numba
import numpy as np

from dask_exa.kernels.feature_tree import FeatureTree, blank_tree

_GROWTH = 1.5
_MORE_LEVELS = 64


def insert_features(
    tree: FeatureTree,
    features: tuple[np.ndarray, np.ndarray, np.ndarray],
    threshold: float,
    max_subclusters: int,
) -> tuple[FeatureTree, int]:
    """See `dask_exa.kernels.insert_features`."""
    means, weights, deviations = features
    means = np.ascontiguousarray(means)
    n_inserted = 0
    while True:
        n_inserted = _insert(
            tree, means, weights, deviations, n_inserted, threshold**2, max_subclusters
        )
        is_full = tree.heads[2] <= max_subclusters and 0 <= n_inserted < means.shape[0]
        if not is_full:
            return tree, n_inserted
        tree = _with_room(tree)


def union_radii(tree: FeatureTree) -> np.ndarray:
    """See `dask_exa.kernels.union_radii`."""
    radii = np.full(tree.heads[2], np.inf)
    _union_radii(tree, radii)
    return np.sqrt(radii)


def _with_room(tree: FeatureTree) -> FeatureTree:
    """Return a copy with room for more nodes."""
    n_nodes, n_features, n_places = tree.mean.shape
    larger = blank_tree(int(_GROWTH * n_nodes) + 4, n_places, n_features)
    larger.heads[:] = tree.heads
    for field, old in zip(larger[1:], tree[1:], strict=True):
        field[:n_nodes] = old
    return larger


@numba.njit(nogil=True, cache=True)
def _insert(tree, means, weights, deviations, first, threshold2, max_subclusters):
    # pragma: no cover  (compiled)
    """Insert features until there is no more room, and return how many are in."""
    point = np.empty(means.shape[1])
    squares = np.empty(tree.weight.shape[1])
    path = np.empty((tree.heads[3] + _MORE_LEVELS, 2), dtype=np.int64)
    for i in range(first, means.shape[0]):
        energy = 0.0
        for j in range(point.size):
            point[j] = means[i, j]
            energy += point[j] * point[j]
        if not np.isfinite(energy):
            return -1 - i
        n_nodes_then = tree.heads[1] + tree.heads[3] + 1  # if every node on the way splits
        if n_nodes_then > tree.size.size or tree.heads[3] >= path.shape[0]:
            return i
        if tree.heads[2] > max_subclusters:
            return i
        weight = weights[i] if weights.size else 1.0
        if weight > 0:
            deviation = deviations[i] if deviations.size else 0.0
            depth = _descend(tree, point, squares, path)
            square = squares[path[depth, 1]] if tree.heads[2] else 0.0
            absorbed = _join_leaf(tree, point, weight, deviation, square, threshold2, path[depth])
            _climb(tree, point, weight, deviation, path, depth, absorbed)
    return means.shape[0]


@numba.njit(nogil=True, cache=True)
def _descend(tree, point, squares, path):  # pragma: no cover  (compiled)
    """Write the nearest place of every node on the way to a leaf, and return how deep that is."""
    node, depth = tree.heads[0], 0
    while True:
        path[depth, 0] = node
        path[depth, 1] = _nearest(tree.mean[node], tree.size[node], point, squares)
        child = tree.child[node, path[depth, 1]]
        if child < 0:
            return depth
        node, depth = child, depth + 1


@numba.njit(nogil=True, cache=True)
def _nearest(mean, size, point, squares):  # pragma: no cover  (compiled)
    for k in range(size):
        squares[k] = 0.0
    for j in range(point.size):
        value, row = point[j], mean[j]
        for k in range(size):
            squares[k] += (row[k] - value) * (row[k] - value)
    nearest = 0
    for k in range(1, size):
        if squares[k] < squares[nearest]:
            nearest = k
    return nearest


@numba.njit(nogil=True, cache=True)
def _join_leaf(tree, point, weight, deviation, square, threshold2, end):
    # pragma: no cover  (compiled)
    """Take a feature into the nearest one of a leaf, if that is near enough, or beside it."""
    node, place = end
    if tree.size[node] > 0:
        own = tree.weight[node, place]
        total = own + weight
        united = tree.deviation[node, place] + deviation + own * (weight / total) * square
        if united <= threshold2 * total:
            _add(tree, node, place, point, weight, deviation)
            return True
    place = tree.size[node]
    tree.weight[node, place] = weight
    tree.deviation[node, place] = deviation
    tree.child[node, place] = -1
    for j in range(point.size):
        tree.mean[node, j, place] = point[j]
    tree.size[node] += 1
    tree.heads[2] += 1
    return False


@numba.njit(nogil=True, cache=True)
def _add(tree, node, place, point, weight, deviation):  # pragma: no cover  (compiled)
    """Add a feature to another one (BETULA, equations 4 to 6)."""
    own = tree.weight[node, place]
    share = weight / (own + weight)
    mean = tree.mean[node]
    square = 0.0
    for j in range(point.size):
        delta = point[j] - mean[j, place]
        square += delta * delta
        mean[j, place] += share * delta
    tree.weight[node, place] = own + weight
    tree.deviation[node, place] += deviation + own * share * square


@numba.njit(nogil=True, cache=True)
def _climb(tree, point, weight, deviation, path, depth, absorbed):  # pragma: no cover  (compiled)
    """Bring the nodes above a leaf up to date, and split those that are too full."""
    n_places = tree.weight.shape[1]
    splits = not absorbed
    while depth >= 0:
        node = path[depth, 0]
        splits = splits and tree.size[node] == n_places
        if splits:
            other = _split(tree, node)
            if depth == 0:
                _raise_root(tree, node, other)
            else:
                above, place = path[depth - 1]
                last = tree.size[above]
                tree.size[above] += 1
                _sum_up(tree, node, above, place)
                _sum_up(tree, other, above, last)
        elif depth > 0:
            above, place = path[depth - 1]
            _add(tree, above, place, point, weight, deviation)
        depth -= 1


@numba.njit(nogil=True, cache=True)
def _raise_root(tree, node, other):  # pragma: no cover  (compiled)
    root = tree.heads[1]
    tree.heads[0] = root
    tree.heads[1] += 1
    tree.heads[3] += 1
    tree.size[root] = 2
    _sum_up(tree, node, root, 0)
    _sum_up(tree, other, root, 1)


@numba.njit(nogil=True, cache=True)
def _sum_up(tree, node, above, place):  # pragma: no cover  (compiled)
    """Write what the features of a node are together."""
    size, mean = tree.size[node], tree.mean[node]
    total = 0.0
    for k in range(size):
        total += tree.weight[node, k]
    deviation = 0.0
    for k in range(size):
        deviation += tree.deviation[node, k]
    for j in range(mean.shape[0]):
        shift = 0.0
        for k in range(1, size):
            shift += tree.weight[node, k] * (mean[j, k] - mean[j, 0])
        center = mean[j, 0] + shift / total
        tree.mean[above, j, place] = center
        for k in range(size):
            deviation += tree.weight[node, k] * (mean[j, k] - center) ** 2
    tree.weight[above, place] = total
    tree.deviation[above, place] = deviation
    tree.child[above, place] = node


@numba.njit(nogil=True, cache=True)
def _split(tree, node):  # pragma: no cover  (compiled)
    """Deal the features of a node to it and a new one, by the nearer of the farthest two."""
    size = tree.size[node]
    squares = np.zeros((size, size))
    _pair_squares(tree.mean[node], size, squares)
    farthest = np.argmax(squares)
    one, two = farthest // size, farthest % size
    other = tree.heads[1]
    tree.heads[1] += 1
    n_stay, n_go = 0, 0
    for k in range(size):
        if k == one or squares[one, k] < squares[two, k]:
            _move(tree, node, k, node, n_stay)
            n_stay += 1
        else:
            _move(tree, node, k, other, n_go)
            n_go += 1
    tree.size[node], tree.size[other] = n_stay, n_go
    return other


@numba.njit(nogil=True, cache=True)
def _pair_squares(mean, size, squares):  # pragma: no cover  (compiled)
    for j in range(mean.shape[0]):
        row = mean[j]
        for i in range(size):
            value, line = row[i], squares[i]
            for k in range(i + 1, size):
                line[k] += (row[k] - value) * (row[k] - value)
    for i in range(size):
        for k in range(i):
            squares[i, k] = squares[k, i]


@numba.njit(nogil=True, cache=True)
def _move(tree, node, place, to, to_place):  # pragma: no cover  (compiled)
    tree.weight[to, to_place] = tree.weight[node, place]
    tree.deviation[to, to_place] = tree.deviation[node, place]
    tree.child[to, to_place] = tree.child[node, place]
    for j in range(tree.mean.shape[1]):
        tree.mean[to, j, to_place] = tree.mean[node, j, place]


@numba.njit(nogil=True, cache=True)
def _union_radii(tree, radii2):  # pragma: no cover  (compiled)
    """Write the smallest mean square deviation of every subcluster and one other of its leaf."""
    n_done = 0
    for node in range(tree.heads[1]):
        size = tree.size[node]
        if size == 0 or tree.child[node, 0] >= 0:
            continue
        squares = np.zeros((size, size))
        _pair_squares(tree.mean[node], size, squares)
        for i in range(size):
            for k in range(size):
                if i != k:
                    a, b = tree.weight[node, i], tree.weight[node, k]
                    united = tree.deviation[node, i] + tree.deviation[node, k]
                    united = (united + a * (b / (a + b)) * squares[i, k]) / (a + b)
                    radii2[n_done + i] = min(radii2[n_done + i], united)
        n_done += size
