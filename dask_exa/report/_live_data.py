"""What the live page draws, as columns of numbers: from `Telemetry` to figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa.insitu.telemetry import Shown, StepRecord, Telemetry

N_RECENT = 8
"""Steps over which their rate is taken."""
MAX_COLUMNS, MAX_ROWS = 512, 64
"""Steps and ranks, or groups of ranks, that are told apart."""
LATE = 2.0
"""Seconds without a step after which full buffers mean that the simulation waits for analytics."""
Columns = dict[str, Any]


class Status(NamedTuple):
    """What a stream does now."""

    kind: str
    """waiting, running, stopped, fault or ended."""
    text: str
    """The same with the reason."""


def status(telemetry: Telemetry, now: float) -> Status:
    """Return what a stream does now.

    Examples
    --------
    >>> from dask_exa.insitu.telemetry import Telemetry
    >>> nothing = Telemetry("simulation", 4, 2, (), (), 0, 0, 0, "client", "", "")
    >>> status(nothing, now=0.0).text
    'waiting for the first step'
    >>> status(nothing._replace(stopped="too hot"), now=0.0).text
    'stopping: too hot'
    """
    if telemetry.fault:
        return Status("fault", f"fault: {telemetry.fault.rstrip('.')}")
    if telemetry.stopped:
        word = "stopped" if telemetry.has_ended else "stopping"
        return Status("stopped", f"{word}: {telemetry.stopped.rstrip('.')}")
    if telemetry.has_ended:
        return Status("ended", "ended")
    if not telemetry.steps:
        return Status("waiting", "waiting for the first step")
    if not telemetry.is_read:
        return Status("running", "running; analytics has left")
    last = max(step.completed for step in telemetry.steps)
    if not telemetry.reader or (telemetry.n_held > telemetry.depth and now - last > LATE):
        return Status("waiting", "waiting for analytics")
    return Status("running", "running")


def complete_steps(telemetry: Telemetry) -> list[StepRecord]:
    """Return the steps that came, in the order in which they did."""
    return [step for step in telemetry.steps if step.state == "complete"]


def rates(steps: Sequence[StepRecord]) -> Columns:
    """Return steps per second, over the last few steps, at each step but the first.

    Examples
    --------
    >>> from dask_exa.insitu.telemetry import StepRecord
    >>> steps = [StepRecord(i, 0.0, i / 4, (), (), "complete") for i in range(3)]
    >>> {name: column.tolist() for name, column in rates(steps).items()}
    {'timestep': [1, 2], 'rate': [4.0, 4.0]}
    """
    numbers = np.array([step.timestep for step in steps], dtype=int)
    completed = np.array([step.completed for step in steps], dtype=float)
    here = np.arange(1, len(steps))
    before = np.maximum(0, here - N_RECENT)
    seconds = np.maximum(completed[here] - completed[before], 1e-9)
    return {"timestep": numbers[1:], "rate": (here - before) / seconds}


def rate_now(steps: Sequence[StepRecord], now: float) -> float:
    """Return steps per second up to now, which falls while no step comes."""
    recent = steps[-N_RECENT - 1 :]
    if len(recent) < 2:
        return 0.0
    seconds = recent[-1].completed - recent[0].completed
    usual = seconds / (len(recent) - 1)
    waited = now - recent[-1].completed
    return (len(recent) - 1) / max(seconds + max(0.0, waited - usual), 1e-9)


def rank_map(steps: Sequence[StepRecord], quantity: str, n_ranks: int) -> np.ndarray:
    """Return a quantity of the ranks over the last steps.

    Parameters
    ----------
    steps : sequence of StepRecord
        Complete ones.
    quantity : {"held", "waited"}
    n_ranks : int

    Returns
    -------
    ndarray of shape (n_rows, n_columns), float32
        The largest value in each group of neighbouring ranks. A column is as many timesteps wide
        as the closest two of the steps are apart, and has the last step up to there.
    """
    if not steps:
        return np.zeros((1, 1), dtype=np.float32)
    values = np.array([getattr(step, quantity) for step in steps], dtype=np.float32)
    starts = np.arange(0, n_ranks, group_size(n_ranks))
    largest = np.maximum.reduceat(values, starts, axis=1)
    return np.ascontiguousarray(largest[_column_steps(steps)].T)


def group_size(n_ranks: int) -> int:
    """Return how many ranks share a row of the map."""
    return -(-n_ranks // MAX_ROWS)


def map_extent(steps: Sequence[StepRecord]) -> tuple[float, float]:
    """Return where the map of the ranks begins, and its width, in timesteps."""
    if not steps:
        return -0.5, 1.0
    width = _stride(steps)
    return steps[0].timestep - width / 2, float(steps[-1].timestep - steps[0].timestep + width)


def _stride(steps: Sequence[StepRecord]) -> int:
    numbers = np.array([step.timestep for step in steps])
    return int(np.diff(numbers).min()) if len(steps) > 1 else 1


def _column_steps(steps: Sequence[StepRecord]) -> np.ndarray:
    """Return the position of the step of each column; uneven steps are held until the next."""
    numbers = np.array([step.timestep for step in steps])
    n_columns = min(2 * MAX_COLUMNS, (numbers[-1] - numbers[0]) // _stride(steps) + 1)
    at = np.linspace(numbers[0], numbers[-1], n_columns)
    return np.searchsorted(numbers, at + 1e-6, side="right") - 1


def lines(shown: Sequence[Shown], quantity: str, scale: float = 1.0) -> dict[str, Columns]:
    """Return a quantity over the timesteps, for each variable that has it.

    A list, such as the shares of the variance of the components, counts with its sum; values that
    are not finite are gaps.
    """
    found: dict[str, Columns] = {}
    for one in shown:
        value = getattr(one, quantity)
        if value is None:
            continue
        line = found.setdefault(one.variable, {"timestep": [], "value": []})
        total = scale * float(value if isinstance(value, float) else np.sum(value))
        line["timestep"].append(one.timestep)
        line["value"].append(total if math.isfinite(total) else float("nan"))
    return found


def share_limits(found: Mapping[str, Columns]) -> tuple[float, float]:
    """Return the ends of an axis of shares in percent: at least one percent, and up to 100.

    Examples
    --------
    >>> share_limits({"density": {"timestep": [1, 2], "value": [99.5, 100.0]}})
    (99.0, 100.1)
    """
    values = [v for line in found.values() for v in line["value"] if math.isfinite(v)]
    low, high = min(values, default=0.0), max(values, default=100.0)
    span = max(high - low, 1.0)
    end = min(high + 0.1 * span, 100 + 0.1 * span)
    return max(0.0, min(low - 0.1 * span, end - 1.1 * span)), end


def usual_top(shown: Sequence[Shown]) -> float:
    """Return where the axis of scores ends: few large ones must not flatten all others."""
    scores = [score for one in shown if math.isfinite(score := _number(one.score))]
    limits = [limit for one in shown if math.isfinite(limit := _number(one.limit))]
    if not scores:
        return 1.0
    usual = max(1.5 * float(np.quantile(scores, 0.9)), 1.5 * max(limits, default=0.0))
    return min(1.15 * max(scores), usual) or 1.0


def alarms(shown: Sequence[Shown]) -> Columns:
    """Return the steps with alarms: their scores, where to draw these, and what alarms say."""
    rows = [one for one in shown if one.alarms]
    scores = [_number(one.score) for one in rows]
    top = usual_top(shown)
    return {
        "timestep": [one.timestep for one in rows],
        "score": scores,
        "place": [min(score, top) if math.isfinite(score) else top for score in scores],
        "text": [" ".join(one.alarms) for one in rows],
    }


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def relative_error(picture: Shown) -> float:
    """Return the L2 error of a reconstruction, relative to the field; NaN where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.insitu.telemetry import Shown
    >>> relative_error(Shown("density", 3, field=np.ones((2, 2)), reconstruction=np.zeros((2, 2))))
    1.0
    """
    if picture.reconstruction is None:
        return float("nan")
    field = np.asarray(picture.field, dtype=float)
    lost, whole = (float((values**2).sum()) for values in (field - picture.reconstruction, field))
    return math.sqrt(lost / whole) if whole else float("nan")


def last_loss(telemetry: Telemetry) -> str:
    """Return why the last step was lost that was; empty where none is known."""
    lost = [step.reason for step in telemetry.steps if step.state == "lost"]
    return lost[-1] if lost else ""


def losses(telemetry: Telemetry) -> Columns:
    """Return the steps that did not come, and why."""
    gone = [step for step in telemetry.steps if step.state != "complete"]
    return {
        "timestep": [step.timestep for step in gone],
        "rate": [0.0] * len(gone),
        "text": [step.reason or "left out by the ranks" for step in gone],
    }
