"""The live page: its numbers are those that ranks put and models know."""

import threading

import numpy as np
import pytest

from dask_exa.apps.session import Session, follow
from dask_exa.decomposition import IncrementalPCA
from dask_exa.insitu import Bridge, Stream
from dask_exa.insitu import plugin as insitu_plugin
from tests.ranks_lab import ranks_lab
from tests.report.watched import N_RANKS, Detector, Simulation, watched_stream
from tests.waiting import wait_until

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


def n_complete(client, name):
    def count(dask_scheduler):
        return dask_scheduler.plugins[insitu_plugin.NAME].streams[name].state.n_complete

    return client.run_on_scheduler(count)


def test_steps_buffers_and_waits_are_those_of_the_ranks(lab, name, open_page):
    with Simulation(lab, name, 5) as simulation:
        page = open_page()
        assert "waiting for the first step" in page.find("header").text
        assert page.data("rate") == {"timestep": [], "rate": []}
        simulation.go_on(4)  # the last of which finds no buffer, as nobody reads
        wait_until(lambda: n_complete(lab, name) == 3, "three steps are put")
        wait_for_text(open_page, "waiting for analytics")
        threading.Event().wait(0.2)  # what the ranks are to wait, at least
        with Stream(lab, name, timeout=20) as stream:
            assert stream.live_page == lab.dashboard_link.replace("status", f"exa?stream={name}")
            steps = iter(stream)
            for _ in range(4):
                next(steps)
            page = open_page()
            assert "running" in page.find("header").text
            assert page.data("rate")["timestep"] == [10, 20, 30]
            assert all(0 < rate < np.inf for rate in page.data("rate")["rate"])
            (held,) = page.data("held-ranks")["image"]
            np.testing.assert_array_equal(held[:, :3], [[1, 2, 3]] * N_RANKS)
            wait_until(lambda: (simulation.waited[3] > 0).all(), "all ranks have gone on")
            (waited,) = page.data("waited-ranks")["image"]  # in ms
            np.testing.assert_allclose(waited.T, 1000 * simulation.waited[:4], rtol=1e-4, atol=1e-3)
            assert waited[:, 3].min() > 200
            place = {key: page.data("waited-ranks")[key] for key in ("x", "y", "dw", "dh")}
            assert place == {"x": [-5.0], "y": [-0.5], "dw": [40.0], "dh": [N_RANKS]}


def wait_for_text(open_page, text):
    def header():
        found = open_page().find("header").text
        return found if text in found else ""

    return wait_until(header, f"the page says {text!r}")


def test_a_run_shows_what_it_learns_and_observes(lab, name, open_page, at_every_step):
    models = {variable: IncrementalPCA(2) for variable in ("density", "potential")}
    shares = []

    def remember(step, run):
        if step.timestep > 20:
            ratio = models["density"].explained_variance_ratio_
            shares.append((int(step.timestep), 100 * float(np.sum(ratio))))

    with watched_stream(lab, name, 8, open_page) as (simulation, stream):
        stream.run(models, detector=Detector(), n_steps=8, on_step=remember, progress=False)
        page = open_page()
        field = simulation.fields["density"][7].astype(np.float32)
        (shown,) = page.data("field-picture")["image"]
        np.testing.assert_array_equal(shown, field)
        model = models["density"]
        basis, mean = np.asarray(model.components_), np.asarray(model.mean_)
        centred = simulation.fields["density"][7] - mean
        expected = mean + np.einsum("k,kyx->yx", np.einsum("kyx,yx->k", basis, centred), basis)
        (again,) = page.data("reconstruction-picture")["image"]
        np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-5)
        (difference,) = page.data("difference-picture")["image"]
        np.testing.assert_array_equal(difference, again - shown)
        place = page.data("field-picture")
        assert [place[key] for key in ("x", "y", "dw", "dh")] == [[-0.25], [-0.25], [24], [16]]
        error = 100 * np.linalg.norm(difference) / np.linalg.norm(field)
        assert page.find("difference").title.text == f"difference: {error:.3g} % (L2)"
        assert page.find("field").title.text == "density [n_0], step 70"
        assert page.find("variable").options == ["density", "potential"]
        steps, values = page.lines("explained_variance-lines")["density"]
        assert steps[-1] == 70
        known = [(step, value) for step, value in zip(steps, values, strict=True) if step > 20]
        assert dict(known) == pytest.approx(dict(shares))
        assert page.lines("score-lines")["detector score"][0] == list(range(0, 80, 10))
        np.testing.assert_array_equal(
            page.lines("score-lines")["detector score"][1], np.arange(1.0, 9.0)
        )
        np.testing.assert_array_equal(page.lines("limit-lines")["detector limit"][1], [4.5] * 8)
        alarms = page.data("alarms")
        assert alarms["timestep"] == [40, 50, 60, 70]
        assert alarms["score"] == [5.0, 6.0, 7.0, 8.0]
        assert "<b>Step 70</b>: &lt;8&gt; is high" in page.find("news").text
        assert page.find("speed").visible


