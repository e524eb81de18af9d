"""A small local cluster, and what its workers have sent each other and held at most."""

from __future__ import annotations

from typing import Any

from distributed import Client, LocalCluster


def two_processes() -> LocalCluster:
    """Start two worker processes of one thread each."""
    return LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0)


def moved_bytes(client: Client) -> int:
    """Return the bytes that workers have received from each other so far, by their logs."""

    def total(dask_worker: Any) -> int:
        return sum(transfer["total"] for transfer in dask_worker.transfer_incoming_log)

    return sum(client.run(total).values())


def peak_rss() -> int:
    """Return the most memory that this process has held, in bytes."""
    # not ru_maxrss: a process starts with that of the one that started it
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
