"""What the benchmarks share: fair timing and plain tables."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from threadpoolctl import threadpool_info


def interleaved(
    ours: Callable[[], Any], peer: Callable[[], Any], repeats: int, *, warm: bool = True
) -> tuple[float, float, float]:
    """Time two functions in turn; return both medians and the median ratio peer / ours."""
    if warm:
        ours()
    pairs = [(_seconds(ours), _seconds(peer)) for _ in range(repeats)]
    first, second = zip(*pairs, strict=True)
    ratio = statistics.median(b / a for a, b in pairs)
    return statistics.median(first), statistics.median(second), ratio


def machine() -> str:
    """Return one line on what the figures were measured on."""
    blas = {f"{lib.get('architecture', lib['internal_api'])} × {lib['num_threads']}"
            for lib in threadpool_info() if lib["user_api"] == "blas"}  # fmt: skip
    names = ("numpy", "scikit-learn", "dask", "distributed", "numba")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    blas_names = ", ".join(sorted(blas))
    python = platform.python_version()
    return f"{platform.machine()}, BLAS {blas_names}; Python {python}, {versions}"


class Table:
    """A table that prints itself in aligned columns."""

    def __init__(self, title: str, *header: str) -> None:
        self.title = title
        self.rows: list[tuple[str, ...]] = [header]

    def row(self, *cells: Any) -> None:
        """Add a row; floats get three significant digits."""
        self.rows.append(tuple(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells))

    def show(self) -> None:
        """Print the table."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        print(f"\n{self.title}")
        for i, row in enumerate(self.rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
            if i == 0:
                print("  ".join("-" * width for width in widths))


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