def test_a_session_of_the_command_line_is_shown_too(lab, name, open_page, at_every_step):
    session = Session(("density",), IncrementalPCA(2))
    with watched_stream(lab, name, 6, open_page) as (simulation, stream):
        follow(stream, session, n_steps=6)
        page = open_page()
    (shown,) = page.data("field-picture")["image"]
    np.testing.assert_array_equal(shown, simulation.fields["density"][5].astype(np.float32))
    (again,) = page.data("reconstruction-picture")["image"]
    assert 0 < np.linalg.norm(again - shown) < 0.3 * np.linalg.norm(shown)
    steps, values = page.lines("explained_variance-lines")["density"]
    ratio = session.models["density"].estimator.explained_variance_ratio_
    assert (steps[-1], values[-1]) == (50, pytest.approx(100 * float(np.sum(ratio))))


def test_fields_are_sent_only_while_somebody_looks(lab, name, open_page, monkeypatch):
    monkeypatch.setattr(insitu_plugin, "WATCHED", 1.5)

    def log():
        """Return how much was shown, and of which variables there are fields."""

        def find(dask_scheduler):
            found = dask_scheduler.plugins[insitu_plugin.NAME].streams[name].log
            return len(found.shown), list(found._pictures)  # not `look`, which is to watch

        return lab.run_on_scheduler(find)

    with Simulation(lab, name, 1), Stream(lab, name, timeout=20) as stream:
        wait_until(lambda: not stream.is_watched, "those who looked before have gone")
        stream.show(variable="density", timestep=0, field=np.zeros((2, 2)), score=1.0)
        wait_until(lambda: log() == (1, []), "the score has come, without the field")
        page = open_page()
        assert page.lines("score-lines")["density score"] == ([0], [1.0])
        wait_until(lambda: stream.is_watched, "analytics knows of the page")
        stream.show(variable="density", timestep=1, field=np.zeros((2, 2)))
        wait_until(lambda: log() == (2, ["density"]), "the field has come")
        threading.Event().wait(2.0)  # longer than WATCHED: an open page looks again and again
        assert stream.is_watched
        page.close()
        wait_until(lambda: not stream.is_watched, "nobody looks any more")


def test_an_open_page_follows_and_says_why_a_simulation_stops(lab, name, open_page):
    with Simulation(lab, name, 6) as simulation, Stream(lab, name, timeout=20) as stream:
        page = open_page()
        simulation.go_on(2)
        steps = iter(stream)
        next(steps), next(steps)

        def is_told(what, text):
            return text in page.find_now(what).text

        def rates():
            return list(page.find_now("rate").data["timestep"])

        wait_until(lambda: rates() == [10], "the open page has the second step")
        stream.stop("too hot & <wet>")
        wait_until(lambda: is_told("header", "stopping: too hot &amp; &lt;wet&gt;"), "it stops")
    wait_until(lambda: is_told("header", "stopped: too hot"), "it has stopped")


def test_a_fault_is_told(lab, name, open_page):
    def simulate():
        arrays = {"x": {"global_shape": (4, 4)}}
        bridge = Bridge(lab.cluster, None, arrays, stream=name, time_to_live=5)
        bridge.put(0, x=np.zeros((4, 4)))
        bridge.close(error="rank 0 raised ValueError: wrong & bad")

    rank = threading.Thread(target=simulate)
    with rank_running(rank), Stream(lab, name, timeout=20) as stream:
        list(stream)
        text = wait_for_text(open_page, "fault: ")
    assert "fault: rank 0 raised ValueError: wrong &amp; bad" in text


class rank_running:  # noqa: N801 (reads as a function)
    """Start a thread, and join it at the end."""

    def __init__(self, thread):
        self.thread = thread

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *exc_info):
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_a_scheduler_without_a_dashboard_has_no_page_and_is_no_obstacle():
    with (
        ranks_lab() as client,
        Bridge(client.cluster, None, {"x": {"global_shape": (4, 4)}}) as bridge,
        Stream(client, timeout=20) as stream,
    ):
        assert stream.live_page is None
        bridge.put(0, x=np.zeros((4, 4)))
        assert int(next(iter(stream)).timestep) == 0
        plugin = client.cluster.scheduler.plugins[insitu_plugin.NAME]
        assert "without a dashboard: pass it a dashboard_address" in plugin.why_no_page
