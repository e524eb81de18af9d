"""What became of every step of a stream, as lines of JSON that survive the process."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xarray as xr

LEARNT = "learnt"
STATES = (LEARNT, "skipped", "lost", "dropped")


class StepLog(contextlib.AbstractContextManager):
    """Lines about steps, each written at once; what is said last of a step holds.

    Parameters
    ----------
    path : path-like
    after : int, optional
        Timestep of the checkpoint that the run goes on from: what the log says of later steps
        holds no more. By default a new log takes the place of an earlier one.

    Examples
    --------
    >>> import tempfile, xarray as xr
    >>> path = tempfile.mkdtemp() + "/steps.jsonl"
    >>> step = xr.Dataset({"n": ("x", [1.0, 2.0])}, {"time": 0.5, "timestep": 7})
    >>> with StepLog(path) as log:
    ...     log.write(describe(step), "learnt")
    ...     log.write({"timestep": 8}, "dropped", "the rank had no buffer")
    >>> {step: line["state"] for step, line in read_log(path).items()}
    {7: 'learnt', 8: 'dropped'}
    """

    def __init__(self, path: Any, after: int | None = None) -> None:
        path = Path(path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        known = read_log(path) if after is not None and path.exists() else {}
        if known:  # without a line that a kill has cut off
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        self._file = path.open("a" if known else "w", encoding="utf-8")
        for timestep, line in known.items():
            if after is not None and timestep > after and line["state"] == LEARNT:
                self.write({"timestep": timestep}, "lost", "learnt after the last checkpoint")

    def __exit__(self, *exc_info: Any) -> None:
        self._file.close()

    def write(self, step: dict[str, Any], state: str, reason: str = "") -> None:
        """Write what became of a step.

        Parameters
        ----------
        step : dict
            As `describe` returns it; its timestep at least.
        state : {"learnt", "skipped", "lost", "dropped"}
            Left out by the analytics, lost with a rank or a worker, left out by the ranks.
        reason : str
        """
        line = {**step, "state": state, "released": _now()}
        print(json.dumps(line | ({"reason": reason} if reason else {})), file=self._file)
        self._file.flush()


@contextlib.contextmanager
def logged(stream: Any, path: Any, after: int | None = None) -> Iterator[None]:
    """Give a stream a log for as long as it is read; none where `path` is None."""
    if path is None:
        yield
        return
    with StepLog(path, after) as stream.log:
        try:
            yield
        finally:
            stream.log = None


def describe(step: xr.Dataset) -> dict[str, Any]:
    """Return timestep, time, and the shapes of the variables of a step."""
    time = step.time.values
    return {
        "timestep": int(step.timestep),
        "time": float(time) if time.dtype.kind in "iuf" else str(time),
        "shapes": {str(name): list(step[name].shape) for name in step.data_vars},
    }


def read_log(path: Any) -> dict[int, dict[str, Any]]:
    """Return the last line about every step, by timestep in increasing order.

    A last line that a kill has cut off is left out.

    Raises
    ------
    ValueError
        For a file that is no such log.
    """
    lines = Path(path).expanduser().read_text(encoding="utf-8").split("\n")
    found = {}
    for number, line in enumerate(lines[:-1]):  # the last one has no end
        try:
            entry = json.loads(line)
            found[int(entry["timestep"])] = entry
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"log={os.fspath(path)!r} has no step in line {number + 1}; pass a file that "
                "run(log=) has written."
            ) from error
    return dict(sorted(found.items()))


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
