"""The solver's own time step."""

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


@dataclass(frozen=True)
class TimeStep(Check):
    """The time step of the solver does not collapse.

    An adaptive solver in trouble takes ever smaller steps; floors on density and pressure may
    hide everything else. The last step before an output may be cut short, by any factor but
    rarely by a large one.

    Parameters
    ----------
    limit : float, default=1e-3
        Time step relative to the largest so far that fails.
    """

    limit: float = 1e-3
    quantities = ("growth of time step", "time step")
    n_features = 1
    is_whole = True
    operations = ("max",)
    tolerates_nan = True

    def measure(self, block: BlockFields) -> Any:
        """Return the time step."""
        return (block.clock.time_step,)

    def derive(self, measures: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Return the growth since the step before, and the time step."""
        now = measures[..., 0]
        growth = missing(now) if before is None else log_quotient(now, before[..., 0])
        return stack(growth, now)

    def judge(self, evidence: Evidence) -> list[Failure]:
        """Fail where the time step is a small part of what it has been."""
        now, largest = evidence.now[1], evidence.highest[1]
        share = float(quotient(now, largest))
        if not share < self.limit:
            return []
        reason = (
            f"the time step has collapsed to {now:.3g}, {share:.3g} of the largest one of "
            f"{largest:.3g} and less than {self.limit:.3g} of it."
        )
        return [self.failure(0, np.inf if share <= 0 else self.limit / share, reason)]
