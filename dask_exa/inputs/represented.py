"""A stream whose steps are turned into fields that have the same shape in every step."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from types import FunctionType

import xarray as xr

from dask_exa.inputs.stream import Stream


class RepresentedStream(Stream):
    """The steps of another stream, as a function represents them.

    Parameters
    ----------
    stream : Stream
        Of any steps: with leaves that come and go, or visibilities. It is closed with this one.
    represent : callable
        ``represent(step)`` gives a data set whose dimensions and variables are those of every
        step, and keeps the coordinates ``time`` and ``timestep``. An object that remembers earlier
        steps is copied for each iteration, which then begins with the first step.

    Attributes
    ----------
    original : xarray.Dataset or None
        The step of the source that the last one was made of.
    n_values : dict of str to int
        How many values a step has of each variable.

    Raises
    ------
    ValueError
        When the source has no step.

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> from dask_exa.inputs.represented import RepresentedStream
    >>> source = open_stream("tokam2d-hw", shape=(16, 16), rk4_steps_per_frame=2)
    >>> stream = RepresentedStream(source, lambda step: step.mean("y"))
    >>> stream.dims, next(iter(stream)).density.shape, stream.original.density.shape
    (('x',), (16,), (16, 16))
    """

    def __init__(self, stream: Stream, represent: Callable[[xr.Dataset], xr.Dataset]) -> None:
        self._source, self._represent = stream, represent
        self.original: xr.Dataset | None = None
        first = next(self._turned(0), None)
        if first is None:
            raise ValueError(f"source={stream.name!r} has no steps.")
        self.n_values = {str(name): variable.size for name, variable in first.data_vars.items()}
        super().__init__(
            self._turned,
            name=stream.name,
            sizes={str(dim): size for dim, size in first[list(self.n_values)].sizes.items()},
            variables=tuple(self.n_values),
            n_steps=stream.n_steps,
            close=stream.close,
        )

    def _turned(self, start: int) -> Iterator[xr.Dataset]:
        represent = copy.deepcopy(self._represent)
        n_replayed = 0 if isinstance(represent, FunctionType) else start
        steps = self._steps(self._source.read(start - n_replayed), represent)
        return itertools.islice(steps, n_replayed, None)

    def _steps(
        self, steps: Iterator[xr.Dataset], represent: Callable[[xr.Dataset], xr.Dataset]
    ) -> Iterator[xr.Dataset]:
        for step in steps:
            self.original = step
            yield represent(step)
