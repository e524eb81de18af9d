"""Lloyd's algorithm in rounds: centres go to the samples, sums of what they attract come back.

References
----------
S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2),
1982.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, as_float64, device, namespace, to_host
from dask_exa.kernels import Attracted
from dask_exa.reduction.broadcast import Question, Rounds

_EQUAL = 1 + 1e-9
"""Ratio of inertias that are equal but for rounding errors."""


class Clustering(NamedTuple):
    """Where the centres of one start have come to."""

    centers: np.ndarray
    """Shape (n_clusters, n_features), float64: numbers that the dtype of the samples has."""
    attracted: Attracted
    """What they attract, on the host."""
    n_iter: int


def lloyd(
    rounds: Rounds,
    centers: np.ndarray,
    *,
    tol: float = 0.0,
    max_iter: int = 300,
    verbose: int = 0,
) -> Clustering:
    """Move every centre to the mean of the samples that are nearest to it, until none moves.

    A centre without samples moves to the sample that is farthest from its own; this costs a pass
    of its own.

    Parameters
    ----------
    rounds : Rounds
    centers : array of shape (n_clusters, n_features)
    tol : float, default=0.0
        Sum of the squares of all moves that counts as none, beside rounding errors.
    max_iter : int, default=300
    verbose : int, default=0

    Returns
    -------
    Clustering
        There was one more round than it says, unless the last one moved nothing.
    """
    dtype = rounds.samples.array.dtype
    centers = _rounded(centers, dtype)
    for n_iter in range(1, max_iter + 1):
        attracted = rounds.ask(ATTRACT, centers)
        moved = _rounded(_moved(rounds, centers, attracted), dtype)
        shift = float(np.sum((moved - centers) ** 2))
        if verbose:
            print(f"Round {n_iter}: inertia {attracted.inertia:.6g}, moves {shift:.3g}")
        if shift <= _rounding(centers, attracted):
            return Clustering(centers, attracted, n_iter)
        centers = moved
        if shift <= tol:
            break
    return Clustering(centers, rounds.ask(ATTRACT, centers), n_iter)


def best(found: Sequence[Clustering]) -> Clustering:
    """Return the first of the clusterings of least inertia, whatever rounding makes of equals."""
    least = min(clustering.attracted.inertia for clustering in found)
    return next(c for c in found if c.attracted.inertia <= _EQUAL * least)


def means(centers: np.ndarray, attracted: Attracted) -> tuple[np.ndarray, np.ndarray]:
    """Return the means and the weights of the clusters that are not empty."""
    some = attracted.counts > 0
    counts = attracted.counts[some]
    return centers[some] + attracted.sums[some] / counts[:, None], counts


def _moved(rounds: Rounds, centers: np.ndarray, attracted: Attracted) -> np.ndarray:
    if not attracted.counts.all():
        attracted = _relocate(rounds, centers, attracted)
    counts = attracted.counts[:, None]
    return centers + np.divide(
        attracted.sums, counts, out=np.zeros_like(attracted.sums), where=counts > 0
    )


def _relocate(rounds: Rounds, centers: np.ndarray, attracted: Attracted) -> Attracted:
    """Give every empty cluster one of the samples that are farthest from their centres."""
    empty = np.flatnonzero(attracted.counts == 0)
    question = Question(
        functools.partial(_farthest, size=empty.size),
        functools.partial(_merge_farthest, size=empty.size),
    )
    far = rounds.ask(question, centers)
    counts, sums = attracted.counts.copy(), attracted.sums.copy()
    for cluster, row, label, weight in zip(empty, far.rows, far.labels, far.weights, strict=False):
        if weight >= counts[label]:  # its own would be empty
            continue
        counts[label] -= weight
        sums[label] -= weight * (row - centers[label])
        counts[cluster] = weight
        sums[cluster] = weight * (row - centers[cluster])
    return attracted._replace(counts=counts, sums=sums)


def _attract(centers: np.ndarray, X: Array, sample_weight: Array | None, row: int) -> Attracted:
    """Answer with what every centre attracts."""
    xp = namespace(X)
    weight = None if sample_weight is None else as_float64(sample_weight)
    _, attracted = kernels.sum_nearest(X, xp.asarray(centers, device=device(X)), weight)
    return Attracted(to_host(attracted.counts), to_host(attracted.sums), float(attracted.inertia))


def _merge_attracted(parts: Sequence[Attracted]) -> Attracted:
    return Attracted(
        sum(part.counts for part in parts),
        sum(part.sums for part in parts),
        sum(part.inertia for part in parts),
    )


ATTRACT = Question(_attract, _merge_attracted)
"""Asks about centres, shape (n_clusters, n_features); the answer is `Attracted`, on the host."""


class _Farthest(NamedTuple):
    """The samples that are farthest from their centres, by decreasing distance."""

    distances: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def _farthest(
    centers: np.ndarray, X: Array, sample_weight: Array | None, row: int, *, size: int
) -> _Farthest:
    """Answer with the samples that are farthest from their centres; none that are at one."""
    xp = namespace(X)
    labels, distances = map(
        to_host, kernels.nearest_centers(X, xp.asarray(centers, device=device(X)))
    )
    weights = np.ones(labels.size) if sample_weight is None else to_host(sample_weight)
    order = np.argsort(-distances, kind="stable")
    order = order[(distances[order] > 0) & (weights[order] > 0)][:size]
    rows = to_host(xp.take(X, xp.asarray(order), axis=0)).astype(np.float64)
    return _Farthest(distances[order], rows, labels[order], weights[order])


def _merge_farthest(parts: Sequence[_Farthest], *, size: int) -> _Farthest:
    united = _Farthest(*(np.concatenate(field) for field in zip(*parts, strict=True)))
    order = np.argsort(-united.distances, kind="stable")[:size]
    return _Farthest(*(field[order] for field in united))


def _rounded(centers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return float64 numbers that the samples' dtype has: the kernels compare in that one."""
    single = str(dtype).endswith("float32")
    centers = np.asarray(centers, dtype=np.float32 if single else np.float64)
    return centers.astype(np.float64)


def _rounding(centers: np.ndarray, attracted: Attracted) -> float:
    """Return the squared moves that the rounding of sums alone can make."""
    spread = attracted.inertia / max(float(attracted.counts.sum()), np.finfo(float).tiny)
    scale = float(np.sum(centers**2)) + centers.shape[0] * spread
    return (4 * np.finfo(np.float64).eps) ** 2 * scale
