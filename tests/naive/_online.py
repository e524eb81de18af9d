"""Online isolation trees, node by node: learn a row, forget a row, look a row up."""

import numpy as np

from tests.naive._isolation import below, drawn, unit


def largest(count, bits):
    """Return the largest of so many numbers, uniform between 0 and 1."""
    return np.exp(np.log(unit(bits)) / count) if count > 0 else 0.0


def extent(low, high, count, draws):
    """Return the smallest and the largest of so many numbers, uniform between two."""
    smallest = 1 - largest(count, drawn(draws, 0))
    most = smallest + (1 - smallest) * largest(count - 1, drawn(draws, 1))
    return low + smallest * (high - low), low + most * (high - low)


class Node:
    """A box with so many rows; a cut and two parts where it is not a leaf."""

    def __init__(self, depth, n_features):
        self.depth, self.count, self.cut = depth, 0, None
        self.low = np.full(n_features, np.inf, dtype=np.float32)
        self.high = np.full(n_features, -np.inf, dtype=np.float32)

    def part(self, row):
        feature, threshold, missing_left = self.cut
        goes_left = missing_left if np.isnan(row[feature]) else row[feature] <= threshold
        return self.left if goes_left else self.right

    def learn(self, row, split):
        self.count += 1
        if self.cut:
            return self.part(row).learn(row, split)
        self.low, self.high = np.fmin(self.low, row), np.fmax(self.high, row)
        split(self)

    def forget(self, row, least):
        self.count -= 1
        if self.cut and self.count < least(self.depth):
            self.low, self.high = self.box()
            self.cut = None
        elif self.cut:
            self.part(row).forget(row, least)

    def box(self):
        if not self.cut:
            return self.low, self.high
        (low, high), (other_low, other_high) = self.left.box(), self.right.box()
        return np.minimum(low, other_low), np.maximum(high, other_high)

    def leaf(self, row):
        return self.part(row).leaf(row) if self.cut else self


class OnlineTree:
    """A tree over a sliding window."""

    def __init__(self, seed, max_leaf_samples, window_size, subsample=1.0, adaptive=True):
        self.seed, self.eta, self.omega = seed, max_leaf_samples, window_size
        self.subsample, self.adaptive = subsample, adaptive
        self.window, self.root, self.position = [], None, 0

    def least(self, depth):
        return max(2, self.eta * 2**depth if self.adaptive else self.eta)

    def learn(self, row):
        row = np.asarray(row, dtype=np.float32)
        if self.root is None:
            self.root = Node(0, len(row))
        if len(self.window) == self.omega:
            self.forget()
        draws = drawn(self.seed, self.position)
        if unit(draws) <= self.subsample:
            self.root.learn(row, lambda leaf: self.split(leaf, draws))
        self.window.append(row)
        self.position += 1

    def forget(self):
        number, row = self.position - len(self.window), self.window.pop(0)
        if unit(drawn(self.seed, number)) <= self.subsample:
            self.root.forget(row, self.least)

    def split(self, leaf, draws):
        varying = np.flatnonzero(leaf.low < leaf.high)
        is_deep = self.root.count <= self.eta * 2**leaf.depth
        if is_deep or leaf.count < self.least(leaf.depth) or not len(varying):
            return
        feature = varying[below(drawn(draws, 0), len(varying))]
        share, of_ends = unit(drawn(draws, 1)), drawn(draws, 2)
        n = [1 + sum(unit(drawn(draws, i + 4)) <= share for i in range(leaf.count - 2)), 0]
        n[1] = leaf.count - n[0]
        low, high = leaf.low.astype(float), leaf.high.astype(float)
        start, end = extent(low[feature], high[feature], leaf.count, of_ends)
        cut = start + share * (end - start)
        threshold = np.float32(cut)
        if threshold > cut:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        leaf.left, leaf.right = (Node(leaf.depth + 1, len(low)) for _ in range(2))
        for i, part in enumerate((leaf.left, leaf.right)):
            part.count = n[i]
            for j in np.flatnonzero(leaf.low <= leaf.high):
                own = drawn(drawn(drawn(draws, 3), int(j)), i)
                part.low[j], part.high[j] = extent(low[j], high[j], n[i], own)
        leaf.left.low[feature], leaf.right.high[feature] = start, end
        leaf.left.high[feature] = start + largest(n[0] - 1, drawn(of_ends, 2)) * (cut - start)
        leaf.right.low[feature] = end - largest(n[1] - 1, drawn(of_ends, 3)) * (end - cut)
        leaf.cut = feature, threshold, 2 * n[0] >= leaf.count

    def depth(self, row):
        leaf = self.root.leaf(np.asarray(row, dtype=np.float32))
        return leaf.depth + np.log2(max(1.0, leaf.count / self.eta))


def redrawn_split(low, high, count, rng):
    """Split a box as published: draw rows in it, cut between two of them, and look what is where.

    Returns the number of rows and the box (low, high) of either part, and the cut.
    """
    rows = rng.uniform(low, high, size=(count, len(low)))
    feature = rng.integers(len(low))
    cut = rng.uniform(rows[:, feature].min(), rows[:, feature].max())
    goes_left = rows[:, feature] <= cut
    parts = rows[goes_left], rows[~goes_left]
    return feature, cut, [(len(part), part.min(axis=0), part.max(axis=0)) for part in parts]
