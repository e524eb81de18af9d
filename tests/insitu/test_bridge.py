"""From ranks that are threads to a client: same values, same order, bounded, and clear errors."""

import threading

import numpy as np
import pytest

from dask_exa.insitu import Bridge, LayoutError, Stream, errors
from dask_exa.insitu.communicator import ThreadCommunicator, run_ranks
from dask_exa.insitu.errors import StreamError
from tests.waiting import wait_until

distributed = pytest.importorskip("distributed")
StreamTimeoutError = errors.StreamTimeoutError


class Simulation:
    """Ranks as threads in the background; their results or their error at the end."""

    def __init__(self, n_ranks, function):
        self.results, self.error = None, None
        self._thread = threading.Thread(target=self._run, args=(n_ranks, function), daemon=True)
        self._thread.start()

    def _run(self, n_ranks, function):
        try:
            self.results = run_ranks(n_ranks, function, timeout=30)
        except Exception as error:
            self.error = error

    def join(self):
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.results


def rows(comm, n_rows=2, n_columns=3):
    """What a rank declares of an array that is split over ranks by rows."""
    return {
        "global_shape": (n_rows * comm.Get_size(), n_columns),
        "chunk_shape": (n_rows, n_columns),
        "chunk_position": (comm.Get_rank(), 0),
        "dims": ("y", "x"),
    }


@pytest.mark.parametrize("mode", ["snapshot", "handover"])
def test_round_trip_of_ragged_arrays_at_different_rates(lab, name, mode):
    heights, widths = (3, 1), (2, 4)
    random = np.random.default_rng(0)
    density = random.normal(size=(6, 4, 6)).astype(np.float32)
    flux = random.integers(0, 9, size=(6, 5))

    def simulate(comm):
        rank = comm.Get_rank()
        row, column = divmod(rank, 2)
        arrays = {
            "density": {
                "global_shape": (4, 6),
                "chunk_shape": (heights[row], widths[column]),
                "chunk_position": (row, column),
                "dims": ("y", "x"),
                "dtype": np.float32,
                "attrs": {"units": "m-3"},
            }
        }
        if rank in (1, 3):
            position, size = ((0,), 2) if rank == 1 else ((1,), 3)
            arrays["flux"] = {
                "global_shape": (5,),
                "chunk_shape": (size,),
                "chunk_position": position,
                "dims": ("k",),
                "dtype": flux.dtype,
            }
        rows_ = slice(0, 3) if row == 0 else slice(3, 4)
        columns = slice(0, 2) if column == 0 else slice(2, 6)
        with Bridge(
            lab.cluster, comm, arrays, stream=name, mode=mode, coords={"y": [1.0, 2.0, 4.0, 8.0]}
        ) as bridge:
            for step in range(6):
                given = {"density": np.array(density[step, rows_, columns])}
                if rank in (1, 3) and step % 2 == 0:
                    given["flux"] = np.array(flux[step, :2] if rank == 1 else flux[step, 2:])
                assert bridge.put(step, time=0.5 * step, **given)

    simulation = Simulation(4, simulate)
    with Stream(lab, name, timeout=20) as stream:
        assert stream.sizes == {"y": 4, "x": 6, "k": 5}
        steps = []
        for data in stream:
            step = int(data.timestep)
            steps.append((step, float(data.time)))
            assert data.density.chunks == (heights, widths)
            assert data.density.attrs == {"units": "m-3"}
            assert data.y.values.tolist() == [1.0, 2.0, 4.0, 8.0]
            values = lab.compute(data.density.data).result()
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, density[step])
            assert ("flux" in data) == (step % 2 == 0)
            if "flux" in data:
                found = lab.compute(data.flux.data).result()
                np.testing.assert_array_equal(found, flux[step])
        assert list(stream) == []  # the simulation is over, which takes no wait to know
    assert steps == [(step, 0.5 * step) for step in range(6)]
    assert stream.faults == []
    simulation.join()


def test_handover_copies_nothing_and_views_are_read_only(lab, name):
    def look(chunk):
        return chunk.__array_interface__["data"][0], chunk.flags.writeable

    with Bridge(
        lab.cluster, None, {"x": {"global_shape": (8,)}}, stream=name, mode="handover"
    ) as b:
        array = b.buffer("x")
        array[:] = 1
        address = array.__array_interface__["data"][0]
        b.put(0, x=array)
        with Stream(lab, name, timeout=20) as stream:
            data = next(iter(stream))
            future = lab.submit(look, distributed.Future(*data.x.data.__dask_keys__(), lab))
            assert future.result() == (address, False)


