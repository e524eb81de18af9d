"""Handing a step over: ours against deisa-dask, on the same ranks, in turn."""

from __future__ import annotations

import multiprocessing
import os
import statistics
from typing import Any

import numpy as np
from _mpi import N_RANKS, Job
from _table import Table
from distributed import Client, LocalCluster

from dask_exa.insitu import Stream

GOALS = {"small": ("1 MiB", "<= 1 ms; ratio >= 20"), "large": ("64 MiB", "ratio >= 20")}


def put(repeats: int) -> None:
    """Put one step on every rank and wait for all ranks."""
    table = Table(f"put + barrier, {N_RANKS} ranks, medians of {repeats} runs in turn",
                  "chunk", "mode", "barrier (ms)", "put (ms)", "put + barrier (ms)",
                  "deisa + barrier (ms)", "ratio", "goal")  # fmt: skip
    copies = Table("Copies in a put", "chunk", "mode", "put (ms)", "one copy (ms)", "chunks",
                   "where the task sees the rank's own", "distinct addresses",
                   "goal")  # fmt: skip
    for mode in ("snapshot", "handover"):
        found, seen = run(mode, repeats)
        for name, (size, goal) in GOALS.items():
            rows = found["found"][name]["rounds"]
            cells = [
                statistics.median(row[column] for row in rows)
                for column in ("barrier", "put", "put + barrier", "deisa + barrier")
            ]
            ratio = statistics.median(row["deisa + barrier"] / row["put + barrier"] for row in rows)
            table.row(size, mode, *cells, ratio, goal)
            given = [a for a, s in zip(found["addresses"], seen, strict=True) if s[0] == name]
            taken = [s[1] for s in seen if s[0] == name]
            n_same = sum(
                x == y for g, t in zip(given, taken, strict=True) for x, y in zip(g, t, strict=True)
            )
            n_chunks = sum(map(len, taken))
            n_distinct = max(len(set(column)) for column in zip(*taken, strict=True))
            goal = "all" if mode == "handover" else "none, of <= depth + 1 = 3"
            copies.row(size, mode, cells[1], found["found"][name]["copy"], n_chunks, n_same,
                       n_distinct, goal)  # fmt: skip
    table.show()
    copies.show()


def run(mode: str, repeats: int) -> tuple[Any, list[tuple[str, list[int]]]]:
    """Return what the ranks have measured, and the addresses that tasks have seen."""
    spawn = multiprocessing.get_context("spawn")
    pipe, its_end = spawn.Pipe()
    receiver = spawn.Process(target=receive, args=(its_end,))
    receiver.start()
    seen = []
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        Client(cluster) as client,
        Job("put.py", cluster.scheduler_address, pipe.recv(), mode, repeats) as job,
        Stream(client) as stream,
    ):
        for step in stream:
            (name,) = step.data_vars
            where = step[name].data.map_blocks(address, dtype=np.int64, chunks=(1, 1))
            seen.append((name, where.compute().ravel().tolist()))
            del step, where  # the ranks wait for their buffers
        stream.close()
        found = job.result()
    receiver.join(30)
    return found, seen


def receive(pipe: Any) -> None:
    """Take what DEISA's ranks send to two workers, and do nothing with it."""
    from deisa.dask import Deisa

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
    ) as cluster:
        os.environ["DEISA_DASK_SCHEDULER_ADDRESS"] = cluster.scheduler_address
        pipe.send(cluster.scheduler_address)
        deisa = Deisa(timeout=60)
        for name in GOALS:
            deisa.register_callback(ignore, name)
        deisa.handshake.wait_for_bridges_to_finish()
        deisa.client.close()


def ignore(window: Any) -> None:
    """Take an array from DEISA."""


def address(block: np.ndarray) -> np.ndarray:
    """Return where a chunk lies in memory."""
    return np.array([[block.__array_interface__["data"][0]]])
