"""Energy at the scale of the grid, by differences of neighbours: no transform, no halo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import Check, Evidence, Failure, log_quotient, quotient, stack

ORDER = 6
"""Of the differences: their gain sin(k dx / 2)^6 is 1 at the Nyquist wavenumber, 1/8 at half."""
_WHITE = math.comb(2 * ORDER, ORDER) / 4**ORDER
"""Share of white noise that they let pass."""
_ROUNDING = 1e-6
"""Spread relative to the mean below which a field is constant but for single precision."""


@dataclass(frozen=True)
class GridScale(Check):
    """Energy does not pile up at the highest wavenumbers.

    Dissipation and truncation make the spectrum of a resolved field fall towards the Nyquist
    wavenumber. Aliasing and the instability of a time step fill it. Of a field whose spectrum is
    flat, white noise, this says 1.

    Parameters
    ----------
    variable : str
    limit : float, default=0.75
        Share of energy at the scale of the grid that fails, relative to that of white noise.
        Fields that were never below half of it, such as initial noise, do not fail.
    """

    variable: str
    limit: float = 0.75
    quantities = ("log Nyquist-band energy", "log checkerboard energy", "Nyquist-band energy")
    n_features = 2
    operations = ("sum", "sum", "sum", "sum", "sum", "sum", "sum")

    def measure(self, block: BlockFields) -> Any:
        """Return sums and counts of squared differences, of the checkerboard and of the field."""
        values = block[self.variable]
        n_axes = len(block.dims[self.variable])
        energy, count = 0.0, 0
        board = values - np.mean(values, axis=tuple(range(n_axes)), keepdims=True)
        squares = float(np.vdot(board, board))
        for axis in range(n_axes):
            if values.shape[axis] > ORDER:
                part = np.diff(values, n=ORDER, axis=axis) / 2.0**ORDER
                energy, count = energy + float(np.vdot(part, part)), count + part.size
            if values.shape[axis] > 1:
                board = np.diff(board, axis=axis) / 2.0
        mean = np.mean(values)
        return energy, count, np.vdot(board, board), board.size, squares, mean, values.size

    def combine(self, measures: np.ndarray) -> np.ndarray:
        """Add the blocks, and to the energy of the field what their means differ by."""
        *sums, means, counts = measures.T
        total = np.sum(counts)
        mean = np.sum(counts * means) / total
        added = [np.sum(part) for part in sums]
        added[4] += np.sum(counts * (means - mean) ** 2)
        return np.array([*added, mean, total])

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return both energies in logarithms, relative to the field, and the first as it is."""
        energy, n_energy, board, n_board, squares, mean, count = np.moveaxis(measures, -1, 0)
        variance = quotient(squares, count)
        variance = np.where(variance > (_ROUNDING * mean) ** 2, variance, np.nan)
        share = quotient(quotient(energy, n_energy), variance) / _WHITE
        checkers = log_quotient(quotient(board, n_board), variance)
        floor = 2.0**-52  # what is below comes from rounding
        logs = [np.log(np.fmax(share, floor)), np.fmax(checkers, np.log(floor))]
        known = np.isfinite(share)
        return stack(*[np.where(known, value, np.nan) for value in logs], share)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where the spectrum of the whole field has become flat."""
        share, lowest = evidence.now[2], evidence.lowest[2]
        if not (share > self.limit and lowest < self.limit / 2):
            return []
        reason = (
            f"energy of {self.variable} piles up at the scale of the grid: {share:.3g} of what "
            f"white noise has there, more than {self.limit:.3g}; it has been {lowest:.3g}."
        )
        return [self.failure(0, share / self.limit, reason)]
