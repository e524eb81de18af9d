"""OnlineIsolationForest against the authors' code, on streams, and on what unions cost.

The authors' code is timed where `OnlineIForest` can be imported: put a clone of
ineveLoppiliF/Online-Isolation-Forest on PYTHONPATH (it needs tqdm).
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from typing import Any

import numpy as np
from _labelled import SERIES, STREAMS, load, stream, streamed
from _table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

from dask_exa._threads import thread_share
from dask_exa.anomaly import IsolationForest, OnlineIsolationForest

REFERENCE = {"shuttle": 0.996, "mammography": 0.853, "annthyroid": 0.677, "satellite": 0.592,
             "cover": 0.845, "http": 0.940, "skab": 0.517, "nab_machine": 0.624}  # fmt: skip
"""ROC-AUC of the authors' code as quoted in ../shared/data/README.md."""


class Authors:
    """The authors' code with our methods; its defaults are ours."""

    def __init__(self, n_estimators: int = 100, random_state: int = 0) -> None:
        from OnlineIForest import OnlineIForest

        np.random.seed(random_state)  # noqa: NPY002  what it draws from
        self.model = OnlineIForest.create(num_trees=n_estimators)

    def partial_fit(self, X: np.ndarray) -> Authors:
        self.model.learn_batch(X)
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        return -self.model.score_batch(X)


def online_speed(repeats: int) -> None:
    """Score, then learn; seconds of CPU time, one thread, in turn with the authors' code."""
    table = Table("Score, then learn (goal: 50 x the authors' code, 200 000 rows/s)",
                  "stream", "trees", "batch", "rows/s", "authors' rows/s", "ratio")  # fmt: skip
    has_peer = importlib.util.find_spec("OnlineIForest") is not None
    for name, n_trees, batch, n_rows in (
        ("shuttle", 100, 256, 10_000),
        ("cover", 100, 256, 10_000),
        ("http", 100, 256, 10_000),
        ("cover", 32, 256, 10_000),
        ("cover", 32, 100, 10_000),
        ("cover", 32, 1, 3000),
    ):
        X = stream(name, n_rows)[0]
        doubles = X.astype(np.float64)
        ours, peer = [], []
        with thread_share(1):
            for _ in range(repeats):
                ours.append(_cpu_seconds(OnlineIsolationForest(n_estimators=n_trees), X, batch))
                if has_peer and (batch > 1 or not peer):
                    peer.append(_cpu_seconds(Authors(n_trees), doubles, batch))
        rows = [
            n_rows / statistics.median(times) if times else float("nan") for times in (ours, peer)
        ]
        pairs = zip(ours, peer, strict=False)
        ratio = statistics.median([b / a for a, b in pairs] or [float("nan")])
        table.row(name, n_trees, batch, *(f"{x:.0f}" for x in rows), ratio)
    table.show()


def online_quality(repeats: int) -> None:
    """Score every batch of 256 before learning it, on the first 20 000 rows of every stream."""
    settings: dict[str, dict[str, Any]] = {
        "default": {},
        "32 trees": {"n_estimators": 32},
        "fixed": {"growth_criterion": "fixed"},
    }
    table = Table("Score, then learn: ROC-AUC / average precision, 3 seeds (goal: -.02 at most)",
                  "stream", "authors", *settings)  # fmt: skip
    means: dict[str, list[Any]] = {name: [] for name in settings}
    for name in (*STREAMS, *SERIES):
        X, y = stream(name)
        for setting, params in settings.items():
            means[setting].append(_quality(X, y, OnlineIsolationForest, **params))
        cells = ["{:.3f}/{:.3f}".format(*means[setting][-1]) for setting in settings]
        table.row(name, REFERENCE[name], *cells)
    last = ["{:.3f}/{:.3f}".format(*np.mean(m, axis=0)) for m in means.values()]
    table.row("mean", float(np.mean(list(REFERENCE.values()))), *last)
    table.show()


def online_switch(repeats: int) -> None:
    """Streams that go on with the rows of another set after 10 000 rows."""
    models: dict[str, Any] = {
        "ours": OnlineIsolationForest,
        "IsolationForest, 1/2048": lambda random_state: IsolationForest(
            random_state=random_state, forgetting_factor=1 - 1 / 2048
        ),
    }
    if importlib.util.find_spec("OnlineIForest"):
        models["authors"] = lambda random_state: Authors(random_state=random_state)
    table = Table("A source that switches: ROC-AUC / average precision, 3 seeds",
                  "from", "to", *models)  # fmt: skip
    pairs = (("http", "smtp"), ("mammography", "thyroid"), ("annthyroid", "thyroid"))
    for first, second in pairs:
        parts = [_shuffled(name) for name in (first, second)]
        X, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        cells = [_quality(X, y, model) for model in models.values()]
        table.row(first, second, *["{:.3f}/{:.3f}".format(*cell) for cell in cells])
    X, y = _two_classes()
    cells = [_quality(X, y, model) for model in models.values()]
    table.row("one normal class", "another", *["{:.3f}/{:.3f}".format(*cell) for cell in cells])
    table.show()


def online_union(repeats: int) -> None:
    """What 8 models know together that were dealt rows by a feature: a union, an exact merge."""
    table = Table("8 models dealt by the first feature: ROC-AUC / average precision, 3 seeds",
                  "set", "one online forest", "union", "IsolationForest, merged")  # fmt: skip
    for name in STREAMS:
        X, y = _shuffled(name)
        deal = np.array_split(np.argsort(X[:, 0], kind="stable"), 8)
        found: list[list[tuple[float, float]]] = [[], [], []]
        for seed in range(3):
            models: list[Any] = [OnlineIsolationForest(random_state=seed).fit(X)]
            for cls in (OnlineIsolationForest, IsolationForest):
                ranks = [
                    cls(random_state=seed, stream=i).fit(X[part]) for i, part in enumerate(deal)
                ]
                models.append(cls(random_state=seed).merge(*ranks))
            for cell, model in zip(found, models, strict=True):
                scores = -model.score_samples(X)
                cell.append((roc_auc_score(y, scores), average_precision_score(y, scores)))
        table.row(name, *["{:.3f}/{:.3f}".format(*np.mean(cell, axis=0)) for cell in found])
    table.show()


def _cpu_seconds(model: Any, X: np.ndarray, batch: int) -> float:
    start = time.process_time()
    streamed(model, X, batch)
    return time.process_time() - start


def _quality(X: np.ndarray, y: np.ndarray, model: Any, **params: Any) -> np.ndarray:
    """Return the mean ROC-AUC and average precision over three seeds."""
    found = []
    for seed in range(3):
        scores = -streamed(model(random_state=seed, **params), X)
        found.append((roc_auc_score(y, scores), average_precision_score(y, scores)))
    return np.mean(found, axis=0)


def _shuffled(name: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = load(name)
    order = np.random.default_rng(0).permutation(len(X))[:10_000]
    return X[order], y[order]


def _two_classes() -> tuple[np.ndarray, np.ndarray]:
    """Return a stream whose normal class changes; 2 % are anomalies anywhere."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2, 8)) * 2
    X = rng.standard_normal((20_000, 8)) + np.repeat(centres, 10_000, axis=0)
    y = (rng.random(20_000) < 0.02).astype(int)
    X[y == 1] = rng.uniform(-6, 6, (y.sum(), 8))
    return X.astype(np.float32), y
