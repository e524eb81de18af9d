"""Summaries in other coordinates: what is known of samples stays known when they are moved.

A step of a pipeline sees samples where the steps before it put them, and those learn too. Once
they have learnt more, the same samples stand elsewhere, and what was learnt of them with them. If
the steps before are affine maps, z = M (x - origin) + start, so is the way from the old place to
the new one,

    z' = A z + b        A = M' M⁻,    b = M' (origin - origin') + start' - A start,

and most summaries follow it exactly, without a look at the samples: means by A m + b, second
moments by A S Aᵀ, rows of a basis by B Aᵀ, points by A c + b. Carried over, they are what the
samples would have given at their new place.

A scaler loses nothing: M is diagonal, M⁻ its inverse. Principal components lose what is orthogonal
to them; M⁻ = Mᵀ then leaves out of z' what the new components see in the old residuals. These are
uncorrelated with z and have mean zero over all samples seen, so that A z + b is the best linear
estimate of z' that z allows, with no bias; exact where nothing was left out, or where the
components only turn or change their signs.

Matrices that are diagonal are kept as one factor per feature, shape (n_features,).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from dask_exa._array import Array, as_float64, namespace
from dask_exa.summaries.moments import Moments
from dask_exa.summaries.svd import SVDSummary


class Coordinates(NamedTuple):
    """Where a map puts samples: ``matrix (x - origin) + start``."""

    matrix: Array
    """Shape (n_outputs, n_features), or (n_features,) for a factor per feature. All float64."""
    inverse: Array
    """Shape (n_features, n_outputs), or (n_features,): the way back, as far as there is one."""
    origin: Array
    """Shape (n_features,)."""
    start: Array
    """Shape (n_outputs,)."""


class Change(NamedTuple):
    """How samples have moved: ``matrix z + offset``."""

    matrix: Array
    """Shape (n_new, n_old), or (n_old,) for a factor per feature; float64."""
    offset: Array
    """Shape (n_new,), float64."""

    @property
    def n_features(self) -> int:
        """Number of features that samples had."""
        return self.matrix.shape[-1]


def scaling(factor: Array, origin: Array, start: Array) -> Coordinates:
    """Return the coordinates ``factor * (x - origin) + start`` of every feature by itself."""
    return Coordinates(factor, 1 / factor, origin, start)


def change(before: Coordinates, after: Coordinates, moved: Change | None = None) -> Change:
    """Return how the outputs of a map have moved.

    Parameters
    ----------
    before, after : Coordinates
        Of the map.
    moved : Change, optional
        How its inputs have moved meanwhile.

    Examples
    --------
    >>> import numpy as np
    >>> centred = scaling(np.array([1.0]), np.array([5.0]), np.array([0.0]))
    >>> halved = scaling(np.array([0.5]), np.array([7.0]), np.array([0.0]))
    >>> change(centred, halved)
    Change(matrix=array([0.5]), offset=array([-1.]))
    """
    back, origin = before.inverse, before.origin
    if moved is not None:
        back = _times(moved.matrix, back)
        origin = _of(moved.matrix, origin) + moved.offset
    matrix = _times(after.matrix, back)
    offset = _of(after.matrix, origin - after.origin) + after.start - _of(matrix, before.start)
    return Change(matrix, offset)


def move(points: Array, change: Change) -> Array:
    """Return points (n_points, n_features), each moved, in their dtype."""
    return as_dtype(_rows(as_float64(points), change.matrix) + change.offset, points)


@functools.singledispatch
def carry(summary: Any, change: Change) -> Any:
    """Return what a summary would be, had its samples stood where they are now.

    Each algebra registers its own; None for a kind of summary that is bound to its coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.summaries import moments
    >>> X = np.array([[0.0, 1.0], [2.0, 5.0]])
    >>> turn = Change(np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([3.0, 0.0]))
    >>> carry(moments.summarize(X), turn).mean
    array([ 6., -1.])
    """
    return None


@carry.register
def carry_moments(summary: Moments, change: Change) -> Moments:
    """Return moments; without the products of different features, these are uncorrelated.

    As principal components are, whose features a matrix may mix.
    """
    matrix, m2 = change.matrix, summary.m2
    mean = _of(matrix, summary.mean) + change.offset
    m2 = carry_variances(m2, change) if m2.ndim == 1 else carry_scatter(m2, change)
    return summary._replace(mean=mean, m2=m2)


@carry.register
def carry_svd(summary: SVDSummary, change: Change) -> SVDSummary:
    """Return leading directions: rows move exactly, what was truncated counts as uncorrelated."""
    matrix, before = change.matrix, as_float64(summary.rows)
    xp = namespace(before)
    after = _rows(before, matrix)
    left = summary.moments.m2 - xp.sum(before * before, axis=0)
    left = carry_variances(xp.where(left > 0, left, xp.zeros_like(left)), change)
    moved = carry_moments(summary.moments, change)
    if matrix.ndim == 2:
        moved = moved._replace(m2=xp.sum(after * after, axis=0) + left)
    return SVDSummary(
        moved,
        as_dtype(after, summary.rows),
        max(moved.energy - float(xp.sum(after * after)), 0.0) if summary.tail else 0.0,
        summary.bound * largest_stretch(matrix) ** 2 if summary.bound else 0.0,
    )


def turn(differences: Array, change: Change) -> Array:
    """Return differences of points (n_differences, n_features), each as it is now."""
    return as_dtype(_rows(as_float64(differences), change.matrix), differences)


def carry_scatter(scatter: Array, change: Change) -> Array:
    """Return A S Aᵀ of second moments S, shape (…, n_features, n_features)."""
    matrix = change.matrix
    if matrix.ndim == 1:
        return scatter * matrix[:, None] * matrix[None, :]
    return matrix @ scatter @ namespace(matrix).matrix_transpose(matrix)


def carry_variances(variances: Array, change: Change) -> Array:
    """Return what is the diagonal of A S Aᵀ for diagonal S, shape (…, n_features)."""
    return _rows(variances, change.matrix * change.matrix)


def mean_stretch(change: Change) -> float:
    """Return the factor by which a squared length grows, in the mean over all directions."""
    return float(namespace(change.matrix).sum(change.matrix**2)) / change.n_features


def largest_stretch(matrix: Array) -> float:
    """Return the largest factor by which a matrix, or a factor per feature, stretches a vector."""
    xp = namespace(matrix)
    if matrix.ndim == 1:
        return float(xp.max(xp.abs(matrix)))
    return float(xp.linalg.matrix_norm(matrix, ord=2))


def as_dtype(values: Array, like: Array) -> Array:
    """Return float64 values in the dtype of others."""
    return namespace(values).astype(values, like.dtype, copy=False)


def _times(first: Array, second: Array) -> Array:
    if first.ndim == 2 and second.ndim == 2:
        return first @ second
    if first.ndim == 1 and second.ndim == 2:
        return first[:, None] * second
    return first * second


def _of(matrix: Array, vector: Array) -> Array:
    return matrix * vector if matrix.ndim == 1 else matrix @ vector


def _rows(rows: Array, matrix: Array) -> Array:
    """Return each row multiplied by the matrix."""
    if matrix.ndim == 1:
        return rows * matrix
    return rows @ namespace(matrix).matrix_transpose(matrix)
