"""KMeans on a cluster of two workers beside dask-ml's; scikit-learn and faiss in memory."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from _cluster import moved_bytes, two_processes
from _table import Table
from distributed import Client, wait
from sklearn.cluster import KMeans as Peer

from dask_exa import kernels
from dask_exa.cluster import KMeans

SIZES = ((1_000_000, 32, 64), (200_000, 256, 256))
REDUCED = ((100_000, 32, 64), (20_000, 256, 256))
N_CHUNKS = 8
DEALS = ("iid", "sorted by cluster")

Result = tuple[float, np.ndarray, int]
"""Seconds, centres and rounds of a fit."""


class Run(NamedTuple):
    """Figures of a fit."""

    seconds: float
    cpu_seconds: float
    inertia: float
    rounds: int


def overlapping(n_samples: int, n_features: int, n_clusters: int, *, order: bool = False) -> Any:
    """Return float32 samples about centres whose clusters touch; `order` sorts by cluster."""
    rng = np.random.default_rng(0)
    spread = 5 / np.sqrt(n_features)
    centers = spread * rng.standard_normal((n_clusters, n_features), dtype=np.float32)
    labels = rng.integers(n_clusters, size=n_samples)
    labels = np.sort(labels) if order else labels
    return centers[labels] + rng.standard_normal((n_samples, n_features), dtype=np.float32)


def kmeans_speed(repeats: int) -> None:
    """Fit a persisted Dask array on two workers, and the same samples in memory."""
    _speed(repeats, SIZES)


def kmeans_speed_reduced(repeats: int) -> None:
    """Fit a tenth of the samples: dask-ml takes minutes for all of them."""
    _speed(repeats, REDUCED)


def kmeans_starts(repeats: int) -> None:
    """Compare starts, and where Lloyd's algorithm leads them; inertia relative to the best."""
    table = Table("Starts, (100 000, 32), k=64, means of 5 seeds; inertia relative to the least",
                  "start", "CPU s", "at the start", "after the rounds", "rounds")  # fmt: skip
    X = overlapping(100_000, 32, 64)
    found: dict[str, np.ndarray] = {}
    for init in ("k-means||", "k-means++", "random"):
        figures = []
        for seed in range(5):
            begin = time.process_time()
            params: dict[str, Any] = {"init": init, "n_init": 1, "random_state": seed}
            start = KMeans(64, max_iter=1, **params).fit(X)
            seconds = time.process_time() - begin
            fitted = KMeans(64, **params).fit(X)
            figures.append((seconds, start.inertia_, fitted.inertia_, fitted.n_iter_))
        found[init] = np.mean(figures, axis=0)
    least = min(figures[2] for figures in found.values())
    for init, (seconds, start, end, rounds) in found.items():
        table.row(init, seconds, f"{start / least:.4f}", f"{end / least:.4f}", rounds)
    table.show()


def kmeans_merge(repeats: int) -> None:
    """Merge models of 8 ranks, then let one more fit close the gap."""
    table = Table("8 ranks, (100 000, 32), k=64: inertia relative to one fit (mean of 5 seeds)",
                  "samples", "merged", "bound by merging", "fit from there", "rounds")  # fmt: skip
    for deal in DEALS:
        X = overlapping(100_000, 32, 64, order=deal != "iid")
        figures = []
        for seed in range(5):
            whole = KMeans(64, random_state=seed).fit(X).inertia_
            ranks = [KMeans(64, random_state=seed).fit(part) for part in np.array_split(X, 8)]
            merged = KMeans(64, random_state=seed).merge(*ranks)
            again = KMeans(64, init=merged.cluster_centers_).fit(X)
            once = _inertia(X, merged.cluster_centers_)
            figures.append((once / whole, merged.inertia_ / whole, again.inertia_ / whole,
                            again.n_iter_))  # fmt: skip
        *ratios, rounds = np.mean(figures, axis=0)
        table.row(deal, *[f"{ratio:.4f}" for ratio in ratios], rounds)
    table.show()


