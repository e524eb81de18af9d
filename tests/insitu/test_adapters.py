"""PDI's pycall and Tokam2D's callbacks, called as these codes call them."""

import sys
import threading
import types
from pathlib import Path

import dask
import numpy as np
import pytest
import yaml

from dask_exa.insitu import Stream
from dask_exa.insitu.adapters.pdi import GYSELA_DIMS, declare, open_bridge
from dask_exa.insitu.adapters.tokam2d import InsituCallback
from dask_exa.insitu.communicator import run_ranks

ROOT = Path(__file__).resolve().parents[2]
PDI = yaml.safe_load((ROOT / "docs/examples/pdi.yml").read_text())
SHAPE = (2, 5, 4, 2, 3, 2)
ROWS = ((0, 2), (2, 5))
"""Where the parts of tor1 begin and end: they differ in size."""
COLUMNS = ((0, 1), (1, 4))
"""Those of tor2."""


class Background(threading.Thread):
    """A simulation beside the test, with its result or its error."""

    def __init__(self, function):
        super().__init__(daemon=True)
        self.function, self.result, self.error = function, None, None
        self.start()

    def run(self):
        try:
            self.result = self.function()
        except Exception as error:
            self.error = error

    def outcome(self):
        self.join(30)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


class Pycall:
    """PDI with its pycall plugin, of one rank.

    Texts run in one namespace for all events, as those of ``__main__`` do; values of ``with`` are
    views, and scalars are arrays without a dimension. Errors are raised, where PDI logs them.
    """

    def __init__(self, config):
        self.triggers = config["plugins"]["pycall"]["on_event"]
        self.known = {**config["metadata"], **config["data"]}
        self.shared, self.namespace = {}, {"pdi": types.ModuleType("pdi")}

    def expose(self, event, **values):
        for name, value in values.items():
            assert name in self.known, f"{name} is not declared"
            self.shared[name] = np.asarray(value)
        trigger = self.triggers[event]
        for name, value in trigger.get("with", {}).items():
            assert value.startswith("$")
            self.namespace[name] = self.shared[value[1:]]
        exec(trigger["exec"], self.namespace)


def gysela(comm, config, n_steps):
    """Play Gysela on one rank; return the step at which it was told to stop."""
    row, column = divmod(comm.Get_rank(), 2)
    starts = [0, ROWS[row][0], COLUMNS[column][0], 0, 0, 0]
    extents = [2, np.diff(ROWS[row])[0], np.diff(COLUMNS[column])[0], *SHAPE[3:]]
    here = tuple(slice(a, a + n) for a, n in zip(starts, extents, strict=True))
    pdi = Pycall(config)
    pdi.expose(
        "InitBridge",
        local_fdistribu_starts=np.array(starts, np.uint64),
        local_fdistribu_extents=np.array(extents, np.uint64),
        global_fdistribu_extents=np.array(SHAPE, np.uint64),
        vpar_extents=[3],
        vpar=np.array([-1.0, 0.0, 1.0]),
        mu_extents=[2],
        mu=np.array([0.5, 1.5]),
    )
    ghosted = np.full([n + 2 for n in extents], np.nan)
    f, stop = ghosted[(slice(1, -1),) * 6], np.array(0, np.int32)
    for step in range(n_steps):
        f[...] = distribution(step)[here]
        pdi.expose(
            "iteration",
            iter=np.array(step, np.int32),
            absolute_time=np.array(0.25 * step),
            fdistribu_sptor3Dv2D=f,
            stop=stop,
        )
        if stop:
            break
    pdi.expose("EndSimulation")
    return step


def distribution(step):
    return np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE) + 1000.0 * step


@pytest.fixture
def world(monkeypatch):
    """``mpi4py`` as seen from ranks that are threads."""
    ranks = threading.local()

    class Module(types.ModuleType):
        @property
        def COMM_WORLD(self):
            return ranks.comm

    package = types.ModuleType("mpi4py")
    package.MPI = Module("mpi4py.MPI")
    monkeypatch.setitem(sys.modules, "mpi4py", package)
    return ranks


@pytest.mark.distributed
def test_pdi_hands_gysela_s_distribution_over_and_brings_the_stop_back(lab, world):
    alarm = 3

    def rank(comm):
        world.comm = comm
        return gysela(comm, PDI, n_steps=20)

    with dask.config.set(scheduler_address=lab.scheduler.address):
        simulation = Background(lambda: run_ranks(4, rank, timeout=30))
        with Stream(lab, timeout=20) as stream:
            assert stream.dims == GYSELA_DIMS
            for step in stream:
                f = step.fdistribu
                assert f.chunks == ((2,), (2, 3), (1, 3), (2,), (3,), (2,))
                assert float(step.time) == 0.25 * int(step.timestep)
                assert step.vpar.values.tolist() == [-1.0, 0.0, 1.0]
                assert step.mu.values.tolist() == [0.5, 1.5]
                found = lab.compute(f.data).result()
                np.testing.assert_array_equal(found, distribution(int(step.timestep)))
                if step.timestep == alarm:
                    stream.stop("f is negative")
        ends = simulation.outcome()
    assert len(set(ends)) == 1
    assert alarm <= ends[0] <= alarm + stream.depth + 1
    assert stream.faults == []


