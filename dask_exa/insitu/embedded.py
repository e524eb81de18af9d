"""A Dask worker inside of a rank's process, which keeps the chunks where they were made."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import dask
from distributed import Worker
from distributed.protocol.pickle import dumps

from dask_exa.insitu import plugin
from dask_exa.insitu.errors import SchedulerLostError, StreamTimeoutError

_CONFIG = {
    "distributed.worker.profile.enabled": False,  # samples all threads, the simulation's too
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.tick.interval": "1s",  # 50 a second take 2 to 3 times the CPU when idle
}
_config_lock = threading.Lock()  # ranks that are threads would restore each other's settings


class EmbeddedWorker:
    """A `distributed.Worker` of one thread that runs beside a simulation.

    Parameters
    ----------
    scheduler : str
        Address.
    name : str
        Of the worker.
    on_news : callable
        ``on_news(news)`` with what the stream's plugin tells this rank. Called in the worker's
        thread.
    on_lost : callable
        ``on_lost(reason)`` when the worker ends without having been asked to.
    timeout : float
        Seconds for every answer of the scheduler.
    interface : str, optional
        Network interface, such as "ib0".

    Raises
    ------
    SchedulerLostError
        When the scheduler does not answer.
    """

    def __init__(
        self,
        scheduler: str,
        *,
        name: str,
        on_news: Callable[[dict[str, Any]], None],
        on_lost: Callable[[str], None],
        timeout: float,
        interface: str | None = None,
    ) -> None:
        self.scheduler, self.name, self.timeout = scheduler, name, timeout
        self._interface = interface
        self._on_news, self._on_lost = on_news, on_lost
        self._is_closing = False
        self._started: Future[str] = Future()
        self._thread = threading.Thread(target=self._run, name=f"dask-exa {name}", daemon=True)
        self._thread.start()
        try:
            self.address = self._started.result(timeout + 5)
        except (OSError, TimeoutError, RuntimeError) as error:  # Dask wraps what went wrong
            reason = error.__cause__ or error
            raise SchedulerLostError(
                f"scheduler={scheduler!r} took no worker of {name} within {timeout:g} s "
                f"({type(reason).__name__}: {reason}); check its address and that it runs."
            ) from error

    @property
    def bytes_sent(self) -> int:
        """What other workers and clients have taken from here."""
        return int(self._worker.transfer_outgoing_bytes_total)

    def hold_and_send(self, data: dict[Any, Any], op: str, **fields: Any) -> None:
        """Keep some chunks, and send one message; returns at once, from any thread."""
        self._call(self._hold_and_send, data, {"op": op, **fields})

    def ask(self, handler: str, **arguments: Any) -> Any:
        """Return the answer of one of the plugin's handlers."""
        return self._wait_for(getattr(self._worker.scheduler, handler)(**arguments), handler)

    def register_plugin(self) -> None:
        """Make sure that the scheduler has the plugin."""
        plugin_bytes = dumps(plugin.InsituPlugin())
        self.ask(
            "register_scheduler_plugin", plugin=plugin_bytes, name=plugin.NAME, idempotent=True
        )

    def close(self, *, move_data: bool) -> None:
        """End the worker; its data go to other workers first where that is asked for."""
        self._is_closing = True
        if self._thread.is_alive():
            self._call(self._leave, move_data)
            self._thread.join(self.timeout)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have a function called in the worker's thread; nothing where the worker has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
            await self._start()
        except Exception as error:  # handed to the thread that waits for the start
            self._started.set_exception(error)
            return
        self._started.set_result(self._worker.address)
        await self._worker.finished()
        if not self._is_closing:
            self._on_lost(f"the connection to the scheduler {self.scheduler} is gone")

    async def _start(self) -> None:
        # a simulation's output is not the place for ten lines about every rank's worker
        for logger in map(logging.getLogger, ("distributed.worker", "distributed.core")):
            if logger.level in (logging.NOTSET, logging.INFO):  # nobody asked for more
                logger.setLevel(logging.WARNING)
        logging.getLogger("distributed.worker").addFilter(_is_no_heartbeat)
        with _config_lock, dask.config.set(_CONFIG):
            self._worker = Worker(
                self.scheduler,
                nthreads=1,
                name=self.name,
                memory_limit=0,
                dashboard=False,
                death_timeout=self.timeout,
                interface=self._interface,
            )
        self._worker.stream_handlers["exa-news"] = self._hear
        await self._worker

    def _hear(self, stream: str, news: dict[str, Any]) -> None:
        self._on_news(news)

    def _hold_and_send(self, data: dict[Any, Any], message: dict[str, Any]) -> None:
        if data:
            self._worker.update_data(data)
        self._worker.batched_send(message)

    def _leave(self, move_data: bool) -> None:
        leave = self._worker.close_gracefully if move_data else self._worker.close
        self._leaving = asyncio.ensure_future(leave())

    def _wait_for(self, answer: Any, what: str) -> Any:
        future = asyncio.run_coroutine_threadsafe(answer, self._loop)
        try:
            return future.result(self.timeout)
        except TimeoutError as error:
            future.cancel()
            raise StreamTimeoutError(
                f"the scheduler did not answer {what} within timeout={self.timeout:g} s; it may be "
                "overloaded, or gone."
            ) from error


def _is_no_heartbeat(record: logging.LogRecord) -> bool:
    """Leave out the trace of a heartbeat that fails while a worker closes, or with the scheduler.

    The bridge says in one line when the scheduler is gone.
    """
    return "during heartbeat" not in record.getMessage()
