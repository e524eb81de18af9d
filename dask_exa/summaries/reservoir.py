"""Uniform samples that merge: for every tree of a forest the rows of smallest key.

A row of weight w has in every tree a key of its own, an exponential variable divided by w; the k
rows of smallest key are a sample without replacement, weighted by w. Of two samples the k
smallest of the union are the sample of the union: merging is exact, associative and commutative.
Keys are kept as logarithms, and weights grow with the row number under forgetting (forward
decay), so that what is kept never has to be touched when time goes on::

    key = log(e) - log(w) - λ i        e = exponential(seed, stream, tree, i), i the row number

**Identity of a row**: its number in its stream, counted by the model that learns it; for chunks of
a Dask array the offset of the chunk. Nothing depends on how the stream is cut. Models that learn
side by side and merge later need different streams (the rank, say) for independent samples. With
equal ones the merge stays right for every single row, but takes rows of equal numbers together:
a sample stratified over the models.

**Weights** count as repetitions: a row of weight 2.5 is two rows of weight 1 and one of weight .5,
whose keys come from streams of their own. The 32nd copy takes all that is left of larger weights.

**Skipping**: the e of a segment of row numbers are drawn in increasing order
(`dask_exa.kernels.draw_keys`). One draw per tree and segment says that no row of it comes in.

References
----------
P. S. Efraimidis, P. G. Spirakis, "Weighted random sampling with a reservoir", Information
Processing Letters 97(5), 2006. G. Cormode, V. Shkapenyuk, D. Srivastava, B. Xu, "Forward decay",
ICDE 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, namespace, to_host
from dask_exa.summaries.affine import Change, carry, move

_UNIT_WEIGHTS = np.empty(0)
_COPY_BITS = 32
_MAX_COPIES = 32


class Sampling(NamedTuple):
    """How the rows of a stream are sampled."""

    n_trees: int
    capacity: int
    """Rows that every tree keeps."""
    seed: int
    stream: int = 0
    decay: float = 0.0
    """λ, by which the logarithm of the weight grows from a row to the next."""
    first: int = 0
    """Number of the first row of the next block."""

    def at(self, row: int) -> Sampling:
        """Return the sampling of a block that starts that many rows later."""
        return self._replace(first=self.first + row)


class Reservoir(NamedTuple):
    """The rows that every tree keeps; a row that several trees keep is stored once."""

    seed: int
    capacity: int
    position: int
    """Number of the next row of the stream."""
    n_samples: int
    rows: np.ndarray
    """Shape (n_rows, n_features), float32, in the order in which they were seen."""
    keys: np.ndarray
    """Shape (n_trees, n_kept), float64, increasing in every tree."""
    members: np.ndarray
    """Shape (n_trees, n_kept), int64: the place of every key's row in `rows`."""


def summarize(X: Array, sample_weight: Array | None, sampling: Sampling) -> Reservoir:
    """Return the sample of the rows of `X`.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows that are not taken are never read.
    sample_weight : array of shape (n_samples,), optional
        Rows of weight zero are never taken.
    sampling : Sampling

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(1000.0)[:, None]
    >>> whole = summarize(X, None, Sampling(n_trees=2, capacity=3, seed=0))
    >>> whole.keys.shape
    (2, 3)
    >>> start = Sampling(n_trees=2, capacity=3, seed=0)
    >>> parts = [summarize(X[:400], None, start), summarize(X[400:], None, start.at(400))]
    >>> bool(np.all(merge(parts).keys == whole.keys))
    True
    """
    nothing = Reservoir(
        sampling.seed,
        sampling.capacity,
        sampling.first,
        0,
        np.empty((0, X.shape[1]), dtype=np.float32),
        np.empty((sampling.n_trees, 0)),
        np.empty((sampling.n_trees, 0), dtype=np.int64),
    )
    return extend(nothing, X, sample_weight, sampling)


def extend(
    summary: Reservoir, X: Array, sample_weight: Array | None, sampling: Sampling
) -> Reservoir:
    """Return ``merge([summary, summarize(X, sample_weight, sampling)])``, in one go."""
    n_rows = int(X.shape[0])
    for copy, weight in enumerate(_copies(sample_weight)):
        own = sampling._replace(stream=sampling.stream + (copy << _COPY_BITS))
        summary = _take(summary, X, weight, own)
    position = max(summary.position, sampling.first + n_rows)
    return summary._replace(position=position, n_samples=summary.n_samples + n_rows)


