"""Integrals over the domain that must stay, must not grow or must not fall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import Check, Evidence, Failure, missing, quotient, stack

DIRECTIONS = ("stays", "falls", "rises")


@dataclass(frozen=True)
class Total(Check):
    """An integral over the domain stays, only falls, or only rises.

    Parameters
    ----------
    variable : str
        Read from each block. A variable without dimensions is the total itself.
    integrand : {"value", "square", "maximum"} or callable, default="value"
        "square" gives the squared L2 norm, "maximum" the largest value in place of an integral. A
        callable gets the block, a `BlockFields`, which has the variables by their names, and
        returns the integral over it.
    goes : {"stays", "falls", "rises"}, default="stays"
        "falls": must not grow beyond the smallest value so far; "rises": must not fall below the
        largest; "stays": must be what it was in the first step.
    limit : float, default=1e-3
        How far it may be off, as a share of that.
    what : str, optional
        What to call it.
    reads : tuple of str, optional
        Further variables that a callable reads.
    since_start : bool, default=False
        Compare with the first step instead of the extremes, for "falls" and "rises".
    """

    variable: str
    integrand: str | Callable[[BlockFields], float] = "value"
    goes: str = "stays"
    limit: float = 1e-3
    what: str = "integral"
    reads: tuple[str, ...] = ()
    since_start: bool = False
    n_features = 1
    is_whole = True

    def __post_init__(self) -> None:
        if self.goes not in DIRECTIONS:
            raise ValueError(f"goes={self.goes!r} is unknown; pass one of {', '.join(DIRECTIONS)}.")
        if not callable(self.integrand) and self.integrand not in ("value", "square", "maximum"):
            raise ValueError(
                f"integrand={self.integrand!r} is unknown; pass 'value', 'square', 'maximum' or a "
                "callable."
            )
        if not self.limit >= 0:
            raise ValueError(f"limit={self.limit!r} must be a share of zero or more.")

    @property
    def quantities(self) -> tuple[str, ...]:  # type: ignore[override]
        """Its relative change from the step before, and itself."""
        return f"change of {self.what}", self.what

    @property
    def operations(self) -> tuple[str, ...]:  # type: ignore[override]
        """Integrals are added."""
        return ("max",) if self.integrand == "maximum" else ("sum",)

    def measure(self, block: BlockFields) -> Any:
        """Return the integral over the block."""
        if callable(self.integrand):
            return (float(self.integrand(block)),)
        if self.variable in block.clock.scalars:
            return (block.clock.scalars[self.variable],)
        values = block[self.variable]
        if self.integrand == "maximum":
            return (np.max(values),)
        return (block.integral(self.variable, values if self.integrand == "value" else values**2),)

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the relative change and the total."""
        total = measures[..., 0]
        if before is None:
            return stack(missing(total), total)
        return stack(quotient(total - before[..., 0], np.abs(before[..., 0])), total)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where it has gone too far the wrong way."""
        now = evidence.now[1]
        reference = {
            "stays": evidence.first[1],
            "falls": evidence.first[1] if self.since_start else evidence.lowest[1],
            "rises": evidence.first[1] if self.since_start else evidence.highest[1],
        }[self.goes]
        off = float(quotient(now - reference, abs(reference)))
        beyond = {"stays": abs(off), "falls": off, "rises": -off}[self.goes]
        if evidence.n_before == 0 or not beyond > self.limit:
            return []
        must = {"stays": "stay", "falls": "not grow", "rises": "not fall"}[self.goes]
        reason = (
            f"the {self.what} of {self.variable} must {must}: it is {now:.6g} where it was "
            f"{reference:.6g}, off by {beyond:.3g} of that, more than {self.limit:.3g}."
        )
        return [self.failure(0, beyond / self.limit if self.limit else np.inf, reason)]


def conserved(variable: str, limit: float = 1e-3, **options: Any) -> Total:
    """Return the check that an integral stays what it was in the first step."""
    return Total(variable, goes="stays", limit=limit, **options)
