"""What ranks decide together, without waiting for ever for one that has left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dask_exa.insitu.errors import StreamTimeoutError


class Ranks:
    """The ranks of a simulation.

    Parameters
    ----------
    comm : communicator or None
        Of mpi4py, or what has its methods ``Get_rank``, ``Get_size``, ``allgather``, ``bcast``
        and ``allreduce``. None: one rank.
    timeout : float
        Seconds to wait for the other ranks.
    """

    def __init__(self, comm: Any, timeout: float) -> None:
        self.comm, self.timeout = comm, timeout
        self.rank = 0 if comm is None else int(comm.Get_rank())
        self.size = 1 if comm is None else int(comm.Get_size())
        self._given_up: list[Any] = []

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, on all ranks."""
        if self.comm is None:
            return [value]
        self._total(0, "open the stream together", time.sleep)
        return list(self.comm.allgather(value))

    def share(self, value: Any) -> Any:
        """Return the value of rank 0, on all ranks."""
        return value if self.comm is None else self.comm.bcast(value, root=0)

    def count(self, holds: bool, pause: Callable[[float], Any]) -> int:
        """Return on how many ranks something holds.

        Parameters
        ----------
        holds : bool
        pause : callable
            ``pause(seconds)`` waits for a moment; it raises where waiting has no sense any more.

        Raises
        ------
        StreamTimeoutError
            When other ranks do not answer in time.
        """
        if self.comm is None:
            return int(holds)
        return self._total(int(holds), "agree on whether to go on", pause)

    def _total(self, value: int, purpose: str, pause: Callable[[float], Any]) -> int:
        if not hasattr(self.comm, "Iallreduce"):
            return int(self.comm.allreduce(value))
        mine, total = np.array([value], dtype=np.int64), np.zeros(1, dtype=np.int64)
        request = self.comm.Iallreduce(mine, total)
        # MPI may write to the arrays until it is done, also if this rank waits no longer
        self._given_up.append((request, mine, total))
        deadline, wait = time.monotonic() + self.timeout, 0.0
        while not request.Test():
            if time.monotonic() > deadline:
                raise StreamTimeoutError(
                    f"rank {self.rank} waits for the other ranks to {purpose}; they did not within "
                    f"timeout={self.timeout:g} s. All ranks must call the bridge in the same order."
                )
            pause(wait)
            wait = min(wait + 1e-5, 1e-3)
        self._given_up.pop()
        return int(total[0])
