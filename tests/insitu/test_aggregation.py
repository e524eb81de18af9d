"""Many ranks behind one worker: one message a step, and the numbers of ranks that speak alone."""

import collections
import pickle
import threading

import numpy as np
import pytest

from dask_exa.decomposition import IncrementalPCA
from dask_exa.insitu import Stream, plugin
from dask_exa.insitu._events import Put
from dask_exa.insitu._layout import arrange, read_chunk
from dask_exa.insitu._node import join_puts, split_puts
from dask_exa.insitu.embedded import EmbeddedWorker
from tests.inputs.streams import make_steps, stream_of

N_STEPS, HEIGHT, WIDTH = 8, 2, 8
RANKS_OF_NODES = ((0, 2), (1,))


@pytest.fixture
def received(lab):
    """Counts of the messages of ranks that the scheduler gets."""
    counts = collections.Counter()
    scheduler = lab.cluster.scheduler
    lab.register_plugin(plugin.InsituPlugin())
    kept = dict(scheduler.stream_handlers)

    def counting(op):
        def handle(**fields):
            counts[op] += 1
            return kept[op](**fields)

        return handle

    for op in ("exa-put", "exa-puts"):
        scheduler.stream_handlers[op] = counting(op)
    yield counts
    scheduler.stream_handlers.update(kept)


class Nodes:
    """The workers of two nodes, with two ranks and one, and a stream that they have opened."""

    def __init__(self, lab, name):
        self.let_go = threading.Event()
        address = lab.cluster.scheduler_address
        self.workers = [
            EmbeddedWorker(
                address, name=f"{name}-{i}", on_news=self.hear, on_lost=print, timeout=10
            )
            for i in range(len(RANKS_OF_NODES))
        ]
        declared = [
            {
                "density": read_chunk(
                    "density",
                    {
                        "global_shape": (3 * HEIGHT, WIDTH),
                        "chunk_shape": (HEIGHT, WIDTH),
                        "chunk_position": (rank, 0),
                        "dims": ("y", "x"),
                    },
                )
            }
            for rank in range(3)
        ]
        layouts = arrange(declared)
        home = {
            rank: w for ranks, w in zip(RANKS_OF_NODES, self.workers, strict=True) for rank in ranks
        }
        self.stream = self.workers[0].ask(
            "exa_open",
            name=name,
            about=pickle.dumps({"layouts": layouts, "coords": {}}),
            workers=[home[rank].address for rank in range(3)],
            depth=2,
            timeout=10.0,
            time_to_live=10.0,
        )["id"]

    def hear(self, news):
        if "let_go" in news:
            self.let_go.set()

    def put(self, step):
        """Every node sends the chunks of its ranks in one message."""
        at, field = int(step.timestep), step.density.values
        for ranks, worker in zip(RANKS_OF_NODES, self.workers, strict=True):
            chunks = {rank: np.array(field[2 * rank : 2 * rank + 2]) for rank in ranks}
            puts = [
                Put(rank, at, float(step.time), ("density",), (chunk.nbytes,))
                for rank, chunk in chunks.items()
            ]
            prefix = plugin.key_prefix(self.stream, "density", at)
            data = {(prefix, rank, 0): chunk for rank, chunk in chunks.items()}
            worker.hold_and_send(data, "exa-puts", stream=self.stream, **join_puts(puts))

    def close(self):
        for ranks, worker in zip(RANKS_OF_NODES, self.workers, strict=True):
            for rank in ranks:
                worker.hold_and_send({}, "exa-closed", stream=self.stream, rank=rank, error="")

    def leave(self):
        assert self.let_go.wait(10)
        for worker in self.workers:
            worker.close(move_data=False)


def test_one_message_a_node_and_step_gives_the_numbers_of_memory(lab, received):
    steps = make_steps(N_STEPS)
    nodes = Nodes(lab, "nodes")
    for step in steps:
        nodes.put(step)
    nodes.close()
    live, memory = (IncrementalPCA(3, sample_dims="time") for _ in range(2))
    seen = []
    with lab.as_current(), Stream(lab, "nodes", timeout=20) as stream:
        stream.run(
            live,
            variables="density",
            progress=False,
            on_step=lambda step, run: seen.append(step.density.compute().values),
        )
    nodes.leave()
    assert received == {"exa-puts": N_STEPS * len(RANKS_OF_NODES)}
    assert stream.faults == []
    np.testing.assert_array_equal(seen, [step.density.values for step in steps])
    stream_of(steps).run(memory, variables="density", progress=False)
    np.testing.assert_allclose(live.singular_values_, memory.singular_values_, rtol=1e-10)
    kept = [key for key in lab.cluster.scheduler.tasks if str(key).startswith("('nodes-")]
    assert kept == []


def test_a_node_that_dies_is_named_by_its_first_rank_and_ends_the_stream(lab):
    (first,) = make_steps(1)
    nodes = Nodes(lab, "broken")
    nodes.put(first)
    with Stream(lab, "broken", timeout=20) as stream:
        steps = iter(stream)
        assert int(next(steps).timestep) == int(first.timestep)
        nodes.workers[0].close(move_data=False)
        nodes.close()
        assert list(steps) == []
    lost, ended = stream.faults
    assert lost == f"step {int(first.timestep)} is lost: its chunks on rank 0 went with its worker"
    assert ended == f"rank 0 died after step {int(first.timestep)}"
    nodes.leave()


def test_what_is_joined_is_split_again():
    puts = [
        Put(4, 3, 0.5, ("a", "b"), (8, 16), 0.25, 2),
        Put(1, 3, 0.5, ("a",), (8,)),
        Put(9, 3, 0.5, (), ()),
        Put(5, 3, 0.5, ("a", "b"), (8, 16)),
    ]
    message = join_puts(puts)
    assert len(message["kinds"]) == 3
    assert list(split_puts(**message)) == puts
    with pytest.raises(ValueError, match="of the steps and times"):
        join_puts([puts[0], puts[1]._replace(step=4)])
