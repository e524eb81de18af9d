"""The part of a stream that runs on the Dask scheduler, and all that is half-private to Dask.

`StreamState` decides; this module carries out. What it uses of distributed beyond the documented
API is here and in `dask_exa.insitu.embedded`, and `tests/insitu/test_distributed_api.py` looks for
every piece of it: handlers of a scheduler's streams, data registered and held in the name of a
client that does not exist, and messages to workers and from clients.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.metrics import time
from tornado.ioloop import PeriodicCallback

from dask_exa.insitu import _events as events
from dask_exa.insitu._dashboard import add_page
from dask_exa.insitu._layout import ArrayLayout
from dask_exa.insitu._node import split_puts
from dask_exa.insitu._state import StreamState
from dask_exa.insitu.telemetry import Log, Shown, Telemetry

NAME = "dask-exa-insitu"
TICK = 250
"""Milliseconds from one look at the clock to the next."""
WATCHED = 5.0
"""Seconds for which whoever has looked at the streams is taken to go on with it."""
MAX_ENDED = 16
"""Streams that are still shown when they are over."""
PAUSE = 0.001
"""Seconds from one message to the next of a stream's ranks and reader. Dask's 5 ms to workers and
10 ms from clients make large batches, of which a step has none to make."""
RANK_OPS: Mapping[str, Callable[..., events.Event]] = {
    "exa-put": events.Put,
    "exa-dropped": events.Dropped,
    "exa-closed": events.Closed,
}
READER_OPS: Mapping[str, Callable[..., events.Event]] = {
    "exa-released": events.Released,
    "exa-stop": events.StopAsked,
}


def topic(name: str) -> str:
    """Return the topic of events under which a stream's news are told."""
    return f"exa-news-of-{name}"  # no name of a client, as these are topics, too


def key_prefix(stream_id: str, array: str, step: int) -> str:
    """Return what the keys of an array's chunks at a step begin with; their place follows."""
    return f"{stream_id}-{array}-{step}"


class Running:
    """One stream that has been opened.

    Parameters
    ----------
    stream_id : str
        The name, with a number from the second opening under that name on.
    state : StreamState
    workers : list of str
        Address of every rank's worker.
    about : bytes
        What the bridge tells analytics: layouts and coordinates, pickled.
    depth : int
        Steps that may wait on a rank.
    time_units : str
    """

    def __init__(
        self,
        stream_id: str,
        state: StreamState,
        workers: list[str],
        about: bytes,
        depth: int,
        time_units: str,
    ) -> None:
        self.stream_id, self.state, self.workers = stream_id, state, workers
        self.about, self.depth, self.time_units = about, depth, time_units
        self.log = Log()

    @property
    def holder(self) -> str:
        """Name of the client, which does not exist, that holds the steps."""
        return f"exa-{self.stream_id}"

    def chunks(self, put: events.Put, step: int) -> dict[Any, int]:
        """Return the keys of what a rank has put, and their bytes."""
        keys = {}
        for name, nbytes in zip(put.names, put.nbytes, strict=True):
            place = self.state.layouts[name].positions[put.rank]
            keys[(key_prefix(self.stream_id, name, step), *(place or ()))] = nbytes
        return keys