def merge(summaries: Sequence[Reservoir]) -> Reservoir:
    """Return the sample of all rows that the given summaries saw.

    Keys that are equal, which only models of one seed and stream have, go by the given order.
    """
    if len(summaries) == 1:
        return summaries[0]
    offsets = np.cumsum([0, *(summary.rows.shape[0] for summary in summaries)])
    united = summaries[0]._replace(
        seed=min(summary.seed for summary in summaries),
        position=max(summary.position for summary in summaries),
        n_samples=sum(summary.n_samples for summary in summaries),
    )
    return _smallest(
        united,
        min(united.capacity, sum(summary.keys.shape[1] for summary in summaries)),
        np.concatenate([summary.rows for summary in summaries]),
        np.concatenate([summary.keys for summary in summaries], axis=1),
        np.concatenate(
            [s.members + offset for s, offset in zip(summaries, offsets[:-1], strict=True)], axis=1
        ),
    )


def forget(summary: Reservoir, factor: float) -> Reservoir:
    """Scale the weight of all that was seen by `factor`."""
    return summary._replace(keys=summary.keys - math.log(factor))


@carry.register
def carry_rows(summary: Reservoir, change: Change) -> Reservoir:
    """Return the same rows where they are now; see `dask_exa.summaries.affine`."""
    return summary._replace(rows=move(summary.rows, change))


def _take(summary: Reservoir, X: Array, weight: np.ndarray | None, sampling: Sampling) -> Reservoir:
    n_rows = int(X.shape[0])
    n_trees, n_kept = summary.keys.shape
    log_weight, n_positive = _log_weight(weight, n_rows)
    limits = np.full(n_trees, np.inf)
    if n_kept == summary.capacity:
        limits = np.ascontiguousarray(summary.keys[:, -1])
    found = kernels.draw_keys(
        (sampling.seed, sampling.stream, n_trees),
        sampling.first,
        n_rows,
        log_weight,
        sampling.decay,
        summary.capacity,
        limits,
        _guess(log_weight, n_rows, sampling, summary.capacity),
    )
    if not found[2].any():
        return summary
    n_kept = min(summary.capacity, n_kept + n_positive)
    kept = summary.rows, summary.keys, summary.members
    rows, keys, members, taken = kernels.keep_rows(kept, found, n_kept)
    rows[rows.shape[0] - taken.size :] = _gather(X, taken)
    return summary._replace(rows=rows, keys=keys, members=members)


def _copies(sample_weight: Array | None) -> list[np.ndarray | None]:
    """Return the weights of the first, second … copy of every row, none of them above 1."""
    if sample_weight is None:
        return [None]
    weight = to_host(sample_weight).astype(np.float64)
    n_copies = min(_MAX_COPIES, max(1, math.ceil(weight.max())))
    copies: list[np.ndarray | None] = [np.clip(weight - c, 0.0, 1.0) for c in range(n_copies)]
    if n_copies == _MAX_COPIES:
        copies[-1] = np.maximum(weight - n_copies + 1, 0.0)
    return copies


def _smallest(
    summary: Reservoir, n_kept: int, rows: np.ndarray, keys: np.ndarray, members: np.ndarray
) -> Reservoir:
    order = np.argsort(keys, axis=1, kind="stable")[:, :n_kept]
    members = np.take_along_axis(members, order, axis=1)
    used = np.zeros(rows.shape[0], dtype=bool)
    used[members] = True
    return summary._replace(
        rows=rows[used],
        keys=np.take_along_axis(keys, order, axis=1),
        members=(np.cumsum(used) - 1)[members],
    )


def _gather(X: Array, taken: np.ndarray) -> np.ndarray:
    xp = namespace(X)
    with np.errstate(over="ignore"):  # infinite in float32, as scikit-learn's trees see it
        return to_host(xp.take(X, xp.asarray(taken), axis=0)).astype(np.float32, copy=False)


def _log_weight(weight: np.ndarray | None, n_rows: int) -> tuple[np.ndarray, int]:
    if weight is None:
        return _UNIT_WEIGHTS, n_rows
    with np.errstate(divide="ignore"):
        return np.log(weight), int(np.count_nonzero(weight))


def _guess(log_weight: np.ndarray, n_rows: int, sampling: Sampling, capacity: int) -> float:
    """Return a key that very likely more than `capacity` rows of a block are below."""
    decay, last = sampling.decay, sampling.first + n_rows - 1
    if n_rows <= capacity:
        return math.inf
    ages = np.arange(n_rows - 1, -1, -1.0) if decay and log_weight.size else 0.0
    if log_weight.size:
        aged = log_weight - decay * ages
        heaviest = float(aged.max())
        total = heaviest + math.log(np.sum(np.exp(aged - heaviest))) if heaviest > -math.inf else 0
    elif decay:
        total = math.log(-math.expm1(-decay * n_rows) / -math.expm1(-decay))
    else:
        total = math.log(n_rows)
    return math.log(capacity + 6 * math.sqrt(capacity) + 6) - total - decay * last
