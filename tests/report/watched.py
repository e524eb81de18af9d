"""Ranks that put steps, a detector, and a page of the dashboard, for the tests of the live page."""

import contextlib
import threading

import numpy as np

from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.field_detector import Finding
from dask_exa.insitu import Bridge, Stream
from dask_exa.insitu.communicator import run_ranks
from tests.waiting import wait_until

N_RANKS, DEPTH, SHAPE = 4, 2, (32, 48)


class Simulation:
    """Ranks as threads that put steps of two variables, whenever they are told to go on."""

    def __init__(self, client, name, n_steps, **options):
        self.client, self.name, self.n_steps, self.options = client, name, n_steps, options
        random = np.random.default_rng(0)
        modes = random.normal(size=(2, 3, *SHAPE))
        weights = random.normal(size=(2, n_steps, 3)) * (9, 3, 1)
        density, potential = 5 + np.einsum("vsk,vkyx->vsyx", weights, modes)
        self.fields = {"density": density, "potential": 0.1 * potential}
        self.has_opened = threading.Event()
        self.may_put, self.may_end = threading.Semaphore(0), threading.Event()
        self.waited = np.zeros((n_steps, N_RANKS))
        self.held = np.zeros((n_steps, N_RANKS), dtype=int)
        self._thread = threading.Thread(
            target=run_ranks, args=(N_RANKS, self._simulate), kwargs={"timeout": 60}
        )

    def __enter__(self):
        self._thread.start()
        assert self.has_opened.wait(30)
        return self

    def __exit__(self, *exc_info):
        self.go_on(self.n_steps)
        self.may_end.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def go_on(self, n_steps):
        self.may_put.release(n_steps * N_RANKS)

    def _simulate(self, comm):
        rank = comm.Get_rank()
        rows = slice(8 * rank, 8 * rank + 8)
        field = {
            "global_shape": SHAPE,
            "chunk_shape": (8, SHAPE[1]),
            "chunk_position": (rank, 0),
            "dims": ("y", "x"),
            "attrs": {"units": "n_0"},
        }
        arrays = dict.fromkeys(self.fields, field)
        coords = {"y": 0.5 * np.arange(SHAPE[0]), "x": 0.5 * np.arange(SHAPE[1])}
        with Bridge(
            self.client.cluster, comm, arrays, stream=self.name, coords=coords, depth=DEPTH,
            timeout=30, **self.options,
        ) as bridge:  # fmt: skip
            self.has_opened.set()
            for step in range(self.n_steps):
                assert self.may_put.acquire(timeout=30)
                before = bridge.seconds_waited
                if bridge.should_stop():
                    break
                values = {name: np.array(all_[step, rows]) for name, all_ in self.fields.items()}
                assert bridge.put(10 * step, time=0.5 * step, **values)
                self.waited[step, rank] = bridge.seconds_waited - before
                self.held[step, rank] = len(bridge.held_steps)
                comm.barrier()
            assert self.may_end.wait(60)


@contextlib.contextmanager
def watched_stream(client, name, n_steps, open_page):
    """Give ranks that put all their steps, and their stream, of which somebody sees the page."""
    with (
        client.as_current(),
        Simulation(client, name, n_steps) as simulation,
        Stream(client, name, timeout=20) as stream,
    ):
        open_page()
        wait_until(lambda: stream.is_watched, "analytics knows of the page")
        simulation.go_on(n_steps)
        yield simulation, stream


class Detector:
    """Scores 1, 2, 3, … with a limit of 4.5, above which there are alarms."""

    def __init__(self):
        self.n_seen = 0

    def observe(self, step):
        self.n_seen += 1
        score = float(self.n_seen)
        alarms = [Alarm(int(step.timestep), score, f"<{score:g}> is high")] if score > 4.5 else []
        return Finding(alarms, score, 4.5)


class Page:
    """What somebody who opens the page now gets."""

    def __init__(self, lab, stream):
        from bokeh.client import pull_session  # with the fixture `lab`, which skips without it

        url = lab.dashboard_link.replace("/status", "/exa")
        self.session = pull_session(url=url, arguments={"stream": stream})
        self.server = lab.cluster.scheduler.http_application.applications[-1]

    def find(self, name):
        """Return what came with the page when it was opened."""
        return self.session.document.select_one({"name": name})

    def find_now(self, name):
        """Return what the scheduler has sent by now."""
        document = self.server.get_session("/exa", self.session.id).document
        return document.select_one({"name": name})

    def data(self, name):
        return {key: list(values) for key, values in self.find(name).data.items()}

    def lines(self, name):
        found = self.data(name)
        return {
            label: (list(xs), np.asarray(ys, dtype=float))
            for label, xs, ys in zip(found["name"], found["xs"], found["ys"], strict=True)
        }

    def close(self):
        self.session.close()