class InsituPlugin(SchedulerPlugin):
    """All streams of a scheduler.

    Attributes
    ----------
    streams : dict of str to Running
        By name.
    is_watched : bool
        Whether somebody looks at the live page.
    why_no_page : str
        Empty where there is one.
    """

    name = NAME
    idempotent = True

    def __init__(self) -> None:
        self.streams: dict[str, Running] = {}
        self._by_id: dict[str, Running] = {}
        self._n_opened: dict[str, int] = {}
        self._seats: dict[str, list[tuple[str, int]]] = {}
        self._ended: dict[str, Telemetry] = {}
        self._last_look = -WATCHED
        self.is_watched, self.why_no_page = False, ""
        self.scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        """Take messages of ranks and readers from now on."""
        self.scheduler = scheduler
        for op, event in RANK_OPS.items():
            scheduler.stream_handlers[op] = self._listener(event)
        for op, event in READER_OPS.items():
            scheduler.stream_handlers[op] = self._listener(event)
        scheduler.stream_handlers["exa-puts"] = self._puts
        scheduler.stream_handlers["exa-finish"] = self._finish
        scheduler.stream_handlers["exa-show"] = self._show
        scheduler.handlers["exa_open"] = self.open
        scheduler.stream_handlers["exa-attach"] = self.attach
        self.why_no_page = add_page(scheduler)
        clock = PeriodicCallback(self._tick, TICK)
        scheduler.periodic_callbacks[NAME] = clock
        clock.start()

    def open(
        self,
        name: str,
        about: bytes,
        workers: list[str],
        depth: int,
        timeout: float,
        time_to_live: float,
    ) -> dict[str, str]:
        """Open a stream; the answer is its id, or why it cannot be opened."""
        if name in self.streams:
            return {"error": _why_taken(name, self.streams[name].state)}
        missing = [rank for rank, worker in enumerate(workers) if worker not in self._workers()]
        if missing:
            return {"error": f"the workers of ranks {missing} are not known to the scheduler."}
        self._n_opened[name] = self._n_opened.get(name, 0) + 1
        stream_id = name if self._n_opened[name] == 1 else f"{name}.{self._n_opened[name]}"
        told = pickle.loads(about)
        layouts: dict[str, ArrayLayout] = told["layouts"]
        state = StreamState(name, layouts, len(workers), timeout=timeout, time_to_live=time_to_live)
        _, _, time_attrs = told["coords"].get("time", ((), None, {}))
        time_units = str(time_attrs.get("units", ""))
        running = Running(stream_id, state, workers, about, depth, time_units)
        self.streams[name] = self._by_id[stream_id] = running
        for rank, worker in enumerate(workers):
            self._seats.setdefault(worker, []).append((stream_id, rank))
            self.scheduler.stream_comms[worker].interval = PAUSE
        self._announce(running, {"what": "open"})
        return {"id": stream_id}

    def attach(self, name: str, client: str, ticket: str) -> None:
        """Let a client read a stream; the answer are news, before those of the stream's steps."""
        running = self.streams.get(name)
        answer: dict[str, Any] = {"what": "answer", "ticket": ticket}
        if running is not None and running.state.reader not in (None, client):
            answer["error"] = running.state.why_not(client)
        elif running is not None:
            answer |= {"id": running.stream_id, "about": running.about, "depth": running.depth}
            answer |= {"is_watched": self.is_watched, "why_no_page": self.why_no_page}
            answer["n_unread"] = running.state.n_unread
        self.scheduler.log_event(topic(name), answer)
        if running is not None and "error" not in answer:
            self._handle(running, events.Attached(client))

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Tell the streams of a worker that is gone."""
        for stream_id, rank in self._seats.pop(worker, []):
            if stream_id in self._by_id:
                self._handle(self._by_id[stream_id], events.Died(rank))

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Tell the streams that a client reads that it is gone."""
        for running in list(self.streams.values()):
            self._handle(running, events.ReaderDied(client))

    def look(self) -> dict[str, Telemetry]:
        """Return what is to be shown of every stream, by name, to somebody who watches."""
        self._last_look = time()
        self._tell_if_watched()
        running = {name: self._telemetry_of(name, one) for name, one in self.streams.items()}
        return {**self._ended, **running}

    def _telemetry_of(self, name: str, running: Running) -> Telemetry:
        state = running.state
        return running.log.telemetry(
            name=name,
            n_ranks=state.n_ranks,
            depth=running.depth,
            n_complete=state.n_complete,
            n_lost=state.n_lost,
            n_dropped=state.n_dropped,
            reader=state.reader or "",
            stopped=state.stop_reason,
            fault=state.fault,
            has_ended=state.has_ended,
            n_held=len(state.held),
            is_read=state.is_read,
            time_units=running.time_units,
        )

    def _tell_if_watched(self) -> None:
        """Tell analytics when somebody begins or ceases to look: fields are sent only then."""
        is_watched = time() - self._last_look < WATCHED
        if is_watched != self.is_watched:
            self.is_watched = is_watched
            for name in self.streams:
                message = {"what": "watched", "is_watched": is_watched}
                self.scheduler.log_event(topic(name), message)

    def _listener(self, event: Callable[..., events.Event]) -> Callable[..., None]:
        def listen(
            stream: str, worker: str | None = None, client: str | None = None, **fields: Any
        ) -> None:
            if stream in self._by_id:  # else its last messages cross the end of the stream
                self._handle(self._by_id[stream], event(**fields))

        return listen

    def _puts(self, stream: str, worker: str, **joined: Any) -> None:
        """Take what the ranks of one worker have put, in one message."""
        for put in split_puts(**joined):
            if stream in self._by_id:
                self._handle(self._by_id[stream], put)

    def _finish(self, stream: str, name: str, client: str) -> None:
        """Let a reader go; it waits for the answer, as what a closing client sends may be lost."""
        if stream in self._by_id:
            self._handle(self._by_id[stream], events.Detached(client))
        self.scheduler.log_event(topic(name), {"what": "finished", "id": stream})

    def _show(self, stream: str, client: str, shown: bytes) -> None:
        if stream in self._by_id:
            self._by_id[stream].log.show(Shown(**pickle.loads(shown)))

    def _tick(self) -> None:
        self._tell_if_watched()
        for running in list(self.streams.values()):
            self._handle(running, events.Tick())

    def _handle(self, running: Running, event: events.Event) -> None:
        for instruction in running.state.handle(event, time()):
            _ENACT[type(instruction)](self, running, instruction)

    def _hold(self, running: Running, instruction: events.Hold) -> None:
        step = instruction.step
        who_has, sizes = {}, {}
        for rank, put in step.puts.items():
            for key, nbytes in running.chunks(put, step.step).items():
                who_has[key], sizes[key] = [running.workers[rank]], nbytes
        self.scheduler.update_data(who_has=who_has, nbytes=sizes, client=running.holder)
        running.log.completed(step, time())

    def _free(self, running: Running, instruction: events.Free) -> None:
        step = instruction.step
        keys = [key for put in step.puts.values() for key in running.chunks(put, step.step)]
        self.scheduler.client_releases_keys(keys=keys, client=running.holder)

    def _discard(self, running: Running, instruction: events.Discard) -> None:
        for rank, put in instruction.puts.items():
            keys = list(running.chunks(put, instruction.step))
            message = {"op": "remove-replicas", "keys": keys, "stimulus_id": f"exa-{time()}"}
            self._send(running.workers[rank], message)

    def _announce(self, running: Running, news: Mapping[str, Any]) -> None:
        running.log.hear(news, time())
        if running.state.reader is not None or news["what"] == "open":
            message = {**news, "id": running.stream_id}
            self.scheduler.log_event(topic(running.state.name), message)

    def _tell(self, running: Running, ranks: Iterable[int], news: Mapping[str, Any]) -> None:
        message = {"op": "exa-news", "stream": running.stream_id, "news": dict(news)}
        for rank in ranks:
            self._send(running.workers[rank], dict(message))

    def _send(self, worker: str, message: dict[str, Any]) -> None:
        if worker in self._workers():
            self.scheduler.worker_send(worker, message)

    def _workers(self) -> Mapping[str, Any]:
        return self.scheduler.workers

    def _let_go(self, running: Running, _: events.LetGo) -> None:
        are_others = bool(set(self._workers()) - set(self._seats))
        self._tell(running, range(running.state.n_ranks), {"let_go": {"move_data": are_others}})
        name = running.state.name
        self._ended[name] = self._telemetry_of(name, running)
        while len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        del self.streams[name], self._by_id[running.stream_id]
        self.scheduler.remove_client(running.holder)
        for worker in running.workers:
            if worker in self._seats:  # until the worker has left; it is a rank's as long
                self._seats[worker] = [s for s in self._seats[worker] if s[0] != running.stream_id]


