"""A check: a few numbers from every block, and what they say about the step as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields

_COMBINE: dict[str, Callable[..., Any]] = {"sum": np.sum, "min": np.min, "max": np.max}


class Failure(NamedTuple):
    """One thing that is not as it must be."""

    quantity: str
    """Name of the quantity that is beyond its limit."""
    score: float
    """How far beyond: 1 at the limit."""
    reason: str
    """A sentence with the number and the limit."""
    block: int | None = None
    """Number of the block; None for all of the field."""
    variable: str = ""


class Evidence(NamedTuple):
    """What a check is judged by: its quantities now and in the steps before."""

    now: np.ndarray
    """Of the whole field, (n_quantities,)."""
    blocks: np.ndarray
    """Of every block, (n_blocks, n_quantities)."""
    first: np.ndarray
    """Of the whole field in the first step; those of this step when it is the first."""
    lowest: np.ndarray
    """Smallest of the whole field in all steps before; NaN where there was none."""
    highest: np.ndarray
    n_before: int
    """Number of steps before this one."""


@dataclass(frozen=True)
class Check:
    """Base of all checks.

    A check is a record that can be sent to where the data are. There, `measure` makes a few
    numbers of a block; `combine` makes those of several blocks one set, associatively; `derive`
    turns the numbers of a block, or of all of them, into quantities that do not depend on units;
    `judge` compares the quantities with limits. The first `n_features` quantities of every block
    are features, the others serve `judge` only.
    """

    quantities: ClassVar[tuple[str, ...]] = ()
    n_features: ClassVar[int] = 0
    operations: ClassVar[tuple[str, ...]] = ()
    """Per measure "sum", "min" or "max": how those of blocks become those of the field."""
    carries: ClassVar[bool] = False
    """Whether there is a `carry`: an array that the next step is compared with."""
    is_whole: ClassVar[bool] = False
    """Whether only the whole field means anything: all blocks then have its features."""
    tolerates_nan: ClassVar[bool] = False
    """Whether `measure` is called for blocks that are not finite; others give NaN there."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables that it reads: the one that it is about first."""
        about = getattr(self, "variable", "")
        return (*((about,) if about else ()), *getattr(self, "reads", ()))

    @property
    def label(self) -> str:
        """What features are called after: the variable that it is about, else all."""
        return getattr(self, "variable", "") or ", ".join(self.variables)

    @property
    def size(self) -> int:
        """Number of measures of a block."""
        return len(self.operations)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all quantities, with the variables that they are of."""
        start = f"{self.label}: " if self.label else ""
        return tuple(start + name for name in self.quantities)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features."""
        return self.names[: self.n_features]

    def neutral(self) -> np.ndarray:
        """Return the measures of a block in which there is nothing to measure."""
        start = {"sum": 0.0, "min": np.inf, "max": -np.inf}
        return np.array([start[name] for name in self.operations])

    def measure(self, block: BlockFields) -> Any:
        """Return the measures (size,) of one block, in float64."""
        raise NotImplementedError

    def combine(self, measures: np.ndarray) -> np.ndarray:
        """Return the measures (size,) of blocks (n_blocks, size) taken together."""
        columns = zip(self.operations, measures.T, strict=True)
        return np.array([_COMBINE[name](column) for name, column in columns])

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the quantities (..., n_quantities) of measures (..., size).

        Parameters
        ----------
        measures : ndarray of shape (..., size)
        before : ndarray of shape (..., size), optional
            The measures of the same blocks in the step before.
        """
        return measures

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Return what is beyond its limit."""
        return []

    def failure(
        self, quantity: int, score: float, reason: str, block: int | None = None
    ) -> Failure:
        """Return a failure of a quantity, given by its place."""
        about = getattr(self, "variable", "")
        return Failure(self.names[quantity], float(score), reason, block, about)


class Clock(NamedTuple):
    """Numbers of a step that are not fields."""

    time: float
    time_step: float
    """Of the solver; NaN where the step does not say."""
    interval: float
    """Time since the step before; NaN for the first."""
    scalars: Mapping[str, float]
    """Variables without dimensions."""


def quotient(above: Any, below: Any) -> np.ndarray:
    """Return ``above / below``, NaN where there is nothing to divide by."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    with np.errstate(all="ignore"):
        return np.where(np.abs(below) > 0, above / below, np.nan)


def log_quotient(above: Any, below: Any) -> np.ndarray:
    """Return ``log(above / below)``, NaN where that is not finite."""
    with np.errstate(all="ignore"):
        value = np.log(np.asarray(above, float)) - np.log(np.asarray(below, float))
    return np.where(np.isfinite(value), value, np.nan)


def stack(*columns: Any) -> np.ndarray:
    """Return quantities side by side, along a new last axis."""
    return np.stack(np.broadcast_arrays(*[np.asarray(c, float) for c in columns]), axis=-1)


def missing(like: np.ndarray) -> np.ndarray:
    """Return the NaN that stands for a comparison with a step that there was not."""
    return np.full(np.shape(like), np.nan)
