"""A line on the terminal while a run goes on; on standard error, so that results can be piped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Self

import numpy as np
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from dask_exa.apps.session import Session
from dask_exa.report.alarms import describe_block


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} steps/s")


class _TwoLines(Progress):
    fit = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.fit:
            yield Text("  " + self.fit, style="dim", overflow="ellipsis", no_wrap=True)


class RunProgress:
    """Steps, speed, explained variance and error of a session.

    Parameters
    ----------
    description : str
    n_steps : int or None
        None where nobody knows when the stream ends.
    """

    def __init__(self, description: str, n_steps: int | None) -> None:
        self._progress = _TwoLines(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(description, total=n_steps)

    def show(self, session: Session) -> None:
        """Show where the session is, and alarms about what was in order before."""
        self._progress.fit = _describe(session)
        for alarm in session.new_alarms:
            text = f"ALARM step {alarm.step}{describe_block(alarm)}: {alarm.reason}"
            self._progress.console.print(Text(text, style="bold red"))
        self._progress.update(self._task, completed=session.n_steps)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()


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
