"""Whether a rank may put its next step: back-pressure, and what to do when it lasts too long."""

from __future__ import annotations

import logging
import time

from dask_exa.insitu._mailbox import Mailbox
from dask_exa.insitu._ranks import Ranks
from dask_exa.insitu._ring import Ring
from dask_exa.insitu.errors import RankLostError, SchedulerLostError, StreamTimeoutError

logger = logging.getLogger(__name__)

N_IN_A_ROW = 8
"""Steps that found a place before `when_full="sample"` doubles the rate again."""


class Gate:
    """What stands between a rank that has computed a step and its buffers.

    Parameters
    ----------
    ring : Ring
    mail : Mailbox
    ranks : Ranks
    when_full, on_fault : str
        As of `Bridge`.
    timeout : float
        Seconds to wait for a buffer.
    """

    def __init__(
        self, ring: Ring, mail: Mailbox, ranks: Ranks, when_full: str, on_fault: str, timeout: float
    ) -> None:
        self.ring, self.mail, self.ranks = ring, mail, ranks
        self.when_full, self.on_fault, self.timeout = when_full, on_fault, timeout
        self._waited = 0.0
        self._was_in_vain = False
        self._n_asked, self._stride, self._n_in_a_row = 0, 1, 0
        self._has_warned = False

    def take_waited(self) -> float:
        """Return the seconds waited since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited

    def wait(self) -> bool:
        """Wait for a free buffer, or for news; False when neither comes in time."""
        if not self.ring.is_full:
            self._was_in_vain = False
            return True
        started = time.perf_counter()
        came = self.mail.wait_for(self._need_not_wait, self.timeout)
        self._waited += time.perf_counter() - started
        self._was_in_vain = not came
        return came

    def _need_not_wait(self) -> bool:
        mail = self.mail
        return not self.ring.is_full or bool(mail.stop or mail.fault or mail.lost)

    def admits(self, step: int) -> bool:
        """Return whether a step can be put, after the wait that it may take.

        Raises
        ------
        SchedulerLostError, RankLostError, StreamTimeoutError
            With ``on_fault="abort"``.
        """
        if self.when_full == "block":
            return self._is_in_touch(step) and self._has_place(step)
        wanted = self._is_in_touch(step) and self._n_asked % self._stride == 0
        self._n_asked += 1
        try:
            n_free = self.ranks.count(wanted and not self.ring.is_full, self.mail.pause)
        except RankLostError:
            return self._is_in_touch(step)
        if self.when_full == "sample" and wanted:
            self._adapt_stride(n_free == self.ranks.size)
        return n_free == self.ranks.size

    def _has_place(self, step: int) -> bool:
        # a step is waited for once: here, or before it was computed
        came = self._need_not_wait() if self._was_in_vain else self.wait()
        self._was_in_vain = False
        if came:
            return self._is_in_touch(step) and not self.ring.is_full
        reason = (
            f"no buffer came free for step {step} of rank {self.ranks.rank} within timeout="
            f"{self.timeout:g} s: analytics holds the steps {list(self.ring.taken)}"
        )
        if self.on_fault == "abort":
            raise StreamTimeoutError(f"{reason}; raise depth or timeout, or put fewer steps.")
        logger.warning("%s; the step is left out", reason)
        return False

    def _is_in_touch(self, step: int) -> bool:
        """Return whether analytics can be reached; raise where that is asked for."""
        mail, rank = self.mail, self.ranks.rank
        if not (mail.lost or mail.fault):
            return True
        if self.on_fault == "abort":
            kind = SchedulerLostError if mail.lost else RankLostError
            raise kind(f"rank {rank} ends at step {step}: {mail.lost or mail.fault}.")
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "rank %d goes on without analytics from step %d on: %s",
                rank,
                step,
                mail.lost or mail.fault,
            )
        return False

    def _adapt_stride(self, was_free: bool) -> None:
        """Halve the rate of steps when there was no place, and bring it back by and by."""
        if not was_free:
            self._stride, self._n_in_a_row = 2 * self._stride, 0
            return
        self._n_in_a_row += 1
        if self._n_in_a_row >= N_IN_A_ROW and self._stride > 1:
            self._stride, self._n_in_a_row = self._stride // 2, 0
