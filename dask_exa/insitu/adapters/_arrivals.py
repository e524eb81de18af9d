"""What a ``deisa.dask.Deisa`` object calls back with, until its bridges are closed."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from typing import Any

from distributed import futures_of

from dask_exa.insitu._reordering import Complete, Lost, Reordering
from dask_exa.insitu.errors import SchedulerLostError, StreamError, StreamTimeoutError
from dask_exa.insitu.plugin import send_to_scheduler

logger = logging.getLogger(__name__)

_HOLDER = "deisa"
"""Client that does not exist, in whose name ranks hold what they have sent."""


class Arrivals:
    """The arrays of a simulation, from the threads that DEISA calls back in.

    Parameters
    ----------
    deisa : deisa.dask.Deisa
    every : mapping of str to int
        Timesteps between two of an array, by its name.
    first : int or None
        Timestep of the first step; None: that which is sent first.
    depth : int
        Steps that may wait.
    timeout : float
        Seconds to wait for a step.

    Attributes
    ----------
    faults : list of str
        What could not be used, and why.
    """

    def __init__(
        self, deisa: Any, every: Mapping[str, int], first: int | None, depth: int, timeout: float
    ) -> None:
        self.deisa, self.every, self.depth, self.timeout = deisa, every, depth, timeout
        self.faults: list[str] = []
        self._changed = threading.Condition()
        self._order: Reordering | None = None
        self._n_heard = dict.fromkeys(every, 0)  # of every array: missed, refused or here
        self._has_ended = self._is_closed = False
        self._broken = ""
        self._callbacks: list[Any] = []
        self._unreleased: set[Any] = set()
        self._begin(first)
        threading.Thread(target=self._watch, name="dask-exa deisa", daemon=True).start()

    def next(self) -> Complete | Lost | None:
        """Wait for the next step, which may be lost; None at the end.

        Raises
        ------
        StreamTimeoutError
            When nothing comes.
        SchedulerLostError
            When the scheduler is gone.
        """
        deadline = time.monotonic() + self.timeout
        with self._changed:
            while True:
                order = self._order
                found = None if order is None else order.take()
                if found is not None:
                    return found
                behind = order if order is not None and order.is_behind else None
                if self._has_ended:
                    return None if behind is None else behind.give_up("the simulation has ended")
                self._refuse_to_wait()
                left = deadline - time.monotonic()
                if left <= 0 and behind is not None:
                    return behind.give_up(f"not come within timeout={self.timeout:g} s")
                if left <= 0:
                    raise StreamTimeoutError(self._nothing())
                self._changed.wait(min(left, 0.5))

    def release(self, found: Complete) -> None:
        """Have a step's chunks let go by DEISA's ranks; callers have to forget its arrays.

        Ranks hold chunks in the name of a client that does not exist, until DEISA hears of them
        and releases them in that name. Where it is faster than their message, they would be held
        for ever.
        """
        keys = {future.key for array in found.arrays.values() for future in futures_of(array)}
        self._release(keys)

    def close(self) -> None:
        """Take no more arrays, and let go of those that wait."""
        for callback in self._callbacks:
            self.deisa.unregister_callback(callback.callback_id)
        with self._changed:
            self._is_closed = True
            if self._order is not None:
                self._order.clear()
            self._changed.notify_all()
        self._release(set(self._unreleased))

    def _release(self, keys: set[Any]) -> None:
        self._unreleased -= keys
        if keys and self._is_in_touch():
            message = {"keys": list(keys), "client": _HOLDER}
            send_to_scheduler(self.deisa.client, "client-releases-keys", **message)

    def _begin(self, first: int | None) -> None:
        """Register for all arrays at one point of what is sent, and note what was before it.

        The point is an event of our own: the scheduler sends a client its events in order. Before
        it the arrays are ignored, unless somebody else has registered for them.
        """
        client, point = self.deisa.client, f"dask-exa-{uuid.uuid4().hex}"
        has_begun = threading.Event()

        def register(event: tuple[float, Mapping[str, Sequence[int]]]) -> None:
            self._start_with(first, event[1])
            self._callbacks.extend(self._register(name) for name in self.every)
            has_begun.set()

        for name in self.every:
            if name not in client._event_handlers:
                client.subscribe_topic(name, _ignore)
        client.subscribe_topic(point, register)
        client.run_on_scheduler(_listen, names=list(self.every), client=client.id, at=point)
        if not has_begun.wait(self.timeout):
            raise StreamTimeoutError(
                f"the client of deisa has had no event within timeout={self.timeout:g} s; its "
                "scheduler is overloaded, or gone."
            )
        client.unsubscribe_topic(point)

    def _start_with(self, first: int | None, missed: Mapping[str, Sequence[int]]) -> None:
        """Take note of what was sent before anybody was called back for it."""
        self._n_heard = {name: len(some) for name, some in missed.items()}
        timesteps = [timestep for some in missed.values() for timestep in some]
        if first is None and not timesteps:
            return  # what is sent first tells
        order = self._order = self._new_order(min(timesteps) if first is None else first)
        for name, some in missed.items():
            for timestep in some:
                order.refuse(name, timestep, "sent before the stream was made")

    def _new_order(self, first: int) -> Reordering:
        return Reordering(self.every, first=first, depth=self.depth)

    def _register(self, name: str) -> Any:
        def arrive(window: Sequence[Any]) -> None:
            self._arrive(name, int(window[-1].timestep), window[-1])

        def refuse(error: BaseException) -> None:
            with self._changed:
                self._n_heard[name] += 1
                self._take_note(f"DEISA does not deliver array {name!r}: {error}")
                self._changed.notify_all()

        return self.deisa.register_callback(arrive, name, exception_handler=refuse)

    def _arrive(self, name: str, timestep: int, array: Any) -> None:
        # Never ask the scheduler with the lock: the client's thread, which answers, waits for it
        # when it refuses an array.
        first = timestep if self._order is not None else _earliest(self._sent())
        with self._changed:
            if self._order is None:
                self._order = self._new_order(first)
            self._n_heard[name] += 1
            self._unreleased.update(future.key for future in futures_of(array))
            unused = self._order.add(name, timestep, array)
            if unused:
                self._take_note(unused)
            self._changed.notify_all()

    def _take_note(self, fault: str) -> None:
        self.faults.append(fault)
        logger.warning("%s", fault)

    def _sent(self) -> dict[str, list[int]]:
        return self.deisa.client.run_on_scheduler(_sent_to, names=list(self.every))

    def _watch(self) -> None:
        """Wait until the bridges are closed, and all that they have sent is here."""
        try:
            self.deisa.handshake.wait_for_bridges_to_finish()
            sent = self._sent()  # all of it: they close together, behind the last message
            with self._changed:
                self._changed.wait_for(lambda: self._is_all_here(sent), self.timeout)
        except (Exception, CancelledError) as error:  # raised in the thread that waits for a step
            self._broken = f"{type(error).__name__}: {error}"
        with self._changed:
            self._has_ended = not self._broken
            self._changed.notify_all()

    def _is_all_here(self, sent: Mapping[str, Sequence[int]]) -> bool:
        return self._is_closed or all(
            self._n_heard[name] >= len(timesteps) for name, timesteps in sent.items()
        )

    def _refuse_to_wait(self) -> None:
        if self._broken or not self._is_in_touch():
            raise SchedulerLostError(
                "the client of deisa has no scheduler any more, it is "
                f"{self.deisa.client.status}. {self._broken}"
            )
        if self._is_closed:
            raise StreamError("the stream was closed while a step was waited for.")

    def _is_in_touch(self) -> bool:
        return self.deisa.client.status in ("running", "connecting")

    def _nothing(self) -> str:
        order = self._order
        step = "the first timestep" if order is None else f"timestep {order.timestep}"
        names = ", ".join(self.every if order is None else order.missing)
        return (
            f"{step} of {names} has not come within timeout={self.timeout:g} s, and no later one; "
            "pass a longer timeout=, or look for a rank that hangs."
        )


def _ignore(event: Any) -> None:
    """Take an event that comes before the stream has begun."""


def _earliest(sent: Mapping[str, Sequence[int]]) -> int:
    return min(timesteps[0] for timesteps in sent.values() if timesteps)


def _listen(dask_scheduler: Any, names: Sequence[str], client: str, at: str) -> None:
    """Subscribe a client, and send it the event `at` with the timesteps sent before that."""
    # without it a release that overtakes the first message of the ranks ends the connection
    dask_scheduler.client_desires_keys(keys=[], client=_HOLDER)
    for topic in (*names, at):
        dask_scheduler.subscribe_topic(topic, client)
    dask_scheduler.log_event(at, _sent_to(dask_scheduler, names))


def _sent_to(dask_scheduler: Any, names: Sequence[str]) -> dict[str, list[int]]:
    """Return the timesteps that bridges have sent, by array."""
    events = {name: dask_scheduler.get_events(name) for name in names}
    return {
        name: [int(message["iteration"]) for _, message in found] for name, found in events.items()
    }
