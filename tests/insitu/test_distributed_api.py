"""What plugin.py, embedded.py and stream.py use of distributed beyond its documented API.

One test for each piece: after an upgrade of distributed, those that fail tell which piece is not
what it was. Scheduler, worker and client are in one event loop, without processes of their own.
"""

import asyncio
import contextlib
import functools
import time

import numpy as np
import pytest

distributed = pytest.importorskip("distributed")
from distributed.diagnostics.plugin import SchedulerPlugin  # noqa: E402
from distributed.protocol.pickle import dumps  # noqa: E402

HOLDER = "a-client-that-does-not-exist"
SCHEDULER = {"dashboard": False, "dashboard_address": ":0", "host": "127.0.0.1", "port": 0}


class Lab:
    """A scheduler, one worker and one client, all connected before anything else happens."""

    def __init__(self, scheduler, worker, client):
        self.scheduler, self.worker, self.client = scheduler, worker, client
        self.heard = []

    def hear(self, **message):
        self.heard.append(message)

    def hold(self, *keys):
        """Put values on the worker and register them in the name of the holder."""
        self.worker.update_data({key: np.zeros(2) for key in keys})
        who_has = {key: [self.worker.address] for key in keys}
        self.scheduler.update_data(who_has=who_has, nbytes=dict.fromkeys(keys, 16), client=HOLDER)


async def until(condition, timeout=5):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def laboratory():
    async with (
        distributed.Scheduler(**SCHEDULER) as scheduler,
        distributed.Worker(scheduler.address, nthreads=1, dashboard=False) as worker,
        distributed.Client(scheduler.address, asynchronous=True, set_as_default=False) as client,
    ):
        yield Lab(scheduler, worker, client)


def in_loop(test):
    """Run a test in an event loop of its own."""

    @functools.wraps(test)  # the wrapper must not look like one that takes a fixture
    def run():
        async def play():
            async with laboratory() as lab:
                await test(lab)

        asyncio.run(asyncio.wait_for(play(), 30))

    del run.__wrapped__
    return run


class Plugin(SchedulerPlugin):
    name, idempotent = "plugin-of-the-test", True

    def __init__(self, number):
        self.number, self.gone = number, []

    async def start(self, scheduler):
        await asyncio.sleep(0)
        self.scheduler = scheduler

    def remove_worker(self, scheduler, worker, **kwargs):
        self.gone.append(("worker", worker))

    def remove_client(self, scheduler, client):
        self.gone.append(("client", client))


async def register(lab, number):
    await lab.worker.scheduler.register_scheduler_plugin(
        plugin=dumps(Plugin(number)), name=Plugin.name, idempotent=True
    )
    return lab.scheduler.plugins[Plugin.name]


@in_loop
async def test_a_worker_registers_a_plugin_and_the_first_one_stays(lab):
    first = await register(lab, 1)
    assert first.scheduler is lab.scheduler  # start() was awaited before the answer
    assert await register(lab, 2) is first
    assert first.number == 1


@in_loop
async def test_a_plugin_is_told_of_workers_and_clients_that_leave(lab):
    plugin = await register(lab, 1)
    async with distributed.Worker(lab.scheduler.address, nthreads=1, dashboard=False) as other:
        pass
    await until(lambda: ("worker", other.address) in plugin.gone)
    options = {"asynchronous": True, "set_as_default": False}
    async with distributed.Client(lab.scheduler.address, **options) as reader:
        pass
    await until(lambda: ("client", reader.id) in plugin.gone)


@in_loop
async def test_stream_handlers_of_the_scheduler_take_what_workers_send(lab):
    """Also those that are added when the worker is connected; in order, with its address."""
    lab.scheduler.stream_handlers["exa-test"] = lab.hear
    for number in range(3):
        lab.worker.batched_send({"op": "exa-test", "number": number})
    await until(lambda: len(lab.heard) == 3)
    assert lab.heard == [{"number": n, "worker": lab.worker.address} for n in range(3)]


@in_loop
async def test_stream_handlers_of_the_scheduler_take_what_clients_send(lab):
    lab.scheduler.stream_handlers["exa-test"] = lab.hear
    for number in range(3):
        lab.client._send_to_scheduler({"op": "exa-test", "number": number})
    await until(lambda: len(lab.heard) == 3)
    assert lab.heard == [{"number": n, "client": lab.client.id} for n in range(3)]


