"""An alarm: what is wrong, where, since when, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Block = tuple[tuple[int, int], ...]
"""First and last index along each dimension of a field, both included."""


class Alarm(NamedTuple):
    """One thing that people should look at.

    Examples
    --------
    >>> alarm = Alarm(step=31, score=12.5, reason="density jumps", p_value=2e-5)
    >>> alarm.as_dict()["p_value"]
    2e-05
    """

    step: int
    """Number of the step in its stream."""
    score: float
    """How far from normal, the larger the farther."""
    reason: str
    """A sentence for people."""
    block: Block | None = None
    """Which part of the field; None for all of it."""
    p_value: float | None = None
    """Share of normal scores that would be at least as large; None for a hard check."""
    features: tuple[str, ...] = ()
    """Names of what is responsible, the most responsible first."""
    variable: str = ""
    """Variable of the step that it is about; empty where several are."""

    @property
    def subject(self) -> tuple[Any, ...]:
        """What the alarm is about: equal for alarms of one thing in different steps and blocks."""
        return self.variable, self.features[:1]

    def as_dict(self) -> dict[str, Any]:
        """Return the alarm in the types of JSON."""
        block = None if self.block is None else [list(pair) for pair in self.block]
        return {**self._asdict(), "block": block, "features": list(self.features)}


class Episode(NamedTuple):
    """Alarms about one thing, in steps that follow each other."""

    first: Alarm
    worst: Alarm
    last_step: int
    n_alarms: int


def episodes(alarms: Iterable[Alarm]) -> list[Episode]:
    """Put together the alarms that go on from a step to the next.

    Parameters
    ----------
    alarms : iterable of Alarm
        By increasing step.

    Returns
    -------
    list of Episode
        In the order of their first alarms.

    Examples
    --------
    >>> alarms = [Alarm(step, 1.0, "det F is negative", features=("det F",)) for step in (3, 4, 9)]
    >>> [(episode.first.step, episode.last_step) for episode in episodes(alarms)]
    [(3, 4), (9, 9)]
    """
    found: list[Episode] = []
    place: dict[Any, int] = {}
    for alarm in alarms:
        at = place.get(alarm.subject)
        if at is None or alarm.step > found[at].last_step + 1:
            place[alarm.subject] = len(found)
            found.append(Episode(alarm, alarm, alarm.step, 1))
            continue
        before = found[at]
        worst = alarm if alarm.score > before.worst.score else before.worst
        found[at] = Episode(before.first, worst, alarm.step, before.n_alarms + 1)
    return found
