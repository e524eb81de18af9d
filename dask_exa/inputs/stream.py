"""A stream: the steps of one source, in order, one in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import xarray as xr


class Stream:
    """The steps of a file, of a simulation or of a running code, in order.

    Every step is an `xarray.Dataset`: variables on named dimensions, a scalar coordinate ``time``
    and a scalar integer coordinate ``timestep``. A step is read when it is asked for. Every
    iteration starts from the first step, so a script gives the same numbers when it runs again.
    Values are passed on as they are, those that are not finite too.

    Streams are made by `open_stream`.

    Parameters
    ----------
    read : callable
        ``read(start)`` returns an iterator of steps that skips the first `start` ones.
    name : str
        What to call the source in reports.
    sizes : dict of str to int
        Dimensions of a step and their lengths.
    variables : tuple of str
    n_steps : int, optional
        Number of steps, where it is known beforehand.
    close : callable, optional
        Called once, to close files.

    Attributes
    ----------
    name : str
    sizes : dict of str to int
    dims : tuple of str
        Names of the dimensions of a step.
    variables : tuple of str
    n_steps : int or None
        Number of steps; None when nobody knows, and then ``len`` raises TypeError.

    Examples
    --------
    >>> from dask_exa.inputs import open_stream
    >>> with open_stream("tokam2d-hw", shape=(32, 32), rk4_steps_per_frame=2) as stream:
    ...     print(stream.dims, stream.variables)
    ...     for step in stream:
    ...         print(int(step.timestep), dict(step.sizes))
    ...         if step.timestep == 2:
    ...             break
    ('y', 'x') ('density', 'potential')
    1 {'y': 32, 'x': 32}
    2 {'y': 32, 'x': 32}
    """

    def __init__(
        self,
        read: Callable[[int], Iterator[xr.Dataset]],
        *,
        name: str,
        sizes: dict[str, int],
        variables: tuple[str, ...],
        n_steps: int | None = None,
        close: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name
        self.sizes = dict(sizes)
        self.variables = tuple(variables)
        self.n_steps = n_steps
        self._read = read
        self._close = close
        self._is_closed = False

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions of a step."""
        return tuple(self.sizes)

    def __iter__(self) -> Iterator[xr.Dataset]:
        return self.read()

    def read(self, start: int = 0) -> Iterator[xr.Dataset]:
        """Return an iterator of the steps from position `start` on.

        Parameters
        ----------
        start : int, default=0
            Number of steps to skip. A file skips them for nothing; a built-in simulation has to
            compute them again.

        Raises
        ------
        ValueError
            When the stream is closed, or `start` is negative.
        """
        if self._is_closed:
            raise ValueError(f"the stream of {self.name} is closed; open it again to read it.")
        if start < 0:
            raise ValueError(f"start={start} is negative; pass the number of steps to skip.")
        return self._read(start)

    def __len__(self) -> int:
        if self.n_steps is None:
            raise TypeError(f"the stream of {self.name} has no length; it goes on until stopped.")
        return self.n_steps

    def close(self) -> None:
        """Close the files of the source; a second time does nothing."""
        if not self._is_closed and self._close is not None:
            self._close()
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in self.sizes.items())
        length = "endless" if self.n_steps is None else f"{self.n_steps} steps"
        names = ", ".join(self.variables[:6]) + (", …" if len(self.variables) > 6 else "")
        return f"<Stream {self.name}: {length} of {names} ({sizes})>"
