"""Reservoir keys and isolation trees, number by number."""

import numpy as np

_STEP = 0x9E3779B97F4A7C15
_BITS = 0xFFFFFFFFFFFFFFFF


def drawn(base, number):
    """SplitMix64's bits for a number among those that belong to `base`."""
    bits = (base + _STEP * (number + 1)) & _BITS
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _BITS
    return bits ^ (bits >> 31)


def unit(bits):
    return ((bits >> 11) + 1) * 2.0**-53


def below(bits, count):
    return ((bits >> 32) * count) >> 32


def tree_seeds(seed, stream, n_trees):
    base = drawn(drawn(0, seed), stream)
    return [drawn(base, i) for i in range(n_trees)]


def exponentials(tree_seed, n_rows):
    """Return the exponential variable of every row of a stream in one tree."""
    segments = [(0, 256), (256, 512), (512, 1024), (1024, 2048)]
    segments += [(low, low + 2048) for low in range(2048, n_rows, 2048)]
    values = np.empty(segments[-1][1])
    for low, high in segments:
        base = drawn(tree_seed, low)
        order, value = list(range(low, high)), 0.0
        for j in range(high - low):
            value -= np.log(unit(drawn(base, 2 * j))) / (high - low - j)
            other = j + below(drawn(base, 2 * j + 1), high - low - j)
            order[j], order[other] = order[other], order[j]
            values[order[j]] = value
    return values[:n_rows]


def reservoir_keys(n_rows, sampling, weight=None):
    """Return the key of every row in every tree, shape (n_trees, n_rows)."""
    seeds = tree_seeds(sampling.seed, sampling.stream, sampling.n_trees)
    last = sampling.first + n_rows
    values = np.array([exponentials(seed, last)[sampling.first :] for seed in seeds])
    with np.errstate(divide="ignore"):
        log_weight = 0.0 if weight is None else np.log(weight)
    return np.log(values) - sampling.decay * np.arange(sampling.first, last) - log_weight


def mean_path(count):
    if count <= 2:
        return max(0.0, count - 1.0)
    return 2 * (np.log(count - 1) + np.euler_gamma) - 2 * (count - 1) / count


def isolation_tree(rows, seed, max_depth):
    """Return a tree as nested tuples (feature, threshold, missing_left, left, right), or a leaf."""
    some, largest = list(range(rows.shape[1])), np.finfo(np.float32).max

    def split(values, node):
        base, left, draws = drawn(seed, node), len(some), 0
        while left:
            j = below(drawn(base, draws), left)
            left -= 1
            feature = some[j]
            some[j], some[left] = some[left], feature
            x = values[:, feature]
            known = np.clip(x[~np.isnan(x)].astype(float), -largest, largest)
            if not len(known) or (known.min() == known.max() and len(known) == len(x)):
                draws += 1
                continue
            low, high = known.min(), known.max()
            exact = low + unit(drawn(base, draws + 1)) * (high - low)
            to_left = drawn(base, draws + 2) >> 63 != 0
            draws += 3
            cut = np.float32(exact)
            if cut > exact:
                cut = np.nextafter(cut, np.float32(-np.inf))
            cut = cut if low <= cut < high else np.float32(low)
            goes_left = (x <= cut) | (np.isnan(x) & to_left)
            if 0 < goes_left.sum() < len(x):
                if len(known) == len(x):
                    to_left = goes_left.sum() > len(x) / 2
                share = (cut - low) / (high - low) if low < high else 0.5
                return feature, cut, to_left, goes_left, np.clip(share, 1e-3, 1 - 1e-3)
        return None

    def grow(values, node, depth, dense):
        found = split(values, node) if depth < max_depth and len(values) > 1 else None
        if found is None:
            return [depth + mean_path(len(values)), dense]
        *cut, goes_left, share = found
        denser = np.log(goes_left.mean() / share), np.log((1 - goes_left.mean()) / (1 - share))
        left = grow(values[goes_left], 2 * node, depth + 1, dense + denser[0])
        return (*cut, left, grow(values[~goes_left], 2 * node + 1, depth + 1, dense + denser[1]))

    return grow(rows, 1, 0, 0.0)


def isolation_leaf(tree, x):
    while isinstance(tree, tuple):
        feature, threshold, missing_left, left, right = tree
        goes_left = missing_left if np.isnan(x[feature]) else x[feature] <= threshold
        tree = left if goes_left else right
    return tree


BOUND = np.float32(2.0**96)


def oblique_tree(rows, seed, max_depth, n_cut):
    """Return a tree as nested tuples (features, normal, threshold, left, right), or a leaf.

    A second value is what NaN counts as, for each feature.
    """
    known = np.where(np.abs(rows) <= BOUND, rows, np.nan).astype(float)
    missing = np.array([np.mean(x[~np.isnan(x)]) if any(~np.isnan(x)) else 0.0 for x in known.T])
    missing = missing.astype(np.float32)
    rows = np.clip(np.where(np.isnan(rows), missing, rows), -BOUND, BOUND)

    def split(values, node):
        base = drawn(seed, node)
        low, high, spread = values.min(0), values.max(0), values.astype(float).std(0)
        order = [feature for feature in range(rows.shape[1]) if low[feature] < high[feature]]
        if not order:
            return None
        cut = {}
        for k in range(min(n_cut, len(order))):
            other = k + below(drawn(base, 4 * k), len(order) - k)
            order[k], order[other] = order[other], order[k]
            radius, angle, place = (unit(drawn(base, 4 * k + i)) for i in (1, 2, 3))
            gaussian = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)
            low_k, high_k = float(low[order[k]]), float(high[order[k]])
            cut[order[k]] = gaussian / spread[order[k]], low_k + place * (high_k - low_k)
        if n_cut == rows.shape[1]:
            cut = dict(sorted(cut.items()))
        normal, point = np.array(list(cut.values())).T
        normal = (normal / np.abs(normal).max()).astype(np.float32)
        features, exact = list(cut), normal.astype(float) @ point
        corners = np.sort([normal.astype(float) * end[features] for end in (low, high)], axis=0)
        least, most = corners.sum(axis=1)
        return features, normal, np.float32(exact), (exact - least) / (most - least)

    def grow(values, node, depth, dense):
        found = split(values, node) if depth < max_depth and len(values) > 1 else None
        if found is None:
            return [depth + mean_path(len(values)), dense]
        *cut, share = found
        goes_left = np.array([oblique_sum(*cut[:2], x) <= cut[2] for x in values])
        parts, share = (goes_left, ~goes_left), np.clip(share, 1e-3, 1 - 1e-3)
        denser = [np.log(max(part.sum(), 0.5) / len(values)) for part in parts]
        denser[0] -= np.log(share)
        denser[1] -= np.log(1 - share)
        return (*cut, *(grow(values[parts[i]], 2 * node + i, depth + 1, dense + denser[i])
                        for i in (0, 1)))  # fmt: skip

    return grow(rows, 1, 0, 0.0), missing


def oblique_sum(features, normal, x):
    total = np.float32(0)
    for feature, factor in zip(features, normal, strict=True):
        total += factor * x[feature]
    return total


def oblique_leaf(tree, missing, x):
    x = np.clip(np.where(np.isnan(x), missing, x), -BOUND, BOUND)
    while isinstance(tree, tuple):
        *cut, threshold, left, right = tree
        tree = left if oblique_sum(*cut, x) <= threshold else right
    return tree
