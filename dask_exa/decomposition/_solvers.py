"""How IncrementalPCA learns: which summary, how much of it, and where."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array
from dask_exa.summaries import Reducer, moments, svd, tiles
from dask_exa.summaries.moments import Moments
from dask_exa.summaries.svd import SVDSummary, Truncation
from dask_exa.summaries.tiles import Batch

SCATTER_FEATURES = 1024
"""Up to here the exact scatter matrix is always the cheaper summary."""
SCATTER_FEATURES_IF_TALL = 4096
"""Up to here it is, given more samples than features."""


class LowRank(NamedTuple):
    """A low-rank summary as a reduction."""

    truncation: Truncation
    batch_size: int

    def summarize(self, X: Array, sample_weight: Array | None = None) -> SVDSummary:
        """Return the compressed summary of a block of samples."""
        return self.merge([Batch(X, sample_weight)])

    def merge(self, parts: Sequence[SVDSummary | Batch]) -> SVDSummary:
        """Merge summaries and raw blocks, in their order."""
        return tiles.merge(parts, self.truncation, self.batch_size)

    def extend(
        self, summary: SVDSummary, X: Array, sample_weight: Array | None = None
    ) -> SVDSummary:
        """Merge a block of samples without compressing it by itself first."""
        return self.merge([summary, Batch(X, sample_weight)])

    @property
    def reducer(self) -> Reducer:
        """The three as one record."""
        return Reducer(self.summarize, self.merge, self.extend)


def scatter() -> Reducer:
    """Return the reduction to an exact scatter matrix."""
    return Reducer(functools.partial(moments.summarize, pairs=True), moments.merge)


def low_rank(
    n_components: int | float | None,
    tol: float | None,
    n_features: int,
    *,
    solver: str,
    oversampling: int | None,
    batch_size: int | None,
    dtype: str,
    slim: bool = False,
) -> LowRank:
    """Return the low-rank reduction that `n_components` or `tol` asks for.

    Twice as many directions as asked for are kept by default: what a later sample would have
    added to a direction just below the cut is otherwise lost with it. A `slim` one keeps a quarter
    as many and lets no row wait, for bases that fill their workers' memory.
    """
    loss = allowed_loss(n_components, tol)
    if loss:
        # half of the loss for the merges, half for the choice of the components at the end
        return LowRank(Truncation(n_features, loss / 2, 0, solver, dtype), batch_size or 256)
    if n_components is None:
        return LowRank(Truncation(n_features, 0.0, n_features, solver, dtype), batch_size or 256)
    wanted = int(n_components)
    default = max(wanted // 4, 8) if slim else max(wanted, 10)
    more = default if oversampling is None else oversampling
    svd_rank = min(wanted + more, n_features)
    capacity = svd_rank if slim else 2 * svd_rank
    truncation = Truncation(svd_rank, 0.0, capacity, solver, dtype)
    return LowRank(truncation, batch_size or 4 * svd_rank)


def allowed_loss(n_components: Any, tol: float | None) -> float:
    """Return the share of the variance that may be lost; 0 where a count decides instead."""
    if tol is not None:
        return tol**2
    return 1 - float(n_components) if isinstance(n_components, float | np.floating) else 0.0


def prefers_scatter(n_samples: int, n_features: int) -> bool:
    """Whether the exact scatter matrix is the better summary of data of this shape."""
    if n_features <= SCATTER_FEATURES:
        return True
    return n_features <= SCATTER_FEATURES_IF_TALL and n_samples >= n_features


def as_rows(summary: Moments | SVDSummary, dtype: str) -> SVDSummary:
    """Return either summary as a low-rank one."""
    return svd.from_scatter(summary, dtype) if isinstance(summary, Moments) else summary
