"""Fields split over the workers of a cluster, as a parallel simulation would leave them."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from dask_exa.apps.slurm import SlurmJobs, running
from dask_exa.inputs import interrupt
from dask_exa.insitu._opening import scheduler_address
from dask_exa.reduction._graph import array_of_tasks


@contextlib.contextmanager
def connect(
    cluster: Any, *, n_workers: int = 2, interface: str | None = None, timeout: float = 10.0
) -> Iterator[Any]:
    """Give a client of a cluster, or of a local one that ends with it.

    Parameters
    ----------
    cluster : str, path-like, Dask cluster, SlurmJobs or None
        Address of a scheduler, such as "tcp://10.0.0.1:8786"; the scheduler file that Dask's
        command lines write with ``--scheduler-file``; a cluster; jobs of SLURM, which end with the
        client; or None for a cluster on this machine.
    n_workers : int
        Worker processes of the local cluster, with one thread each.
    interface : str, optional
        Network interface of the local cluster, such as "ib0", where other machines are to reach
        it; by default none can.
    timeout : float
        Seconds to wait for the scheduler.

    Raises
    ------
    ConnectionError
        When it does not answer.
    TimeoutError
        When a scheduler file or jobs do not come.
    """
    from distributed import Client, LocalCluster

    if isinstance(cluster, SlurmJobs):
        with running(cluster) as jobs, Client(jobs) as client:
            yield client
        return
    if cluster is not None:
        is_running = hasattr(cluster, "scheduler_address")
        target = cluster if is_running else scheduler_address(cluster, timeout)
        try:
            client = Client(target, timeout=timeout)
        except OSError as error:
            raise ConnectionError(
                f"cluster={cluster!r} does not answer; check the address of the scheduler."
            ) from error
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            interface=interface,
            dashboard_address=_dashboard(),
            preload=[interrupt.__name__],
            silence_logs=logging.CRITICAL,  # workers that miss the scheduler at the very end
        ) as local,
        Client(local) as client,
    ):
        yield client


def _dashboard() -> str | None:
    """Return an address for the dashboard, or None where it cannot run."""
    return ":0" if importlib.util.find_spec("bokeh") else None


def column_chunks(sizes: Mapping[str, int], n_blocks: int) -> dict[str, int]:
    """Return chunk sizes that split a field into blocks of about one shape.

    Parameters
    ----------
    sizes : dict of str to int
        Dimensions of a step.
    n_blocks : int
        Number of blocks; dimensions are halved, the longest first, until there are as many.

    Examples
    --------
    >>> from dask_exa.apps.cluster import column_chunks
    >>> column_chunks({"y": 128, "x": 64}, 4)
    {'y': 32, 'x': 64}
    """
    chunks = dict(sizes)
    while math.prod(-(-sizes[dim] // chunk) for dim, chunk in chunks.items()) < n_blocks:
        longest = max(chunks, key=lambda dim: chunks[dim])
        if chunks[longest] == 1:
            break
        chunks[longest] = -(-chunks[longest] // 2)
    return chunks


class Scatter:
    """Send the blocks of every step to the workers, each block always to the same one.

    Parameters
    ----------
    client : distributed.Client
    chunks : dict of str to int
        Size of the blocks along every dimension.
    """

    def __init__(self, client: Any, chunks: Mapping[str, int]) -> None:
        self.client, self.chunks = client, dict(chunks)
        self._workers = sorted(client.nthreads())

    def __call__(self, step: xr.Dataset) -> xr.Dataset:
        """Return the step with arrays whose blocks are on workers."""
        return step.assign({name: self._scattered(step[name]) for name in step.data_vars})

    def _scattered(self, field: xr.DataArray) -> xr.DataArray:
        chunks = xr.Dataset({"field": field}).chunk(self.chunks).chunksizes
        sizes = [chunks[dim] for dim in field.dims]
        edges = [np.cumsum((0, *axis)) for axis in sizes]
        places = list(itertools.product(*(range(len(axis)) for axis in sizes)))
        blocks = {}
        for i, place in enumerate(places):
            here = tuple(slice(e[j], e[j + 1]) for e, j in zip(edges, place, strict=True))
            worker = self._workers[i * len(self._workers) // len(places)]
            block = np.ascontiguousarray(field.values[here])
            blocks[place] = self.client.scatter(block, workers=[worker], direct=True, hash=False)
        tasks = {place: (_same, (future,)) for place, future in blocks.items()}
        name = f"block-{field.name}"
        array = array_of_tasks(name, tasks, list(blocks.values()), tuple(sizes), field.dtype)
        return field.copy(data=array)


def _same(block: np.ndarray) -> np.ndarray:
    return block
