"""The side of the simulation: each rank hands its chunks over, step by step."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from dask_exa._parameters import check_choice, check_count, check_positive
from dask_exa.inputs.learning import ON_FAULT
from dask_exa.insitu._gate import Gate
from dask_exa.insitu._layout import Chunk
from dask_exa.insitu._mailbox import Mailbox
from dask_exa.insitu._opening import Terms, open_on_ranks, scheduler_address
from dask_exa.insitu._ranks import Ranks
from dask_exa.insitu._ring import Ring
from dask_exa.insitu.embedded import EmbeddedWorker
from dask_exa.insitu.errors import RankLostError, StreamError
from dask_exa.insitu.plugin import key_prefix

logger = logging.getLogger(__name__)

WHEN_FULL = ("block", "drop", "sample")
MODES = ("snapshot", "handover")


class Bridge:
    """Hand the fields of a running simulation to Dask, from the process where they are.

    Every rank makes one. A Dask worker of one thread starts inside of the rank's process and keeps
    the rank's chunks: tasks on them run there, and nothing is copied to another process unless a
    task elsewhere needs it. All ranks put every step, in increasing order.

    Parameters
    ----------
    scheduler : str, path-like, object with ``scheduler_address``, or None
        Address of the Dask scheduler, its file (which is waited for), or a cluster. None: what
        Dask is configured with (``DASK_SCHEDULER_ADDRESS``).
    comm : mpi4py communicator, optional
        Of the simulation's ranks. Default: this process is the only rank.
    arrays : mapping of str to mapping
        By the name of each array: ``global_shape``; ``chunk_shape``, the shape of what this rank
        has (default: all of it); ``chunk_position``, its place in the grid of chunks, from zero
        along each axis; ``dims``, names of the dimensions; ``dtype`` (default: float64); ``attrs``,
        such as units. Chunks may differ in size, as those of a Dask array. A rank need not have
        a chunk of every array.
    stream : str, default="simulation"
        What analytics asks for; every simulation on one scheduler has its own.
    depth : int, default=2
        Steps that may wait for analytics. A rank keeps ``depth + 1`` buffers.
    when_full : {"block", "drop", "sample"}, default="block"
        What `put` does when all buffers are taken: wait; leave the step out; or leave it out and
        put only every second, fourth, … step from then on, until analytics keeps up again, so that
        the steps seen are evenly spread. For the last two the ranks agree at every step.
    mode : {"snapshot", "handover"}, default="snapshot"
        "snapshot" copies a chunk into a buffer. "handover" takes the array itself, which the rank
        must not write to until its step has left `held_steps`; `buffer` gives arrays for that.
    timeout : float, default=60
        Seconds for every wait: for the scheduler, for other ranks, for a buffer.
    on_fault : {"skip", "abort"}, default="skip"
        Whether a lost scheduler, or a buffer that does not come free in time, lets the simulation
        go on without analytics, or raises.
    time_to_live : float, default=60
        Seconds for which steps are kept for analytics that is gone or has not come yet.
    coords : mapping of str to array, optional
        Coordinates of whole dimensions, and numbers that hold for all steps, such as ``dt``, the
        time step of the solver; the same on all ranks. An `xarray.DataArray` keeps its attributes;
        of ``time`` only these count, such as its units.
    interface : str, optional
        Network interface of the worker, such as "ib0".

    Attributes
    ----------
    rank : int
    stop_reason : str
        Why to stop; empty while there is no reason.
    held_steps : tuple of int
        Steps whose chunks are in use.
    seconds_waited : float
        What `put` has waited in all.
    n_put, n_dropped : int
        Steps handed over, and left out.
    bytes_sent : int
        What has left this rank's process for tasks and clients elsewhere; chunks mostly stay.

    Raises
    ------
    LayoutError
        On the ranks whose declaration is wrong; on the others StreamError, with the same reason.
    StreamError
        When there is a stream of that name already.
    SchedulerLostError
        When the scheduler does not answer.

    See Also
    --------
    dask_exa.insitu.Stream : The side of analytics.

    Examples
    --------
    >>> import numpy as np
    >>> from distributed import Client
    >>> from dask_exa.insitu import Bridge, Stream
    >>> client = Client(n_workers=0, dashboard_address=None)
    >>> field = {"global_shape": (4, 3), "dims": ("y", "x")}
    >>> with Bridge(client.cluster, arrays={"density": field}) as bridge:
    ...     for step in range(2):
    ...         _ = bridge.put(step, density=np.full((4, 3), float(step)))
    ...     with Stream(client) as stream:
    ...         for data in stream:
    ...             print(int(data.timestep), float(data.density.mean()))
    ...             if data.timestep == 1:
    ...                 break
    0 0.0
    1 1.0
    >>> client.shutdown()
    """

    def __init__(
        self,
        scheduler: Any = None,
        comm: Any = None,
        arrays: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        stream: str = "simulation",
        depth: int = 2,
        when_full: str = "block",
        mode: str = "snapshot",
        timeout: float = 60.0,
        on_fault: str = "skip",
        time_to_live: float = 60.0,
        coords: Mapping[str, Any] | None = None,
        interface: str | None = None,
    ) -> None:
        check_count("depth", depth)
        for name, value, choices in (
            ("when_full", when_full, WHEN_FULL),
            ("mode", mode, MODES),
            ("on_fault", on_fault, ON_FAULT),
        ):
            check_choice(name, value, choices)
        check_positive("timeout", timeout)
        check_positive("time_to_live", time_to_live)
        self.when_full, self.mode, self.on_fault, self.timeout = when_full, mode, on_fault, timeout
        self.stream = stream
        self._ranks = Ranks(comm, timeout)
        self.rank = self._ranks.rank
        self._mail = Mailbox()
        self._ring = Ring(depth + 1, self._mail.wake)
        self.seconds_waited, self.n_put, self.n_dropped = 0.0, 0, 0
        self._gate = Gate(self._ring, self._mail, self._ranks, when_full, on_fault, timeout)
        self._step, self._is_closed = -1, False

        def start_worker() -> EmbeddedWorker:
            return EmbeddedWorker(
                scheduler_address(scheduler, timeout),
                # not taken by a rank that was killed, or by another bridge of that name
                name=f"{stream}-rank-{self.rank}-{uuid.uuid4().hex[:8]}",
                on_news=self._mail.put,
                on_lost=self._mail.lose,
                timeout=timeout,
                interface=interface,
            )

        self._opened = open_on_ranks(
            self._ranks,
            arrays or {},
            Terms(stream, depth, timeout, time_to_live, coords or {}),
            start_worker,
        )
        self._worker = self._opened.worker

    @property
    def stop_reason(self) -> str:
        """Why to stop; empty while there is no reason."""
        return self._mail.fault or self._mail.stop

    @property
    def held_steps(self) -> tuple[int, ...]:
        """Steps whose chunks are in use."""
        return self._ring.taken

    @property
    def bytes_sent(self) -> int:
        """What has left this rank's process for tasks and clients elsewhere."""
        return self._worker.bytes_sent

    def put(self, step: int, time: float | None = None, **arrays: Any) -> bool:
        """Hand over this rank's chunks of a step.

        Returns as soon as they are in a buffer (or, in handover, at once); the rest happens in
        the worker's thread. All ranks put all steps, also one that has nothing to give.

        Parameters
        ----------
        step : int
            Larger than the one before.
        time : float, optional
            Of the simulation; default: `step`.
        **arrays : array of the declared shape and dtype
            NumPy or CuPy; all ranks give the same ones at a step.

        Returns
        -------
        bool
            Whether they were handed over: False when the step was left out, because no buffer was
            free, the simulation was asked to stop while it waited for one, or analytics is lost.

        Raises
        ------
        ValueError
            When an array is unknown or not as declared, or `step` is not larger than the last;
            nothing has then happened, and the right arrays may be put.
        StreamTimeoutError, SchedulerLostError, RankLostError
            With ``on_fault="abort"``.
        """
        self._check(step, arrays)
        self._step = int(step)
        has_place = self._gate.admits(step)
        waited = self._gate.take_waited()
        self.seconds_waited += waited
        if not has_place:
            self._leave_out(step)
            return False
        take = self._ring.snapshot if self.mode == "snapshot" else self._ring.view
        views = {name: take(step, name, array) for name, array in arrays.items()}
        self._worker.hold_and_send(
            {self._key(name, step): view for name, view in views.items()},
            "exa-put",
            stream=self._opened.stream_id,
            rank=self.rank,
            step=self._step,
            time=float(step if time is None else time),
            names=tuple(views),
            nbytes=tuple(int(view.nbytes) for view in views.values()),
            waited=waited,
            held=len(self._ring.taken),
        )
        self.n_put += 1
        return True

    def buffer(self, name: str) -> np.ndarray:
        """Return an array for this rank to fill and to put in handover, where it is not copied.

        Parameters
        ----------
        name : str
            Of a declared array.

        Returns
        -------
        ndarray
            Of the chunk's shape and dtype, with any values.
        """
        chunk = self._chunk(name)
        return self._ring.buffer(name, chunk.chunk_shape, chunk.dtype)

    def should_stop(self) -> bool:
        """Return whether to end the simulation; all ranks get the same answer.

        All ranks call it at the start of every step. `stop_reason` says why. A rank whose buffers
        are all taken waits here for one (with ``when_full="block"``), before it computes a step:
        analytics that asks for an end while it looks at a step therefore sees no more than
        ``depth`` further ones.
        """
        if self.when_full == "block":
            self._gate.wait()
        if self._mail.fault:
            return True
        try:
            n_told = self._ranks.count(bool(self._mail.stop), self._mail.pause)
        except RankLostError:
            return True
        if n_told and not self._mail.stop:  # on its way, other ranks have it already
            self._mail.wait_for(lambda: self.stop_reason or self._mail.lost, self.timeout)
        return n_told > 0

    def close(self, error: str = "") -> None:
        """Put no more steps, and leave when analytics does not need this rank any more.

        The chunks, and whatever else analytics keeps on this rank's worker, stay until analytics
        has closed its stream, its process is gone for `time_to_live`, or nothing has moved for
        `timeout`.

        Parameters
        ----------
        error : str
            Why the rank leaves early, for the others; empty where it does not.
        """
        if self._is_closed:
            return
        self._is_closed = True
        mail = self._mail
        if error:  # what raised it goes on only when this rank is let go
            logger.error("%s; it leaves stream %r", error, self.stream)
        if not mail.lost:
            stream_id = self._opened.stream_id
            self._worker.hold_and_send(
                {}, "exa-closed", stream=stream_id, rank=self.rank, error=error
            )
            while not self._may_leave(self._ring.taken):
                pass
            if mail.let_go is None and not mail.lost:
                logger.warning(
                    "rank %d leaves stream %r: analytics has not let it go within %g s, and holds "
                    "its steps %s",
                    self.rank,
                    self.stream,
                    self.timeout,
                    self.held_steps,
                )
        self._worker.close(move_data=bool(mail.let_go and mail.let_go["move_data"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self.close("" if kind is None else f"rank {self.rank} raised {kind.__name__}: {error}")

    def __repr__(self) -> str:
        arrays = ", ".join(self._opened.layouts)
        return f"<Bridge {self.stream}: rank {self.rank} of {self._ranks.size}, arrays {arrays}>"

    def _may_leave(self, taken: tuple[int, ...]) -> bool:
        """Wait until this rank may leave or a step was released; False where to wait again."""
        mail, ring = self._mail, self._ring
        moved = mail.wait_for(
            lambda: mail.let_go is not None or mail.lost or ring.taken != taken, self.timeout
        )
        return mail.let_go is not None or bool(mail.lost) or not moved

    def _key(self, name: str, step: int) -> tuple[Any, ...]:
        place = self._opened.chunks[name].chunk_position
        return (key_prefix(self._opened.stream_id, name, int(step)), *place)

    def _chunk(self, name: str) -> Chunk:
        if name not in self._opened.chunks:
            raise ValueError(
                f"array {name!r} is not declared on rank {self.rank}; it has "
                f"{', '.join(self._opened.chunks) or 'none'}."
            )
        return self._opened.chunks[name]

    def _check(self, step: int, arrays: Mapping[str, Any]) -> None:
        if self._is_closed:
            raise StreamError(f"the bridge of rank {self.rank} is closed; make a new one.")
        check_count("step", step, least=0)
        if step <= self._step:
            raise ValueError(
                f"step={step} on rank {self.rank} is not larger than the last one, {self._step}; "
                "steps come in increasing order."
            )
        for name, array in arrays.items():
            chunk = self._chunk(name)
            for entry, wanted in (("shape", chunk.chunk_shape), ("dtype", chunk.dtype)):
                given = getattr(array, entry, None)
                if given != wanted:
                    raise ValueError(
                        f"array {name!r} at step {step} on rank {self.rank} has {entry} {given}, "
                        f"declared is {wanted}; pass what is declared, or declare what is passed."
                    )

    def _leave_out(self, step: int) -> None:
        self.n_dropped += 1
        if not self._mail.lost:
            stream_id = self._opened.stream_id
            self._worker.hold_and_send(
                {}, "exa-dropped", stream=stream_id, rank=self.rank, step=int(step)
            )
