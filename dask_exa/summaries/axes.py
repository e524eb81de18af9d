"""Principal axes of a summary: the only place where a basis is normalised."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array, is_host, namespace, product
from dask_exa.summaries import svd
from dask_exa.summaries.moments import Moments
from dask_exa.summaries.svd import SVDSummary
from dask_exa.summaries.tiles import Tiles

Gather = Callable[[Callable[[SVDSummary], Any], Callable[[Sequence[Any]], Any]], Any]
"""`gather(function, combine)`: the combined answers of all slabs of columns, as a value."""


class Selection(NamedTuple):
    """How many axes to keep."""

    n_components: int
    """At most so many."""
    loss: float = 0.0
    """Share of the total second moment that may be left out; picks the number of axes."""

    def n_kept(self, values: Array, energy: float) -> int:
        """Return the number of axes for squared singular values, largest first."""
        if not self.loss:
            return self.n_components
        xp = namespace(values)
        left_out = energy - xp.cumulative_sum(values)
        enough = int(xp.count_nonzero(left_out > self.loss * energy)) + 1
        return min(enough, int(values.shape[0]), self.n_components)


class Axes(NamedTuple):
    """Orthonormal axes of largest variance."""

    components: Array
    """Shape (n_components, n_features)."""
    squared_singular_values: Array
    """Shape (n_components,), float64, largest first."""
    energy: float
    """Second moment of all features together, exact."""


def of_scatter(summary: Moments, selection: Selection) -> Axes:
    """Return the principal axes of an exact scatter matrix."""
    xp = namespace(summary.m2)
    values, vectors = _leading_eigenpairs(summary.m2, selection)
    components = xp.matrix_transpose(vectors)
    signs = _signs(extremes(components))
    valid = values > _floor(summary.m2.shape[0], "gram") * values[0]
    components = xp.where(valid[:, None], components * signs[:, None], 0.0)
    return Axes(_complete(components), values, summary.energy)


def of_rows(summary: SVDSummary, selection: Selection, solver: str, dtype: str) -> Axes:
    """Return the principal axes of a low-rank summary in memory."""
    tiles = Tiles([summary])

    def gather(function: Callable, combine: Callable) -> Any:
        return tiles.gather(function, combine, lambda small: small)

    values, weights, energy = normalize(gather, selection, solver)
    turned = tiles.rotate(svd.Turn(weights, 0.0, 0.0), dtype)
    return Axes(_complete(turned.rows), values, energy)


def normalize(gather: Gather, selection: Selection, solver: str) -> tuple[Array, Array, float]:
    """Find the matrix that turns unnormalised rows into principal axes.

    Parameters
    ----------
    gather : callable
        Over the tiles of an array or the slabs of many workers.
    selection : Selection
    solver : {"gram", "qr"}

    Returns
    -------
    squared_singular_values : array of shape (n_components,)
    weights : array of shape (n_components, n_rows)
        ``weights @ rows`` are the axes, with the entry of largest size positive, as scikit-learn
        has it. Zero beyond the numerical rank.
    energy : float
    """
    small = gather(
        functools.partial(svd.contribute, solver=solver),
        functools.partial(svd.combine, solver=solver),
    )
    xp = namespace(small.factor)
    values, vectors = svd.eigen(small.factor, solver)
    n_components = selection.n_kept(values, small.energy)
    n_rows = vectors.shape[0]
    if values.shape[0] < n_components:
        padding = xp.zeros(n_components - values.shape[0], dtype=xp.float64)
        values = xp.concat([values, padding])
    values = values[:n_components]
    n_valid = int(xp.count_nonzero(values > _floor(n_rows, solver) * values[0]))
    weights = xp.matrix_transpose(vectors[:, :n_valid]) / xp.sqrt(values[:n_valid])[:, None]
    if n_valid:
        weights = _orthogonalize(gather, weights)
    missing = xp.zeros((n_components - n_valid, n_rows), dtype=xp.float64)
    return values, xp.concat([weights, missing]), small.energy


def _orthogonalize(gather: Gather, weights: Array) -> Array:
    """Make axes orthonormal to the last digit, and turn them so that their extremes are positive.

    The eigenvectors of a Gram matrix are exact relative to its largest eigenvalue only; Cholesky
    QR does the rest, in one more pass where it is needed and two where much is.
    """
    xp = namespace(weights)
    identity = xp.eye(weights.shape[0], dtype=xp.float64)
    for _ in range(3):
        check = gather(functools.partial(_check_axes, weights=weights), _combine_checks)
        if float(xp.max(xp.abs(check.gram - identity))) < 1e-13:
            break
        weights = xp.linalg.solve(xp.linalg.cholesky(check.gram), weights)
    return weights * _signs(check.extremes)[:, None]


def extremes(components: Array) -> Array:
    """Return the entry of largest size of every axis; the first of several equal ones."""
    xp = namespace(components)
    place = xp.argmax(xp.abs(components), axis=1)
    return xp.take_along_axis(components, place[:, None], axis=1)[:, 0]


def _floor(n_rows: int, solver: str) -> float:
    """Return the relative size below which a squared singular value is rounding error."""
    return (n_rows * float(np.finfo(np.float64).eps)) ** (1 if solver == "gram" else 2)


class _Check(NamedTuple):
    gram: Array
    extremes: Array


def _check_axes(slab: SVDSummary, weights: Array) -> _Check:
    axes = product(weights, slab.rows)
    return _Check(axes @ namespace(axes).matrix_transpose(axes), extremes(axes))


def _combine_checks(checks: Sequence[_Check]) -> _Check:
    xp = namespace(checks[0].gram)
    gram = functools.reduce(lambda total, gram: total + gram, [check.gram for check in checks])
    return _Check(gram, extremes(xp.stack([check.extremes for check in checks], axis=1)))


def _signs(extreme: Array) -> Array:
    xp = namespace(extreme)
    return xp.where(extreme < 0, -xp.ones_like(extreme), xp.ones_like(extreme))


def _leading_eigenpairs(matrix: Array, selection: Selection) -> tuple[Array, Array]:
    n = matrix.shape[0]
    wanted = selection.n_components
    if is_host(matrix) and not selection.loss and wanted < n // 4:
        import scipy.linalg

        values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[n - wanted, n - 1])
        return np.maximum(values, 0)[::-1], vectors[:, ::-1]
    values, vectors = svd.eigen(matrix, "gram")
    n_components = selection.n_kept(values, float(namespace(values).sum(values)))
    return values[:n_components], vectors[:, :n_components]


def _complete(components: Array) -> Array:
    """Replace axes beyond the numerical rank, which are zero, by any orthonormal ones."""
    xp = namespace(components)
    n_valid = int(xp.count_nonzero(xp.any(components != 0, axis=1)))
    n_components, n_features = components.shape
    if n_valid == n_components:
        return components
    random = np.random.default_rng(0).standard_normal((n_components - n_valid, n_features))
    valid = components[:n_valid, :]
    together = xp.concat([valid, xp.asarray(random, dtype=components.dtype)])
    axes = xp.matrix_transpose(xp.linalg.qr(xp.matrix_transpose(together), mode="reduced").Q)
    missing = axes[n_valid:, :]
    return xp.concat([valid, missing * _signs(extremes(missing))[:, None]])
