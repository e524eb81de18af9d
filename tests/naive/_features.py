"""A tree of subclusters that keep their samples, as BIRCH describes it, without a formula."""

import itertools

import numpy as np


class _Entry:
    """Some samples, and the node below that they are in."""

    def __init__(self, samples, child=None):
        self.samples, self.child = samples, child

    @property
    def mean(self):
        return np.mean(self.samples, axis=0)


def _radius(samples):
    return np.sqrt(np.mean(np.sum((samples - np.mean(samples, axis=0)) ** 2, axis=1)))


def _insert(node, x, threshold, branching_factor):
    """Insert a sample; return two nodes if this one had to split."""
    if node:
        nearest = min(node, key=lambda entry: np.sum((entry.mean - x) ** 2))
        if nearest.child is not None:
            halves = _insert(nearest.child, x, threshold, branching_factor)
            nearest.samples = [*nearest.samples, x]
            if halves is None:
                return None
            one, two = ([s for entry in half for s in entry.samples] for half in halves)
            nearest.samples, nearest.child = one, halves[0]
            node.append(_Entry(two, halves[1]))
        elif _radius([*nearest.samples, x]) <= threshold:
            nearest.samples = [*nearest.samples, x]
            return None
        else:
            node.append(_Entry([x]))
    else:
        node.append(_Entry([x]))
    return _split(node) if len(node) > branching_factor else None


def _split(node):
    def square(pair):
        return np.sum((pair[0].mean - pair[1].mean) ** 2)

    one, two = max(itertools.combinations(node, 2), key=square)
    first = [e for e in node if e is one or square((e, one)) < square((e, two))]
    return first, [e for e in node if e not in first]


def cluster_features(X, threshold, branching_factor):
    """Return the samples of every subcluster."""
    root = []
    for x in X:
        halves = _insert(root, x, threshold, branching_factor)
        if halves is not None:
            root = [_Entry([s for e in half for s in e.samples], half) for half in halves]
    nodes, found = [root], []
    while nodes:
        for entry in nodes.pop():
            if entry.child is None:
                found.append(np.array(entry.samples))
            else:
                nodes.append(entry.child)
    return found
