"""One pass over a distribution function on the CPU; the twin of `_phase_space_cupy`."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from dask_exa._threads import map_threads

_ROWS = 1 << 13
"""Of a task; fixed, so that the sums do not depend on the number of threads."""
# Sums may be taken in any order, so that the compiler keeps them in vector registers.
_ANY_ORDER = {"reassoc", "nsz", "contract"}


def reduce_rows(
    f: np.ndarray, columns: np.ndarray, point_weights: np.ndarray, velocity_weights: np.ndarray
) -> tuple[Any, ...]:
    """See `dask_exa.kernels.phase_space.reduce_phase_space`."""
    f, columns = np.ascontiguousarray(f), np.ascontiguousarray(columns)
    projected = np.empty((len(f), len(columns)))

    def reduce_part(first: int) -> Any:
        rows = slice(first, first + _ROWS)
        weights = (point_weights[rows], velocity_weights)
        return _reduce_rows(f[rows], columns, *weights, projected[rows])

    parts = map_threads(reduce_part, range(0, max(len(f), 1), _ROWS))
    marginal, absolute, squares, largest, smallest = zip(*parts, strict=True)
    sums = float(np.sum(absolute)), float(np.sum(squares))
    return projected, np.sum(marginal, axis=0), *sums, float(max(largest)), float(min(smallest))


@numba.njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def _reduce_rows(
    f, columns, point_weights, velocity_weights, projected
):  # pragma: no cover  (compiled)
    n_points, n_velocities = f.shape
    marginal = np.zeros(n_velocities)
    # Of every velocity by itself: neighbours in memory are then added side by side, in vectors.
    absolute, squares = np.zeros(n_velocities), np.zeros(n_velocities)
    largest, smallest = np.full(n_velocities, -np.inf), np.full(n_velocities, np.inf)
    for i in range(n_points):
        weight = point_weights[i]
        row = f[i]
        for j in range(n_velocities):
            value = np.float64(row[j])
            share = weight * value
            marginal[j] += share
            absolute[j] += abs(share)
            squares[j] += share * value
            largest[j] = value if value > largest[j] else largest[j]
            smallest[j] = value if value < smallest[j] else smallest[j]
        _project(row, columns, projected[i])
    absolute *= velocity_weights
    squares *= velocity_weights
    return marginal, absolute.sum(), squares.sum(), largest.max(), smallest.min()


@numba.njit(nogil=True, cache=True, fastmath=_ANY_ORDER, inline="always")
def _project(row, columns, out):  # pragma: no cover  (compiled)
    """Write the sums of a row with all columns, four at a time: each value is loaded once."""
    n_columns = len(columns)
    n_fours = n_columns // 4 * 4
    for k in range(0, n_fours, 4):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for j in range(row.size):
            value = np.float64(row[j])
            a += value * columns[k, j]
            b += value * columns[k + 1, j]
            c += value * columns[k + 2, j]
            d += value * columns[k + 3, j]
        out[k], out[k + 1], out[k + 2], out[k + 3] = a, b, c, d
    for k in range(n_fours, n_columns):
        total = 0.0
        for j in range(row.size):
            total += np.float64(row[j]) * columns[k, j]
        out[k] = total
