"""The course of one stream: events in, instructions out; no network, no clock of its own.

Ranks put their steps in increasing order, and each rank's messages come in the order in which they
were sent. A step is complete when all ranks have put it, and lost as soon as one of them cannot any
more: it has gone on to a later step, has left, has died, or let the time-out pass. A step is held
until analytics releases it; what ranks may put before that is bounded by their buffers, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dask_exa.insitu._events import (
    Announce,
    Attached,
    Closed,
    Detached,
    Died,
    Discard,
    Dropped,
    Event,
    Free,
    Hold,
    Instruction,
    LetGo,
    Put,
    ReaderDied,
    Released,
    Step,
    StopAsked,
    Tell,
    Tick,
)
from dask_exa.insitu._layout import ArrayLayout
from dask_exa.insitu.errors import StreamError


class StreamState:
    """What is known of a stream.

    Parameters
    ----------
    name : str
    layouts : mapping of str to ArrayLayout
    n_ranks : int
    timeout : float
        Seconds from the first chunk of a step to its last one.
    time_to_live : float
        Seconds for which steps are kept for analytics that is gone or has not come.

    Attributes
    ----------
    pending, held : dict of int to Step
        Steps on the way, and complete ones that analytics has not released.
    fault : str
        The first thing that went wrong with a rank; empty while nothing did.
    stop_reason : str
        Why the simulation was asked to end; empty while it was not.
    n_complete, n_lost, n_dropped, n_unread : int
        Steps so far. Dropped: left out by the ranks. Unread: complete, but analytics was gone.
    """

    def __init__(
        self,
        name: str,
        layouts: Mapping[str, ArrayLayout],
        n_ranks: int,
        *,
        timeout: float,
        time_to_live: float,
    ) -> None:
        self.name, self.layouts, self.n_ranks = name, dict(layouts), n_ranks
        self.timeout, self.time_to_live = timeout, time_to_live
        self.pending: dict[int, Step] = {}
        self.held: dict[int, Step] = {}
        self.reader: str | None = None
        self.fault = self.stop_reason = ""
        self.n_complete = self.n_lost = self.n_dropped = self.n_unread = 0
        self._owners = {name: frozenset(layout.ranks) for name, layout in layouts.items()}
        self._last = [-1] * n_ranks
        self._newest = -1
        self._gone: set[int] = set()
        self._given_up: set[int] = set()
        self._is_read = True
        self._unheard: list[Announce] = []
        self._is_over = False
        self._alone_since: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether no rank will put a step any more."""
        return len(self._gone) == self.n_ranks

    @property
    def is_read(self) -> bool:
        """Whether analytics reads, or may still come."""
        return self._is_read

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Return what has to be done about an event.

        Parameters
        ----------
        event : Event
        now : float
            Seconds on a clock that only runs forward.

        Raises
        ------
        StreamError
            When a second reader comes.
        """
        if self._is_over:
            return []
        done = _HANDLERS[type(event)](self, event, now)
        if self.reader is None and self._is_read:
            told = [one for one in done if isinstance(one, Announce)]
            self._unheard += [one for one in told if one.news["what"] in ("lost", "dropped")]
        return done

    def why_not(self, reader: str) -> str:
        """Return why a client cannot read the stream while another does."""
        return (
            f"stream {self.name!r} is read by another client ({self.reader}) than {reader}; close "
            "that one, or give every simulation a stream name of its own."
        )

    def _put(self, put: Put, now: float) -> list[Instruction]:
        rank, at = put.rank, put.step
        if rank in self._gone:
            return [Discard(at, {rank: put})]
        done = self._advance(rank, at)
        if not self._is_read and at not in self._given_up:
            self._given_up.add(at)
            self.n_unread += 1
        if at in self._given_up:
            return [*done, Discard(at, {rank: put})]
        is_first = at not in self.pending
        step = self.pending.setdefault(at, Step(at, put.time, now))
        step.puts[rank] = put
        wrong = self._unequal_names(step, put)
        if wrong:
            lost = self._lose(step, [rank], "did not put the arrays that others put")
            return [*done, *lost, *self._end_by(rank, wrong)]
        if len(step.puts) == self.n_ranks:
            return [*done, *self._complete(step, now)]
        if is_first and (self._gone or at < self._newest):  # later ones are noticed as they leave
            done += self._lose_if_passed(step)
        return done

    def _advance(self, rank: int, at: int) -> list[Instruction]:
        """Note how far a rank is; steps before that, which it has left out, are lost."""
        if at > self._newest and self._given_up:
            slowest = min(self._last[other] for other in self._present())
            self._given_up = {step for step in self._given_up if step > slowest}
        self._last[rank] = at
        self._newest = max(at, self._newest)
        passed = [s for s in self.pending.values() if s.step < at and rank not in s.puts]
        return _joined(self._lose(s, [rank], f"went on to step {at} without it") for s in passed)

    def _lose_if_passed(self, step: Step) -> list[Instruction]:
        """Lose a step that other ranks left out before the first one put it."""
        missing = self._missing(step)
        if left := [rank for rank in missing if rank in self._gone]:
            return self._lose(step, left, "had left before it")
        if passed := [rank for rank in missing if self._last[rank] > step.step]:
            return self._lose(step, passed, "went on without it")
        return []

    def _unequal_names(self, step: Step, put: Put) -> str:
        """Return what is wrong where two ranks put different arrays of those that both have."""
        for name, owners in self._owners.items():
            if put.rank not in owners:
                continue
            other = step.first_of.setdefault(name, put)
            if (name in put.names) != (name in other.names):
                return (
                    f"rank {put.rank} put {list(put.names)} at step {step.step}, rank "
                    f"{other.rank} {list(other.names)}; all ranks put the same arrays"
                )
        return ""

    def _complete(self, step: Step, now: float) -> list[Instruction]:
        del self.pending[step.step]
        self.n_complete += 1
        self.held[step.step] = step
        if self.reader is None and self._alone_since is None:
            self._alone_since = now
        return [Hold(step), Announce(_news_of(step))]

    def _lose(self, step: Step, ranks: Sequence[int], why: str) -> list[Instruction]:
        del self.pending[step.step]
        self._given_up.add(step.step)
        self.n_lost += 1
        reason = f"step {step.step} is lost: {_ranks(ranks)} {why}"
        news = {"what": "lost", "step": step.step, "ranks": list(ranks), "reason": reason}
        return [Discard(step.step, step.puts), Announce(news)]

    def _dropped_step(self, event: Dropped, now: float) -> list[Instruction]:
        rank, at = event
        if rank in self._gone:
            return []
        done = self._advance(rank, at)
        step = self.pending.get(at)
        if step is not None and not self.stop_reason:  # else ranks learn of the stop within a step
            return [*done, *self._lose(step, [rank], "left it out")]
        if step is not None:
            del self.pending[at]
            done.append(Discard(at, step.puts))
        if at not in self._given_up:
            self._given_up.add(at)
            self.n_dropped += 1
            done.append(Announce({"what": "dropped", "step": at}))
        return done

    def _closed(self, event: Closed, now: float) -> list[Instruction]:
        if event.rank in self._gone:
            return []
        self._gone.add(event.rank)
        done = self._lose_without(event.rank, "has left")
        if event.error:
            done += self._end_by(event.rank, event.error)
        return [*done, *self._ended(now)]

    def _died(self, event: Died, now: float) -> list[Instruction]:
        rank = event.rank
        had_left = rank in self._gone
        self._gone.add(rank)
        done = self._lose_without(rank, "has died")
        incomplete = [step for step in self.pending.values() if step.puts[rank].names]
        done += _joined(self._lose(step, [rank], "had put it, and died") for step in incomplete)
        broken = [step for step in self.held.values() if step.puts[rank].names]
        for step in broken:
            reason = f"step {step.step} is lost: its chunks on rank {rank} went with its worker"
            news = {"what": "lost", "step": step.step, "ranks": [rank], "reason": reason}
            done += [Free(self.held.pop(step.step)), Announce(news)]
        self.n_lost += len(broken)
        if not had_left or broken:
            at = f"after step {self._last[rank]}" if self._last[rank] >= 0 else "before any step"
            done += self._end_by(rank, f"rank {rank} died {at}")
        return [*done, *self._ended(now)]

    def _lose_without(self, rank: int, why: str) -> list[Instruction]:
        waiting = [step for step in self.pending.values() if rank not in step.puts]
        return _joined(self._lose(step, [rank], why) for step in waiting)

    def _end_by(self, rank: int, reason: str) -> list[Instruction]:
        """End the stream by the fault of a rank: everybody is told why, once."""
        if self.fault:
            return []
        self.fault = reason
        others = tuple(r for r in range(self.n_ranks) if r not in self._gone)
        return [
            Announce({"what": "fault", "rank": rank, "reason": reason}),
            Tell(others, {"fault": reason, "rank": rank}),
        ]

    def _ended(self, now: float) -> list[Instruction]:
        if not self.has_ended:
            return []
        if self.reader is None and self._alone_since is None:
            self._alone_since = now
        done: list[Instruction] = [Announce({"what": "end"})]
        return done if self._is_read else [*done, *self._let_go()]

    def _attached(self, event: Attached, now: float) -> list[Instruction]:
        if self.reader not in (None, event.reader):
            raise StreamError(self.why_not(event.reader))
        self.reader, self._is_read, self._alone_since = event.reader, True, None
        done: list[Instruction] = [*self._unheard]
        self._unheard = []
        done += [Announce(_news_of(step)) for step in self.held.values()]
        if self.fault:
            done.append(Announce({"what": "fault", "rank": None, "reason": self.fault}))
        return [*done, *([Announce({"what": "end"})] if self.has_ended else [])]

    def _detached(self, event: Detached, now: float) -> list[Instruction]:
        return self._leave_alone() if event.reader == self.reader else []

    def _reader_died(self, event: ReaderDied, now: float) -> list[Instruction]:
        if event.reader != self.reader:
            return []
        self.reader, self._alone_since = None, now
        return []

    def _leave_alone(self) -> list[Instruction]:
        """Go on without a reader: what is held is let go, what comes is not kept."""
        self.reader, self._is_read, self._alone_since = None, False, None
        self._unheard = []
        done: list[Instruction] = [Free(step) for step in self.held.values()]
        done += [Discard(step.step, step.puts) for step in self.pending.values()]
        self._given_up |= set(self.pending)
        self.n_unread += len(self.held) + len(self.pending)
        self.held.clear()
        self.pending.clear()
        return [*done, *(self._let_go() if self.has_ended else [])]

    def _let_go(self) -> list[Instruction]:
        self._is_over = True
        return [LetGo()]

    def _released(self, event: Released, now: float) -> list[Instruction]:
        step = self.held.pop(event.step, None)
        return [] if step is None else [Free(step)]

    def _stop_asked(self, event: StopAsked, now: float) -> list[Instruction]:
        if self.stop_reason:
            return []
        self.stop_reason = event.reason or "analytics asked for it"
        return [Tell(tuple(self._present()), {"stop": self.stop_reason})]

    def _tick(self, event: Tick, now: float) -> list[Instruction]:
        late = [step for step in self.pending.values() if now - step.since > self.timeout]
        why = f"did not put it within {self.timeout:g} s of the first rank"
        done = _joined(self._lose(step, self._missing(step), why) for step in late)
        if self._alone_since is not None and now - self._alone_since > self.time_to_live:
            done += self._leave_alone()
        return done

    def _present(self) -> list[int]:
        return [rank for rank in range(self.n_ranks) if rank not in self._gone]

    def _missing(self, step: Step) -> list[int]:
        return [rank for rank in range(self.n_ranks) if rank not in step.puts]


_HANDLERS: dict[type, Callable[[StreamState, Any, float], list[Instruction]]] = {
    Put: StreamState._put,
    Dropped: StreamState._dropped_step,
    Closed: StreamState._closed,
    Died: StreamState._died,
    Attached: StreamState._attached,
    Detached: StreamState._detached,
    ReaderDied: StreamState._reader_died,
    Released: StreamState._released,
    StopAsked: StreamState._stop_asked,
    Tick: StreamState._tick,
}


def _news_of(step: Step) -> dict[str, Any]:
    return {"what": "step", "step": step.step, "time": step.time, "names": list(step.names)}


def _ranks(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (", …" if len(ranks) > 8 else "")
    return f"rank {shown}" if len(ranks) == 1 else f"ranks {shown}"


def _joined(parts: Any) -> list[Instruction]:
    return [instruction for part in parts for instruction in part]
