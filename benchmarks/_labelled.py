"""Labelled anomaly sets, and the prequential protocol: score, then learn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DASK_EXA_TEST_DATA", ROOT.parent / "shared" / "data")) / "anomaly"
SETS = ("annthyroid", "cover", "http", "mammography", "satellite", "shuttle", "smtp", "thyroid")
STREAMS = ("shuttle", "mammography", "annthyroid", "satellite", "cover", "http")
SERIES = ("skab", "nab_machine")


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (float32) and labels (1 = anomaly) of a set."""
    with np.load(DATA / f"{name}.npz") as file:
        return file["X"].astype(np.float32), file["y"]


def stream(name: str, n_rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return a set as a stream: shuffled once, unless it is a time series; its first rows."""
    X, y = load(name)
    order = np.arange(len(X))
    if name in STREAMS:
        order = np.random.default_rng(0).permutation(len(X))
    return X[order[:n_rows]], y[order[:n_rows]]


def streamed(model: Any, X: np.ndarray, batch: int = 256) -> np.ndarray:
    """Return the scores that samples had before the model learnt from them."""
    scores = np.full(len(X), -0.5)
    for start in range(0, len(X), batch):
        some = slice(start, start + batch)
        if start:
            scores[some] = model.score_samples(X[some])
        model.partial_fit(X[some])
    return scores