_ENACT: dict[type, Callable[[InsituPlugin, Running, Any], None]] = {
    events.Hold: InsituPlugin._hold,
    events.Free: InsituPlugin._free,
    events.Discard: InsituPlugin._discard,
    events.Announce: lambda plugin, running, told: plugin._announce(running, told.news),
    events.Tell: lambda plugin, running, told: plugin._tell(running, told.ranks, told.news),
    events.LetGo: InsituPlugin._let_go,
}


def _why_taken(name: str, state: StreamState) -> str:
    if not state.has_ended:
        return (
            f"stream={name!r} is open already, by a bridge of {state.n_ranks} ranks; close that "
            "one or pass another name as stream=."
        )
    return (
        f"stream={name!r} has ended, but analytics has not let its {state.n_ranks} ranks go; close "
        "its Stream or pass another name as stream=."
    )


def send_to_scheduler(client: Any, op: str, /, **fields: Any) -> None:
    """Send a message from a client to the plugin, behind all that the client sent before."""
    client._send_to_scheduler({"op": op, **fields})


def send_without_delay(client: Any) -> None:
    """Have a client wait no longer than `PAUSE` from one message to the next."""
    client.scheduler_comm.interval = PAUSE


def keep_for_client(client: Any, keys: list[Any]) -> None:
    """Have the scheduler keep data for as long as a client has futures of them.

    A future that is made by hand does not ask for that.
    """
    send_to_scheduler(client, "client-desires-keys", keys=keys)
