"""Nearest centres and MiniBatchKMeans: speed and inertia beside scikit-learn's and faiss's."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from _labelled import DATA
from _table import Table
from sklearn.cluster import KMeans
from sklearn.cluster import MiniBatchKMeans as Peer
from threadpoolctl import threadpool_limits

from dask_exa import kernels
from dask_exa._threads import thread_share
from dask_exa.cluster import MiniBatchKMeans

SHAPES = ((200_000, 256, 256), (1_000_000, 32, 64))
SPREADS = (0.5, 3.0)
"""Of the means of the mixtures; 0.5 overlaps, 3 does not."""
BLOCK = 512
SEEDS = 5


def mixture(
    n_samples: int, n_features: int, n_clusters: int, spread: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of Gaussians of unit width and unequal weight, and their numbers."""
    random = np.random.default_rng(seed)
    means = spread * random.standard_normal((n_clusters, n_features), dtype=np.float32)
    y = random.choice(n_clusters, n_samples, p=random.dirichlet(np.full(n_clusters, 3.0)))
    X = random.standard_normal((n_samples, n_features), dtype=np.float32)
    X += means[y]
    return X, y


def patches() -> np.ndarray:
    """Return the potential of a Tokam2D run in patches of 8 × 8, shape (51 200, 64)."""
    with h5py.File(DATA.parent / "tokam2d" / "sol" / "simulation_fields.h5") as file:
        fields = file["potential"][:]
    t, y, x = fields.shape
    cut = fields.reshape(t, y // 8, 8, x // 8, 8).transpose(0, 1, 3, 2, 4).reshape(-1, 64)
    order = np.random.default_rng(0).permutation(len(cut))
    return np.ascontiguousarray(cut[order], dtype=np.float32)


def assignment(repeats: int) -> None:
    """Find the nearest centre of every sample; CPU time of one thread."""
    table = Table("One pass, one thread, CPU s (goal: 1.3 times the bare products)",
                  "samples", "centres", "products", "nearest", "ratio", "with sums", "ratio",
                  "scikit-learn", "faiss")  # fmt: skip
    for n_samples, n_features, n_clusters in SHAPES:
        X, _ = mixture(n_samples, n_features, n_clusters, 1.0)
        seconds = _medians(_assigners(X, X[:n_clusters].copy()), repeats)
        products = min(seconds["blocks"], seconds["whole"])
        table.row(f"{n_samples} x {n_features}", n_clusters, products,
                  seconds["nearest"], seconds["nearest"] / products,
                  seconds["sums"], seconds["sums"] / products,
                  seconds["peer"], seconds["faiss"])  # fmt: skip
    table.show()


def minibatch_stream(repeats: int) -> None:
    """Learn a stream in batches, by partial_fit; CPU time of one thread, median of 5 seeds."""
    table = Table("partial_fit, one pass, one thread (goal: ratio 2 at inertia 1.01)",
                  "samples", "clusters", "spread", "batch", "ours (CPU s)", "scikit-learn",
                  "ratio", "inertia / scikit-learn's", "worst")  # fmt: skip
    for shape in SHAPES:
        for spread in SPREADS:
            for batch_size in (1024, 4096):
                rows = [
                    _compare(_stream, mixture(*shape, spread, seed)[0], shape[2], batch_size, seed)
                    for seed in range(SEEDS)
                ]
                table.row(f"{shape[0]} x {shape[1]}", shape[2], spread, batch_size, *_cells(rows))
    _add_patches(table, _stream)
    table.show()


def minibatch_fit(repeats: int) -> None:
    """Fit samples in memory until nothing improves; CPU time of one thread, median of 5 seeds."""
    table = Table("fit to convergence, one thread (goal: ratio 3 at inertia 1.00)",
                  "samples", "clusters", "spread", "batch", "ours (CPU s)", "scikit-learn",
                  "ratio", "inertia / scikit-learn's", "worst")  # fmt: skip
    for shape in SHAPES:
        for spread in SPREADS:
            rows = [
                _compare(_fit, mixture(*shape, spread, seed)[0], shape[2], 1024, seed)
                for seed in range(SEEDS)
            ]
            table.row(f"{shape[0]} x {shape[1]}", shape[2], spread, 1024, *_cells(rows))
    _add_patches(table, _fit)
    table.show()


def minibatch_merge(repeats: int) -> None:
    """Merge models that have seen other clusters, or other samples of the same ones."""
    table = Table("Inertia of merged models / one model of shuffled data, 5 seeds (goal: 1.02)",
                  "samples", "clusters", "spread", "models", "clusters dealt", "worst",
                  "samples dealt", "worst")  # fmt: skip
    for shape in ((80_000, 16, 8), (80_000, 64, 64)):
        for spread in SPREADS:
            for n_models in (2, 8):
                by_cluster, by_sample = zip(
                    *(_merged(shape, spread, n_models, seed) for seed in range(SEEDS)), strict=True
                )
                table.row(f"{shape[0]} x {shape[1]}", shape[2], spread, n_models,
                          statistics.median(by_cluster), max(by_cluster),
                          statistics.median(by_sample), max(by_sample))  # fmt: skip
    table.show()


def _assigners(X: np.ndarray, centers: np.ndarray) -> dict[str, Callable[[], Any] | None]:
    peer = KMeans(len(centers), init=centers, n_init=1, max_iter=1).fit(X[: 4 * len(centers)])
    peer.cluster_centers_ = centers
    return {
        "blocks": lambda: _products(X, centers),
        "whole": lambda: np.matmul(X, centers.T),
        "nearest": lambda: kernels.nearest_centers(X, centers),
        "sums": lambda: kernels.sum_nearest(X, centers),
        "peer": lambda: peer.predict(X),
        "faiss": _faiss(X, centers),
    }


def _merged(
    shape: tuple[int, int, int], spread: float, n_models: int, seed: int
) -> tuple[float, float]:
    X, y = mixture(*shape, spread, seed)
    whole = MiniBatchKMeans(shape[2], random_state=seed)
    _stream(whole, X)
    found = []
    for owner in (y % n_models, np.arange(len(X)) % n_models):
        models = [MiniBatchKMeans(shape[2], random_state=seed) for _ in range(n_models)]
        for rank, model in enumerate(models):
            _stream(model, X[owner == rank])
        found.append(MiniBatchKMeans(shape[2], random_state=seed).merge(*models).score(X))
    reference = whole.score(X)
    return found[0] / reference, found[1] / reference


def _add_patches(table: Table, learn: Callable[[Any, np.ndarray], None]) -> None:
    if not DATA.is_dir():
        return
    X = patches()
    for n_clusters in (16, 64):
        rows = [_compare(learn, X, n_clusters, 1024, seed) for seed in range(SEEDS)]
        table.row(f"Tokam2D {len(X)} x {X.shape[1]}", n_clusters, "", 1024, *_cells(rows))


def _compare(
    learn: Callable[[Any, np.ndarray], None],
    X: np.ndarray,
    n_clusters: int,
    batch_size: int,
    seed: int,
) -> tuple[float, float, float]:
    """Return CPU seconds of ours and the peer's, and the ratio of inertias."""
    params = {"n_clusters": n_clusters, "batch_size": batch_size, "random_state": seed}
    models = (MiniBatchKMeans(**params), Peer(**params))
    with threadpool_limits(1), thread_share(1):
        seconds = [_cpu_seconds(lambda model=model: learn(model, X)) for model in models]
        inertias = [
            float(kernels.nearest_centers(X, model.cluster_centers_)[1].sum()) for model in models
        ]
    return seconds[0], seconds[1], inertias[0] / inertias[1]


def _cells(rows: list[tuple[float, float, float]]) -> list[float]:
    ours, peer, inertia = (list(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(b / a for a, b in zip(ours, peer, strict=True))
    typical = [statistics.median(column) for column in (ours, peer)]
    return [*typical, ratio, statistics.median(inertia), max(inertia)]


def _stream(model: Any, X: np.ndarray) -> None:
    for start in range(0, len(X), model.batch_size):
        model.partial_fit(X[start : start + model.batch_size])


def _fit(model: Any, X: np.ndarray) -> None:
    model.fit(X)


def _products(X: np.ndarray, centers: np.ndarray) -> None:
    out = np.empty((BLOCK, len(centers)), dtype=X.dtype)
    for start in range(0, len(X) - BLOCK + 1, BLOCK):
        np.matmul(X[start : start + BLOCK], centers.T, out=out)


def _faiss(X: np.ndarray, centers: np.ndarray) -> Callable[[], Any] | None:
    if importlib.util.find_spec("faiss") is None:
        return None
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(centers.shape[1])
    index.add(centers)
    return lambda: index.search(X, 1)


def _medians(ways: dict[str, Callable[[], Any] | None], repeats: int) -> dict[str, float]:
    """Return median CPU seconds of one thread, of interleaved calls; NaN for what is missing."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with threadpool_limits(1), thread_share(1):
        for _ in range(repeats + 1):
            for name, way in ways.items():
                seconds[name].append(float("nan") if way is None else _cpu_seconds(way))
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def _cpu_seconds(function: Callable[[], Any]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


TABLES: dict[str, Callable[[int], None]] = {
    "assignment": assignment,
    "minibatch_stream": minibatch_stream,
    "minibatch_fit": minibatch_fit,
    "minibatch_merge": minibatch_merge,
}
