"""FieldMonitor on a cluster: chunks stay, small vectors leave."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly import FieldMonitor

SHAPE, CHUNK = (1024, 1024), (256, 256)


def make(block_info=None, seed=0):
    """Make a chunk where it is needed."""
    (top, bottom), (left, right) = block_info[None]["array-location"]
    random = np.random.default_rng([seed, top, left])
    return 2.0 + random.random((bottom - top, right - left))


def lazy_step(timestep):
    chunks = da.core.normalize_chunks(CHUNK, SHAPE)
    fields = {
        name: (
            ("y", "x"),
            da.map_blocks(make, chunks=chunks, seed=seed + timestep, meta=np.empty((0, 0))),
        )
        for name, seed in (("density", 0), ("potential", 50))
    }
    return xr.Dataset(fields, coords={"timestep": timestep, "time": float(timestep)})


def received(client):
    """Bytes that workers have received from each other so far."""

    def log(dask_worker):
        return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)

    return sum(client.run(log).values())


@pytest.mark.parametrize("kind", ["lazy", "persisted"])
def test_no_chunk_moves(client, kind):
    monitor, expected = FieldMonitor(), FieldMonitor(blocks={"y": 256, "x": 256})
    for timestep in range(2):
        step = lazy_step(timestep)
        in_memory = step.compute(scheduler="sync")
        if kind == "persisted":
            step = step[["density"]].persist()
            in_memory = in_memory[["density"]]
        before = received(client)
        seen = monitor.observe(step)
        assert received(client) == before
        np.testing.assert_array_equal(seen.features, expected.observe(in_memory).features)
    assert monitor.state.rows.nbytes < 0.01 * step.nbytes
