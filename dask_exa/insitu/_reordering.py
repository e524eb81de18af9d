"""Steps in order, of arrays that come in any order; no network, no clock.

Every array has timesteps at which it is due. A step is complete when all arrays that are due have
come. What is before it waits, in a window of steps of limited length; what does not fit in makes
room if the first step of the window is not complete, which then is lost, and is dropped if it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple


class Complete(NamedTuple):
    """A step with all its arrays."""

    timestep: int
    arrays: dict[str, Any]


class Lost(NamedTuple):
    """A step that is left out."""

    timestep: int
    names: tuple[str, ...]
    """Arrays that did not come, or were dropped."""
    why: str
    is_dropped: bool = False
    """Whether it came, and found no place."""


class Reordering:
    """Arrays on their way into order.

    Parameters
    ----------
    every : mapping of str to int
        Timesteps from one time that an array is due to the next, by its name.
    first : int, default=0
        Timestep at which all are due for the first time.
    depth : int, default=16
        Steps that may wait at a time.

    Attributes
    ----------
    timestep : int
        Of the step that is next.

    Examples
    --------
    >>> order = Reordering({"density": 1, "potential": 2})
    >>> for timestep, name in [(1, "density"), (0, "potential"), (0, "density")]:
    ...     _ = order.add(name, timestep, f"{name} at {timestep}")
    >>> order.take().arrays
    {'density': 'density at 0', 'potential': 'potential at 0'}
    >>> order.take(), order.take()
    (Complete(timestep=1, arrays={'density': 'density at 1'}), None)
    >>> order.timestep, order.missing
    (2, ('density', 'potential'))
    """

    def __init__(self, every: Mapping[str, int], *, first: int = 0, depth: int = 16) -> None:
        self.every, self.first, self.depth = dict(every), first, depth
        self.timestep = first
        self._stride = math.gcd(*self.every.values())
        self._waiting: dict[int, dict[str, Any]] = {}
        self._refused: dict[int, Lost] = {}
        self._lost: deque[Lost] = deque()

    @property
    def missing(self) -> tuple[str, ...]:
        """Arrays of the next step that have not come."""
        here = self._waiting.get(self.timestep, {})
        return tuple(name for name in self._due(self.timestep) if name not in here)

    @property
    def is_behind(self) -> bool:
        """Whether anything of the next step or of a later one has come."""
        return bool(self._waiting or self._refused or self._lost)

    def add(self, name: str, timestep: int, array: Any) -> str:
        """Take an array; the answer is why it cannot be used, or empty.

        Parameters
        ----------
        name : str
        timestep : int
        array : object
            Forgotten when its step was taken or lost.
        """
        if name not in self._due(timestep):
            return (
                f"timestep {timestep} of array {name!r} was not expected: it is due every "
                f"{self.every[name]} timesteps from {self.first} on; set first= and every="
            )
        if timestep < self.timestep:
            return f"timestep {timestep} of array {name!r} came when it had been given up"
        if timestep in self._refused:
            return ""
        while not self._fits(timestep) and self.missing:
            self._lost.append(self._lose(f"while {self.depth} later steps wait"))
        if not self._fits(timestep):
            why = f"analytics is {self.depth} steps behind"
            self._refused[timestep] = Lost(timestep, (name,), why, is_dropped=True)
            return ""
        self._waiting.setdefault(timestep, {})[name] = array
        return ""

    def refuse(self, name: str, timestep: int, why: str) -> None:
        """Take it that an array will not come."""
        if timestep >= self.timestep and name in self._due(timestep):
            self._waiting.pop(timestep, None)
            self._refused.setdefault(timestep, Lost(timestep, (name,), why))

    def take(self) -> Complete | Lost | None:
        """Return the next step if it is complete or lost, else None."""
        if self._lost:
            return self._lost.popleft()
        if self.timestep in self._refused:
            return self._lose("")
        if self.missing:
            return None
        here = self._waiting.pop(self.timestep)
        found = Complete(self.timestep, {name: here[name] for name in self._due(self.timestep)})
        self._advance()
        return found

    def give_up(self, why: str) -> Lost:
        """Leave out the next step, which `take` does not give, and return what was missing."""
        return self._lose(why)

    def clear(self) -> None:
        """Forget all arrays."""
        self._waiting.clear()

    def _fits(self, timestep: int) -> bool:
        return timestep < self.timestep + self.depth * self._stride

    def _due(self, timestep: int) -> tuple[str, ...]:
        since = timestep - self.first
        return tuple(n for n, every in self.every.items() if since >= 0 and since % every == 0)

    def _lose(self, why: str) -> Lost:
        lost = self._refused.pop(self.timestep, Lost(self.timestep, self.missing, why))
        self._waiting.pop(self.timestep, None)
        self._advance()
        return lost

    def _advance(self) -> None:
        self.timestep += self._stride
        while not self._due(self.timestep):
            self.timestep += self._stride
