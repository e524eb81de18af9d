"""StreamingThreshold and SubspaceDetector: the rates that they keep, and real runs."""

from __future__ import annotations

import importlib.util
import time

import h5py
import numpy as np
from _labelled import DATA
from _table import Table
from scipy import stats
from sklearn.metrics import average_precision_score

from dask_exa._threads import thread_share
from dask_exa.anomaly import StreamingThreshold, SubspaceDetector
from dask_exa.summaries import extremes

LAWS = {
    "normal": stats.norm(),
    "exponential": stats.expon(),
    "Pareto 3": stats.pareto(3),
    "uniform": stats.uniform(),
    "beta 2, 5": stats.beta(2, 5),
    "Student 4": stats.t(4),
}
CLASSES = ("narrow band", "bursts", "satellite")


def false_alarms(repeats: int) -> None:
    """Give the exact rate of alarms of fresh scores by the rate that was asked for."""
    table = Table("Alarms of fresh scores, by those asked for (goal: 1; fewer after few scores)",
                  "scores", "asked", *LAWS)  # fmt: skip
    for n, seeds in ((50, 200), (200, 200), (1000, 100), (20_000, 40), (300_000, 2 * repeats)):
        for rate in (1e-2, 1e-3, 1e-4):
            cells = []
            for law in LAWS.values():
                model = StreamingThreshold(false_alarm_rate=rate, side="high", n_calibration=50)
                found = [
                    law.sf(model.fit(law.rvs(n, random_state=seed)).threshold_) / rate
                    for seed in range(seeds)
                ]
                cells.append(f"{np.mean(found):.2f}±{np.std(found) / seeds**0.5:.2f}")
            table.row(n, rate, *cells)
    table.show()


def sketches(repeats: int) -> None:
    """Compare the error of the share above a level with that of KLL of as many bytes."""
    if not importlib.util.find_spec("datasketches"):
        print("\nsketches: needs datasketches")
        return
    import datasketches

    levels, n = (0.5, 0.9, 0.99, 0.999, 0.9999), 1_000_000
    table = Table("Error of the share above a level, relative to it (rms); 1e6 scores",
                  "sketch", "bytes", *map(str, levels))  # fmt: skip
    for capacity, k in ((256, 2693), (1024, 9464)):
        errors: dict[str, list[list[float]]] = {"ours": [], "KLL": []}
        for seed in range(repeats):
            X = np.random.default_rng(seed).standard_normal(n)
            ordered, kept = np.sort(X), extremes.summarize(X, capacity=capacity)
            seen, kll = extremes.survival(kept), datasketches.kll_doubles_sketch(k)
            kll.update(X)
            for name in errors:
                found = []
                for level in levels:
                    value = kll.get_quantile(level)
                    if name == "ours":
                        value = seen.values[np.searchsorted(seen.above, n * (1 - level))]
                    found.append((n - np.searchsorted(ordered, value)) / (n * (1 - level)) - 1)
                errors[name].append(found)
        sizes = (sum(part.nbytes for part in kept if hasattr(part, "nbytes")), len(kll.serialize()))
        for (name, found), size in zip(errors.items(), sizes, strict=True):
            table.row(name, size, *map(float, np.sqrt(np.mean(np.square(found), axis=0))))
    table.show()


def updates(repeats: int) -> None:
    """Time the test-then-learn of scores, one thread."""
    table = Table("Testing and learning scores that come in batches, one thread",
                  "forgetting", "a batch", "ms a batch", "alarms / asked")  # fmt: skip
    scores = np.random.default_rng(0).standard_normal(40_000)
    for factor in (1.0, 1 - 1 / 2048):
        for size in (16, 256):
            model = StreamingThreshold(side="high", forgetting_factor=factor)
            with thread_share(1):
                begin = time.process_time()
                p = model.update(scores[: 100 * size], batch_size=size)
                seconds = time.process_time() - begin
            table.row(factor, size, 10 * seconds, float((p <= 1e-3).mean() / 1e-3))
    table.show()


def interference(repeats: int) -> None:
    """Find labelled interference in visibilities: one sample a (time, channel)."""
    with np.load(DATA.parent / "ska" / "low30_rfi.npz") as file:
        vis, truth = file["vis"], file["truth_rfi_class"].ravel()
    X = np.abs(vis).reshape(len(truth), -1).astype(np.float64)
    table = Table(f"Average precision, {X.shape[1]} amplitudes of {len(X)} samples, "
                  f"{(truth > 0).mean():.0%} with interference",
                  "components", "statistic", "all", *CLASSES)  # fmt: skip
    for n_components in (2, 10, 40):
        for score_by in ("spe", "t2", "combined"):
            scores = -SubspaceDetector(n_components, score_by=score_by).fit(X).score_samples(X)
            cells = [average_precision_score(truth > 0, scores)]
            for label in (1, 2, 3):
                own = (truth == label) | (truth == 0)
                cells.append(average_precision_score(truth[own] > 0, scores[own]))
            table.row(n_components, score_by, *map(float, cells))
    table.show()


def turbulence(repeats: int) -> None:
    """Watch the frames of real runs: score, test, learn."""
    table = Table("Frames of Tokam2D by their distance from the subspace of those before, 1e-3",
                  "run", "field", "frames tested", "alarms at", "smallest p", "ms a frame",
                  "beyond the Gaussian limit")  # fmt: skip
    for run, first in (("sol", 20), ("sol_crash", 8)):
        for field in ("density", "potential"):
            with h5py.File(DATA.parent / "tokam2d" / run / "simulation_fields.h5") as file:
                frames = file[field][:].reshape(len(file[field]), -1)
            detector = SubspaceDetector(8, score_by="spe").fit(frames[:first])
            threshold = StreamingThreshold(n_calibration=20)
            scores, p = [], []
            begin = time.process_time()
            for frame in frames[first:]:
                scores.append(float(detector.score_samples(frame[None])[0]))
                p.append(float(threshold.update(scores[-1:])[0]))
                if np.isfinite(scores[-1]):
                    detector.partial_fit(frame[None])
            seconds = (time.process_time() - begin) / len(p)
            alarms = [first + i for i, value in enumerate(p) if value <= 1e-3]
            finite = [value for value, score in zip(p, scores, strict=True) if np.isfinite(score)]
            table.row(run, field, len(p), alarms, min(finite), 1e3 * seconds,
                      float(np.mean(np.array(scores) < -1)))  # fmt: skip
    table.show()


def wide_fields(repeats: int) -> None:
    """Learn, score and explain fields of 128 × 128, one thread."""
    X = np.random.default_rng(0).standard_normal((512, 128 * 128)).astype(np.float32)
    table = Table("512 fields of 128 × 128 float32, one thread", "call", "CPU s", "MB/s")
    model = SubspaceDetector(16)
    calls = {
        "fit": lambda: model.fit(X),
        "score_samples": lambda: model.score_samples(X),
        "contributions": lambda: model.contributions(X),
    }
    with thread_share(1):
        for name, call in calls.items():
            seconds = []
            for _ in range(repeats):
                begin = time.process_time()
                call()
                seconds.append(time.process_time() - begin)
            median = float(np.median(seconds))
            table.row(name, median, X.nbytes / median / 1e6)
    table.show()
