"""Anomaly detectors, thresholds and subspaces against their peers and goals.

Run with: python benchmarks/anomaly.py [TABLE ...]; --help lists the tables.
Peers: scikit-learn; coniferest, River and DataSketches too where they are installed. Real data:
../shared/data.
"""

from __future__ import annotations

import importlib.util
import time

import joblib
import numpy as np
from _half_space import half_space_quality, half_space_speed, half_space_state
from _isolation import forgetting, oblique, streaming, transfers
from _labelled import SERIES, SETS, STREAMS, load, stream, streamed
from _online import online_quality, online_speed, online_switch, online_union
from _subspace import false_alarms, interference, sketches, turbulence, updates, wide_fields
from _table import Table, interleaved, run_tables
from sklearn.ensemble import IsolationForest as Peer
from sklearn.metrics import average_precision_score, roc_auc_score

from dask_exa import kernels
from dask_exa._threads import thread_share
from dask_exa.anomaly import IsolationForest
from dask_exa.summaries import reservoir
from dask_exa.summaries.reservoir import Sampling


def normal(n_samples: int, n_features: int = 16) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n_samples, n_features), dtype=np.float32)


def scoring(repeats: int) -> None:
    """Score 1 000 000 shuffled rows of 16 float32 by 100 trees of 256."""
    X = normal(1_000_000)
    table = Table("Scoring 1e6 x 16 float32, 100 trees of 256 (goal: ratio 6)",
                  "peer", "threads", "ours (s)", "peer (s)", "ratio")  # fmt: skip
    ours, peer = IsolationForest(random_state=0).fit(X), Peer(random_state=0).fit(X)
    ours.score_samples(X[:1000])
    for n_threads in (1, 2):
        peers = {"scikit-learn": lambda: peer.score_samples(X)}
        if importlib.util.find_spec("coniferest"):
            from coniferest.isoforest import IsolationForest as Coniferest

            other = Coniferest(random_seed=0, n_jobs=n_threads).fit(X[:20_000])
            peers["coniferest"] = lambda other=other: other.score_samples(X)
        for name, function in peers.items():
            with (
                joblib.parallel_config("threading", n_jobs=n_threads),
                thread_share(n_threads),
            ):
                table.row(
                    name, n_threads, *interleaved(lambda: ours.score_samples(X), function, repeats)
                )
    table.show()


def growth(repeats: int) -> None:
    """Grow 100 trees of 256 rows."""
    X = normal(100_000)
    kept = reservoir.summarize(X, None, Sampling(100, 256, 0))
    table = Table("Growing 100 trees of 256 (goal: 2 ms; the peer's fit draws its samples too)",
                  "threads", "ours (ms)", "scikit-learn (ms)", "ratio")  # fmt: skip
    for n_threads in (1, 2):
        with thread_share(n_threads):
            ours, peer, ratio = interleaved(
                lambda: kernels.grow_trees(kept.rows, kept.members, 0, 16, 8),
                lambda: Peer(random_state=0).fit(X),
                3 * repeats,
            )
        table.row(n_threads, 1e3 * ours, 1e3 * peer, ratio)
    table.show()


def skim(repeats: int) -> None:
    """Learn from a stream whose reservoir is warm, one thread."""
    X = normal(1_000_000)
    table = Table("Learning from a stream of 16 float32, one thread (goal: 2 GB/s where warm)",
                  "rows seen", "rows a batch", "a batch (ms)", "GB/s")  # fmt: skip
    for n_seen in (0, 1_000_000, 20_000_000):
        start = IsolationForest(random_state=0)
        for _ in range(n_seen // len(X)):
            start.partial_fit(X)
        for size in (10_000, 100_000, 1_000_000):
            times = []
            with thread_share(1):
                for _ in range(repeats):
                    model = IsolationForest(random_state=0).merge(start)
                    begin = time.perf_counter()
                    model.partial_fit(X[:size])
                    times.append(time.perf_counter() - begin)
            seconds = float(np.median(times))
            table.row(n_seen, size, 1e3 * seconds, X[:size].nbytes / seconds / 1e9)
    table.show()


def quality(repeats: int) -> None:
    """Detect outliers of real data: all rows at once, and dealt sorted over 8 models."""
    table = Table("ROC-AUC / average precision, mean of 5 seeds (goal: within .01 of the peer)",
                  "set", "scikit-learn", "ours", "8 models, by class", "8 models, by feature",
                  "8 forests united, by class")  # fmt: skip
    for name in SETS:
        X, y = load(name)
        deals = [np.array_split(np.argsort(key, kind="stable"), 8) for key in (y, X[:, 0])]
        cells: list[list[tuple[float, float]]] = [[] for _ in range(5)]
        for seed in range(5):
            scores = [model(random_state=seed).fit(X).score_samples(X)
                      for model in (Peer, IsolationForest)]  # fmt: skip
            for deal in deals:
                ranks = [
                    IsolationForest(random_state=seed, stream=i).fit(X[part])
                    for i, part in enumerate(deal)
                ]
                merged = IsolationForest(random_state=seed).merge(*ranks)
                scores.append(merged.score_samples(X))
                if deal is deals[0]:
                    united = np.mean([rank.score_samples(X) for rank in ranks], axis=0)
            for cell, score in zip(cells, [*scores, united], strict=True):
                cell.append((roc_auc_score(y, -score), average_precision_score(y, -score)))
        table.row(name, *["{:.3f}/{:.3f}".format(*np.mean(cell, axis=0)) for cell in cells])
    table.show()


def prequential(repeats: int) -> None:
    """Score every batch before learning from it, on the first 20 000 rows of every stream."""
    settings = {
        "uniform": {},
        "1/2048": {"forgetting_factor": 1 - 1 / 2048},
        "with density": {"score_by": "path+density"},
    }
    table = Table("Score, then learn, batches of 256: ROC-AUC / average precision",
                  "stream", *settings, "rows/s")  # fmt: skip
    means: dict[str, list[tuple[float, float]]] = {name: [] for name in settings}
    for name in (*STREAMS, *SERIES):
        X, y = stream(name)
        begin = time.perf_counter()
        for setting, params in settings.items():
            found = []
            for seed in range(3):
                scores = streamed(IsolationForest(random_state=seed, **params), X)
                found.append((roc_auc_score(y, -scores), average_precision_score(y, -scores)))
            means[setting].append(tuple(np.mean(found, axis=0)))
        speed = 3 * len(settings) * len(X) / (time.perf_counter() - begin)
        cells = ["{:.3f}/{:.3f}".format(*means[setting][-1]) for setting in settings]
        table.row(name, *cells, speed)
    table.row("mean", *["{:.3f}/{:.3f}".format(*np.mean(m, axis=0)) for m in means.values()], "")
    table.show()


FOREST = (scoring, growth, skim, quality, prequential)
ISOLATION = (streaming, transfers, oblique, forgetting)
ONLINE = (online_speed, online_quality, online_switch, online_union)
HALF_SPACE = (half_space_speed, half_space_state, half_space_quality)
SUBSPACE = (false_alarms, sketches, updates, interference, turbulence, wide_fields)
TABLES = {f.__name__: f for f in (*FOREST, *ISOLATION, *ONLINE, *HALF_SPACE, *SUBSPACE)}

# Tables that need no real data.
SYNTHETIC = {
    *("scoring", "growth", "skim", "streaming", "transfers", "half_space_speed"),
    *("false_alarms", "sketches", "updates", "wide_fields"),
}

if __name__ == "__main__":
    run_tables(__doc__, TABLES, TABLES.keys() - SYNTHETIC)
