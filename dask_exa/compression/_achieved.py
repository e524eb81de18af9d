"""What became of every block that was coded: one line of JSON each, beside the chunks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dask_exa.compression.bounds import value_range, wide

FILE = "records.jsonl"


class Record(NamedTuple):
    """One block of a variable: consecutive steps of a part of its field.

    Parameters
    ----------
    first, n_steps : int
        Position of its first step in the store, and how many there are.
    place : tuple of int
        Which part of the field: index of the chunk along each dimension but time.
    raw, coded : int
        Bytes before and after.
    method : str
        What coded it; empty where the coder does not say.
    n_modes : int
    basis : str
        Name of the basis that decodes it; empty for none.
    span : float
        Largest minus smallest finite value of the block, see `dask_exa.compression.Bound`.
    n_finite : list of int
        Finite values of each step.
    max_error : list of float
        Of each step: the largest absolute difference of finite values.
    squares : list of list of float
        Of each step, sums over finite values of the squares of x - x', x and x' (of moduli).
    sums : list of list of float
        Of each step, sums over finite values: x, x', of real parts where they are complex.
    """

    first: int
    n_steps: int
    place: tuple[int, ...]
    raw: int
    coded: int
    method: str
    n_modes: int
    basis: str
    span: float
    n_finite: list[int]
    max_error: list[float]
    squares: list[list[float]]
    sums: list[list[float]]


def compare(original: np.ndarray, decoded: np.ndarray) -> dict[str, Any]:
    """Return the errors and sums of a record, for blocks of shape (n_steps, …).

    Examples
    --------
    >>> from dask_exa.compression._achieved import compare
    >>> found = compare(np.array([[3.0, np.nan]]), np.array([[2.5, np.nan]]))
    >>> found["max_error"], found["squares"], found["sums"]
    ([0.5], [[0.25, 9.0, 6.25]], [[3.0, 2.5]])
    """
    is_finite = np.isfinite(original)
    values = original if is_finite.all() else original[is_finite]
    rows = (len(original), -1)
    x, y = (wide(np.where(is_finite, v, 0)).reshape(rows) for v in (original, decoded))
    difference = np.abs(x - y)
    squares = [_row_squares(v) for v in (difference, x, y)]
    return {
        "span": value_range(values) if values.size else 0.0,
        "n_finite": is_finite.reshape(rows).sum(axis=1).tolist(),
        "max_error": difference.max(axis=1, initial=0).tolist(),
        "squares": np.stack(squares, axis=1).tolist(),
        "sums": np.stack([v.sum(axis=1).real for v in (x, y)], axis=1).tolist(),
    }


def _row_squares(values: np.ndarray) -> np.ndarray:
    """Return the sum of the squared moduli of each row."""
    return np.einsum("ij,ij->i", values, values.conj()).real


def achieved(record: Record, kind: str) -> float:
    """Return the error of a block in the terms of a bound.

    Parameters
    ----------
    record : Record
    kind : {"abs", "rel", "l2", "psnr"}

    Returns
    -------
    float
        The smaller the better, but for ``psnr``. Of a constant or a block of zeros, which are
        coded without error, 0 or infinity.
    """
    largest = max(record.max_error, default=0.0)
    error, signal, _ = np.sum(record.squares, axis=0) if record.squares else (0.0, 0.0, 0.0)
    if kind == "abs":
        return largest
    if kind == "rel":
        return largest / record.span if largest else 0.0
    if kind == "l2":
        return math.sqrt(error / signal) if error else 0.0
    rms = math.sqrt(error / max(sum(record.n_finite), 1))
    return 20 * math.log10(record.span / rms) if rms else math.inf


def append_records(folder: Path, records: Iterable[Record]) -> None:
    """Add records to those of an array."""
    path = folder / FILE
    with path.open("a", encoding="utf-8") as file:
        # a line of its own, also behind half a line of a run that was killed
        file.writelines("\n" + json.dumps(record._asdict()) for record in records)


def read_records(folder: Path, n_steps: int) -> list[Record]:
    """Return the records of the first steps of an array, in order.

    Parameters
    ----------
    folder : Path
        Of the array.
    n_steps : int
        That readers see; what was written after it, by a run that was killed, is left out.
    """
    found: dict[tuple[int, tuple[int, ...]], Record] = {}
    path = folder / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:  # half a line, of a run that was killed
            continue
        record = Record(**{**entry, "place": tuple(entry["place"])})
        if record.first + record.n_steps <= n_steps:
            found[record.first, record.place] = record  # written again after a kill: the last one
    return sorted(found.values(), key=lambda record: (record.first, record.place))
