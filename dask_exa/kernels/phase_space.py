"""Which twin reduces a distribution function, in one pass over it."""

from __future__ import annotations

from typing import NamedTuple

from dask_exa._array import Array, is_cupy, is_host


class PhaseSpaceSums(NamedTuple):
    """What one pass over a distribution function gives."""

    projected: Array
    """``f @ columns.T``, shape (n_points, n_columns)."""
    marginal: Array
    """``point_weights @ f``, shape (n_velocities,)."""
    absolute: float
    """Sum of ``point_weights[i] velocity_weights[j] |f[i, j]|``."""
    squares: float
    """The same sum of ``f[i, j]^2``."""
    largest: float
    smallest: float


def reduce_phase_space(
    f: Array, columns: Array, point_weights: Array, velocity_weights: Array
) -> PhaseSpaceSums:
    """Reduce a distribution function along velocities, along positions, and along both.

    Parameters
    ----------
    f : array of shape (n_points, n_velocities), float32 or float64
        Read once; nothing of its size is made.
    columns : array of shape (n_columns, n_velocities), float64
        Weights of each sum over velocities.
    point_weights : array of shape (n_points,), float64
    velocity_weights : array of shape (n_velocities,), float64
        Not negative, as are those of points.

    Returns
    -------
    PhaseSpaceSums
        In float64. Where `f` has values that are not finite, extremes mean nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.kernels.phase_space import reduce_phase_space
    >>> f = np.array([[1.0, 2.0], [3.0, -4.0]])
    >>> sums = reduce_phase_space(f, np.ones((1, 2)), np.ones(2), np.ones(2))
    >>> sums.projected.tolist(), sums.marginal.tolist(), sums.absolute, sums.squares
    ([[3.0], [-1.0]], [4.0, -2.0], 10.0, 30.0)
    """
    if is_cupy(f):
        from dask_exa.kernels._phase_space_cupy import reduce_rows as twin
    elif is_host(f):
        from dask_exa.kernels._phase_space_numba import reduce_rows as twin
    else:
        raise TypeError(f"f is a {type(f).__name__}; pass a NumPy or a CuPy array.")
    return PhaseSpaceSums(*twin(f, columns, point_weights, velocity_weights))
