"""Truncated singular value decompositions that merge: the summary behind IncrementalPCA.

A summary keeps rows B with BᵀB ≈ (X - mean)ᵀ(X - mean). A raw block is such a summary already,
only not yet compressed; two summaries merge by stacking their rows, one more row for the
distance of their means, and rotating the stack onto its leading directions::

    T = [B_a; B_b; √(w_a w_b / w) (mean_b - mean_a)]
    T Tᵀ = U λ Uᵀ                    small: as many rows as T
    B = U_rᵀ T                       never normalised before the end

What a compression drops is positive semi-definite and is kept count of: with ``tail`` the sum of
all dropped λ and ``bound`` the sum of the first dropped one of every compression, the exact
eigenvalues λ_i(A) obey ``0 ≤ λ_i(A) - λ_i(B) ≤ bound`` and Σ λ_i(A) = Σ λ_i(B) + tail.

Everything but the choice of the rotation works on any subset of the columns alone. Cache-sized
tiles of one array and slabs that live on different workers are therefore the same algorithm, and
`compress` and `principal_axes` take whichever of the two they are given (`Columns`).

References
----------
M. Brand, "Incremental singular value decomposition of uncertain data with missing values", ECCV
2002. M. Ghashami, E. Liberty, J. Phillips, D. Woodruff, "Frequent directions", SIAM J. Comput.
45(5), 2016 (the bound). C. Himpe, T. Leibner, S. Rave, "Hierarchical approximate proper
orthogonal decomposition", SIAM J. Sci. Comput. 40(5), 2018.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from dask_exa._array import Array, namespace
from dask_exa.summaries import moments
from dask_exa.summaries.moments import Moments


class SVDSummary(NamedTuple):
    """Leading singular directions of all samples seen, and what was thrown away."""

    moments: Moments
    """Exact weight, mean and per-feature second moments."""
    rows: Array
    """Unnormalised basis, shape (n_rows, n_features), in the dtype of the data."""
    tail: float
    """Sum of the squared singular values that truncation dropped."""
    bound: float
    """Upper bound of what truncation took from any single squared singular value."""


class Truncation(NamedTuple):
    """How many directions a compression keeps."""

    svd_rank: int | None
    """Directions kept; None keeps all."""
    loss: float = 0.0
    """Share of the total second moment that truncation may drop altogether."""
    capacity: int = 0
    """A stack of at most this many rows is left as it is: short batches wait here, which costs
    less and loses nothing."""
    solver: str = "gram"
    """Eigenvectors of T Tᵀ ("gram"), or, for condition numbers above 1e7, QR of Tᵀ ("qr")."""
    dtype: str = "float64"
    """Name of the dtype in which rows are kept; all sums are float64."""


class Small(NamedTuple):
    """What one slab of columns contributes to the choice of the rotation."""

    factor: Array
    """T Tᵀ of the slab, or the R of a QR factorisation of its Tᵀ."""
    energy: float
    """Second moment of the slab's features together."""
    tail: float
    bound: float


class Turn(NamedTuple):
    """The rotation that every slab of columns applies to its own rows."""

    rotation: Array | None
    """Shape (n_kept, n_stacked_rows); None keeps the rows as they are."""
    tail: float
    bound: float
    energy: float = 0.0
    """Second moment of all features together."""


class Columns(Protocol):
    """Stacked summaries whose columns are split: over cache tiles, or over workers."""

    n_rows: int
    """Rows of the stack."""

    def gather(
        self,
        function: Callable[[SVDSummary], Any],
        combine: Callable[[Sequence[Any]], Any],
        finish: Callable[[Any], Any],
    ) -> Any:
        """Apply `function` to every slab, combine the small answers and finish the result."""

    def rotate(self, turn: Any, dtype: str) -> Any:
        """Apply a `Turn` to the rows of every slab."""


def choose(columns: Columns, truncation: Truncation) -> Any:
    """Choose the `Turn` onto the leading directions of stacked summaries.

    Parameters
    ----------
    columns : Columns
        Where the stack lives, split by columns.
    truncation : Truncation
        A stack of at most ``truncation.capacity`` rows is only checked for non-finite values.
    """
    if columns.n_rows <= truncation.capacity:
        return columns.gather(_account, _total, _no_turn)
    return columns.gather(
        functools.partial(contribute, solver=truncation.solver),
        functools.partial(combine, solver=truncation.solver),
        functools.partial(_turn, truncation=truncation),
    )


