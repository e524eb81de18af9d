"""Birch: speed and quality beside scikit-learn's, what bounded memory and merging cost."""

from __future__ import annotations

import functools
import pickle
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _table import Table
from sklearn.cluster import Birch as Peer
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from dask_exa._threads import thread_share
from dask_exa.cluster import Birch

# samples, features, clusters, threshold
SETTINGS = ((100_000, 2, 100, 0.5), (100_000, 2, 100, 0.1), (100_000, 10, 100, 2.5),
            (50_000, 10, 100, 1.5), (20_000, 64, 50, 7.0))  # fmt: skip


def birch_speed(repeats: int) -> None:
    """Make subclusters of blobs; CPU time of one thread, interleaved."""
    table = Table("Birch, subclusters of one pass: CPU µs a row, medians",
                  "rows", "features", "threshold", "subclusters", "scikit-learn's", "ours",
                  "scikit-learn", "ratio", "inertia / scikit-learn's")  # fmt: skip
    for n_samples, n_features, n_clusters, threshold in SETTINGS:
        X, _ = _blobs(n_samples, n_features, n_clusters)
        params: dict[str, Any] = {
            "threshold": threshold, "n_clusters": None, "compute_labels": False
        }  # fmt: skip
        ours, peer = Birch(max_subclusters=10**6, **params), Peer(**params)
        with thread_share(1):
            ours.fit(X[:1000])
            pairs = [tuple(_cpu(functools.partial(model.fit, X)) for model in (ours, peer))
                     for _ in range(repeats)]  # fmt: skip
        medians = [1e6 * statistics.median(side) / len(X) for side in zip(*pairs, strict=True)]
        ratio = statistics.median(theirs / own for own, theirs in pairs)
        centers = peer.subcluster_centers_
        table.row(n_samples, n_features, threshold, len(ours.subcluster_centers_), len(centers),
                  *medians, ratio, ours.score(X) / -_inertia(X, centers))  # fmt: skip
    table.show()


def birch_quality(repeats: int) -> None:
    """Adjusted Rand index of the clusters of 50 000 rows in 10 features, 5 seeds."""
    ways = {
        "scikit-learn": lambda: Peer(threshold=2.0, n_clusters=50),
        "ours, unbounded": lambda: Birch(threshold=2.0, n_clusters=50, max_subclusters=10**6),
        "ours": lambda: Birch(threshold=2.0, n_clusters=50),
        "ours, 500 subclusters": lambda: Birch(threshold=0.1, n_clusters=50, max_subclusters=500),
    }
    table = Table("Birch, clusters of overlapping blobs: adjusted Rand index, mean of 5 seeds",
                  "way", "index", "subclusters", "state (KB)")  # fmt: skip
    for name, make in ways.items():
        found = [_judged(make().fit, seed) for seed in range(5)]
        table.row(name, *map(float, np.mean(found, axis=0)))
    for n_ranks in (8, 64):
        for order in ("shuffled", "sorted"):
            found = [_judged(_by_ranks(n_ranks, order), seed) for seed in range(5)]
            table.row(f"ours, {n_ranks} ranks, {order}", *map(float, np.mean(found, axis=0)))
    table.show()


def birch_stream(repeats: int) -> None:
    """Cost of a batch beside one pass over everything, with the tree that is there."""
    X, _ = _blobs(100_000, 10, 100)
    table = Table("Birch, a stream of 10 features with 5000 subclusters: CPU µs a row, medians",
                  "batch", "partial_fit", "state (KB)")  # fmt: skip
    model = Birch(threshold=0.1, n_clusters=None, max_subclusters=5000).fit(X)
    size = len(pickle.dumps(model._state)) / 1e3
    for batch in (1, 64, 1024, 16_384):
        rows = X[: min(len(X), 40 * batch)]

        def run(rows: np.ndarray = rows, batch: int = batch) -> None:
            stream = pickle.loads(pickle.dumps(model))
            for i in range(0, len(rows), batch):
                stream.partial_fit(rows[i : i + batch])

        run()
        seconds = statistics.median(_cpu(run) for _ in range(repeats))
        table.row(batch, 1e6 * seconds / len(rows), size)
    table.show()


def _blobs(n_samples: int, n_features: int, n_clusters: int, seed: int = 0) -> tuple[Any, Any]:
    return make_blobs(n_samples, n_features=n_features, centers=n_clusters, random_state=seed)


def _cpu(run: Callable[[], Any]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def _inertia(X: np.ndarray, centers: np.ndarray) -> float:
    as_ours = Birch(threshold=1e-12, n_clusters=None, max_subclusters=10**6, compute_labels=False)
    return -as_ours.fit(centers).score(X)


def _overlapping(seed: int) -> tuple[np.ndarray, np.ndarray]:
    centers = 3 * np.random.default_rng(seed).standard_normal((50, 10))
    return make_blobs(50_000, centers=centers, random_state=seed)


def _judged(fit: Callable[[np.ndarray, np.ndarray], Any], seed: int) -> tuple[float, float, float]:
    X, y = _overlapping(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fit(X, y)
        index = adjusted_rand_score(y, model.predict(X))
    state = len(pickle.dumps(model._state)) if hasattr(model, "_state") else np.nan
    return index, len(model.subcluster_centers_), state / 1e3


def _by_ranks(n_ranks: int, order: str) -> Callable[[np.ndarray, np.ndarray], Any]:
    def fit(X: np.ndarray, y: np.ndarray) -> Birch:
        if order == "sorted":
            X = X[np.argsort(y, kind="stable")]
        ranks = [Birch(threshold=2.0, n_clusters=50, compute_labels=False).fit(part)
                 for part in np.array_split(X, n_ranks)]  # fmt: skip
        return ranks[0].merge(*ranks[1:])

    return fit


TABLES: dict[str, Callable[[int], None]] = {
    "birch_speed": birch_speed,
    "birch_quality": birch_quality,
    "birch_stream": birch_stream,
}
