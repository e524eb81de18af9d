"""The side of analytics: the steps of a running simulation, in order."""

from __future__ import annotations

import contextlib
import logging
import pickle
import queue
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from distributed import Future

from dask_exa import inputs
from dask_exa._parameters import check_choice, check_positive
from dask_exa.inputs.learning import ON_FAULT
from dask_exa.insitu import plugin
from dask_exa.insitu._dashboard import page_url
from dask_exa.insitu._layout import ArrayLayout
from dask_exa.insitu.errors import (
    RankLostError,
    SchedulerLostError,
    StepLostError,
    StreamError,
    StreamTimeoutError,
)
from dask_exa.insitu.telemetry import Shown, thinned
from dask_exa.reduction._graph import array_of_layer

logger = logging.getLogger(__name__)

PAUSE = 0.25
"""Seconds from a field that is shown to the next one of its variable."""


class Stream(inputs.Stream):
    """The steps of a simulation that runs now, each as soon as all ranks have put it.

    Every step is an `xarray.Dataset` of Dask arrays with one chunk per rank, which lies in the
    process of that rank. Steps come in order; none is skipped, unless a rank leaves it out. A step
    is released when the next one is asked for: what has been computed from it stays, its chunks go
    as soon as no task and no array needs them, and the ranks have their buffers back. A simulation
    therefore is never more than its ``depth`` ahead.

    The same loop runs on files with `dask_exa.inputs.open_stream`, with the same numbers.

    Parameters
    ----------
    client : distributed.Client
    name : str, default="simulation"
        The bridge's ``stream``.
    timeout : float, default=60
        Seconds to wait for the simulation to start, and for every step.
    on_fault : {"skip", "abort"}, default="skip"
        Whether a step that was lost is left out, and a rank that died ends the iteration, both
        with a line in `faults`; or raises.

    Attributes
    ----------
    name, sizes, dims, variables
        As of every `dask_exa.inputs.Stream`.
    depth : int
        Steps that may wait on a rank.
    faults : list of str
        What was lost, and why: steps and ranks.
    n_dropped : int
        Steps that the ranks left out.
    n_unread : int
        Steps before this reading that were not kept, as nobody read.
    live_page : str or None
        Address of the page on the Dask dashboard that shows the stream; None where the scheduler
        has no dashboard.
    is_watched : bool
        Whether somebody has that page open.

    Raises
    ------
    StreamTimeoutError
        When no simulation comes, or no step.
    StreamError
        When another client reads the stream.
    StepLostError, RankLostError
        With ``on_fault="abort"``, while steps are asked for.
    SchedulerLostError
        When the scheduler is gone.

    See Also
    --------
    dask_exa.insitu.Bridge : The side of the simulation, with an example.
    """

    is_live = True

    def __init__(
        self,
        client: Any,
        name: str = "simulation",
        *,
        timeout: float = 60.0,
        on_fault: str = "skip",
    ) -> None:
        check_positive("timeout", timeout)
        check_choice("on_fault", on_fault, ON_FAULT)
        self.client, self.name, self.timeout, self.on_fault = client, name, timeout, on_fault
        self.faults: list[str] = []
        self.n_dropped = 0
        self._last_shown: dict[str, float] = {}
        self._news: queue.Queue[dict[str, Any]] = queue.Queue()
        client.register_plugin(plugin.InsituPlugin())
        plugin.send_without_delay(client)
        client.subscribe_topic(plugin.topic(name), lambda event: self._hear(event[1]))
        try:
            answer = self._attach(name)
        except BaseException:
            client.unsubscribe_topic(plugin.topic(name))
            raise
        about = pickle.loads(answer["about"])
        self.depth, self._id = answer["depth"], answer["id"]
        self.live_page = None if answer["why_no_page"] else page_url(client, name)
        self.n_unread = answer["n_unread"]
        if self.n_unread:
            gap = f"{self.n_unread} steps passed that were not kept, as nobody read the stream"
            self._note_fault(gap)
        self._layouts: Mapping[str, ArrayLayout] = about["layouts"]
        self._coords: dict[str, Any] = about["coords"]
        self._n_seen = 0
        self._has_finished = self._is_over = False
        sizes = {
            dim: size
            for layout in self._layouts.values()
            for dim, size in zip(layout.dims, layout.shape, strict=True)
        }
        super().__init__(self._steps, name=name, sizes=sizes, variables=tuple(self._layouts))

    def _attach(self, name: str) -> dict[str, Any]:
        """Wait for the simulation, and become its reader."""
        deadline = time.monotonic() + self.timeout
        ticket = uuid.uuid4().hex
        # in line with all other messages: behind the end of an earlier reading, for one
        plugin.send_to_scheduler(self.client, "exa-attach", name=name, ticket=ticket)
        while True:
            news = self._next_news(deadline)
            if news is None:
                raise StreamTimeoutError(
                    f"no simulation has opened stream {name!r} within timeout={self.timeout:g} s; "
                    "start it, or check the bridge's stream= and scheduler."
                )
            if news["what"] == "open":
                plugin.send_to_scheduler(self.client, "exa-attach", name=name, ticket=ticket)
            if news.get("ticket") != ticket:
                continue
            if "error" in news:
                raise StreamError(news["error"])
            if "id" in news:
                return news

    def _hear(self, news: dict[str, Any]) -> None:
        """Take what the plugin tells, in the thread of the client."""
        # holds from now on, and not after some more steps
        self.is_watched = news.get("is_watched", self.is_watched)
        if news["what"] != "watched":
            self._news.put(news)

    def _steps(self, start: int) -> Iterator[xr.Dataset]:
        """Yield the steps that come, after the first `start` of those not seen yet."""
        while not self._is_over:
            news = self._next_news(time.monotonic() + self.timeout)
            if news is None:
                raise StreamTimeoutError(
                    f"stream {self.name!r} had no step within timeout={self.timeout:g} s, after "
                    f"{self._n_seen} steps; pass a longer timeout=, or look for a rank that hangs."
                )
            if news.get("id") != self._id:
                continue
            self._is_over = news["what"] == "end"
            if news["what"] != "step":
                self._take_note(news)
                continue
            if self._is_lost(news["step"]):  # which is one of the next news
                continue
            self._n_seen += 1
            try:
                if self._n_seen > start:
                    yield self._dataset(news)
            finally:
                self._send("exa-released", step=news["step"])

    def stop(self, reason: str = "") -> None:
        """Ask all ranks to end the simulation; they do so at the same step.

        Parameters
        ----------
        reason : str
            What `Bridge.stop_reason` tells them.
        """
        super().stop(reason)
        self._send("exa-stop", reason=reason)

    def show(self, **quantities: Any) -> None:
        """Show quantities on the live page, as `run` does with what it learns by itself.

        A field is sent at most four times a second, and only while somebody has the page open; the
        other quantities always are.

        Parameters
        ----------
        **quantities
            ``variable`` and ``timestep``, and what there is of ``explained_variance`` (share of
            each component, or of all), ``score``, ``limit``, ``alarms`` (list of str), ``field``
            and ``reconstruction`` (of two dimensions, not lazy; every so many of more than 128
            points along an axis are sent), and of the field ``dims``, ``extent``, ``units`` and
            ``note``.

        Raises
        ------
        TypeError
            For unknown quantities, and without ``variable`` and ``timestep``.
        ValueError
            For a field that has not two dimensions.
        """
        shown = Shown(**quantities)
        fields: dict[str, Any] = {"field": None, "reconstruction": None}
        now = time.monotonic()
        is_due = self.is_watched and now - self._last_shown.get(shown.variable, -PAUSE) >= PAUSE
        if shown.field is not None and is_due:
            self._last_shown[shown.variable] = now
            for name in fields:
                given = getattr(shown, name)
                fields[name] = None if given is None else np.asarray(thinned(given), np.float32)
        shown = shown._replace(**fields, alarms=tuple(map(str, shown.alarms)))
        self._send("exa-show", shown=pickle.dumps(shown._asdict()))

    def finish(self) -> None:
        """Let the ranks go: nothing on their workers is needed any more."""
        if not self._has_finished:
            self._has_finished = True
            self._send("exa-finish", name=self.name)
            with contextlib.suppress(SchedulerLostError):  # which has let all go, then
                self._wait_until_finished()
                self.client.unsubscribe_topic(plugin.topic(self.name))

    def _wait_until_finished(self) -> None:
        """Wait until the plugin has heard it: what a client sends as it closes may be lost."""
        deadline = time.monotonic() + self.timeout
        while news := self._next_news(deadline):
            if news["what"] == "finished" and news["id"] == self._id:
                return
        logger.warning(
            "stream %r: the scheduler has not answered within timeout=%g s; it lets the ranks go "
            "when it hears that analytics is gone.",
            self.name,
            self.timeout,
        )

    def close(self) -> None:
        """Let the ranks go, and close the stream; a second time does nothing."""
        if not self._is_closed:
            self.finish()
        super().close()

    def _dataset(self, news: Mapping[str, Any]) -> xr.Dataset:
        arrays = {name: self._array(name, news["step"]) for name in news["names"]}
        used = {dim for name in arrays for dim in self._layouts[name].dims}
        coords = {name: coord for name, coord in self._coords.items() if used.issuperset(coord[0])}
        _, _, attrs = coords.get("time", ((), None, {}))
        clock = {"time": ((), news["time"], attrs), "timestep": ((), news["step"])}
        return xr.Dataset(arrays, coords={**coords, **clock})

    def _array(self, name: str, step: int) -> tuple[Any, ...]:
        layout = self._layouts[name]
        prefix = plugin.key_prefix(self._id, name, step)
        keys: list[Any] = [(prefix, *place) for place in layout.positions if place is not None]
        layer: dict[Any, Any] = {key: Future(key, self.client) for key in keys}
        plugin.keep_for_client(self.client, keys)  # until these futures are gone
        return layout.dims, array_of_layer(prefix, layer, layout.chunks, layout.dtype), layout.attrs

    def _is_lost(self, step: int) -> bool:
        with self._news.mutex:
            lost = [news["step"] for news in self._news.queue if news["what"] == "lost"]
        return step in lost

    def _take_note(self, news: Mapping[str, Any]) -> None:
        """Keep account of what was lost, and raise where that is asked for."""
        if self.log is not None and news["what"] in ("dropped", "lost"):
            self.log.write({"timestep": news["step"]}, news["what"], news.get("reason", ""))
        if news["what"] == "dropped":
            self.n_dropped += 1
            return
        if news["what"] not in ("lost", "fault"):
            return
        self._note_fault(news["reason"])
        if self.on_fault == "abort":
            kind = StepLostError if news["what"] == "lost" else RankLostError
            raise kind(f"stream {self.name!r}: {news['reason']}.")

    def _note_fault(self, reason: str) -> None:
        self.faults.append(reason)
        logger.warning("stream %r: %s", self.name, reason)

    def _next_news(self, deadline: float) -> dict[str, Any] | None:
        """Return what the plugin tells, or None when the time is over."""
        while True:
            if not self._is_in_touch():
                raise SchedulerLostError(
                    f"the client of the stream is {self.client.status}: its scheduler is gone, or "
                    "it was closed."
                )
            left = deadline - time.monotonic()
            try:
                return self._news.get(timeout=max(0.0, min(left, 0.5)))
            except queue.Empty:
                if left <= 0:
                    return None

    def _is_in_touch(self) -> bool:
        # a client that connects anew finds a scheduler that has forgotten the stream
        return bool(self.client.status == "running")

    def _send(self, op: str, **fields: Any) -> None:
        if self._is_in_touch():  # else the scheduler has seen the client go, or is gone itself
            plugin.send_to_scheduler(self.client, op, stream=self._id, **fields)
