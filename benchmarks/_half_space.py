"""HalfSpaceTrees: speed beside River's, size of the state, quality on streams."""

from __future__ import annotations

import importlib.util
import pickle
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _labelled import SERIES, STREAMS, stream, streamed
from _table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

from dask_exa import kernels
from dask_exa._threads import thread_share
from dask_exa.anomaly import HalfSpaceTrees

RIVER = {"shuttle": 0.975, "mammography": 0.820, "annthyroid": 0.555, "satellite": 0.702,
         "cover": 0.692, "http": 0.989, "skab": 0.548, "nab_machine": 0.830}  # fmt: skip
SETTINGS = ((10, 8, 250), (25, 10, 1000), (25, 12, 4096))
N_ROWS = 100_000


def half_space_speed(repeats: int) -> None:
    """Score, then learn, uniform rows of 8 float32; CPU time of one thread."""
    X = np.random.default_rng(0).random((N_ROWS, 8), dtype=np.float32)
    table = Table("Score and learn, CPU µs a row (goal: 250 times River's speed)",
                  "trees", "depth", "window", "how", "ours", "River", "ratio")  # fmt: skip
    for n_trees, depth, window in SETTINGS:
        peer = _river(X, n_trees, depth, window)
        ways = {"kernels, every row counted": _by_kernels(X, n_trees, depth)}
        for batch in (256, 4096, N_ROWS):
            ways[f"batches of {batch}"] = _by_batches(X, n_trees, depth, window, batch)
        for how, ours in ways.items():
            with thread_share(1):
                ours()
                pairs = [(ours(), peer()) for _ in range(repeats)]
            medians = [1e6 * statistics.median(side) for side in zip(*pairs, strict=True)]
            ratio = statistics.median(theirs / own for own, theirs in pairs)
            table.row(n_trees, depth, window, how, *medians, ratio)
    table.show()


def half_space_state(repeats: int) -> None:
    """Size of a fitted model, as it travels."""
    table = Table("State after 20 000 rows, 25 trees, two windows of 4096 (KB pickled)",
                  "stream", "depth 10", "depth 12", "depth 15")  # fmt: skip
    for name in (*STREAMS, *SERIES):
        X, _ = stream(name)
        models = [HalfSpaceTrees(max_depth=depth, random_state=0).fit(X) for depth in (10, 12, 15)]
        table.row(name, *[len(pickle.dumps(model)) / 1e3 for model in models])
    table.show()


def half_space_quality(repeats: int) -> None:
    """Score every batch before learning from it, on the first 20 000 rows of every stream."""
    ways = {"log": {}, "mass": {"score_by": "mass"}, "log, no windows": {"window_size": None}}
    table = Table("Score, then learn, batches of 256, 5 seeds: ROC-AUC / average precision",
                  "stream", *ways, "River's ROC-AUC")  # fmt: skip
    means: dict[str, list[Any]] = {way: [] for way in ways}
    for name in (*STREAMS, *SERIES):
        X, y = stream(name)
        for way, params in ways.items():
            found = []
            for seed in range(5):
                scores = streamed(HalfSpaceTrees(random_state=seed, **params), X)[256:]
                known = y[256:]  # the first batch has no scores
                found.append((roc_auc_score(known, -scores),
                              average_precision_score(known, -scores)))  # fmt: skip
            means[way].append(np.mean(found, axis=0))
        table.row(name, *["{:.3f}/{:.3f}".format(*means[way][-1]) for way in ways], RIVER[name])
    overall = ["{:.3f}/{:.3f}".format(*np.mean(means[way], axis=0)) for way in ways]
    table.row("mean", *overall, float(np.mean(list(RIVER.values()))))
    table.show()


def _by_kernels(X: np.ndarray, n_trees: int, depth: int) -> Callable[[], float]:
    forest = kernels.grow_half_spaces(np.zeros(8), np.ones(8), 0, n_trees, depth)

    def run() -> float:
        begin = time.process_time()
        kernels.mean_leaves(X, forest)
        kernels.leaf_counts(X, None, forest)
        return (time.process_time() - begin) / len(X)

    return run


def _by_batches(
    X: np.ndarray, n_trees: int, depth: int, window: int, batch: int
) -> Callable[[], float]:
    blank = HalfSpaceTrees(n_estimators=n_trees, max_depth=depth, window_size=window,
                           feature_ranges=(0.0, 1.0), random_state=0)  # fmt: skip
    start = blank.partial_fit(X[:window])

    def run() -> float:
        model = HalfSpaceTrees(**start.get_params()).merge(start)
        rows = X[: min(len(X), 40 * batch)]
        begin = time.process_time()
        for i in range(0, len(rows), batch):
            model.score_samples(rows[i : i + batch])
            model.partial_fit(rows[i : i + batch])
        return (time.process_time() - begin) / len(rows)

    return run


def _river(X: np.ndarray, n_trees: int, depth: int, window: int) -> Callable[[], float]:
    if importlib.util.find_spec("river") is None:
        return lambda: float("nan")
    from river.anomaly import HalfSpaceTrees as Peer

    rows = [dict(enumerate(map(float, x))) for x in X[: 2 * window + 1000]]
    model = Peer(n_trees=n_trees, height=depth, window_size=window, seed=0)
    for row in rows[: window + 1]:  # grows the trees, completes a window
        model.learn_one(row)

    def run() -> float:
        begin = time.process_time()
        for row in rows:
            model.score_one(row)
            model.learn_one(row)
        return (time.process_time() - begin) / len(rows)

    return run
