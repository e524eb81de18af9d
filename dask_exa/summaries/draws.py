"""Weighted draws of samples without replacement that merge: the rows of smallest key.

A row of weight w has the key ``log(e) - log(w)``, e exponential and a function of the seed, the
stream and the number of the row alone; the k rows of smallest key are a draw without replacement
with probabilities proportional to w. Nothing depends on how the samples are cut into blocks.
`dask_exa.summaries.reservoir` keeps such draws of streams that never end, one for every tree of a
forest, in float32; here the rows keep their type and a weight is a weight, whatever its scale.

References
----------
P. S. Efraimidis, P. G. Spirakis, "Weighted random sampling with a reservoir", Information
Processing Letters 97(5), 2006.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, namespace, to_host

_NO_WEIGHTS = np.empty(0)
_NO_LIMIT = np.array([math.inf])


class Draw(NamedTuple):
    """Drawn samples, on the host."""

    keys: np.ndarray
    """Shape (n_drawn,), increasing."""
    rows: np.ndarray
    """Shape (n_drawn, n_features), in the dtype of the samples."""


def summarize(
    X: Array, weight: Array | None, size: int, seed: int, *, stream: int = 0, first: int = 0
) -> Draw:
    """Draw some of the rows of `X`.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows that are not drawn are never read.
    weight : array of shape (n_samples,), optional
        Any scale; rows of weight zero are never drawn.
    size : int
        Rows to draw; fewer come where fewer have a weight.
    seed, stream : int
        Draws of different streams are independent.
    first : int, default=0
        Number of the first row of `X` among all samples.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(1000.0)[:, None]
    >>> whole = summarize(X, None, 3, seed=0)
    >>> parts = [summarize(X[:400], None, 3, 0), summarize(X[400:], None, 3, 0, first=400)]
    >>> bool(np.all(merge(parts, 3).rows == whole.rows))
    True
    """
    log_weight = _NO_WEIGHTS
    if weight is not None:
        with np.errstate(divide="ignore"):
            log_weight = np.log(to_host(weight).astype(np.float64, copy=False))
    keys, places, counts = kernels.draw_keys(
        (seed, stream, 1), first, X.shape[0], log_weight, 0.0, size, _NO_LIMIT, math.inf
    )
    keys, places = keys[0, : counts[0]], places[0, : counts[0]]
    order = np.lexsort((places, keys))
    xp = namespace(X)
    return Draw(keys[order], to_host(xp.take(X, xp.asarray(places[order]), axis=0)))


def merge(draws: Sequence[Draw], size: int) -> Draw:
    """Return what was drawn from all the samples that the given draws are of."""
    if len(draws) == 1:
        return draws[0]
    keys = np.concatenate([draw.keys for draw in draws])
    order = np.argsort(keys, kind="stable")[:size]
    return Draw(keys[order], np.concatenate([draw.rows for draw in draws])[order])
