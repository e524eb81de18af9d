"""A sketch of extremes by comparing all pairs, and a generalised Pareto law by quadrature."""

import numpy as np

from tests.naive._isolation import drawn, unit


def extreme_keys(values, first=0, decay=0.0, weight=None):
    """Return the logarithm of the key of every value: random, or with decay its inverse weight."""
    keys = []
    for i, value in enumerate(values):
        bits = int(np.float64(value).view(np.uint64))
        exponential = -np.log(unit(drawn(drawn(0x7461696C, first + i), bits)))
        w = 1.0 if weight is None else weight[i]
        keys.append((0.0 if decay else np.log(exponential)) - np.log(w) - decay * (first + i))
    return np.array(keys)


def kept_extremes(values, keys, capacity):
    """Return which values fewer than `capacity` others beat in both value and key."""
    return [
        i
        for i in range(len(values))
        if sum(
            (values[j], -keys[j]) > (values[i], -keys[i]) and keys[j] <= keys[i]
            for j in range(len(values))
        )
        < capacity
    ]


def predictive_survival(excesses, z, n_nodes=500):
    """Return the probability that the next excess is beyond `z`, parameters integrated out."""
    y = np.asarray(excesses) / np.max(excesses)
    z, k = z / np.max(excesses), len(excesses)
    nodes = np.linspace(np.log(1e-5), np.log1p(50 / y.mean()), n_nodes)
    logs, survival = [], []
    for theta in np.expm1(nodes):
        total = np.log1p(theta * y).sum()
        # 1 / ξ, of which the likelihood is greatest at k / S
        a = np.linspace(0, (k + 12 * np.sqrt(k) + 20) / total, 2001)[1:]
        # (θ a)^k exp(-(1 + a) S), and dξ = da / a²
        like = k * np.log(np.abs(theta * a)) - (1 + a) * total - 2 * np.log(np.abs(a))
        scale = like.max()
        weights = np.exp(like - scale)
        beyond = max(1 + theta * z, 0.0) ** -a if 1 + theta * z > 0 else np.zeros(len(a))
        shape = total / k
        prior = -0.5 * (shape / 0.5) ** 2 if -1 <= shape <= 2 else -np.inf
        # dσ / σ = dθ / θ, and dθ = (1 + θ) d log(1 + θ)
        logs.append(
            scale + np.log(weights.sum() * abs(a[0])) + prior + np.log1p(theta) - np.log(abs(theta))
        )
        survival.append(weights @ beyond / weights.sum())
    weights = np.exp(np.array(logs) - np.max(logs))
    return weights @ np.array(survival) / weights.sum()


def moving_mean(scores, recent, depth, limit):
    """Return the mean before every score of one series, and the last scores."""
    known, means = list(recent), []
    for score in scores:
        before = [x for x in known[-depth:] if not np.isnan(x)]
        mean = np.mean(before) if before else np.nan
        full = len(known) >= depth
        means.append(mean if full else np.nan)
        far = np.isnan(score) or (full and score - mean > limit)
        known.append(mean if before and far else score)
    return np.array(means), np.array(known[-depth:])
