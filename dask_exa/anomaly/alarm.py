"""An alarm: what is wrong, where, since when, and how sure that is."""

from __future__ import annotations

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

    def as_dict(self) -> dict[str, Any]:
        """Return the alarm in the types of JSON."""
        block = None if self.block is None else [list(pair) for pair in self.block]
        return {**self._asdict(), "block": block, "features": list(self.features)}
