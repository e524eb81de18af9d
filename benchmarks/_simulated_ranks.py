"""Ranks that have no data: one process that speaks for all of them to a real scheduler.

Every connection registers as a worker does, and then sends and receives what an embedded worker
would, through `distributed.comm`. Left out are data, tasks, heartbeats (Dask allows 200 a second in
all), and the batching of a worker's messages, of which a rank has one a step.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from typing import Any

from distributed.comm import Comm, connect
from distributed.core import rpc
from distributed.metrics import time
from distributed.protocol.pickle import dumps

from dask_exa.insitu import plugin
from dask_exa.insitu._events import Put
from dask_exa.insitu._layout import arrange, read_chunk
from dask_exa.insitu._node import join_puts

NAME, ARRAY, DEPTH = "scale", "density", 2
CHUNK = (64, 64)


class Freed:
    """How many chunks the scheduler has let go, in the order of the steps."""

    def __init__(self) -> None:
        self.n_chunks, self._due, self._is_due = 0, 0, asyncio.Event()

    def add(self, n_chunks: int) -> None:
        """Count more chunks."""
        self.n_chunks += n_chunks
        if self.n_chunks >= self._due:
            self._is_due.set()

    async def reach(self, n_chunks: int) -> None:
        """Wait for as many chunks in all."""
        self._due = n_chunks
        self._is_due.clear()
        if self.n_chunks < n_chunks:
            await self._is_due.wait()


class Node:
    """One connection to the scheduler, for some ranks."""

    def __init__(self, number: int, ranks: range) -> None:
        self.address = f"tcp://10.{number >> 16}.{number >> 8 & 255}.{number & 255}:9000"
        self.ranks, self.n_bytes = ranks, 0
        self.comm: Comm

    async def register(self, scheduler: str) -> None:
        """Become a worker of the scheduler."""
        self.comm = await connect(scheduler)
        await self.comm.write({
            "op": "register-worker", "reply": False, "address": self.address, "status": "running",
            "nthreads": 1, "name": self.address, "now": time(), "resources": {}, "memory_limit": 0,
            "local_directory": "", "services": {}, "nanny": None, "pid": 0, "versions": {},
            "metrics": METRICS, "extra": {}, "stimulus_id": "simulated",
            "server_id": self.address,
        }, serializers=["msgpack"])  # fmt: skip
        answer = await self.comm.read()
        if answer["status"] != "OK":
            raise RuntimeError(f"the scheduler refused {self.address}: {answer}")

    async def listen(self, freed: Freed) -> None:
        """Count the chunks that the scheduler lets go, until it lets the ranks go."""
        while True:
            for message in await self.comm.read():
                if "let_go" in message.get("news", ()):
                    return
                if message["op"] == "free-keys":
                    freed.add(len(message["keys"]))

    async def send(self, messages: list[dict[str, Any]]) -> None:
        """Send what the batched stream of a worker would send at once."""
        self.n_bytes += await self.comm.write(messages)


METRICS: dict[str, Any] = {
    "task_counts": {}, "bandwidth": {"total": 1e8, "workers": {}, "types": {}},
    "digests_total_since_heartbeat": {}, "managed_bytes": 0,
    "spilled_bytes": {"memory": 0, "disk": 0}, "transfer": {}, "event_loop_interval": 0.02,
    "cpu": 0.0, "memory": 0, "time": 0.0, "host_net_io": {}, "host_disk_io": {}, "num_fds": 0,
}  # fmt: skip


async def simulate(scheduler: str, n_ranks: int, per_node: int, n_steps: int) -> dict[str, Any]:
    """Open a stream for simulated ranks and put steps as fast as they are released.

    Parameters
    ----------
    scheduler : str
        Address.
    n_ranks : int
    per_node : int
        Ranks that share a connection, and send one message a step. One: every rank for itself.
    n_steps : int
    """
    firsts = range(0, n_ranks, per_node)
    nodes = [Node(i, range(r, min(r + per_node, n_ranks))) for i, r in enumerate(firsts)]
    started = time()
    for node in nodes:
        await node.register(scheduler)
    registered = time() - started
    stream = await _open(scheduler, n_ranks, nodes)
    freed = Freed()
    listening = [asyncio.ensure_future(node.listen(freed)) for node in nodes]
    for step in range(n_steps):
        await freed.reach((step - DEPTH) * n_ranks)  # they have depth + 1 buffers
        for node in nodes:
            await node.send([_message(stream, node, step)])
    for node in nodes:
        closed = {"op": "exa-closed", "stream": stream, "error": ""}
        await node.send([{**closed, "rank": rank} for rank in node.ranks])
    await asyncio.gather(*listening)
    return {"registered": registered, "n_bytes": sum(node.n_bytes for node in nodes) / n_steps}


def _message(stream: str, node: Node, step: int) -> dict[str, Any]:
    nbytes = 8 * CHUNK[0] * CHUNK[1]
    puts = [Put(rank, step, float(step), (ARRAY,), (nbytes,), 0.0, 1) for rank in node.ranks]
    if len(puts) > 1:
        return {"op": "exa-puts", "stream": stream, **join_puts(puts)}
    return {"op": "exa-put", "stream": stream, **puts[0]._asdict()}


async def _open(scheduler: str, n_ranks: int, nodes: list[Node]) -> str:
    shape = (n_ranks * CHUNK[0], CHUNK[1])
    declared = [
        {ARRAY: read_chunk(ARRAY, {
            "global_shape": shape, "chunk_shape": CHUNK, "chunk_position": (rank, 0),
            "dims": ("y", "x"),
        })}
        for rank in range(n_ranks)
    ]  # fmt: skip
    layouts = arrange(declared)
    async with rpc(scheduler) as remote:
        await remote.register_scheduler_plugin(
            plugin=dumps(plugin.InsituPlugin()), name=plugin.NAME, idempotent=True
        )
        answer = await remote.exa_open(
            name=NAME,
            about=pickle.dumps({"layouts": layouts, "coords": {}}),
            workers=[node.address for node in nodes for _ in node.ranks],
            depth=DEPTH,
            timeout=600.0,
            time_to_live=600.0,
        )
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return str(answer["id"])


if __name__ == "__main__":
    address, *numbers = sys.argv[1:]
    print(asyncio.run(simulate(address, *map(int, numbers))))
