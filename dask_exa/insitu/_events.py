"""What happens to a stream (events), and what has to be done about it (instructions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Put(NamedTuple):
    """A rank has its chunks of a step ready."""

    rank: int
    step: int
    time: float
    names: tuple[str, ...]
    nbytes: tuple[int, ...]
    waited: float = 0.0
    """Seconds for which the rank waited for a buffer."""
    held: int = 0
    """Buffers that were taken on the rank."""


class Dropped(NamedTuple):
    """A rank left a step out, as no buffer was free."""

    rank: int
    step: int


class Closed(NamedTuple):
    """A rank will put no more steps."""

    rank: int
    error: str = ""
    """Why it leaves early; empty where it does not."""


class Died(NamedTuple):
    """A rank's worker is gone, and its chunks with it."""

    rank: int


class Attached(NamedTuple):
    """Analytics has come to read."""

    reader: str


class Detached(NamedTuple):
    """Analytics has what it needs; steps and ranks can go."""

    reader: str


class ReaderDied(NamedTuple):
    """Analytics is gone without a word."""

    reader: str


class Released(NamedTuple):
    """Analytics is done with a step."""

    step: int


class StopAsked(NamedTuple):
    """Analytics asks the simulation to end."""

    reason: str


class Tick(NamedTuple):
    """Time has passed."""


Event = (
    Put | Dropped | Closed | Died | Attached | Detached | ReaderDied | Released | StopAsked | Tick
)


@dataclass
class Step:
    """One step on its way."""

    step: int
    time: float
    since: float
    """When its first chunk came."""
    puts: dict[int, Put] = field(default_factory=dict)
    """By rank."""
    first_of: dict[str, Put] = field(default_factory=dict)
    """By array: the first of the ranks that have a chunk of it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Arrays of the step, in the order in which ranks name them."""
        return tuple(dict.fromkeys(name for put in self.puts.values() for name in put.names))


class Hold(NamedTuple):
    """Register a complete step's chunks with the scheduler, and hold them."""

    step: Step


class Free(NamedTuple):
    """Let a step that was held go."""

    step: Step


class Discard(NamedTuple):
    """Free chunks on their ranks that were never registered."""

    step: int
    puts: Mapping[int, Put]


class Announce(NamedTuple):
    """Tell analytics."""

    news: dict[str, Any]


class Tell(NamedTuple):
    """Tell ranks."""

    ranks: tuple[int, ...]
    news: dict[str, Any]


class LetGo(NamedTuple):
    """Let all ranks leave, and forget the stream."""


Instruction = Hold | Free | Discard | Announce | Tell | LetGo
