"""Ranks as threads of one process, with the methods of an mpi4py communicator."""

from __future__ import annotations

import operator
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from dask_exa._parameters import check_count, check_positive
from dask_exa.insitu.errors import RankLostError, StreamError, StreamTimeoutError


class _Post(NamedTuple):
    """What one rank brings to a collective call."""

    call: str
    value: Any


class _Group:
    """Where the ranks of a communicator meet: the n-th call of each is one collective call."""

    def __init__(self, members: Sequence[int], timeout: float, family: list[_Group]) -> None:
        self.members, self.timeout, self.family = tuple(members), timeout, family
        self.reason = ""
        self._changed = threading.Condition()
        self._posts: dict[int, dict[int, _Post]] = {}
        self._n_read: dict[int, int] = {}
        family.append(self)

    def post(self, rank: int, number: int, post: _Post) -> None:
        with self._changed:
            posts = self._posts.setdefault(number, {})
            posts[rank] = post
            if len(posts) == len(self.members):
                self._changed.notify_all()

    def is_complete(self, number: int) -> bool:
        """Return whether all ranks have come to a call; raise when they never will."""
        with self._changed:
            if len(self._posts[number]) < len(self.members) and self.reason:
                raise RankLostError(self.reason)
            return len(self._posts[number]) == len(self.members)

    def collect(self, rank: int, number: int) -> list[Any]:
        """Wait for all ranks, and return their values in rank order."""
        with self._changed:
            posts = self._posts[number]
            self._changed.wait_for(
                lambda: self.reason or len(posts) == len(self.members), self.timeout
            )
            if len(posts) < len(self.members):
                raise self._excuse(rank, number, posts)
            self._n_read[number] = self._n_read.get(number, 0) + 1
            if self._n_read[number] == len(self.members):
                del self._posts[number], self._n_read[number]
        for other, post in sorted(posts.items()):
            if post.call != posts[rank].call:
                raise StreamError(
                    f"rank {rank} calls {posts[rank].call} where rank {other} calls {post.call}; "
                    "all ranks must make the same calls in the same order."
                )
        return [posts[other].value for other in range(len(self.members))]

    def _excuse(self, rank: int, number: int, posts: dict[int, _Post]) -> StreamError:
        if self.reason:
            return RankLostError(self.reason)
        missing = [str(other) for other in range(len(self.members)) if other not in posts]
        return StreamTimeoutError(
            f"rank {rank} waited for {', '.join(f'rank {other}' for other in missing)} in call "
            f"{number} of this communicator, {posts[rank].call}, longer than "
            f"timeout={self.timeout:g} s."
        )

    def abort(self, reason: str) -> None:
        with self._changed:
            self.reason = self.reason or reason
            self._changed.notify_all()


class ThreadRequest:
    """What `ThreadCommunicator.Iallreduce` returns; like `mpi4py.MPI.Request`."""

    def __init__(self, group: _Group, number: int, finish: Callable[[], None]) -> None:
        self._group, self._number, self._finish = group, number, finish
        self._is_done = False

    def Test(self) -> bool:  # noqa: N802 (mpi4py's name)
        """Return whether all ranks have come, and the result is there."""
        if not self._is_done and self._group.is_complete(self._number):
            self.Wait()
        return self._is_done

    def Wait(self) -> None:  # noqa: N802 (mpi4py's name)
        """Wait until the result is there."""
        if not self._is_done:
            self._finish()
            self._is_done = True


