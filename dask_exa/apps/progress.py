"""What the line on the terminal says of a session."""

from __future__ import annotations

import math

import numpy as np

from dask_exa.apps.session import Session
from dask_exa.inputs.progress import StepProgress
from dask_exa.report.alarms import describe_block


class RunProgress(StepProgress):
    """Steps, speed, explained variance and error of a session.

    Parameters
    ----------
    description : str
    n_steps : int or None
        None where nobody knows when the stream ends.
    """

    def show(self, session: Session) -> None:
        """Show where the session is, and alarms about what was in order before."""
        for alarm in session.new_alarms:
            self.warn(f"ALARM step {alarm.step}{describe_block(alarm)}: {alarm.reason}")
        self.update(session.n_steps, _describe(session))


def _describe(session: Session) -> str:
    """Return "density 97 % (error 0.012)" for every variable that has a basis."""
    parts = []
    for name, model in session.models.items():
        shares = model.fitted().get("explained_variance_ratio")
        if shares is not None:
            error = model.errors[-1]
            known = "" if math.isnan(error) else f" (error {error:.2g})"
            parts.append(f"{name} {100 * np.sum(shares):.3g} %{known}")
    return "explained: " + ", ".join(parts[:3]) if parts else "collecting the first steps"
