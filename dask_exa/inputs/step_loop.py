"""The loop over the steps of a stream: to its end, to a number, to a signal or to a stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import xarray as xr

from dask_exa.inputs.interrupt import StopRequest

INTERRUPTED = "analytics was interrupted"
"""What a simulation is told after a signal."""


class StepLoop(contextlib.AbstractContextManager):
    """Give the steps of a stream one by one, until something ends the loop.

    A signal stops a running simulation, too: at once, as the next step may be hours away.

    Parameters
    ----------
    stream : Stream
    start : int, default=0
        Steps to skip.
    n_steps : int, optional
        Position to end at, with those skipped; by default the end of the stream.
    after : int, optional
        Of a running simulation, which nobody can rewind: leave out steps up to this timestep
        instead of the first `start` ones.

    Attributes
    ----------
    position : int
        Steps taken from the stream, with those skipped.
    ended_by : {"", "end", "n_steps", "signal", "stop"}
        What ended the loop; empty before that. "stop" is `Stream.stop`.
    seconds_read : float
        What the last step took to come.

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.inputs.step_loop import StepLoop
    >>> stream = open_stream("tokam2d-hw", shape=(16, 16), rk4_steps_per_frame=2)
    >>> with StepLoop(stream, n_steps=3) as loop:
    ...     print([int(step.timestep) for step in loop], loop.ended_by)
    [1, 2, 3] n_steps
    """

    def __init__(
        self,
        stream: Any,
        *,
        start: int = 0,
        n_steps: int | None = None,
        after: int | None = None,
    ) -> None:
        self.stream, self.n_steps = stream, n_steps
        self.position = start
        self.ended_by = ""
        self.seconds_read = 0.0
        self._steps = self._after(after) if stream.is_live else stream.read(start)
        self._is_asked = threading.Event()
        self._signal = StopRequest(on_request=self._is_asked.set)
        # in a thread, as the main one may have been interrupted anywhere, with any lock
        self._messenger = threading.Thread(target=self._pass_on, daemon=True)

    def __enter__(self) -> Self:
        self._signal.__enter__()
        if self.stream.is_live:
            self._messenger.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._signal.__exit__(*exc_info)
        self._is_asked.set()
        if self._messenger.is_alive():
            self._messenger.join()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> xr.Dataset:
        started = time.perf_counter()
        self.ended_by = self._why_to_end()
        if self.ended_by:
            raise StopIteration
        try:
            step = next(self._steps)
        except StopIteration:
            self.ended_by = self._why_to_end() or "end"
            raise
        self.position += 1
        self.seconds_read = time.perf_counter() - started
        return step

    def rewind(self, position: int) -> None:
        """Go on from an earlier step, of a stream that can be read again."""
        if self.stream.stop_reason is None:  # which a new reading would forget
            self._steps = self.stream.read(position)
            self.position = position

    def _why_to_end(self) -> str:
        if self._signal.requested:
            return "signal"
        if self.stream.stop_reason is not None:
            return "stop"
        return "n_steps" if self.n_steps is not None and self.position >= self.n_steps else ""

    def _pass_on(self) -> None:
        """Tell the simulation of a signal, once there was one."""
        self._is_asked.wait()
        if self._signal.requested:
            self.stream.stop(INTERRUPTED)

    def _after(self, after: int | None) -> Iterator[xr.Dataset]:
        for step in self.stream:
            if after is None or int(step.timestep) > after:
                yield step
            del step  # it is only lent
