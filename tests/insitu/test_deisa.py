"""DEISA's own bridge on ranks that are threads: steps that overtake each other leave in order."""

import importlib.util
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from distributed import LocalCluster

from dask_exa.decomposition import IncrementalPCA
from dask_exa.insitu.adapters.deisa import DeisaStream
from dask_exa.insitu.communicator import ThreadCommunicator, run_ranks
from dask_exa.insitu.errors import LayoutError, StepLostError, StreamTimeoutError
from tests.waiting import wait_until

pytest.importorskip("deisa.dask", reason="needs deisa-dask: pip install 'dask-exa[deisa]'")

N_RANKS = 2
SHAPE = (8, 6)
DIMS = {"density": ("y", "x"), "potential": ("y", "x")}


class Ranks(ThreadCommunicator):
    """With the two methods that only DEISA calls."""

    def gather(self, value, root=0):
        values = self.allgather(value)
        return values if self.Get_rank() == root else None

    def Free(self):
        pass


class Shuffled(ThreadPoolExecutor):
    """The pool that DEISA calls back in, at its worst: calls wait for others, and run last first.

    Parameters
    ----------
    n_held : int
        Calls that are run in reverse order.
    """

    def __init__(self, n_held):
        super().__init__(1)
        self.n_held, self.held, self.n_reversed = n_held, [], 0

    def submit(self, function, /, *args, **kwargs):
        called = getattr(function, "args", ())  # of asyncio.to_thread: the callback comes first
        if not (called and hasattr(called[0], "callback_id")):
            return super().submit(function, *args, **kwargs)
        answer = Future()
        self.held.append((answer, function))
        if len(self.held) == self.n_held:
            held, self.held = self.held[::-1], []
            self.n_reversed += len(held)
            super().submit(lambda: [_answer(*call) for call in held])
        return answer


def _answer(answer, function):
    try:
        answer.set_result(function())
    except Exception as error:
        answer.set_exception(error)


class Simulation:
    """Ranks that do one action after the other once they `start`: ``action(bridge, part)``."""

    def __init__(self, actions):
        self.actions = actions
        self._may_start = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def start(self):
        self._may_start.set()

    def join(self):
        self.start()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self):
        run_ranks(N_RANKS, lambda comm: self._rank(Ranks(comm._group, comm.Get_rank())), 20)

    def _rank(self, comm):
        from deisa.dask import Bridge

        rank, height = comm.Get_rank(), SHAPE[0] // N_RANKS
        part = slice(height * rank, height * (rank + 1))
        chunk = {
            "global_shape": SHAPE,
            "chunk_shape": (height, SHAPE[1]),
            "chunk_position": (rank, 0),
        }
        bridge = Bridge(comm, dict.fromkeys(DIMS, chunk))
        assert self._may_start.wait(20)
        for action in self.actions:
            action(bridge, part)
        bridge.close(len(self.actions))


@pytest.fixture
def lab(monkeypatch):
    """Function that starts ranks on a scheduler of their own: these and a Deisa."""
    if importlib.util.find_spec("mpi4py") is not None:
        import mpi4py

        monkeypatch.setattr(mpi4py.rc, "initialize", False)  # no MPI for ranks that are threads
    from deisa.dask import Deisa

    running = []
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        monkeypatch.setenv("DEISA_DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)

        def start(actions):
            simulation = Simulation(actions)
            deisa = Deisa()
            running.append((simulation, deisa))
            return simulation, deisa

        yield start
        for simulation, deisa in running:
            simulation.join()
            deisa.client.close()


def fields_of(n_steps):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(n_steps, *SHAPE)) * 2.0 ** -np.arange(6) for name in DIMS}


def sending(fields, name, timestep):
    """Action of ranks that send their part of a field."""
    values = fields[name][timestep]
    return lambda bridge, part: bridge.send(name, values[part], timestep)


def all_of(fields, without=()):
    """Action for every timestep and array, the arrays of a timestep after each other."""
    pairs = [(name, t) for t in range(len(fields["density"])) for name in fields]
    return [sending(fields, *pair) for pair in pairs if pair not in without]


def n_chunks(deisa):
    """Chunks that the workers have."""

    def count(dask_scheduler):
        return sum(str(key).startswith("deisa-ndarray") for key in dask_scheduler.tasks)

    return deisa.client.run_on_scheduler(count)


def test_overtaking_steps_are_learnt_in_order(lab):
    """Callbacks run in reverse, eight at a time: the same bits as the same chunks in order."""
    fields = fields_of(16)
    simulation, deisa = lab(all_of(fields))
    pool = Shuffled(8)
    deisa.client.loop.asyncio_loop.set_default_executor(pool)
    seen, live, order = [], IncrementalPCA(3), IncrementalPCA(3)
    with deisa.client.as_current(), DeisaStream(deisa, DIMS, timeout=20, time_step=0.5) as stream:
        simulation.start()
        for step in stream:
            t = int(step.timestep)
            seen.append(t)
            assert float(step.time) == 0.5 * t
            assert step.density.chunks == ((4, 4), (6,))
            for name in DIMS:
                np.testing.assert_array_equal(step[name].values, fields[name][t])
            live.partial_fit(step.density.data)
    assert seen == list(range(16))
    assert (stream.faults, pool.n_reversed) == ([], 32)
    for values in fields["density"]:
        order.partial_fit(values)
    np.testing.assert_allclose(live.singular_values_, order.singular_values_, rtol=1e-12)
    np.testing.assert_allclose(live.components_, order.components_, rtol=0, atol=1e-12)
    rows = fields["density"].reshape(-1, SHAPE[1])
    exact = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)[:3]
    np.testing.assert_allclose(live.singular_values_, exact, rtol=1e-10)