def test_memory_is_bounded_and_the_time_out_names_the_steps(lab, name, caplog):
    """A reader that keeps all data sets never has more than depth + 1 of them."""
    arrays = {"x": {"global_shape": (4,)}}
    with (
        Bridge(lab.cluster, None, arrays, stream=name, depth=2, timeout=0.3) as bridge,
        Stream(lab, name, timeout=20) as stream,
    ):
        kept = []
        steps = iter(stream)
        for step in range(3):
            assert bridge.put(step, x=np.full(4, float(step)))
            kept.append(next(steps))
        assert bridge.held_steps == (0, 1, 2)
        assert not bridge.put(3, x=np.zeros(4))
        assert bridge.held_steps == (0, 1, 2)
        assert (
            "no buffer came free for step 3 of rank 0 within timeout=0.3 s: analytics holds "
            "the steps [0, 1, 2]"
        ) in caplog.text
        del kept[:]
        wait_until(lambda: len(bridge.held_steps) < 3, "a buffer is free again")
        assert bridge.put(4, x=np.ones(4))
        found = next(steps)
        assert (int(found.timestep), stream.n_dropped) == (4, 1)


def test_abort_raises_where_no_buffer_comes_free(lab, name):
    arrays = {"x": {"global_shape": (4,)}}
    bridge = Bridge(lab.cluster, None, arrays, stream=name, depth=1, timeout=0.3, on_fault="abort")
    with Stream(lab, name, timeout=20):
        assert bridge.put(0, x=np.zeros(4))
        assert bridge.put(1, x=np.zeros(4))
        message = r"step 2 of rank 0 within timeout=0\.3 s: analytics holds the steps \[0, 1\]"
        with pytest.raises(StreamTimeoutError, match=message):
            bridge.put(2, x=np.zeros(4))
    bridge.close()


@pytest.mark.parametrize(("when_full", "stride"), [("drop", 1), ("sample", 2)])
def test_ranks_leave_out_the_same_steps(lab, name, when_full, stride):
    """Steps are 1, 3, 5, …: what is sampled are turns, not step numbers of one parity."""
    go_on = threading.Event()

    def simulate(comm):
        with Bridge(
            lab.cluster, comm, {"x": rows(comm)}, stream=name, depth=1, when_full=when_full
        ) as bridge:
            first = [bridge.put(step, x=np.zeros((2, 3))) for step in (1, 3, 5)]
            assert go_on.wait(20)
            # the reader keeps the step that it looks at until it gets the next one
            wait_until(lambda: len(bridge.held_steps) < 2, "a buffer is free")
            comm.barrier()
            later = []
            for step in (7, 9, 11, 13):
                later.append(bridge.put(step, x=np.zeros((2, 3))))
                wait_until(lambda: len(bridge.held_steps) < 2, "a buffer is free")
                comm.barrier()
            return first, later

    simulation = Simulation(3, simulate)
    with Stream(lab, name, timeout=20) as stream:
        wait_until(
            lambda: lab.run_on_scheduler(
                lambda dask_scheduler: (
                    dask_scheduler.plugins["dask-exa-insitu"].streams[name].state.n_dropped
                )
            ),
            "a step was left out",
        )
        go_on.set()
        seen = [int(data.timestep) for data in stream]
    results = simulation.join()
    assert results[0] == results[1] == results[2]
    assert results[0][0] == [True, True, False]
    assert results[0][1] == [turn % stride == (3 % stride and 1) for turn in range(4)]
    was_put = zip((1, 3, 5, 7, 9, 11, 13), [*results[0][0], *results[0][1]], strict=True)
    put_steps = [step for step, was in was_put if was]
    assert seen == put_steps
    assert stream.n_dropped == 7 - len(put_steps)


@pytest.mark.parametrize("depth", [1, 3])
def test_all_ranks_stop_at_one_step_at_most_depth_after_the_alarm(lab, name, depth):
    alarm = 2
    ahead = list(range(alarm, alarm + depth + 1))

    def simulate(comm):
        with Bridge(lab.cluster, comm, {"x": rows(comm)}, stream=name, depth=depth) as bridge:
            for step in range(50):
                if bridge.should_stop():
                    return step, bridge.stop_reason
                bridge.put(step, x=np.full((2, 3), float(step)))
        return None

    simulation = Simulation(3, simulate)
    with Stream(lab, name, timeout=20) as stream:
        for data in stream:
            if data.timestep == alarm:  # the ranks are as far ahead as they can be
                wait_until(lambda: complete(lab, name) == ahead, "all buffers are taken")
                stream.stop("too hot")
    results = simulation.join()
    # steps 0 … alarm + depth were computed: exactly depth after the one of the alarm
    assert results == [(alarm + depth + 1, "too hot")] * 3


def complete(client, name):
    def held(dask_scheduler):
        return sorted(dask_scheduler.plugins["dask-exa-insitu"].streams[name].state.held)

    return client.run_on_scheduler(held)


