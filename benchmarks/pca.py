"""IncrementalPCA against scikit-learn, dask-ml, BLAS and its own goals: speed, bytes and memory.

Usage: python benchmarks/pca.py [memory] [accuracy] [rows] [columns] [graph] [imports] [--repeats N]

Without names all parts run. Runs of the two sides alternate; figures are medians, ratios are
medians of the ratios of neighbouring runs.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings

import dask
import dask.array as da
import numpy as np
from _cluster import moved_bytes, peak_rss, two_processes
from _table import Table, interleaved, run_tables
from distributed import Client, wait
from sklearn.decomposition import PCA
from sklearn.decomposition import IncrementalPCA as SklearnPCA

from dask_exa.decomposition import IncrementalPCA

K = 32


def memory(repeats: int) -> None:
    """In memory: tall, wide and very wide arrays, against scikit-learn and a bare SYRK."""
    rng = np.random.default_rng(0)
    table = Table("in memory, k=32", "case", "ours s", "peer s", "ratio", "goal")
    for dtype, goal in (("float64", 12), ("float32", 10)):
        X = rng.standard_normal((200_000, 256)).astype(dtype)
        result = interleaved(
            lambda X=X: _fit(IncrementalPCA, X), lambda X=X: _fit(SklearnPCA, X), repeats
        )
        table.row(f"200 000 × 256 {dtype}, scikit-learn", *result, f"≥ {goal}")
        wide = X.astype(np.float64)
        ours, bare, ratio = interleaved(
            lambda X=X: _fit(IncrementalPCA, X), lambda wide=wide: wide.T @ wide, repeats
        )
        table.row(
            f"200 000 × 256 {dtype}, float64 SYRK", ours, bare, 1 / ratio, "≤ 1.5 (time over SYRK)"
        )
    X = rng.standard_normal((4_000, 16_384))
    for label, options in (("batches of 512", {"batch_size": 512}), ("default batch", {})):
        peer = _timed_peer(options, X)
        result = interleaved(lambda X=X: _fit(IncrementalPCA, X), peer, repeats if options else 3)
        table.row(f"4 000 × 16 384 float64, scikit-learn, {label}", *result, "≥ 12")
    for dtype in ("float32", "float64"):
        X = rng.standard_normal((256, 1_000_000), dtype=np.float32).astype(dtype)
        result = interleaved(
            lambda X=X: _fit(IncrementalPCA, X), lambda X=X: _fit(SklearnPCA, X), min(repeats, 3)
        )
        table.row(f"256 × 1 000 000 {dtype}, scikit-learn", *result, "≥ 20")
    table.show()


def accuracy(repeats: int) -> None:
    """Distance to the full SVD on three spectra; scikit-learn with the same batches beside."""
    table = Table(
        "distance to the full SVD, k=32 (largest relative error of the singular values; sine of "
        "the largest angle between the subspaces)",
        "spectrum, shape, solver", "ours σ", "ours sin θ", "peer σ", "peer sin θ", "no farther",
    )  # fmt: skip
    for n, d in ((3_000, 512), (1_000, 5_000)):
        for name, decay in _spectra().items():
            X = _with_spectrum(decay, n, d)
            truth = PCA(K, svd_solver="full").fit(X)
            for dtype in ("float64", "float32"):
                x = X.astype(dtype)
                batch = 256
                ours = IncrementalPCA(K, batch_size=batch).fit(x)
                peer = SklearnPCA(K, batch_size=batch).fit(x)
                found = [*_distance(ours, truth), *_distance(peer, truth)]
                slack = 1e-6 if dtype == "float32" else 1e-9
                good = found[0] <= found[2] + slack and found[1] <= found[3] + slack
                table.row(f"{name}, {n} × {d} {dtype}", *(f"{x:.1e}" for x in found), good)
    table.show()


def rows(repeats: int) -> None:
    """Rows layout on two worker processes, against dask-ml."""
    table = Table("rows, LocalCluster of 2 processes × 1 thread, 200 000 × 256, k=32",
                  "case", "ours s", "peer s", "ratio", "bytes moved / data")  # fmt: skip
    with two_processes() as cluster, Client(cluster) as client:
        lazy = da.random.default_rng(0).standard_normal((200_000, 256), chunks=(25_000, 256))
        kept = lazy.persist()
        wait(kept)
        for name, X in (("made while fitted", lazy), ("persisted", kept)):
            _fit(IncrementalPCA, X)
            before = moved_bytes(client)
            _fit(IncrementalPCA, X)
            moved = (moved_bytes(client) - before) / X.nbytes
            try:
                from dask_ml.decomposition import IncrementalPCA as DaskMLPCA
            except ImportError:
                ours = np.median(
                    [_seconds(lambda X=X: _fit(IncrementalPCA, X)) for _ in range(repeats)]
                )
                table.row(
                    f"{name} (dask-ml is not installed)", ours, float("nan"), float("nan"), moved
                )
                continue
            # iterated_power=0, its default, has singular values wrong by 40-50 %
            peer = lambda X=X: DaskMLPCA(K, iterated_power=4).fit(X)  # noqa: E731
            result = interleaved(lambda X=X: _fit(IncrementalPCA, X), peer, 1, warm=False)
            table.row(f"{name}, dask-ml at iterated_power=4 (one run)", *result, f"{moved:.2%}")
    table.show()


def columns(repeats: int, n_steps: int = 64, n_features: int = 4_194_304, n_slabs: int = 8) -> None:
    """Columns layout: a stream of (8 × 4 194 304) float32 batches over 8 chunks."""
    table = Table(f"columns, {n_steps} steps of 8 × {n_features} float32 in {n_slabs} chunks, "
                  "2 processes × 1 thread, k=32", "quantity", "found", "goal")  # fmt: skip
    with dask.config.set({"distributed.scheduler.work-stealing": False}):
        cluster = two_processes()
    with cluster, Client(cluster) as client:
        pca = IncrementalPCA(K, layout="columns")
        client.run(_import)
        base = max(client.run(peak_rss).values())
        seconds = []
        for step in range(n_steps):
            X = _field(step, n_features, n_features // n_slabs)
            seconds.append(_seconds(lambda X=X: pca.partial_fit(X)))
        moved, peak = moved_bytes(client), max(client.run(peak_rss).values())
        pca.explained_variance_  # noqa: B018  computed when asked for
        data = n_steps * 8 * n_features * 4
        budget = 3 * (K + 8) * 4 * n_features / 2
        held = 3 * (pca._state.summary.n_rows + 8) * 4 * n_features / 2
        table.row("bytes moved between workers / data", f"{moved / data:.4%}", "≤ 0.1 %")
        table.row("peak RSS of a worker", f"{peak / 2**20:.0f} MiB", f"≤ {budget / 2**20:.0f} MiB")
        table.row("  3 × (the rows that a slab holds + batch)", "", f"{held / 2**20:.0f} MiB")
        table.row("  of which before the first step", f"{base / 2**20:.0f} MiB", "")
        table.row("median seconds a step, data made too", f"{np.median(seconds):.2f}", "")
    table.show()


def graph(repeats: int) -> None:
    """Tasks per chunk, and the time to build the graph of many chunks."""
    table = Table("graphs", "case", "found", "goal")
    counted = _Counter()
    with dask.config.set(scheduler=counted):
        X = da.random.default_rng(0).standard_normal((64_000, 16), chunks=(100, 16)) + 1.0
        IncrementalPCA(4).fit(X)
        table.row(
            "rows, tasks a chunk (640 chunks, source included)", counted.n_tasks / 640, "≤ 1.3"
        )
        pca = IncrementalPCA(4, layout="columns")
        steps = [
            da.from_array(batch, chunks=(8, 100))
            for batch in np.random.default_rng(0).random((8, 8, 6_400))
        ]
        counted.n_tasks = 0
        for step in steps:
            pca.partial_fit(step)
        table.row(
            "columns, tasks a chunk and step (64 chunks)",
            counted.n_tasks / 64 / len(steps),
            "≤ 2.5",
        )
    X = da.ones((100_000, 4), chunks=(1, 4))
    with dask.config.set(scheduler=_nothing):
        seconds = _seconds(lambda: _ignore_nothing(X))
    table.row("rows, 100 000 chunks: seconds to build", seconds, "< 10")
    table.show()


def imports(repeats: int) -> None:
    """What `import dask_exa` adds to importing dask.array and scikit-learn."""
    table = Table("imports", "case", "seconds", "goal")
    base = "import dask.array, sklearn; import time; t = time.perf_counter(); "
    for name in ("dask_exa", "dask_exa.decomposition"):
        code = base + f"import {name}; print(time.perf_counter() - t)"
        command = [sys.executable, "-c", code]
        runs = [float(subprocess.check_output(command, text=True)) for _ in range(repeats)]
        table.row(f"import {name}", np.median(runs), "≤ 0.3")
    table.show()


class _Counter:
    n_tasks = 0

    def __call__(self, dsk, keys, **options):
        # data that are there already are not tasks
        self.n_tasks += sum(callable(getattr(task, "func", None)) for task in dsk.values())
        return dask.get(dsk, keys, **options)


class _NothingError(Exception):
    pass


def _nothing(dsk, keys, **options):
    raise _NothingError


def _ignore_nothing(X):
    try:
        IncrementalPCA(2).fit(X)
    except _NothingError:
        return


def _fit(cls, X):
    return cls(K).fit(X).singular_values_


def _timed_peer(options, X):
    return lambda: SklearnPCA(K, **options).fit(X)


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _spectra():
    i = np.arange(1, 513)
    return {"decaying": 0.8**i, "slow": i**-0.5, "noise floor": 0.7**i + 0.01}


def _with_spectrum(decay, n, d):
    rng = np.random.default_rng(0)
    U = np.linalg.qr(rng.standard_normal((n, decay.size)))[0]
    V = np.linalg.qr(rng.standard_normal((d, decay.size)))[0]
    return (U * decay * 100) @ V.T + rng.standard_normal(d)


def _distance(model, truth):
    s = np.max(np.abs(model.singular_values_ - truth.singular_values_)) / truth.singular_values_[0]
    components = np.asarray(model.components_, dtype=np.float64)
    missing = truth.components_ - (truth.components_ @ components.T) @ components
    return s, np.linalg.norm(missing, 2)


def _field(step, n_features, chunk):
    def block(block_info=None):
        first, last = block_info[None]["array-location"][1]
        x = np.arange(first, last, dtype=np.float32) * np.float32(2 * np.pi / n_features)
        field = np.random.default_rng([step, first]).standard_normal(
            (8, last - first), dtype=np.float32
        )
        for mode in range(1, 8):
            amplitude = np.random.default_rng([step, mode]).standard_normal(
                (8, 1), dtype=np.float32
            )
            field += amplitude * np.float32(30 * 0.8**mode) * np.sin(mode * x)
        return field

    chunks = ((8,), (chunk,) * (n_features // chunk))
    return da.map_blocks(block, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0), np.float32))


def _import():
    import dask_exa.decomposition  # noqa: F401


TABLES = {part.__name__: part for part in (memory, accuracy, rows, columns, graph, imports)}

if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    run_tables(__doc__, TABLES)
