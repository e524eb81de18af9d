"""Online trees and the windows of rows that they have learnt: the state of an online forest.

Learning is sequential: a tree is a function of its seed and of all rows in their order, however
the stream is cut. It does not merge. What stands for a merge is the **union** of forests: trees of
all of them, each with the window of rows that it knows and will forget in turn. Trees of a union
learn on together. When they have learnt as many rows as a window has, their windows are equal,
and one is kept for all.

A union of m forests of n trees keeps n: those of smallest seed, which is a random number. Hence
it is associative and commutative, and keeps n / m trees of each on average. Of trees of equal
seeds, which only forests of one seed and stream have, the first are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, to_host
from dask_exa.kernels.online_forest import Growth, OnlineForest, blank_online

_RANGE = 1 << 16
_LARGEST = np.finfo(np.float32).max


class OnlineTrees(NamedTuple):
    """Trees, and the windows of rows that they know."""

    forest: OnlineForest
    window: np.ndarray
    """Shape (n_trees,), int64: which window is a tree's."""
    rows: np.ndarray
    """Shape (n_rows, n_features), float32: the windows one after the other, each by age."""
    edges: np.ndarray
    """Shape (n_windows + 1,), int64: where they begin and end in `rows`."""
    n_shared: int
    """Rows that all trees have learnt together, since the last union."""
    n_samples: int


def growth(
    max_leaf_samples: int, window_size: int, subsample: float, *, adaptive: bool = True
) -> Growth:
    """Return when trees split that know `window_size` rows.

    Parameters
    ----------
    max_leaf_samples : int
        η, the rows at which the root splits.
    window_size : int
        ω, the rows that are known.
    subsample : float
        Share of the rows that a tree learns.
    adaptive : bool, default=True
        Whether leaves of depth k split at ``η 2**k`` rows instead of η.

    Notes
    -----
    Leaves of depth k split only in trees of more than ``η 2**k`` rows, which limits the depth to
    log2(ω / η).

    Examples
    --------
    >>> growth(32, 200, 1.0).split_at
    array([ 32,  64, 128])
    """
    max_depth = max(0, math.ceil(math.log2(window_size / max_leaf_samples)))
    tree_above = max_leaf_samples << np.arange(max_depth)
    split_at = tree_above if adaptive else np.full(max_depth, max_leaf_samples)
    return Growth(window_size, float(subsample), np.maximum(split_at, 2), tree_above)


def nothing(seed: int, stream: int, n_trees: int, n_features: int, how: Growth) -> OnlineTrees:
    """Return trees that have not seen anything."""
    return OnlineTrees(
        blank_online(seed, stream, n_trees, how.split_at.size, n_features),
        np.zeros(n_trees, dtype=np.int64),
        np.empty((0, n_features), dtype=np.float32),
        np.zeros(2, dtype=np.int64),
        0,
        0,
    )


def extend(summary: OnlineTrees, X: Array, how: Growth) -> OnlineTrees:
    """Let all trees learn the rows of `X`, one after the other.

    Parameters
    ----------
    summary : OnlineTrees
    X : array of shape (n_samples, n_features)
        Infinite values count as the largest of float32.
    how : Growth
    """
    for start in range(0, X.shape[0], _RANGE):
        summary = _extend(summary, _as_rows(X[start : start + _RANGE, :]), how)
    return summary


def unite(summaries: Sequence[OnlineTrees], n_trees: int) -> OnlineTrees:
    """Return `n_trees` trees of all forests, those of smallest seed, with their windows."""
    if len(summaries) == 1:
        return summaries[0]
    forest = OnlineForest(*map(np.concatenate, zip(*(s.forest for s in summaries), strict=True)))
    firsts = np.cumsum([0, *(summary.edges.size - 1 for summary in summaries)])
    window = np.concatenate([s.window + i for s, i in zip(summaries, firsts[:-1], strict=True)])
    windows = [rows for summary in summaries for rows in windows_of(summary)]
    kept = np.argsort(forest.seed, kind="stable")[:n_trees]
    used, window = np.unique(window[kept], return_inverse=True)
    return _joined(
        OnlineForest(*(field[kept] for field in forest)),
        window,
        [windows[i] for i in used],
        0,
        sum(summary.n_samples for summary in summaries),
    )


def forget(summary: OnlineTrees, factor: float, how: Growth) -> OnlineTrees:
    """Forget the oldest rows of every window; a share of `factor` stays, rounded up."""
    forest, windows = summary.forest, []
    for i, rows in enumerate(windows_of(summary)):
        n_old = rows.shape[0] - math.ceil(factor * rows.shape[0])
        some = summary.window == i
        part = OnlineForest(*(field[some] for field in forest))
        forest = _replaced(forest, some, kernels.forget_rows(part, rows, n_old, how))
        windows.append(rows[n_old:])
    n_shared = min(summary.n_shared, min(rows.shape[0] for rows in windows))
    return _joined(forest, summary.window, windows, n_shared, summary.n_samples)


def windows_of(summary: OnlineTrees) -> list[np.ndarray]:
    """Return the windows, each of shape (n_known, n_features)."""
    return np.split(summary.rows, summary.edges[1:-1])


def _extend(summary: OnlineTrees, X: np.ndarray, how: Growth) -> OnlineTrees:
    forest, size = summary.forest, how.window_size
    windows = [np.concatenate([rows, X]) for rows in windows_of(summary)]
    for i, rows in enumerate(windows):
        n_known = rows.shape[0] - X.shape[0]
        if len(windows) == 1:
            forest = kernels.learn_rows(forest, rows, n_known, how)
            break
        some = summary.window == i
        part = OnlineForest(*(field[some] for field in forest))
        forest = _replaced(forest, some, kernels.learn_rows(part, rows, n_known, how))
    n_shared, window = summary.n_shared + X.shape[0], summary.window
    if n_shared >= size:  # all windows have become equal
        windows, window = windows[:1], np.zeros_like(window)
    windows = [rows[-size:] for rows in windows]
    n_samples = summary.n_samples + X.shape[0]
    return _joined(forest, window, windows, min(n_shared, size), n_samples)


def _joined(
    forest: OnlineForest,
    window: np.ndarray,
    windows: Sequence[np.ndarray],
    n_shared: int,
    n_samples: int,
) -> OnlineTrees:
    edges = np.cumsum([0, *(rows.shape[0] for rows in windows)])
    return OnlineTrees(forest, window, np.concatenate(windows), edges, n_shared, n_samples)


def _replaced(forest: OnlineForest, some: np.ndarray, part: OnlineForest) -> OnlineForest:
    fields = [field.copy() for field in forest]
    for field, new in zip(fields, part, strict=True):
        field[some] = new
    return OnlineForest(*fields)


def _as_rows(X: Array) -> np.ndarray:
    with np.errstate(over="ignore"):
        rows = to_host(X).astype(np.float32, order="C")
    return np.clip(rows, -_LARGEST, _LARGEST, out=rows)
