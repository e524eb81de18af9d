"""Quantile sketches: speed, rank errors and size beside KLL of Apache DataSketches and a sort."""

from __future__ import annotations

import functools
import importlib.util
import pickle
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.preprocessing as peers
from _table import Table

from dask_exa import preprocessing
from dask_exa._threads import thread_share
from dask_exa.summaries import sketch

LEVELS = np.linspace(0, 1, 201)
SHAPES = ((10_000, 64), (100_000, 64), (1_000_000, 8))
CAPACITY = 2048
KLL_SIZE = 690  # keeps as many values as ours, 2100
CHUNK = 10_000


def sketch_speed(repeats: int) -> None:
    """Sketch float32 and float64 samples in memory; CPU time of one thread."""
    table = Table(f"Sketch {CAPACITY} values a feature, CPU ns a value; ratios to ours",
                  "dtype", "shape", "ours", "KLL", "sort", "3 percentiles",
                  "KLL / ours", "sort / ours")  # fmt: skip
    for dtype in ("float32", "float64"):
        for shape in SHAPES:
            X = np.random.default_rng(0).standard_normal(shape).astype(dtype)
            ways = (
                lambda X: sketch.summarize(X, capacity=CAPACITY),
                _kll,
                lambda X: np.sort(X, axis=0),
                lambda X: np.percentile(X, [25, 50, 75], axis=0),
            )
            with thread_share(1):
                times = [[_cpu(way, X) / X.size for way in ways] for _ in range(repeats + 1)][1:]
            medians = [1e9 * statistics.median(side) for side in zip(*times, strict=True)]
            ratios = [statistics.median(row[i] / row[0] for row in times) for i in (1, 2)]
            table.row(dtype, f"{shape[0]} × {shape[1]}", *medians, *ratios)
    table.show()


def sketch_errors(repeats: int) -> None:
    """Merge the sketches of chunks in a tree and in a row; ranks of 201 quantiles."""
    table = Table(f"Rank errors after 200 000 rows of 16 features, chunks of {CHUNK} (%)",
                  "data", "how", "values", "KB a feature", "root mean square", "largest",
                  "promised at 99 %")  # fmt: skip
    for name, X in _data().items():
        chunks = np.split(X, len(X) // CHUNK)
        for how, merge in {"tree": _tree, "row": _in_a_row}.items():
            ours = merge([sketch.summarize(x, capacity=CAPACITY) for x in chunks])
            size = len(pickle.dumps(ours)) / 1e3 / X.shape[1]
            off = _errors(sketch.quantiles(ours, LEVELS), X)
            table.row(name, f"ours, {how}", ours.weights.size, size, *_shown(off),
                      100 * sketch.rank_error(ours))  # fmt: skip
        if importlib.util.find_spec("datasketches") is not None:
            table.row(name, "KLL, row", *_kll_errors(chunks, X))
    table.show()


def scaler_speed(repeats: int) -> None:
    """Fit and transform 100 000 rows of 64 float32 features; CPU time of one thread."""
    X = np.random.default_rng(0).normal(3, 2, (100_000, 64)).astype(np.float32)
    table = Table("Scalers, CPU ms (ours / scikit-learn's: ratio of theirs to ours)",
                  "scaler", "fit", "ratio", "transform", "ratio", "inverse", "ratio")  # fmt: skip
    names = ("StandardScaler", "MinMaxScaler", "RobustScaler", "QuantileTransformer")
    for name in names:
        cells: list[Any] = []
        models = [getattr(module, name)().fit(X) for module in (preprocessing, peers)]
        for method in ("fit", "transform", "inverse_transform"):
            with thread_share(1):
                pairs = [[_cpu(getattr(model, method), X) for model in models]
                         for _ in range(repeats + 1)][1:]  # fmt: skip
            medians = [1e3 * statistics.median(side) for side in zip(*pairs, strict=True)]
            ratio = statistics.median(theirs / own for own, theirs in pairs)
            cells += ["{:.1f} / {:.1f}".format(*medians), ratio]
        table.row(name, *cells)
    table.show()


def _cpu(function: Callable[[Any], Any], X: np.ndarray) -> float:
    begin = time.process_time()
    function(X)
    return time.process_time() - begin


def _kll_sketches(X: np.ndarray) -> list[Any]:
    import datasketches

    kind = "kll_floats_sketch" if X.dtype == np.float32 else "kll_doubles_sketch"
    found = []
    for x in X.T:
        found.append(getattr(datasketches, kind)(KLL_SIZE))
        found[-1].update(np.ascontiguousarray(x))
    return found


def _kll(X: np.ndarray) -> Any:
    return _kll_sketches(X) if importlib.util.find_spec("datasketches") is not None else None


def _kll_errors(chunks: list[np.ndarray], X: np.ndarray) -> tuple[Any, ...]:
    merged = _kll_sketches(chunks[0])
    for chunk in chunks[1:]:
        for one, other in zip(merged, _kll_sketches(chunk), strict=True):
            one.merge(other)
    found = np.stack([one.get_quantiles(LEVELS) for one in merged], axis=1)
    size = np.mean([len(one.serialize()) for one in merged]) / 1e3
    promised = 100 * merged[0].normalized_rank_error(False)
    return merged[0].num_retained, float(size), *_shown(_errors(found, X)), promised


def _tree(states: list[Any]) -> Any:
    while len(states) > 1:
        groups = [states[i : i + 8] for i in range(0, len(states), 8)]
        states = [sketch.merge(group, capacity=CAPACITY) for group in groups]
    return states[0]


def _in_a_row(states: list[Any]) -> Any:
    return functools.reduce(lambda a, b: sketch.merge([a, b], capacity=CAPACITY), states)


def _errors(quantiles: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return how far levels are outside of the ranks of their quantiles."""
    off = np.empty(quantiles.shape)
    for f, x in enumerate(np.sort(X, axis=0).T):
        below = np.searchsorted(x, quantiles[:, f], side="left") / x.size
        up_to = np.searchsorted(x, quantiles[:, f], side="right") / x.size
        off[:, f] = np.maximum(0, np.maximum(below - LEVELS, LEVELS - up_to))
    return off


def _shown(off: np.ndarray) -> tuple[float, float]:
    return 100 * float(np.sqrt(np.mean(off**2))), 100 * float(off.max())


def _data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (200_000, 16)
    normal = rng.standard_normal(shape)
    return {
        "normal": normal,
        "sorted": np.sort(normal, axis=0),
        "heavy-tailed": rng.standard_cauchy(shape) ** 3,
        "1000 values": rng.integers(0, 1000, shape).astype(float),
    }


TABLES: dict[str, Callable[[int], None]] = {
    "sketch_speed": sketch_speed,
    "sketch_errors": sketch_errors,
    "scaler_speed": scaler_speed,
}
