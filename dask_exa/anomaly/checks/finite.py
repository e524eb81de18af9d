"""Values that cannot be: not finite, or of the wrong sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import Check, Evidence, Failure, quotient, stack


@dataclass(frozen=True)
class Finite(Check):
    """All values are finite.

    Parameters
    ----------
    variable : str
    """

    variable: str
    quantities = ("share of values that are not finite",)
    operations = ("sum", "sum")
    tolerates_nan = True

    def measure(self, block: BlockFields) -> Any:
        """Return how many values are not finite, and how many there are."""
        values = block[self.variable]
        return values.size - np.count_nonzero(np.isfinite(values)), values.size

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return their share."""
        return stack(quotient(measures[..., 0], measures[..., 1]))

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail in every block that has any."""
        share = evidence.blocks[:, 0]
        return [
            self.failure(
                0,
                1.0 + share[i],
                f"{share[i]:.3g} of the values of {self.variable} are not finite; none may be.",
                int(i),
            )
            for i in np.flatnonzero(share > 0)
        ]


@dataclass(frozen=True)
class Positive(Check):
    """A variable that was positive in the first step does not become negative.

    Parameters
    ----------
    variable : str
    limit : float, default=0
        Share of the integral of its modulus that may be negative. Spectral codes overshoot at
        steep fronts and heal.
    always : bool, default=False
        Judge it also if it was negative in the first step.
    """

    variable: str
    limit: float = 0.0
    always: bool = False
    quantities = ("negative share", "smallest value")
    operations = ("sum", "sum", "min")

    def measure(self, block: BlockFields) -> Any:
        """Return the integrals of the negative part and of the modulus, and the smallest value."""
        values = block[self.variable]
        negative = block.integral(self.variable, np.maximum(-values, 0.0))
        return negative, block.integral(self.variable, np.abs(values)), np.min(values)

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the negative share and the smallest value."""
        return stack(quotient(measures[..., 0], measures[..., 1]), measures[..., 2])

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where the negative share of the whole field is above the limit."""
        share, smallest = evidence.now
        expected = self.always or evidence.first[1] > 0
        if not expected or not share > self.limit:
            return []
        worst = int(np.nanargmin(evidence.blocks[:, 1]))
        score = 1.0 + share if self.limit == 0 else share / self.limit
        reason = (
            f"{self.variable} must be positive: {share:.3g} of its integral is negative, more than "
            f"{self.limit:.3g}; the smallest value is {smallest:.3g}."
        )
        return [self.failure(0, score, reason, worst)]
