"""Stop between two steps instead of in the middle of one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

EXIT_CODE = 130
"""Of a run that was stopped, by Ctrl-C or by a batch system's SIGTERM."""


class StopRequest(contextlib.AbstractContextManager):
    """Turn the first SIGINT or SIGTERM into a wish that a loop can ask for.

    A second one stops at once, as if nobody had caught it. Outside of the main thread, where
    Python delivers no signals, nothing is changed.

    Parameters
    ----------
    note : str or None
        What the terminal is told.
    on_request : callable, optional
        Called at once, in the middle of whatever the main thread does; it must not wait.

    Attributes
    ----------
    requested : bool

    Examples
    --------
    >>> import os, signal
    >>> from dask_exa.inputs.interrupt import StopRequest
    >>> with StopRequest(note=None) as stop:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     stop.requested
    True
    """

    def __init__(
        self,
        note: str | None = "finishing this step; once more stops at once",
        *,
        on_request: Callable[[], Any] | None = None,
    ) -> None:
        self.requested = False
        self.note, self.on_request = note, on_request
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        if self.note is not None:
            # print would fail here if the signal came in the middle of another print
            os.write(2, f"\n{signal.Signals(number).name}: {self.note}\n".encode())
        if self.on_request is not None:
            self.on_request()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def dask_setup(worker: Any) -> None:
    """Leave signals to the process that started a worker; for ``preload`` of its cluster.

    Ctrl-C reaches all processes of a terminal, and a worker that dies of it takes its part of the
    basis with it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Undo what an import does to the answer to Ctrl-C; that of dask-jobqueue ends the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