def test_an_array_that_lags_behind_is_joined(lab):
    """All of one array, then all of the other: more steps wait than DEISA itself would join."""
    fields = fields_of(6)
    simulation, deisa = lab([sending(fields, name, t) for name in fields for t in range(6)])
    with deisa.client.as_current(), DeisaStream(deisa, depth=6, timeout=20) as stream:
        simulation.start()
        for t, step in enumerate(stream):
            assert int(step.timestep) == t
            for name in fields:
                np.testing.assert_array_equal(step[name].values, fields[name][t])
        assert t == 5


def test_chunks_are_released_with_their_step_and_at_the_end(lab):
    """Four steps wait for analytics, no more once they were looked at, none after the close."""
    fields = fields_of(4)
    simulation, deisa = lab(all_of(fields))
    per_step = N_RANKS * len(DIMS)
    with DeisaStream(deisa, timeout=20) as stream:
        simulation.start()
        steps = iter(stream)
        step = next(steps)
        simulation.join()
        wait_until(lambda: n_chunks(deisa) == 4 * per_step, "four steps are there")
        for n_left in (3, 2):
            del step
            step = next(steps)
            wait_until(lambda n=n_left: n_chunks(deisa) == n * per_step, "a step is gone")
        del step, steps
    wait_until(lambda: n_chunks(deisa) == 0, "nothing is left")


def test_ranks_hear_why_they_shall_stop(lab):
    fields = fields_of(8)
    was_asked, heard = threading.Event(), []

    def hear(bridge, part):
        assert was_asked.wait(20)
        heard.append(list(bridge.get("stop")))

    sends = all_of(fields)
    simulation, deisa = lab([*sends[:6], hear])
    with DeisaStream(deisa, timeout=20) as stream:
        simulation.start()
        for step in stream:
            if step.timestep == 2:
                stream.stop("the density is negative")
        was_asked.set()
    simulation.join()
    assert heard == [[(2, "the density is negative")]] * N_RANKS
    assert int(step.timestep) == 2


def test_what_was_sent_before_the_reader_came_is_told_and_not_waited_for(lab):
    """DEISA drops what nobody has registered for; the steps after that are all there."""
    fields = fields_of(5)
    have_sent, may_go_on = threading.Event(), threading.Event()

    def wait(bridge, part):
        if part.start == 0:  # the rank that has told the scheduler of all
            have_sent.set()
        assert may_go_on.wait(20)

    sends = all_of(fields)  # of timestep 2, the density comes too early, the potential in time
    simulation, deisa = lab([*sends[:5], wait, *sends[5:]])
    simulation.start()
    assert have_sent.wait(20)
    began = time.monotonic()
    with DeisaStream(deisa, timeout=20) as stream:
        may_go_on.set()
        assert [int(step.timestep) for step in stream] == [3, 4]
    assert time.monotonic() - began < 10
    lost = [fault for fault in stream.faults if "sent before the stream was made" in fault]
    assert [fault.split(":")[0] for fault in lost] == [f"timestep {t} is lost" for t in range(3)]
    (unused,) = set(stream.faults) - set(lost)
    assert "timestep 2 of array 'potential' came when it had been given up" in unused


def test_no_event_is_missed_where_ranks_send_at_once(lab):
    """Registering while ranks send: what is not told to be lost comes, and is whole."""
    fields = fields_of(40)
    simulation, deisa = lab(all_of(fields))
    simulation.start()
    with deisa.client.as_current(), DeisaStream(deisa, depth=40, timeout=20) as stream:
        seen = []
        for step in stream:
            seen.append(int(step.timestep))
            np.testing.assert_array_equal(step.density.values, fields["density"][seen[-1]])
    lost = [fault for fault in stream.faults if "sent before the stream was made" in fault]
    assert seen == list(range(len(lost), 40))
    others = set(stream.faults) - set(lost)  # the point was between the arrays of one timestep
    assert len(others) <= 1
    assert all("came when it had been given up" in fault for fault in others)


def test_arrays_that_deisa_does_not_deliver_hang_nothing(lab, caplog):
    """A timestep that goes back is refused in the client's thread while callbacks arrive."""
    fields = fields_of(6)
    sends = all_of(fields)
    backwards = [*sends[:8], sends[0], sends[1], *sends[8:]]
    simulation, deisa = lab(backwards)
    with caplog.at_level(logging.WARNING), DeisaStream(deisa, timeout=20) as stream:
        simulation.start()
        assert [int(step.timestep) for step in stream] == list(range(6))
    assert len(stream.faults) == 2
    assert "does not deliver array 'density': callback" in stream.faults[0]


def test_a_missing_array_is_named_and_skipped(lab):
    simulation, deisa = lab(all_of(fields_of(4), without=[("potential", 1)]))
    with DeisaStream(deisa, timeout=20) as stream:
        simulation.start()
        assert [int(step.timestep) for step in stream] == [0, 2, 3]
    (fault,) = stream.faults
    assert "timestep 1 is lost: potential" in fault


def test_a_missing_array_aborts(lab):
    simulation, deisa = lab(all_of(fields_of(3), without=[("density", 1)]))
    with DeisaStream(deisa, timeout=20, on_fault="abort") as stream:
        simulation.start()
        with pytest.raises(StepLostError, match="timestep 1 is lost: density"):
            list(stream)


def test_silence_is_named(lab):
    _, deisa = lab([])
    with (
        DeisaStream(deisa, first=3, timeout=0.2) as stream,
        pytest.raises(StreamTimeoutError, match=r"timestep 3 of density, potential .*=0\.2 s"),
    ):
        next(iter(stream))


def test_unknown_arrays_are_refused(lab):
    _, deisa = lab([])
    with pytest.raises(LayoutError, match="they send"):
        DeisaStream(deisa, ["pressure"])
