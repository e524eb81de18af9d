"""What the benchmarks share: fair timing, plain tables and the choice of tables."""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version
from typing import Any

from _labelled import DATA
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


def run_tables(
    description: str | None,
    tables: Mapping[str, Callable[[int], None]],
    on_real_data: Collection[str] = (),
) -> None:
    """Print the tables that the command line asks for; skip those whose data are not here.

    Parameters
    ----------
    description : str
        For ``--help``.
    tables : mapping of str to callable
        ``table(repeats)`` prints one.
    on_real_data : collection of str
        Names of those that read `DATA`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("tables", nargs="*", help=f"any of {', '.join(tables)}; all by default")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    print(machine())
    for wanted in options.tables or tables:
        if wanted in on_real_data and not DATA.is_dir():
            print(f"\n{wanted}: needs {DATA}")
            continue
        tables[wanted](options.repeats)


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
