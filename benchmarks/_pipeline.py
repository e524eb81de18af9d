"""StreamingPipeline: tasks of transform, reads and time of partial_fit, what a stream learns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from _table import Table
from dask._task_spec import Alias, DataNode
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans as SklearnMiniBatchKMeans
from sklearn.decomposition import IncrementalPCA as SklearnPCA
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler as SklearnScaler

from dask_exa.cluster import MiniBatchKMeans
from dask_exa.compose import StreamingPipeline, make_streaming_pipeline
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import StandardScaler

CHUNKS, ROWS, FEATURES = 16, 4000, 64
METHODS = ("transform", "predict")


def pipeline_tasks(repeats: int) -> None:
    """Count the tasks of the optimised graph that are not data."""
    table = Table("Tasks per chunk, the one that makes it included (goal: 1)", "samples", *METHODS)
    made = _lazy()
    fields = made.map_blocks(_as_field, chunks=(*made.chunks[:1], 8, 8), new_axis=2, dtype=float)
    rows = [
        ("rows × features", made),
        ("labelled rows", xr.DataArray(made, dims=("time", "x"))),
        ("labelled fields", xr.DataArray(fields, dims=("time", "y", "x"))),
    ]
    for name, samples in rows:
        pipeline = _pipeline().fit(samples[:ROWS].compute())
        found = [getattr(pipeline, method)(samples) for method in METHODS]
        table.row(name, *[_n_tasks(lazy) / CHUNKS for lazy in found])
    table.show()


def pipeline_reads(repeats: int) -> None:
    """Count how often chunks are made."""
    table = Table("Reads per chunk (goal: 1 in partial_fit)", "how", "reads")
    ways = {
        "partial_fit": lambda X: _pipeline().partial_fit(X),
        "partial_fit, 4 groups": lambda X: _pipeline(batch_size=4 * ROWS).partial_fit(X),
        "loop over the steps": lambda X: _loop(_steps(), [X]),
        "fit": lambda X: _pipeline().fit(X),
    }
    for name, learn in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            learn(_lazy(Path(folder)))
            counts = [len(path.read_text()) for path in Path(folder).iterdir()]
        table.row(name, sum(counts) / CHUNKS)
    table.show()


def pipeline_time(repeats: int) -> None:
    """Time partial_fit on lazy samples and in memory, in turn with a loop over the steps."""
    table = Table(f"partial_fit of {CHUNKS * ROWS} × {FEATURES}, CPU seconds", "samples", "ours",
                  "loop over the steps", "ratio", "scikit-learn's steps", "ratio")  # fmt: skip
    X = _lazy().compute()
    ways: list[Callable[[], Any]]
    for name, samples in {"cheap chunks": _lazy(), "costly chunks": _lazy(sort=2)}.items():
        ways = [
            partial(_stream, _pipeline(), [samples]),
            partial(_loop, _steps(), [samples]),
        ]
        table.row(name, *_compared(ways, repeats), "-", "-")
    batches = np.array_split(X[: len(X) // 8], CHUNKS)
    ways = [
        partial(_stream, _pipeline(), batches),
        partial(_loop, _steps(), batches),
        partial(_loop, _sklearn_steps(), batches),
    ]
    table.row("stream in memory, an eighth", *_compared(ways, repeats))
    table.show()


def pipeline_streams(repeats: int) -> None:
    """Learn from a stream whose clusters come one after the other while a feature grows."""
    table = Table("Stream of 100 batches against a fit on all of it, 5 seeds", "how",
                  "error of variances", "least overlap of components", "Rand index")  # fmt: skip
    ways: dict[str, Callable[[Any], Any]] = {
        "fit": lambda X: _pipeline(3, 4).fit(X).steps,
        "stream": lambda X: _stream(_pipeline(3, 4), np.array_split(X, 100)).steps,
        "merge of 8 ranks": lambda X: _merged(np.array_split(X, 8)).steps,
        "loop over the steps": lambda X: _loop(_steps(3, 4), np.array_split(X, 100)),
        "loop, scikit-learn": lambda X: _loop(_sklearn_steps(3, 4), np.array_split(X, 100)),
    }
    for name, learn in ways.items():
        found = [_quality(learn, seed) for seed in range(5)]
        table.row(name, *[float(value) for value in np.median(found, axis=0)])
    table.show()


def _quality(learn: Callable[[Any], Any], seed: int) -> tuple[float, float, float]:
    random = np.random.default_rng(seed)
    centers = 8 * random.standard_normal((4, 6))
    labels = np.repeat(np.arange(4), 2500)
    X = (centers[labels] + random.standard_normal((10_000, 6))) * np.arange(1, 7)
    X[:, 0] *= np.linspace(1, 5, 10_000)
    scaler = SklearnScaler().fit(X)
    exact = IncrementalPCA(3).fit(scaler.transform(X))
    (_, first), (_, second), (_, last) = learn(X)
    variances = second.explained_variance_ / exact.explained_variance_ - 1
    overlap = np.abs(np.sum(second.components_ * exact.components_, axis=1))
    found = last.predict(second.transform(first.transform(X)))
    return np.abs(variances).max(), overlap.min(), adjusted_rand_score(labels, found)


def _steps(n_components: int = 16, n_clusters: int = 8) -> list[tuple[str, Any]]:
    cluster = MiniBatchKMeans(n_clusters, random_state=0)
    return make_streaming_pipeline(StandardScaler(), IncrementalPCA(n_components), cluster).steps


def _sklearn_steps(n_components: int = 16, n_clusters: int = 8) -> list[tuple[str, Any]]:
    cluster = SklearnMiniBatchKMeans(n_clusters, random_state=0)
    return [("scale", SklearnScaler()), ("reduce", SklearnPCA(n_components)), ("cluster", cluster)]


def _pipeline(n_components: int = 16, n_clusters: int = 8, **params: Any) -> StreamingPipeline:
    return StreamingPipeline(_steps(n_components, n_clusters), **params)


def _loop(steps: Any, batches: Any) -> Any:
    """Do what users do without a pipeline, from unfitted copies of the steps."""
    steps = [(name, clone(step)) for name, step in steps]
    for X in batches:
        for _, step in steps[:-1]:
            X = step.partial_fit(X).transform(X)
        steps[-1][1].partial_fit(X)
    return steps


def _stream(pipeline: StreamingPipeline, batches: Any) -> StreamingPipeline:
    pipeline = clone(pipeline)
    for X in batches:
        pipeline.partial_fit(X)
    return pipeline


def _merged(parts: Any) -> StreamingPipeline:
    blank = _pipeline(3, 4)
    return blank.merge(*(_stream(blank, np.array_split(part, 12)) for part in parts))


def _lazy(folder: Path | None = None, sort: int = 0) -> Any:
    chunks = ((ROWS,) * CHUNKS, (FEATURES,))
    make = partial(_make, folder, sort)
    return da.map_blocks(make, chunks=chunks, dtype=float, meta=np.empty((0, 0)))


def _make(folder: Path | None, sort: int, block_info: Any = None) -> np.ndarray:
    """Make a chunk; sort it a few times to make it as costly as one that is read."""
    (start, stop), _ = block_info[None]["array-location"]
    if folder is not None:
        with (folder / str(start)).open("a") as log:
            log.write("x")
    X = np.random.default_rng(start).standard_normal((stop - start, FEATURES)) + start / 1000
    for _ in range(sort):
        np.sort(X, axis=0)
    return X


def _as_field(chunk: np.ndarray) -> np.ndarray:
    return chunk.reshape((-1, 8, 8))


def _n_tasks(lazy: Any) -> int:
    graph = dict(dask.optimize(getattr(lazy, "data", lazy))[0].__dask_graph__())
    return sum(not isinstance(task, DataNode | Alias) for task in graph.values())


def _compared(ways: Any, repeats: int) -> list[float]:
    """Return the median CPU time of the first, and for each other its median and the ratio."""
    ways[0]()
    rounds = [[_seconds(way) for way in ways] for _ in range(max(repeats, 5))]
    first, *others = zip(*rounds, strict=True)
    cells = [statistics.median(first)]
    for other in others:
        ratios = [theirs / own for own, theirs in zip(first, other, strict=True)]
        cells += [statistics.median(other), statistics.median(ratios)]
    return cells


def _seconds(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


TABLES: dict[str, Callable[[int], None]] = {
    "pipeline_tasks": pipeline_tasks,
    "pipeline_reads": pipeline_reads,
    "pipeline_time": pipeline_time,
    "pipeline_streams": pipeline_streams,
}
