"""A line on the terminal while a stream is read; on standard error, so results can be piped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

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


class StepProgress:
    """Steps, speed, a line of details, and notices that stay.

    Parameters
    ----------
    description : str
    n_steps : int or None
        None where nobody knows when the stream ends.
    is_shown : bool, default=True
    """

    def __init__(self, description: str, n_steps: int | None, *, is_shown: bool = True) -> None:
        self._progress = _TwoLines(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not is_shown,
        )
        self._task = self._progress.add_task(description, total=n_steps)

    def update(self, n_steps: int, details: str = "") -> None:
        """Show how many steps there were, and details below them."""
        self._progress.details = details
        self._progress.update(self._task, completed=n_steps)

    def note(self, text: str) -> None:
        """Print something good to know above the line, on a terminal."""
        if text and self._progress.console.is_terminal and not self._progress.disable:
            self._progress.console.print(Text(text))

    def warn(self, text: str) -> None:
        """Print a notice above the line."""
        if not self._progress.disable:
            self._progress.console.print(Text(text, style="bold red"))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} steps/s")


class _TwoLines(Progress):
    details = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.details:
            yield Text("  " + self.details, style="dim", overflow="ellipsis", no_wrap=True)
