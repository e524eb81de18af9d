"""A store that is being written, or was when something went wrong."""

import errno
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from dask_exa.compression.inspection import inspect_store
from dask_exa.compression.store import compress
from dask_exa.inputs import Stream
from tests.compression.steps import BOUND, as_stream, check_same, make_step, waves


class Killed(BaseException):
    """Like a kill: nobody catches it."""


def fail_at(monkeypatch, n_writes, error):
    """Let the disk take `n_writes` chunks, and half of the next one."""
    write = Path.write_bytes
    left = [n_writes]

    def write_bytes(path, data):
        if path.name.startswith(".c."):
            left[0] -= 1
            if left[0] < 0:
                write(path, data[: len(data) // 2])
                raise error
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def test_disk_that_is_full_leaves_the_steps_before(tmp_path, monkeypatch):
    steps = [make_step(i) for i in range(10)]
    with monkeypatch.context() as patch:
        fail_at(patch, 2, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(OSError, match=r"steps 6 to 8 .* the 6 steps before") as caught:
            compress(as_stream(steps), tmp_path / "a", BOUND, steps_per_chunk=3)
    assert caught.value.errno == errno.ENOSPC
    check_same(tmp_path / "a", steps[:6])
    assert not list((tmp_path / "a").rglob("*.part"))
    assert compress(as_stream(steps), tmp_path / "a", BOUND, resume=True)
    check_same(tmp_path / "a", steps)


def test_run_that_is_killed_goes_on_behind_its_last_whole_step(tmp_path, monkeypatch):
    steps = [make_step(i, coords={"turn": ("y", np.arange(12.0) + i)}) for i in range(10)]
    with monkeypatch.context() as patch:
        fail_at(patch, 1, Killed())
        with pytest.raises(Killed):
            compress(as_stream(steps), tmp_path / "a", BOUND, steps_per_chunk=3)
    check_same(tmp_path / "a", steps[:3])
    # half a line, as a kill may leave it
    with (tmp_path / "a/u/records.jsonl").open("a") as file:
        file.write('\n{"first": 3, "n_st')
    compress(as_stream(steps), tmp_path / "a", BOUND, resume=True)
    check_same(tmp_path / "a", steps)
    (summary,) = inspect_store(tmp_path / "a")
    assert summary.n_blocks == 4
    assert summary.coded == sum(path.stat().st_size for path in (tmp_path / "a/u").glob("c.*"))


def test_steps_are_put_behind_a_chunk_that_is_not_full(tmp_path):
    steps = [make_step(i) for i in range(11)]
    for n_steps in (5, 6, 11):
        compress(
            as_stream(steps),
            tmp_path / "a",
            BOUND,
            n_steps=n_steps,
            steps_per_chunk=4,
            resume=n_steps > 5,
        )
        check_same(tmp_path / "a", steps[:n_steps])  # within the bound once, not twice
    assert len(list((tmp_path / "a/u").glob("c.*"))) == 3
    assert compress(as_stream(steps), tmp_path / "a", BOUND, n_steps=7, resume=True)  # is there


def test_what_was_written_but_never_shown_is_written_again(tmp_path, monkeypatch):
    steps = [make_step(i) for i in range(8)]
    compress(as_stream(steps), tmp_path / "a", BOUND, n_steps=5, steps_per_chunk=4)

    def publish(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("dask_exa.compression._writer._folder.publish", publish)
        with pytest.raises(Killed):
            compress(as_stream(steps[::-1]), tmp_path / "a", BOUND, resume=True)
    check_same(tmp_path / "a", steps[:5])
    compress(as_stream(steps), tmp_path / "a", BOUND, resume=True)
    check_same(tmp_path / "a", steps)


def test_readers_without_consolidated_metadata_see_the_same(tmp_path):
    steps = [make_step(i) for i in range(5)]
    compress(as_stream(steps), tmp_path / "a", BOUND, steps_per_chunk=2)
    expected = xr.open_zarr(tmp_path / "a").load()
    found = xr.open_zarr(tmp_path / "a", consolidated=False).load()
    xr.testing.assert_identical(found, expected)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a/u", mode="r")[:], expected.u)


def test_readers_see_whole_steps_while_the_store_grows(tmp_path):
    n_steps = 40
    out, seen, errors = tmp_path / "a", [], []
    begun, done = threading.Event(), threading.Event()

    def read():
        begun.wait(30)
        while not done.is_set():
            try:
                stored = xr.open_zarr(out, chunks=None)
                n = stored.sizes["time"]
                assert stored.timestep.size == n
                error = np.abs(stored.u[-1].values - waves(int(stored.timestep[-1])))
                assert error.max() <= 1e-3
                seen.append(n)
            except Exception as error:
                errors.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()

    def on_step(writer):
        if writer.n_steps:
            begun.set()

    steps = (make_step(i) for i in range(n_steps))
    compress(as_stream(steps), out, BOUND, steps_per_chunk=1, on_step=on_step)
    done.set()
    reader.join(30)
    assert not errors
    assert len(seen) > 1
    assert seen == sorted(seen)


def test_signal_ends_with_the_steps_so_far(tmp_path):
    steps = [make_step(i) for i in range(9)]

    def on_step(writer):
        if writer.n_steps + writer.n_waiting == 6:
            os.kill(os.getpid(), signal.SIGINT)

    finished = compress(as_stream(steps), tmp_path / "a", BOUND, steps_per_chunk=4, on_step=on_step)
    assert not finished
    check_same(tmp_path / "a", steps[:6])


def test_source_that_fails_leaves_the_steps_so_far(tmp_path):
    def steps():
        yield from (make_step(i) for i in range(5))
        raise RuntimeError("the simulation has diverged")

    stream = Stream(lambda start: steps(), name="test", sizes={"y": 12}, variables=("u",))
    with pytest.raises(RuntimeError, match="diverged"):
        compress(stream, tmp_path / "a", BOUND, steps_per_chunk=4)
    check_same(tmp_path / "a", [make_step(i) for i in range(5)])