@in_loop
async def test_stream_handlers_of_a_worker_take_what_the_scheduler_sends(lab):
    def hear(stream, news):
        lab.heard.append((stream, news))

    other = distributed.Worker(lab.scheduler.address, nthreads=1, dashboard=False)
    other.stream_handlers["exa-news"] = hear  # before the start, as the embedded worker does
    async with other:
        message = {"op": "exa-news", "stream": "s", "news": {"stop": "too hot"}}
        lab.scheduler.worker_send(other.address, message)
        await until(lambda: lab.heard)
    assert lab.heard == [("s", {"stop": "too hot"})]


@in_loop
async def test_handlers_of_the_scheduler_answer_workers(lab):
    lab.scheduler.handlers["exa_open"] = lambda name, about: {"id": name, "n": len(about)}
    answer = await lab.worker.scheduler.exa_open(name="s", about=b"1234")
    assert answer == {"id": "s", "n": 4}


@in_loop
async def test_periodic_callbacks_stop_with_the_scheduler(lab):
    from tornado.ioloop import PeriodicCallback

    clock = PeriodicCallback(lambda: lab.heard.append("tick"), 5)
    lab.scheduler.periodic_callbacks["exa-test"] = clock
    clock.start()
    await until(lambda: lab.heard)
    async with distributed.Scheduler(**SCHEDULER) as other:
        other.periodic_callbacks["exa-test"] = clock
    assert not clock.is_running()


@in_loop
async def test_update_data_of_a_worker_keeps_the_very_object(lab):
    array = np.arange(4.0)
    lab.worker.update_data({("s-x-0", 0): array})
    assert lab.worker.data["s-x-0", 0] is array
    assert not lab.scheduler.tasks  # it is for the plugin to tell the scheduler


@in_loop
async def test_update_data_of_the_scheduler_holds_for_a_client_that_does_not_exist(lab):
    keys = [("s-x-0", 0), ("s-x-0", 1)]
    lab.hold(*keys)
    for key in keys:
        task = lab.scheduler.tasks[key]
        assert (task.state, task.nbytes) == ("memory", 16)
        assert [one.address for one in task.who_has] == [lab.worker.address]
        assert [one.client_key for one in task.who_wants] == [HOLDER]
    assert HOLDER not in lab.scheduler.client_comms  # which nothing may take for granted
    assert HOLDER in lab.scheduler.clients


@in_loop
async def test_client_releases_keys_frees_them_on_the_worker(lab):
    lab.hold("kept", "freed")
    lab.scheduler.client_releases_keys(keys=["freed"], client=HOLDER)
    await until(lambda: "freed" not in lab.worker.data)
    assert set(lab.worker.data) == {"kept"}
    assert set(lab.scheduler.tasks) == {"kept"}


@in_loop
async def test_remove_client_frees_what_it_held_and_takes_unknown_ones(lab):
    lab.hold("freed")
    lab.scheduler.remove_client(HOLDER)
    await until(lambda: "freed" not in lab.worker.data)
    assert HOLDER not in lab.scheduler.clients
    lab.scheduler.remove_client(HOLDER)


@in_loop
async def test_remove_replicas_frees_what_the_scheduler_was_never_told_of(lab):
    lab.worker.update_data({("s-x-0", 0): np.zeros(2), ("s-x-1", 0): np.zeros(2)})
    message = {"op": "remove-replicas", "keys": [("s-x-0", 0)], "stimulus_id": "exa-1.0"}
    lab.scheduler.worker_send(lab.worker.address, message)
    await until(lambda: ("s-x-0", 0) not in lab.worker.data)
    assert set(lab.worker.data) == {("s-x-1", 0)}


@in_loop
async def test_a_client_keeps_keys_while_it_has_futures_that_it_asked_for(lab):
    key = ("s-x-0", 0)
    lab.hold(key)
    future = distributed.Future(key, lab.client)
    lab.client._send_to_scheduler({"op": "client-desires-keys", "keys": [key]})
    await until(lambda: len(lab.scheduler.tasks[key].who_wants) == 2)
    lab.scheduler.client_releases_keys(keys=[key], client=HOLDER)
    assert float(await lab.client.submit(np.sum, future)) == 0.0
    assert key in lab.worker.data
    del future
    await until(lambda: key not in lab.worker.data)


