"""What a rank is told while it computes, and what it waits for."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

from dask_exa.insitu.errors import RankLostError


class Mailbox:
    """News for one rank; its worker's thread puts them, the simulation's thread reads them.

    Attributes
    ----------
    stop : str
        Why analytics asks for an end.
    fault : str
        What happened to another rank.
    lost : str
        Why the scheduler cannot be reached.
    let_go : dict or None
        That the rank may leave, and whether there are workers left for its data.
    """

    def __init__(self) -> None:
        self.stop = self.fault = self.lost = ""
        self.let_go: dict[str, Any] | None = None
        # Re-entrant: buffers come free, which wakes, wherever the last reference to them dies.
        self._changed = threading.Condition(threading.RLock())

    def put(self, news: dict[str, Any]) -> None:
        """Take news of the stream's plugin."""
        with self._changed:
            self.stop = news.get("stop", self.stop)
            self.fault = news.get("fault", self.fault)
            self.let_go = news.get("let_go", self.let_go)
            self._changed.notify_all()

    def lose(self, reason: str) -> None:
        """Take it that there will be no more news."""
        with self._changed:
            self.lost = reason
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], Any], timeout: float) -> bool:
        """Wait until a condition holds, and return whether it does.

        Parameters
        ----------
        condition : callable
            Looked at whenever something has changed.
        timeout : float
            Seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            if self._changed.wait_for(condition, min(timeout, 1.0)):
                return True
        gc.collect()  # what holds a chunk may be garbage in a cycle
        with self._changed:
            return bool(self._changed.wait_for(condition, max(0.0, deadline - time.monotonic())))

    def pause(self, seconds: float) -> None:
        """Wait for a moment, or until there are news.

        Raises
        ------
        RankLostError
            When another rank is at fault, which would be waited for in vain.
        """
        with self._changed:
            if seconds and not self.fault:
                self._changed.wait(seconds)
            if self.fault:
                raise RankLostError(self.fault)
