"""Numbers of a step that must stay below a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_exa.anomaly.checks.block import BlockFields
from dask_exa.anomaly.checks.check import Check, Evidence, Failure, log_quotient, stack


@dataclass(frozen=True)
class Ceiling(Check):
    """A variable or coordinate without dimensions stays at or below a limit.

    Parameters
    ----------
    scalar : str
        Its name. Where a step does not have it, nothing is checked.
    limit : float
    what : str, optional
        What to call it.
    because : str, optional
        What it means when it is above, for the alarm.
    """

    scalar: str
    limit: float
    what: str = ""
    because: str = ""
    n_features = 1
    operations = ("max",)
    is_whole = True
    tolerates_nan = True

    @property
    def quantities(self) -> tuple[str, ...]:  # type: ignore[override]
        """Its logarithm, and itself."""
        return f"log {self.what or self.scalar}", self.what or self.scalar

    def measure(self, block: BlockFields) -> Any:
        """Return the number."""
        return (block.clock.scalars.get(self.scalar, np.nan),)

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the logarithm relative to the limit, from a millionth of it on, and the number."""
        now = measures[..., 0]
        return stack(log_quotient(np.fmax(now, 1e-6 * self.limit) + 0.0 * now, self.limit), now)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where the number is above the limit."""
        now = float(evidence.now[1])
        if not now > self.limit:
            return []
        reason = f"the {self.what or self.scalar} is {now:.3g}, more than {self.limit:.3g}"
        reason += f"; {self.because}." if self.because else "."
        return [self.failure(0, now / self.limit, reason)]