def compress(columns: Columns, truncation: Truncation) -> Any:
    """Turn stacked summaries onto their leading directions and drop the others."""
    return columns.rotate(choose(columns, truncation), truncation.dtype)


def from_scatter(summary: Moments, dtype: str) -> SVDSummary:
    """Return an exact scatter matrix as an untruncated low-rank summary."""
    xp = namespace(summary.m2)
    values, vectors = eigen(summary.m2, "gram")
    rows = xp.astype(xp.matrix_transpose(vectors * xp.sqrt(values)), getattr(xp, dtype), copy=False)
    return SVDSummary(summary._replace(m2=summary.variances), rows, 0.0, 0.0)


def forget(summary: SVDSummary, factor: float) -> SVDSummary:
    """Scale the weight of all that was seen by `factor`; the directions stay as they are."""
    return SVDSummary(
        moments.forget(summary.moments, factor),
        summary.rows * factor**0.5,
        summary.tail * factor,
        summary.bound * factor,
    )


def contribute(stacked: SVDSummary, solver: str) -> Small:
    """Return what a slab of columns contributes to the choice of the rotation."""
    xp = namespace(stacked.rows)
    transposed = xp.matrix_transpose(stacked.rows)
    if solver == "gram":
        small = stacked.rows @ transposed
    else:
        small = xp.linalg.qr(transposed, mode="reduced").R
    return Small(small, stacked.moments.energy, stacked.tail, stacked.bound)


def combine(smalls: Sequence[Small], solver: str) -> Small:
    """Return what several slabs contribute together."""
    factors = [small.factor for small in smalls]
    xp = namespace(factors[0])
    if len(factors) == 1:
        factor = factors[0]
    elif solver == "gram":
        factor = functools.reduce(lambda total, gram: total + gram, factors)
    else:
        factor = xp.linalg.qr(xp.concat(factors, axis=0), mode="reduced").R
    # tail and bound belong to the whole basis: every slab carries the same
    return _total(smalls)._replace(factor=factor)


def eigen(factor: Array, solver: str) -> tuple[Array, Array]:
    """Return the eigenvalues of T Tᵀ, largest first, and its eigenvectors as columns."""
    xp = namespace(factor)
    if solver == "gram":
        values, vectors = xp.linalg.eigh(factor)
        values = xp.where(values > 0, values, xp.zeros_like(values))
        return xp.flip(values), xp.flip(vectors, axis=1)
    transposed = xp.matrix_transpose(factor)
    vectors, singular, _ = xp.linalg.svd(transposed, full_matrices=False)
    return singular * singular, vectors


def _turn(small: Small, truncation: Truncation) -> Turn:
    """Choose the directions to keep."""
    moments.refuse_non_finite(small.energy)
    xp = namespace(small.factor)
    values, vectors = eigen(small.factor, truncation.solver)
    loss = xp.flip(xp.cumulative_sum(xp.flip(values)))  # loss[i] = Σ values[i:]
    n_kept = n_values = int(values.shape[0])
    if truncation.svd_rank is not None:
        n_kept = min(n_kept, truncation.svd_rank)
    if truncation.loss:
        allowance = truncation.loss * small.energy - small.tail
        n_kept = min(n_kept, int(xp.count_nonzero(loss > allowance)))
    n_kept = max(n_kept, 1)
    tail = float(loss[n_kept]) if n_kept < n_values else 0.0
    bound = float(values[n_kept]) if n_kept < n_values else 0.0
    rotation = xp.matrix_transpose(vectors[:, :n_kept])
    return Turn(rotation, small.tail + tail, small.bound + bound, small.energy)


def _account(stacked: SVDSummary) -> Small:
    return Small(None, stacked.moments.energy, stacked.tail, stacked.bound)


def _total(smalls: Sequence[Small]) -> Small:
    return smalls[0]._replace(energy=sum(small.energy for small in smalls))


def _no_turn(small: Small) -> Turn:
    moments.refuse_non_finite(small.energy)
    return Turn(None, small.tail, small.bound, small.energy)
