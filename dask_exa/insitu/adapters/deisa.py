"""Arrays that deisa-dask delivers, in any order, as a stream of steps in order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import xarray as xr

from dask_exa import inputs
from dask_exa._parameters import check_choice, check_count, check_positive
from dask_exa.inputs.learning import ON_FAULT
from dask_exa.insitu._layout import Chunk, read_chunk
from dask_exa.insitu._reordering import Complete, Lost
from dask_exa.insitu.adapters._arrivals import Arrivals
from dask_exa.insitu.errors import LayoutError, StepLostError

logger = logging.getLogger(__name__)

STOP_KEY = "stop"
"""What ranks ask their bridge for, to learn that analytics wants the simulation to end."""


class DeisaStream(inputs.Stream):
    """The steps of a simulation whose ranks send with DEISA's bridge.

    DEISA calls back for every array, from threads of a pool: steps overtake each other, and the
    arrays of one step come at different times. This stream joins them by timestep and gives the
    steps in order, as `dask_exa.insitu.Stream` does, so that the same loop or `run` takes either.
    The ranks need no change. A step is released when the next one is asked for.

    Make the stream right after the ``Deisa`` object, for DEISA drops what ranks send before
    somebody has registered for it. Its bridge never waits, so what comes while `depth` steps are
    waiting for analytics is dropped.

    Parameters
    ----------
    deisa : deisa.dask.Deisa
        From the extra ``deisa``. Dask computes with its ``client``.
    arrays : sequence of str, or mapping of str to sequence of str, optional
        Names of the arrays; in a mapping, with the names of their dimensions (default: dim_0,
        dim_1, …). By default all.
    every : int or mapping of str to int, default=1
        Timesteps from one time that an array is sent to the next. With a mapping, a step has the
        arrays that are due.
    first : int, optional
        Timestep of the first step; by default that which is sent first.
    depth : int, default=16
        Steps that may wait, for those before them or for analytics.
    time_step : float, default=1
        The coordinate ``time`` is the timestep times this: DEISA sends no time.
    timeout : float, default=60
        Seconds to wait for a step.
    on_fault : {"skip", "abort"}, default="skip"
        Whether a step that was lost is left out, with a line in `faults`, or raises. A step is lost
        when an array of it has not come within `timeout`, while others have, or when `depth`
        later steps wait for it.
    name : str, default="deisa"
        For reports.

    Attributes
    ----------
    faults : list of str
        What was lost, and why.
    n_dropped : int
        Steps that came and found no place.

    Raises
    ------
    LayoutError
        When the arrays are not those that the ranks have declared.
    StepLostError
        With ``on_fault="abort"``, while steps are asked for.
    StreamTimeoutError
        When nothing has come in time.
    SchedulerLostError
        When the scheduler is gone.

    See Also
    --------
    dask_exa.insitu.Stream : The same for our own bridge, which waits for slow analytics.

    Examples
    --------
    With a scheduler, and ranks that send::

        deisa = Deisa()
        with DeisaStream(deisa, {"density": ("y", "x"), "potential": ("y", "x")}) as stream:
            stream.run(IncrementalPCA(8), variables="density")
    """

    is_live = True

    def __init__(
        self,
        deisa: Any,
        arrays: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        *,
        every: int | Mapping[str, int] = 1,
        first: int | None = None,
        depth: int = 16,
        time_step: float = 1.0,
        timeout: float = 60.0,
        on_fault: str = "skip",
        name: str = "deisa",
    ) -> None:
        if not hasattr(deisa, "register_callback"):
            raise TypeError(
                f"deisa={deisa!r} registers no callbacks; pass a deisa.dask.Deisa, which "
                "pip install 'dask-exa[deisa]' brings."
            )
        check_count("depth", depth)
        check_positive("time_step", time_step)
        check_positive("timeout", timeout)
        check_choice("on_fault", on_fault, ON_FAULT)
        self.deisa, self.depth, self.time_step = deisa, depth, time_step
        self.timeout, self.on_fault = timeout, on_fault
        self.n_dropped = 0
        self._arrays = _declared(arrays, deisa.arrays_metadata)
        self._n_seen, self._last = 0, 0
        self._arrivals = Arrivals(deisa, _by_name(every, self._arrays), first, depth, timeout)
        self.faults: list[str] = self._arrivals.faults
        super().__init__(
            self._steps,
            name=name,
            sizes=_sizes(self._arrays),
            variables=tuple(self._arrays),
            close=self._arrivals.close,
        )

    def stop(self, reason: str = "") -> None:
        """End the iteration, and tell the ranks: their ``bridge.get("stop")`` gives the reason.

        Parameters
        ----------
        reason : str
        """
        super().stop(reason)
        self.deisa.set(STOP_KEY, reason or "analytics asked for it", self._last)

    def _steps(self, start: int) -> Iterator[xr.Dataset]:
        """Yield the steps that come, after the first `start` of those not seen yet."""
        while (found := self._arrivals.next()) is not None:
            if isinstance(found, Lost):
                self._take_note(found)
                continue
            self._n_seen, self._last = self._n_seen + 1, found.timestep
            if self._n_seen > start:
                yield self._dataset(found)
            self._arrivals.release(found)
            del found  # its chunks are freed while the next one is waited for

    def _dataset(self, found: Complete) -> xr.Dataset:
        arrays = {
            name: (chunk.dims, found.arrays[name])
            for name, chunk in self._arrays.items()
            if name in found.arrays
        }
        clock = {"time": found.timestep * self.time_step, "timestep": found.timestep}
        return xr.Dataset(arrays, coords=clock)

    def _take_note(self, lost: Lost) -> None:
        """Keep account of what was lost, and raise where that is asked for."""
        self.n_dropped += lost.is_dropped
        fault = f"timestep {lost.timestep} is lost: {', '.join(lost.names)} {lost.why}"
        self.faults.append(fault)
        logger.warning("stream %r: %s", self.name, fault)
        if self.log is not None:
            state = "dropped" if lost.is_dropped else "lost"
            self.log.write({"timestep": lost.timestep}, state, lost.why)
        if self.on_fault == "abort":
            raise StepLostError(f"stream {self.name!r}: {fault}.")


def _declared(arrays: Any, metadata: Mapping[str, Mapping[str, Any]]) -> dict[str, Chunk]:
    """Return what is known of every array that is asked for."""
    wanted = metadata if arrays is None else [arrays] if isinstance(arrays, str) else arrays
    unknown = [name for name in wanted if name not in metadata]
    if unknown or not wanted:
        raise LayoutError(
            f"arrays={list(wanted)} are not all sent by the ranks; they send {sorted(metadata)}."
        )
    given = {name: {"dims": arrays[name]} if isinstance(arrays, Mapping) else {} for name in wanted}
    return {
        name: read_chunk(name, {"global_shape": metadata[name]["global_shape"], **given[name]})
        for name in wanted
    }


def _by_name(every: Any, arrays: Mapping[str, Any]) -> dict[str, int]:
    same = 1 if isinstance(every, Mapping) else every
    steps = dict.fromkeys(arrays, same) | (dict(every) if isinstance(every, Mapping) else {})
    if set(steps) != set(arrays):
        raise ValueError(f"every={every} names arrays that are not among {list(arrays)}.")
    for name, step in steps.items():
        check_count(f"every of array {name!r}", step)
    return steps


def _sizes(arrays: Mapping[str, Chunk]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, chunk in arrays.items():
        for dim, size in zip(chunk.dims, chunk.global_shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise LayoutError(
                    f"dimension {dim!r} has length {size} in array {name!r} and {sizes[dim]} in "
                    "another one; pass arrays={name: dims} with names of their own."
                )
    return sizes
