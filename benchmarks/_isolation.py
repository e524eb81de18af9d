"""IsolationForest on streams that are scored after every batch, with oblique cuts, under drift."""

from __future__ import annotations

import pickle
import time
from typing import Any

import dask.array as da
import numpy as np
from _cluster import moved_bytes, peak_rss, two_processes
from _labelled import SETS, load, streamed
from _table import Table
from distributed import Client
from sklearn.metrics import average_precision_score, roc_auc_score

from dask_exa import kernels
from dask_exa._threads import thread_share
from dask_exa.anomaly import IsolationForest
from dask_exa.summaries import reservoir
from dask_exa.summaries.reservoir import Sampling

SWITCHES = (
    ("http", "smtp"), ("smtp", "http"), ("annthyroid", "mammography"),
    ("mammography", "annthyroid"), ("thyroid", "annthyroid"), ("mammography", "thyroid"),
)  # fmt: skip


def streaming(repeats: int) -> None:
    """Score, then learn, batch by batch, on a stream of which much was seen already."""
    X = np.random.default_rng(0).standard_normal((1_000_000, 16), dtype=np.float32)
    settings: dict[str, dict[str, Any]] = {"exact": {}, "regrow=0.1": {"regrow": 0.1}}
    table = Table("Score and learn 16 float32 in turn, krows per CPU second (goal: 200 a core)",
                  "rows seen", "rows a batch", *settings)  # fmt: skip
    for n_seen in (20_000, 1_000_000, 20_000_000):
        start = IsolationForest(random_state=0)
        for _ in range(max(1, n_seen // len(X))):
            start.partial_fit(X[:n_seen])
        for size in (256, 1024, 4096):
            table.row(n_seen, size, *[_rate(start, X, size, params, repeats)
                                      for params in settings.values()])  # fmt: skip
    table.show()


def transfers(repeats: int) -> None:
    """Fit on two worker processes that make their chunks: bytes moved, peak memory, time."""
    table = Table("64 chunks made on two processes, 16 float32 (goal: 16 MB moved)",
                  "rows a chunk", "data (MB)", "moved (MB)", "state (MB)", "peak RSS (MB)",
                  "seconds")  # fmt: skip
    with two_processes() as cluster, Client(cluster) as client:
        for n_rows in (10_000, 100_000, 400_000):
            X = da.map_blocks(
                _made,
                n_rows,
                chunks=((n_rows,) * 64, (16,)),
                dtype=np.float32,
                meta=np.empty((0, 0), np.float32),
            )
            before, begin = moved_bytes(client), time.perf_counter()
            model = IsolationForest(random_state=0).fit(X)
            seconds = time.perf_counter() - begin
            moved = moved_bytes(client) - before
            peak = max(client.run(peak_rss).values())
            state = len(pickle.dumps(model))
            table.row(n_rows, *(n / 1e6 for n in (X.nbytes, moved, state, peak)), seconds)
    table.show()


def oblique(repeats: int) -> None:
    """Compare oblique with straight cuts: what they find and what they cost."""
    settings: dict[str, dict[str, Any]] = {
        "straight": {},
        "two features": {"extended": True, "extension_level": 1},
        "all features": {"extended": True},
        "all, with density": {"extended": True, "score_by": "path+density"},
    }
    table = Table("ROC-AUC / average precision, mean of 5 seeds", "set", *settings)
    for name in SETS:
        X, y = load(name)
        cells = []
        for params in settings.values():
            found = []
            for seed in range(5):
                scores = -IsolationForest(random_state=seed, **params).fit(X).score_samples(X)
                found.append((roc_auc_score(y, scores), average_precision_score(y, scores)))
            cells.append("{:.3f}/{:.3f}".format(*np.mean(found, axis=0)))
        table.row(name, *cells)
    table.show()
    _oblique_speed(repeats)


def forgetting(repeats: int) -> None:
    """Score, then learn, on streams that go on with the rows of another set after 10 000."""
    factors = {"none": 1.0, "1/2048": 1 - 1 / 2048, "1/1024": 1 - 1 / 1024, "1/512": 1 - 1 / 512}
    table = Table("A source that switches: ROC-AUC / average precision, 3 seeds",
                  "from", "to", *factors)  # fmt: skip
    means: dict[str, list[Any]] = {name: [] for name in factors}
    for pair in SWITCHES:
        parts = [load(name) for name in pair]
        orders = [np.random.default_rng(0).permutation(len(y))[:10_000] for _, y in parts]
        X, y = (
            np.concatenate([part[i][order] for part, order in zip(parts, orders, strict=True)])
            for i in (0, 1)
        )
        for name, factor in factors.items():
            found = []
            for seed in range(3):
                model = IsolationForest(random_state=seed, forgetting_factor=factor)
                scores = -streamed(model, X)
                found.append((roc_auc_score(y, scores), average_precision_score(y, scores)))
            means[name].append(np.mean(found, axis=0))
        table.row(*pair, *["{:.3f}/{:.3f}".format(*cells[-1]) for cells in means.values()])
    cells = ["{:.3f}/{:.3f}".format(*np.mean(cells, axis=0)) for cells in means.values()]
    table.row("mean", "", *cells)
    table.show()


def _made(n_rows: int, block_info: Any = None) -> np.ndarray:
    number = block_info[None]["chunk-location"][0]
    return np.random.default_rng(number).standard_normal((n_rows, 16), dtype=np.float32)


def _rate(
    start: IsolationForest, X: np.ndarray, size: int, params: dict[str, Any], repeats: int
) -> float:
    model = IsolationForest(random_state=0, **params).merge(start)
    times = []
    with thread_share(1):
        for first in range(0, 12 * repeats * size, size):
            batch = X[first % 900_000 :][:size]
            begin = time.process_time()
            model.score_samples(batch)
            model.partial_fit(batch)
            times.append(time.process_time() - begin)
    return size / float(np.median(times[1:])) / 1e3


def _oblique_speed(repeats: int) -> None:
    X = np.random.default_rng(0).standard_normal((100_000, 16), dtype=np.float32)
    kept = reservoir.summarize(X, None, Sampling(100, 256, 0))
    table = Table("100 trees of 256, 16 float32, one thread", "features a cut", "grow (ms)",
                  "score (krows/s)")  # fmt: skip
    for n_cut in (0, 1, 2, 4, 16):
        cut = (n_cut,) if n_cut else ()
        grow = kernels.grow_oblique_trees if n_cut else kernels.grow_trees
        times = []
        with thread_share(1):
            for _ in range(repeats + 1):
                begin = time.process_time()
                forest, _ = grow(kept.rows, kept.members, 0, 16, 8, *cut)
                middle = time.process_time()
                kernels.mean_leaves(X, forest)
                times.append((middle - begin, time.process_time() - middle))
        growth, scoring = np.median(times[1:], axis=0)
        table.row(n_cut or "1, straight", 1e3 * growth, len(X) / scoring / 1e3)
    table.show()