class ThreadCommunicator:
    """One rank of a simulation whose ranks are threads of one process.

    For trying out and testing what runs on MPI ranks: it has the methods of an mpi4py
    communicator that dask-exa calls, with the same meaning. Values are pickled on their way, as
    by mpi4py; the methods with a capital letter copy from buffer to buffer. Where MPI would hang,
    it raises an error.

    `ThreadCommunicator.group` makes the communicators of all ranks, `run_ranks` the threads as
    well. A communicator belongs to one thread.

    See Also
    --------
    run_ranks : Run a function on ranks that are threads.

    Examples
    --------
    >>> from dask_exa.insitu.communicator import run_ranks
    >>> run_ranks(3, lambda comm: comm.allreduce(comm.Get_rank()))
    [3, 3, 3]
    >>> run_ranks(3, lambda comm: comm.allreduce(comm.Get_rank(), op=max))
    [2, 2, 2]
    """

    def __init__(self, group: _Group, rank: int) -> None:
        self._group, self._rank = group, rank
        self._n_calls = 0

    @classmethod
    def group(cls, n_ranks: int, timeout: float = 60.0) -> list[Self]:
        """Return the communicators of all ranks, in rank order.

        Parameters
        ----------
        n_ranks : int
        timeout : float, default=60
            Seconds that a rank waits for the others before it raises StreamTimeoutError.
        """
        check_count("n_ranks", n_ranks)
        check_positive("timeout", timeout)
        group = _Group(range(n_ranks), timeout, [])
        return [cls(group, rank) for rank in range(n_ranks)]

    def Get_rank(self) -> int:  # noqa: N802 (mpi4py's name)
        """Return the number of this rank, from zero."""
        return self._rank

    def Get_size(self) -> int:  # noqa: N802 (mpi4py's name)
        """Return the number of ranks."""
        return len(self._group.members)

    def allgather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, on all ranks."""
        return [pickle.loads(sent) for sent in self._meet("allgather", pickle.dumps(value))]

    def allreduce(self, value: Any, op: Callable[[Any, Any], Any] = operator.add) -> Any:
        """Return the values of all ranks, reduced in rank order, on all ranks.

        Parameters
        ----------
        value : object
        op : callable, default=operator.add
            Of two values. ``max`` and ``min`` are understood by mpi4py, too.
        """
        values = [pickle.loads(sent) for sent in self._meet("allreduce", pickle.dumps(value))]
        return _reduce(values, op)

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Return the value of one rank, on all ranks."""
        sent = pickle.dumps(value) if self._rank == root else None
        return pickle.loads(self._meet(f"bcast from rank {root}", sent)[root])

    def alltoall(self, values: Sequence[Any]) -> list[Any]:
        """Send the i-th value to rank i, and return what the ranks have sent to this one."""
        sent = [pickle.dumps(value) for value in values]
        if len(sent) != self.Get_size():
            raise ValueError(
                f"values has {len(sent)} entries; pass one for each of {self.Get_size()} ranks."
            )
        return [pickle.loads(row[self._rank]) for row in self._meet("alltoall", sent)]

    def barrier(self) -> None:
        """Wait for all ranks."""
        self._meet("barrier", None)

    Barrier = barrier

    def Alltoallv(self, send: Sequence[Any], receive: Sequence[Any]) -> None:  # noqa: N802
        """Send a part of a buffer to every rank, and receive one from each.

        Parameters
        ----------
        send, receive : list of [ndarray, sequence of int]
            Contiguous array, and the number of its elements for rank 0, rank 1, …
        """
        parts, places = _parts(*send), _parts(*receive)
        for place, row in zip(places, self._meet("Alltoallv", parts), strict=True):
            place[...] = row[self._rank]
        self._meet("Alltoallv", None)  # until then, others read from the array that was sent

    def Iallreduce(  # noqa: N802
        self, send: np.ndarray, receive: np.ndarray, op: Callable[[Any, Any], Any] = operator.add
    ) -> ThreadRequest:
        """Start to reduce arrays elementwise over all ranks, and return at once.

        Parameters
        ----------
        send, receive : ndarray of one shape
            `receive` has the result when the request is done.
        op : callable, default=operator.add
            Of two arrays.
        """
        number = self._start("Iallreduce", np.array(send))

        def finish() -> None:
            receive[...] = _reduce(self._group.collect(self._rank, number), op)

        return ThreadRequest(self._group, number, finish)

    def Split(self, color: int = 0, key: int = 0) -> Self | None:  # noqa: N802
        """Return the communicator of the ranks with the same color; None where it is negative.

        Parameters
        ----------
        color : int
            Negative: this rank is in none, as with ``MPI.UNDEFINED``.
        key : int
            Ranks are numbered by it, and by their old number where it is equal.
        """
        rows: list[tuple[int, int]] = self.allgather((color, key))
        groups: dict[int, _Group] = {}
        if self._rank == 0:
            for one in sorted({row[0] for row in rows}):
                old = [rank for rank, row in enumerate(rows) if row[0] == one]
                ordered = sorted(old, key=lambda rank: (rows[rank][1], rank))
                groups[one] = _Group(ordered, self._group.timeout, self._group.family)
        groups = self._meet("Split", groups)[0]
        if color < 0:
            return None
        return type(self)(groups[color], groups[color].members.index(self._rank))

    def abort(self, reason: str) -> None:
        """Let all ranks that wait, now or later, raise RankLostError, also in split communicators.

        Parameters
        ----------
        reason : str
            The text of their error.
        """
        for group in list(self._group.family):
            group.abort(reason)

    def __repr__(self) -> str:
        return f"<ThreadCommunicator: rank {self._rank} of {self.Get_size()}>"

    def _start(self, call: str, value: Any) -> int:
        number, self._n_calls = self._n_calls, self._n_calls + 1
        self._group.post(self._rank, number, _Post(call, value))
        return number

    def _meet(self, call: str, value: Any) -> list[Any]:
        return self._group.collect(self._rank, self._start(call, value))


def run_ranks(
    n_ranks: int, function: Callable[[ThreadCommunicator], Any], timeout: float = 60.0
) -> list[Any]:
    """Run a function on ranks that are threads, and return what they return.

    Parameters
    ----------
    n_ranks : int
    function : callable
        Called as ``function(comm)`` on every rank.
    timeout : float, default=60
        Seconds for the whole run.

    Returns
    -------
    list
        In rank order.

    Raises
    ------
    Exception
        The first one that a rank has raised; it wakes the others, which then raise RankLostError.
    StreamTimeoutError
        When ranks are not done in time.
    """
    communicators = ThreadCommunicator.group(n_ranks, timeout)
    results: list[Any] = [None] * n_ranks
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = function(communicators[rank])
        except BaseException as error:  # raised below, in the thread of the caller
            errors.append(error)
            communicators[rank].abort(f"rank {rank} raised {type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(n_ranks)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise errors[0]
    running = [f"rank {rank}" for rank, thread in enumerate(threads) if thread.is_alive()]
    if running:
        communicators[0].abort(f"the run took longer than timeout={timeout:g} s")
        raise StreamTimeoutError(f"{', '.join(running)} did not end within timeout={timeout:g} s.")
    return results


def _reduce(values: Sequence[Any], op: Callable[[Any, Any], Any]) -> Any:
    total = values[0]
    for value in values[1:]:
        total = op(total, value)
    return total


def _parts(array: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Return views of the elements for each rank."""
    if sum(counts) > array.size or not array.flags.c_contiguous:
        raise ValueError(
            f"counts={list(counts)} do not fit an array of shape {array.shape} and strides "
            f"{array.strides}; pass a contiguous array of {sum(counts)} elements or more."
        )
    stops = np.cumsum(counts)
    flat = array.reshape(-1)
    return [flat[stop - n : stop] for stop, n in zip(stops, counts, strict=True)]