@in_loop
async def test_messages_of_a_client_do_not_overtake_its_graphs(lab):
    """A step is released behind the graph that was made of it, whose tasks then keep the chunk."""
    key = ("s-x-0", 0)
    lab.hold(key)

    def release(client):
        lab.scheduler.client_releases_keys(keys=[key], client=HOLDER)
        lab.heard.append(total.key in lab.scheduler.tasks)

    lab.scheduler.stream_handlers["exa-released"] = release
    future = distributed.Future(key, lab.client)
    lab.client._send_to_scheduler({"op": "client-desires-keys", "keys": [key]})
    total = lab.client.submit(np.sum, future)
    del future
    lab.client._send_to_scheduler({"op": "exa-released"})
    assert float(await total) == 0.0
    await until(lambda: lab.heard and key not in lab.worker.data)
    assert lab.heard == [True]


@in_loop
async def test_topics_tell_events_in_order_until_they_are_left(lab):
    seen = []
    lab.client.subscribe_topic("exa-news-of-s", lambda event: seen.append(event[1]))
    lab.scheduler.stream_handlers["exa-attach"] = lab.hear
    lab.client._send_to_scheduler({"op": "exa-attach"})
    await until(lambda: lab.heard)  # from here on nothing may be missed
    for step in range(5):
        lab.scheduler.log_event("exa-news-of-s", {"what": "step", "step": step, "raw": b"\x00"})
    await until(lambda: len(seen) == 5)
    assert [event["step"] for event in seen] == [*range(5)]
    assert seen[0]["raw"] == b"\x00"
    lab.client.unsubscribe_topic("exa-news-of-s")


@in_loop
async def test_intervals_of_batched_streams_are_heeded_when_they_change(lab):
    lab.scheduler.stream_handlers["exa-test"] = lambda **message: lab.heard.append(time.monotonic())

    async def seconds_apart(stream, send, interval):
        del lab.heard[:]
        stream.interval = interval
        await asyncio.sleep(0.02)  # the pause that began under the interval before
        for n_heard in (1, 2):
            send({"op": "exa-test"})
            await until(functools.partial(lambda n: len(lab.heard) == n, n_heard))
        return lab.heard[1] - lab.heard[0]

    comm = lab.client.scheduler_comm
    assert await seconds_apart(comm, lab.client._send_to_scheduler, 0.001) < 0.1
    assert await seconds_apart(comm, lab.client._send_to_scheduler, 0.2) > 0.15
    assert lab.scheduler.stream_comms[lab.worker.address].interval > 0


@in_loop
async def test_a_worker_says_what_it_sent_and_that_it_has_ended(lab):
    other = distributed.Worker(lab.scheduler.address, nthreads=1, dashboard=False)
    await other
    [future] = await lab.client.scatter([np.zeros(1000)], workers=[other.address])
    before = other.transfer_outgoing_bytes_total
    assert (await lab.client.gather(future)).shape == (1000,)
    await until(lambda: other.transfer_outgoing_bytes_total - before >= 8000)
    ended = asyncio.ensure_future(other.finished())
    await asyncio.sleep(0)
    assert not ended.done()
    await other.close_gracefully()
    await ended
    assert (await lab.client.gather(future)).shape == (1000,)  # its data have moved
    assert set(lab.scheduler.workers) == {lab.worker.address}


def test_a_worker_ends_and_a_client_is_not_running_when_the_scheduler_is_gone():
    async def play():
        async with contextlib.AsyncExitStack() as stack:
            scheduler = await distributed.Scheduler(**SCHEDULER)
            worker = await distributed.Worker(scheduler.address, nthreads=1, dashboard=False)
            stack.push_async_callback(worker.close)
            client = await stack.enter_async_context(
                distributed.Client(scheduler.address, asynchronous=True, set_as_default=False)
            )
            assert client.status == "running"
            await scheduler.close()
            await asyncio.wait_for(worker.finished(), 5)
            await until(lambda: client.status != "running")

    asyncio.run(play())


def test_a_worker_without_a_scheduler_gives_up_in_time():
    async def play():
        started = time.monotonic()
        with pytest.raises((OSError, TimeoutError, RuntimeError)):
            await distributed.Worker(
                "tcp://127.0.0.1:1", nthreads=1, dashboard=False, death_timeout=0.3
            )
        assert time.monotonic() - started < 5

    asyncio.run(play())
