"""Processes that are killed or paused: what is lost is told, and is no more than was on its way."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from dask_exa.insitu import RankLostError, SchedulerLostError, StepLostError, Stream
from tests.insitu import processes as lab
from tests.insitu.processes import hear, learnt
from tests.waiting import wait_until

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]
DEPTH, TIMEOUT, TIME_TO_LIVE = 2, 3.0, 2.0
IN_FLIGHT = DEPTH + 1  # steps that lie in the buffers of a rank


@pytest.fixture
def cluster():
    """Scheduler in this process; its only workers are those of the ranks."""
    with distributed.LocalCluster(
        n_workers=0,
        processes=False,
        protocol="tcp://",
        dashboard_address=":0",
        silence_logs="CRITICAL",
    ) as scheduler:
        yield scheduler


def options(**more):
    return {"depth": DEPTH, "timeout": TIMEOUT, "time_to_live": TIME_TO_LIVE, **more}


def reference(steps):
    """Return what is learnt of some steps in one process."""
    rows = np.stack([lab.field(step).ravel() for step in steps])
    return np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)[:3]


def test_killed_rank_costs_what_was_on_its_way(cluster, tmp_path):
    """State is split over the ranks: it goes back to the checkpoint, in the memory of nobody."""
    killed_at, every = 10, 4
    told = {}

    def kill(step, run):
        if int(step.timestep) == killed_at:
            os.kill(hear(tmp_path, "rank-2-pid"), signal.SIGKILL)
            told["at"] = time.time()

    pca = lab.model()
    with (
        distributed.Client(cluster) as client,
        lab.ranks(cluster.scheduler_address, tmp_path, **options()),
        Stream(client, timeout=20) as stream,
    ):
        run = stream.run(
            pca,
            checkpoint=tmp_path / "run.zarr",
            checkpoint_every=every,
            log=tmp_path / "steps.jsonl",
            on_step=kill,
            progress=False,
        )
        values = np.asarray(pca.singular_values_)
        ends = [hear(tmp_path, f"rank-{rank}") for rank in (0, 1)]
    # learnt is what the checkpoint has, or all up to the kill where no slab was lost
    n_saved = (killed_at + 1) // every * every
    assert run.timesteps in [[*range(n_saved)], [*range(killed_at + 1)]]
    # every step before the end is learnt or told to be lost, and nothing beyond those on their way
    last = max(end["last"] for end in ends)
    assert last <= killed_at + IN_FLIGHT
    lost = {int(f.split()[1]) for f in stream.faults if f.startswith("step ")} | {*run.skipped}
    assert lost == {*range(len(run.timesteps), max(lost) + 1)}
    assert stream.faults[-1].startswith("rank 2 died after step 1")
    for end in ends:
        assert end["reason"] == stream.faults[-1]
        assert end["error"] == ""
        assert end["at"] - told["at"] < TIMEOUT
    np.testing.assert_allclose(values, reference(run.timesteps), rtol=1e-9)


def test_killed_rank_raises_where_that_is_asked_for(cluster, tmp_path):
    with (
        distributed.Client(cluster) as client,
        lab.ranks(cluster.scheduler_address, tmp_path, **options(on_fault="abort"), asks=False),
        Stream(client, timeout=20, on_fault="abort") as stream,
    ):
        with pytest.raises((RankLostError, StepLostError), match="rank 1"):  # noqa: PT012
            for step in stream:
                if int(step.timestep) == 5:
                    os.kill(hear(tmp_path, "rank-1-pid"), signal.SIGKILL)
                del step
        ends = [hear(tmp_path, f"rank-{rank}") for rank in (0, 2)]
    for rank, end in zip((0, 2), ends, strict=True):
        assert end["error"].startswith(f"RankLostError: rank {rank} ends at step")
        assert "rank 1 died after step" in end["error"]


def test_killed_worker_of_the_analytics_costs_nothing(tmp_path):
    n_steps = 25

    def kill(step, run):
        if int(step.timestep) == 8:
            mine = [w for w, about in workers().items() if "rank" not in str(about["name"])]
            os.kill(client.run(os.getpid, workers=mine[:1])[mine[0]], signal.SIGKILL)

    def workers():
        return client.scheduler_info(n_workers=-1)["workers"]

    pca = lab.model("rows")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs="CRITICAL"
        ) as scheduler,
        distributed.Client(scheduler) as client,
        lab.ranks(scheduler.scheduler_address, tmp_path, **options(timeout=20), n_steps=n_steps),
        Stream(client, timeout=20) as stream,
    ):
        run = stream.run(pca, on_step=kill, checkpoint=tmp_path / "run.zarr", progress=False)
        values = np.asarray(pca.singular_values_)
    np.testing.assert_allclose(values, reference(run.timesteps), rtol=1e-9)
    assert run.timesteps == [*range(n_steps)]
    assert (run.skipped, stream.faults, stream.n_dropped) == ({}, [], 0)


def test_killed_analytics_lets_the_simulation_go_on_and_another_resumes(cluster, tmp_path):
    every, address = 4, cluster.scheduler_address
    with lab.ranks(address, tmp_path, **options(timeout=20)):
        with lab.analytics(address, tmp_path, checkpoint_every=every) as first:
            wait_until(lambda: len(learnt(tmp_path)) > 10, "eleven steps are learnt")
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
        before = learnt(tmp_path)
        with distributed.Client(cluster) as client:

            def unread(dask_scheduler):
                plugin = dask_scheduler.plugins["dask-exa-insitu"]
                return plugin.streams["simulation"].state.n_unread

            killed = time.monotonic()
            wait_until(lambda: client.run_on_scheduler(unread) > IN_FLIGHT, "ranks go on alone")
            assert time.monotonic() - killed < TIME_TO_LIVE + TIMEOUT
        n_more = 12
        n_saved = len(before) // every * every
        with lab.analytics(address, tmp_path, checkpoint_every=every, n_steps=n_saved + n_more):
            told = hear(tmp_path, "analytics")
            ends = [hear(tmp_path, f"rank-{rank}") for rank in range(lab.N_RANKS)]
    steps = told["timesteps"]
    # steps that nobody saw are told: all before the first one of the second reading
    first_seen = min(step for step in steps if step >= n_saved)
    (gap,) = told["faults"]
    assert gap.endswith(" steps passed that were not kept, as nobody read the stream")
    n_gap = first_seen - len(before)
    assert n_gap - 1 <= int(gap.split()[0]) <= n_gap + IN_FLIGHT
    # what the checkpoint had is learnt, and was not learnt again
    assert before == [*range(len(before))]
    assert len(steps) in (n_saved + n_more, n_saved + n_more - every)
    kept = [step for step in steps if step < len(before)]
    assert kept == [*range(len(kept))]
    assert len(before) - len(kept) < every + 1
    assert steps == sorted(set(steps))
    np.testing.assert_allclose(told["singular_values"], reference(steps), rtol=1e-9)
    assert len({end["last"] for end in ends}) == 1
    assert {end["reason"] for end in ends} == {"analytics has seen enough"}


def test_paused_analytics_loses_nothing_that_is_not_told(cluster, tmp_path):
    address, n_steps = cluster.scheduler_address, 40
    with (
        lab.ranks(address, tmp_path, **options(timeout=1.0), n_steps=n_steps),
        lab.analytics(address, tmp_path) as running,
    ):
        wait_until(lambda: len(learnt(tmp_path)) > 10, "eleven steps are learnt")
        os.kill(running.pid, signal.SIGSTOP)
        threading.Timer(1.5, os.kill, (running.pid, signal.SIGCONT)).start()
        told = hear(tmp_path, "analytics")
        ends = [hear(tmp_path, f"rank-{rank}") for rank in range(lab.N_RANKS)]
    lost = [fault for fault in told["faults"] if fault.startswith("step ")]
    assert len(told["timesteps"]) + told["n_dropped"] + len(lost) == n_steps
    assert 1 <= told["n_dropped"] + len(lost) <= 2  # a time-out each
    assert sum(end["n_dropped"] for end in ends) >= 1
    assert [end["last"] for end in ends] == [n_steps - 1] * lab.N_RANKS


def test_paused_rank_is_waited_for_no_longer_than_the_time_out(cluster, tmp_path):
    """Ranks that do not agree on every step lose the one that comes too late, and go on."""
    n_steps, seen = 30, []
    given = options(timeout=1.0, n_steps=n_steps, asks=False)
    with (
        distributed.Client(cluster) as client,
        lab.ranks(cluster.scheduler_address, tmp_path, **given),
        Stream(client, timeout=20) as stream,
    ):
        for step in stream:
            seen.append(int(step.timestep))
            del step
            if len(seen) == 6:
                paused = hear(tmp_path, "rank-1-pid")
                os.kill(paused, signal.SIGSTOP)
                threading.Timer(1.5, os.kill, (paused, signal.SIGCONT)).start()
        ends = [hear(tmp_path, f"rank-{rank}") for rank in range(lab.N_RANKS)]
    lost = [fault for fault in stream.faults if fault.startswith("step ")]
    assert len(seen) + len(lost) + stream.n_dropped == n_steps
    assert lost
    assert "rank 1 did not put it within 1 s of the first rank" in lost[0]
    assert [end["error"] for end in ends] == [""] * lab.N_RANKS


@pytest.mark.parametrize("on_fault", ["skip", "abort"])
def test_killed_scheduler_ends_the_analytics_and_not_the_simulation(tmp_path, on_fault):
    n_steps = 60
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
    command += ["--no-dashboard", "--scheduler-file", str(file), "--host", "127.0.0.1"]
    with lab.process(command, tmp_path, "scheduler") as scheduler:
        wait_until(file.exists, "the scheduler runs")
        with (
            distributed.Client(scheduler_file=str(file), timeout=20) as client,
            lab.ranks(str(file), tmp_path, **options(on_fault=on_fault), n_steps=n_steps),
            Stream(client, timeout=20) as stream,
        ):
            killed = None
            with pytest.raises(SchedulerLostError, match="its scheduler is gone"):  # noqa: PT012
                for step in stream:
                    if int(step.timestep) == 5:
                        scheduler.kill()
                        killed = time.monotonic()
                    del step
            assert time.monotonic() - killed < TIMEOUT
            ends = [hear(tmp_path, f"rank-{rank}") for rank in range(lab.N_RANKS)]
    for rank, end in enumerate(ends):
        if on_fault == "skip":
            assert (end["error"], end["last"]) == ("", n_steps - 1)
            assert 6 <= end["n_put"] <= 6 + IN_FLIGHT
        else:
            assert end["error"].startswith(f"SchedulerLostError: rank {rank} ends at step ")
            assert end["last"] <= 6 + IN_FLIGHT


def test_a_member_s_death_leaves_the_other_members_alone(cluster, tmp_path):
    n_steps = 30
    address, folders = cluster.scheduler_address, {}
    for name in ("sound", "broken"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
    started = {
        name: lab.ranks(address, folder, **options(), stream=name, n_steps=n_steps)
        for name, folder in folders.items()
    }
    with (
        started["sound"],
        started["broken"],
        distributed.Client(cluster) as client,
        Stream(client, "broken", timeout=20) as broken,
        Stream(client, "sound", timeout=20) as sound,
    ):
        pca, steps = lab.model(), iter(broken)
        for _ in range(5):
            next(steps)
        os.kill(hear(folders["broken"], "rank-0-pid"), signal.SIGKILL)
        run = sound.run(pca, progress=False)
        values = np.asarray(pca.singular_values_)
        rest = [int(step.timestep) for step in steps]
    assert run.timesteps == [*range(n_steps)]
    assert (run.skipped, sound.faults, sound.n_dropped) == ({}, [], 0)
    np.testing.assert_allclose(values, reference(run.timesteps), rtol=1e-9)
    assert len(rest) <= IN_FLIGHT
    assert broken.faults[-1].startswith("rank 0 died after step")