def test_pdi_refuses_what_cannot_work():
    with pytest.raises(ValueError, match=r"starts=\[0, 0\] has 2 numbers for the 6 dimensions"):
        declare(None, [0, 0], [1] * 6, [1] * 6)
    with pytest.raises(ValueError, match="mode='handover' would keep buffers that PDI takes back"):
        open_bridge(None, {}, mode="handover")


class SimulationRunner:
    """What the adapter sees of Tokam2D's class of that name, and its loop."""

    def __init__(self, n_frames, rk4_per_diag=2):
        self.Nt_rk4, self.rk4_per_diag, self.dt_rk4 = n_frames * rk4_per_diag, rk4_per_diag, 0.5
        self.time, self.step_rk4_count, self.step_diag_count, self._stop = 0.0, 0, 0, False
        self.callbacks, self.saved = [self._save_real_data_callback], []

    def run(self, fields):
        while self.step_rk4_count < self.Nt_rk4 and not self._stop:
            if self.step_rk4_count % self.rk4_per_diag == 0:
                for callback in self.callbacks:
                    callback(fields)
                self.step_diag_count += 1
            fields = {name: 1.5 * field for name, field in fields.items()}
            self.time += self.dt_rk4
            self.step_rk4_count += 1
        return fields

    def _save_real_data_callback(self, fields):
        frame = {name[:-4]: np.fft.ifft2(field).real for name, field in fields.items()}
        self.saved.append((self.step_diag_count, self.time, frame))


def tokam2d(client, stream, n_frames, **options):
    """Play Tokam2D's ``main.py``; return its runner."""
    random = np.random.default_rng(0)
    names = ("density", "potential")
    fields = {f"{name}_fft": np.fft.fft2(random.normal(size=(6, 8))) for name in names}
    runner = SimulationRunner(n_frames)
    params = types.SimpleNamespace(x_1d=np.arange(8.0), y_1d=np.arange(6) * 0.5)
    options = {"scheduler": client.cluster, "stream": stream, **options}
    with InsituCallback(runner, params, **options) as callback:
        assert runner.callbacks[-1] is callback
        runner.run(fields)
    assert len(runner.callbacks) == 1
    return runner


@pytest.mark.distributed
def test_tokam2d_hands_over_what_it_saves(lab):
    simulation = Background(lambda: tokam2d(lab, "tokam2d", 5))
    seen = []
    with Stream(lab, "tokam2d", timeout=20) as stream:
        for step in stream:
            assert step.density.dims == ("y", "x")
            assert step.x.values.tolist() == list(range(8))
            assert step.y.values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
            data = lab.compute({name: step[name].data for name in step.data_vars}, sync=True)
            seen.append((int(step.timestep), float(step.time), data))
    saved = simulation.outcome().saved
    assert [frame[:2] for frame in seen] == [frame[:2] for frame in saved]
    assert [frame[:2] for frame in saved] == [(i, float(i)) for i in range(5)]
    for (*_, found), (*_, expected) in zip(seen, saved, strict=True):
        assert set(found) == set(expected) == {"density", "potential"}
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.distributed
def test_tokam2d_stops_when_analytics_asks_for_it(lab):
    simulation = Background(lambda: tokam2d(lab, "tokam2d-stop", 50, depth=1))
    with Stream(lab, "tokam2d-stop", timeout=20) as stream:
        for step in stream:
            if step.timestep == 2:
                stream.stop("too hot")
    runner = simulation.outcome()
    n_frames = len(runner.saved)
    assert 3 <= n_frames <= 5
    assert runner.step_rk4_count == 2 * (n_frames - 1) + 1  # one more step of its integrator


@pytest.mark.distributed
def test_tokam2d_that_fails_tells_analytics(lab):
    def simulate():
        with pytest.raises(FloatingPointError):
            tokam2d_that_fails(lab)

    simulation = Background(simulate)
    with Stream(lab, "tokam2d-fails", timeout=20) as stream:
        assert [int(step.timestep) for step in stream] == [0]
    assert stream.faults == ["rank 0 raised FloatingPointError: diverged"]
    simulation.outcome()


def tokam2d_that_fails(client):
    runner = SimulationRunner(3)
    fields = {"density_fft": np.ones((4, 4), complex)}

    def diverge(fields):
        if runner.step_diag_count == 1:
            raise FloatingPointError("diverged")

    runner.callbacks.append(diverge)
    with InsituCallback(runner, scheduler=client.cluster, stream="tokam2d-fails"):
        runner.run(fields)