@pytest.mark.parametrize(
    ("steps", "given", "message"),
    [
        ([0], {"x": np.zeros((3, 3))}, r"array 'x' at step 0 on rank 1 has shape \(3, 3\)"),
        ([0], {"x": np.zeros((2, 3), np.float32)}, "at step 0 on rank 1 has dtype float32"),
        ([0], {"z": np.zeros((2, 3))}, "array 'z' is not declared on rank 1; it has x"),
        ([4, 4], {"x": np.zeros((2, 3))}, "step=4 on rank 1 is not larger than the last one, 4"),
    ],
)
def test_a_bad_put_is_the_rank_s_error_and_the_others_are_told(lab, steps, given, message):
    stream_name = f"bad-{message[:12]}-{len(steps)}"
    told = []

    def simulate(comm):
        with Bridge(
            lab.cluster, comm, {"x": rows(comm)}, stream=stream_name, time_to_live=0.3
        ) as bridge:
            if comm.Get_rank() == 1:
                with pytest.raises(ValueError, match=message):
                    [bridge.put(step, **given) for step in steps]
                bridge.close(error="rank 1 raised ValueError: wrong")
                return
            assert bridge.should_stop()
            told.append(bridge.stop_reason)

    run_ranks(3, simulate, timeout=20)
    assert told == ["rank 1 raised ValueError: wrong"] * 2


def errors_of(lab, name, declare, n_ranks=2, names=None):
    """Open a bridge on ranks that declare something wrong; return the error of each."""
    found = [None] * n_ranks
    comms = ThreadCommunicator.group(n_ranks, timeout=20)

    def run(rank):
        try:
            Bridge(lab.cluster, comms[rank], {"x": declare(comms[rank])}, stream=name).close()
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(n_ranks)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    return found


@pytest.mark.parametrize(
    ("of_rank_1", "message"),
    [
        ({"chunk_position": (0, 0)}, r"rank 1 declares chunk_position=\(0, 0\) .* rank 0 has alr"),
        ({"chunk_position": (5, 0)}, r"rank 1 declares chunk_position=\(5, 0\) .* outside of the"),
        ({"dtype": np.float32}, "rank 1 declares dtype=float32 of array 'x', rank 0 float64"),
        ({"chunk_shape": (2, 4)}, "rank 1 has 4 along x of array 'x'"),
        ({"chunk_shape": (0, 3)}, r"array 'x' has chunk_shape=\(0, 3\)"),
    ],
)
def test_a_bad_declaration_is_the_rank_s_error_and_the_others_know(lab, name, of_rank_1, message):
    def declare(comm):
        return rows(comm) | (of_rank_1 if comm.Get_rank() == 1 else {})

    others, guilty = errors_of(lab, name, declare)
    assert type(guilty) is LayoutError
    assert type(others) is StreamError
    with pytest.raises(LayoutError, match=message):
        raise guilty
    assert str(others) == f"rank 1 could not start: {guilty}"


def test_two_bridges_under_one_name(lab, name):
    arrays = {"x": {"global_shape": (4,)}}
    with Bridge(lab.cluster, None, arrays, stream=name, time_to_live=0.2):
        message = rf"rank 0 could not open stream='{name}': .*open already, by a bridge of 1 ranks|"
        message += rf"stream='{name}' is open already, by a bridge of 1 ranks"
        with pytest.raises(StreamError, match=message):
            Bridge(lab.cluster, None, arrays, stream=name)


def test_a_reader_that_comes_late_leaves_and_comes_back(lab, name):
    arrays = {"x": {"global_shape": (4,)}}
    with Bridge(lab.cluster, None, arrays, stream=name, depth=2) as bridge:
        for step in range(3):
            bridge.put(step, x=np.full(4, float(step)))
        for turn in range(5):  # no message of one reading overtakes one of another
            with Stream(lab, name, timeout=5) as stream:
                if turn == 0:
                    steps = iter(stream)
                    late = [int(next(steps).timestep) for _ in range(3)]
                    assert late == [0, 1, 2]
                    del steps
                assert bridge.put(10 + turn, x=np.full(4, float(turn)))
                data = next(iter(stream))
                assert int(data.timestep) == 10 + turn
                assert lab.compute(data.x.data.sum()).result() == 4.0 * turn
                del data
        assert bridge.put(20, x=np.zeros(4))  # nobody reads, nothing is kept
        wait_until(lambda: not bridge.held_steps, "the unread step is gone")
    clients = lab.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.clients))
    assert f"exa-{name}" not in clients


def test_close_waits_until_the_scheduler_has_heard_it(lab, name, monkeypatch):
    heard, handlers = [], lab.cluster.scheduler.stream_handlers

    def simulate(comm):
        with Bridge(lab.cluster, comm, {"density": rows(comm)}, stream=name) as bridge:
            bridge.put(0, density=np.ones((2, 3)))

    simulation = Simulation(2, simulate)
    with Stream(lab, name, timeout=20) as stream:
        finish = handlers["exa-finish"]
        monkeypatch.setitem(
            handlers, "exa-finish", lambda **told: (heard.append(told), finish(**told))
        )
        assert [int(step.timestep) for step in stream] == [0]
    assert heard == [{"stream": name, "name": name, "client": lab.id}]
    simulation.join()


def test_buffers_that_are_never_put_are_not_kept(lab, name):
    with Bridge(
        lab.cluster,
        None,
        {"x": {"global_shape": (4,)}},
        stream=name,
        mode="handover",
        time_to_live=0.2,
    ) as bridge:
        for _ in range(10):
            bridge.buffer("x")
        assert len(bridge._ring._lent) <= 1