def _speed(repeats: int, sizes: tuple[tuple[int, int, int], ...]) -> None:
    table = Table("KMeans, float32, tol 1e-4, medians (goal: 10 times dask-ml's speed, its inertia "
                  "or less)", "samples", "k", "how", "seconds", "time / ours", "CPU s",
                  "CPU / ours", "inertia / ours", "rounds", "MB moved")  # fmt: skip
    with two_processes() as cluster, Client(cluster) as client:
        for n_samples, n_features, n_clusters in sizes:
            X = overlapping(n_samples, n_features, n_clusters)
            lazy = da.from_array(X, chunks=(n_samples // N_CHUNKS, -1)).persist()
            wait(lazy)
            ways = _ways(X, lazy, n_clusters)
            ways["ours, 2 workers"](0)  # loads the kernels
            runs: dict[str, list[Run]] = {name: [] for name in ways}
            moved: dict[str, float] = {}
            for seed in range(repeats):
                for name, way in ways.items():
                    before, cpu = moved_bytes(client), _cpu_seconds(client)
                    seconds, centers, rounds = way(seed)
                    cpu = _cpu_seconds(client) - cpu
                    runs[name].append(Run(seconds, cpu, _inertia(X, centers), rounds))
                    moved[name] = (moved_bytes(client) - before) / 1e6
            _rows(table, f"{n_samples} x {n_features}", n_clusters, runs, moved)
    table.show()
    if importlib.util.find_spec("faiss") is None:
        print("no faiss: it is not installed")
    if importlib.util.find_spec("dask_ml") is None:
        print("no dask-ml: it is not installed")


def _rows(
    table: Table, shape: str, n_clusters: int, runs: dict[str, list[Run]], moved: dict[str, float]
) -> None:
    ours = next(iter(runs.values()))
    for name, found in runs.items():
        ratios = [np.divide(run, own) for run, own in zip(found, ours, strict=True)]
        seconds, cpu, _, rounds = np.median(found, axis=0)
        slower, costlier, inertia, _ = np.median(ratios, axis=0)
        table.row(shape, n_clusters, name, seconds, slower, cpu, costlier, f"{inertia:.4f}",
                  rounds, moved[name])  # fmt: skip


def _cpu_seconds(client: Client) -> float:
    """Return the CPU time of this process, which schedules, and of the workers."""
    return time.process_time() + sum(client.run(time.process_time).values())


def _ways(X: np.ndarray, lazy: Any, k: int) -> dict[str, Callable[[int], Result]]:
    ways = {
        "ours, 2 workers": lambda seed: _fit(KMeans(k, random_state=seed), lazy),
        "ours, 5 rounds at most": lambda seed: _fit(KMeans(k, max_iter=5, random_state=seed), lazy),
        "ours, in memory": lambda seed: _fit(KMeans(k, random_state=seed), X),
        "scikit-learn, in memory": lambda seed: _fit(Peer(k, random_state=seed), X),
    }
    if importlib.util.find_spec("faiss"):
        ways["faiss, 25 rounds, in memory"] = lambda seed: _faiss(X, k, seed)
    if importlib.util.find_spec("dask_ml"):
        from dask_ml.cluster import KMeans as DaskPeer

        ways["dask-ml, 2 workers"] = lambda seed: _fit(DaskPeer(k, random_state=seed), lazy)
    return ways


def _fit(model: Any, X: Any) -> Result:
    begin = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - begin, np.asarray(model.cluster_centers_), model.n_iter_


def _faiss(X: np.ndarray, k: int, seed: int) -> Result:
    import faiss

    # by default it clusters 256 samples per centre
    model = faiss.Kmeans(X.shape[1], k, niter=25, seed=seed + 1, max_points_per_centroid=len(X))
    begin = time.perf_counter()
    model.train(X)
    return time.perf_counter() - begin, model.centroids, 25


def _inertia(X: np.ndarray, centers: np.ndarray) -> float:
    return float(kernels.nearest_centers(X, np.asarray(centers, dtype=X.dtype))[1].sum())


TABLES: dict[str, Callable[[int], None]] = {
    table.__name__: table
    for table in (kmeans_speed, kmeans_speed_reduced, kmeans_starts, kmeans_merge)
}
