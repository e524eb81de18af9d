"""How a variable is spread, and how fast that changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import (
    Check,
    Evidence,
    Failure,
    log_quotient,
    missing,
    quotient,
    stack,
)

_EVER = 3
"""Steps before a growth or a change can be called unlike all others."""


@dataclass(frozen=True)
class Spread(Check):
    """Growth, shift, tails and extremes of a variable; its growth does not run away.

    Amplitudes grow exponentially in the linear phase of an instability, by the same factor from
    step to step. A solver that breaks down is faster from step to step.

    Parameters
    ----------
    variable : str
    limit : float, default=1e6
        Factor by which the spread may grow in a step beyond the square of the fastest growth so
        far.
    """

    variable: str
    limit: float = 1e6
    quantities = (
        "growth of spread",
        "shift of mean in spreads",
        "log kurtosis",
        "highest peak in spreads",
        "deepest dip in spreads",
        "spread",
    )
    n_features = 5
    operations = ("sum", "sum", "sum", "sum", "sum", "min", "max")

    def measure(self, block: BlockFields) -> Any:
        """Return count, mean, sums of central powers two to four, minimum and maximum."""
        values = block[self.variable]
        mean = np.mean(values)
        centred = values - mean
        squares = centred**2
        powers = np.sum(squares), np.vdot(squares, centred), np.vdot(squares, squares)
        return values.size, mean, *powers, np.min(values), np.max(values)

    def combine(self, measures: np.ndarray) -> np.ndarray:
        """Return the moments of all blocks, about the mean of all."""
        count, means, m2, m3, m4, low, high = measures.T
        total = np.sum(count)
        mean = np.sum(count * means) / total
        shift = np.where(count > 0, means - mean, 0.0)
        second = np.sum(m2 + count * shift**2)
        third = np.sum(m3 + 3 * shift * m2 + count * shift**3)
        fourth = np.sum(m4 + 4 * shift * m3 + 6 * shift**2 * m2 + count * shift**4)
        return np.array([total, mean, second, third, fourth, np.min(low), np.max(high)])

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return growth, shift, tails, extremes and the spread."""
        count, mean, squares, _, fourth, low, high = np.moveaxis(measures, -1, 0)
        spread = np.sqrt(quotient(squares, count))
        growth = shift = missing(spread)
        if before is not None:
            spread_before = np.sqrt(quotient(before[..., 2], before[..., 0]))
            growth = log_quotient(spread, spread_before)
            shift = quotient(mean - before[..., 1], spread_before)
        kurtosis = log_quotient(fourth * count, squares**2)
        peaks = log_quotient(high - mean, spread), log_quotient(mean - low, spread)
        return stack(growth, np.arcsinh(shift), kurtosis, *peaks, spread)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where the whole field grows as it has never before."""
        growth, fastest = evidence.now[0], max(float(np.nan_to_num(evidence.highest[0])), 0.0)
        allowed = np.log(self.limit) + 2.0 * fastest
        if evidence.n_before < _EVER or not growth > allowed:
            return []
        reason = (
            f"the spread of {self.variable} grows by a factor of {np.exp(growth):.3g} in one step, "
            f"more than {np.exp(allowed):.3g}; the largest factor before was {np.exp(fastest):.3g}."
        )
        return [self.failure(0, growth / allowed, reason)]


@dataclass(frozen=True)
class Jump(Check):
    """How far a variable moves between steps, seen on cells of a coarse grid.

    Parameters
    ----------
    variable : str
    n_cells : int, default=4
        Cells along each of the first three dimensions of a block.
    """

    variable: str
    n_cells: int = 4
    quantities = ("log jump in spreads",)
    n_features = 1
    n_axes = 3

    @property
    def operations(self) -> tuple[str, ...]:  # type: ignore[override]
        """Nothing but the spread means anything for several blocks together."""
        return ("sum",) * (2 + self.n_cells**self.n_axes)

    def measure(self, block: BlockFields) -> Any:
        """Return the count, the sum of squares about the mean, and the means of the cells."""
        values = block[self.variable]
        squares = np.sum((values - np.mean(values)) ** 2)
        cells = values
        for axis in range(self.n_axes):
            cells = cells if axis < values.ndim else cells[..., None]
            parts = np.array_split(cells, self.n_cells, axis=axis)
            means = [np.mean(part, axis=axis) for part in parts if part.shape[axis]]
            means += means[-1:] * (self.n_cells - len(means))
            cells = np.stack(means, axis=axis)
        cells = cells.reshape(*cells.shape[: self.n_axes], -1).mean(axis=-1)
        return [values.size, squares, *cells.ravel()]

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the root mean square of the differences, over the larger of both spreads."""
        if before is None:
            return stack(missing(measures[..., 0]))
        moved = np.sqrt(np.mean((measures[..., 2:] - before[..., 2:]) ** 2, axis=-1))
        variances = [quotient(m[..., 1], m[..., 0]) for m in (measures, before)]
        return stack(log_quotient(moved, np.sqrt(np.fmax(*variances))))


@dataclass(frozen=True)
class LoneChange(Check):
    """No element of a short list changes far more than the others do: one grain of many.

    Parameters
    ----------
    variable : str
        On one dimension, in one block, such as the mean stress of every grain; may be a tensor.
    limit : float, default=4.5
        Largest change from the step before, relative to the median of all. Grains that yield or
        turn back one after the other stay below 3.
    """

    variable: str
    limit: float = 4.5
    quantities = ("log largest change by the median", "largest change by the median", "element")
    n_features = 1
    operations = ("max", "max")
    is_whole = True
    carries = True

    def carry(self, block: BlockFields) -> np.ndarray:
        """Return the elements: what the next step is compared with."""
        return np.array(block[self.variable])

    def measure(self, block: BlockFields) -> Any:
        """Return the largest change relative to the median, and whose it is."""
        before = block.carried.get(self.names)
        now = block.carry(self)
        if before is None or np.size(before) != now.size:
            return np.nan, np.nan
        change = np.linalg.norm((now - before.reshape(now.shape)).reshape(len(now), -1), axis=1)
        return quotient(np.max(change), np.median(change)), np.argmax(change)

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the largest change in logarithms, as it is, and whose it is."""
        largest = measures[..., 0]
        return stack(log_quotient(largest, 1.0), largest, measures[..., 1])

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where one element changes far more than half of all."""
        _, largest, element = evidence.now
        if evidence.n_before < _EVER or not largest > self.limit:
            return []
        reason = (
            f"{self.variable} of number {element:.0f} changes {largest:.3g} times as much as the "
            f"median of all, more than {self.limit:.3g}."
        )
        return [self.failure(0, largest / self.limit, reason)]
