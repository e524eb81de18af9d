"""Handing the steps of a running simulation over, against goals and against deisa-dask.

Run with: python benchmarks/insitu.py [TABLE ...]; --help lists the tables.
Needs mpi4py and an mpiexec; `put` needs deisa-dask too.
"""

from __future__ import annotations

from _backlog import memory, messages
from _put import put
from _slowdown import slowdown
from _table import run_tables

TABLES = {f.__name__: f for f in (put, slowdown, memory, messages)}

if __name__ == "__main__":
    run_tables(__doc__, TABLES)
