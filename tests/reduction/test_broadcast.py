"""Questions to samples: the same answers in memory and from chunks, whatever they are about."""

import dask
import dask.array as da
import numpy as np
import pytest

from dask_exa._samples import as_samples
from dask_exa.reduction import broadcast
from dask_exa.reduction._graph import Graph
from dask_exa.reduction.broadcast import Question, Rounds


@pytest.fixture(autouse=True, params=["synchronous", "threads"])
def scheduler(request):
    with dask.config.set(scheduler=request.param):
        yield request.param


def answer(small, X, sample_weight, row):
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    return [(row, len(X), small * float(np.sum(weight @ X)))]


def united(parts):
    return [item for part in parts for item in part]


QUESTION = Question(answer, united)
X = np.arange(24.0).reshape(12, 2)


@pytest.mark.parametrize("chunks", [(12,), (5, 7), (1,) * 12, (0, 4, 0, 8), (3, 9, 0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_answer_in_their_order_with_their_place(chunks, weighted):
    weight = np.arange(12.0) if weighted else None
    rounds = Rounds(as_samples(da.from_array(X, chunks=(chunks, -1))), weight)
    whole = Rounds(as_samples(X), weight)
    for small in (2.0, -3.0):
        found = rounds.ask(QUESTION, small, split_every=3)
        assert [(row, size) for row, size, _ in found] == [
            (int(row), size)
            for row, size in zip(np.cumsum((0, *chunks)), chunks, strict=False)
            if size
        ]
        (expected,) = whole.ask(QUESTION, small)
        assert sum(total for *_, total in found) == expected[2]
    assert rounds.n_rounds == whole.n_rounds == 2


def test_ranges_in_memory_know_their_place():
    found = Rounds(as_samples(X)).ask(QUESTION, 1.0, n_ranges=3)
    assert [(row, size) for row, size, _ in found] == [(0, 4), (4, 4), (8, 4)]
    assert sum(total for *_, total in found) == X.sum()


def test_lazy_weights_of_samples_in_memory_are_computed():
    rounds = Rounds(as_samples(X), da.arange(12.0, chunks=5))
    assert rounds.ask(QUESTION, 1.0) == [(0, 12, float(np.arange(12.0) @ X.sum(axis=1)))]


def test_round_is_one_task_a_chunk_and_the_value_is_in_the_graph_once(monkeypatch):
    graphs = []

    class Recorded(Graph):
        def run(self, keys, *, wait):
            graphs.append(self)
            return super().run(keys, wait=wait)

    monkeypatch.setattr(broadcast, "Graph", Recorded)
    made = da.ones((12, 2), chunks=(3, -1)).map_blocks(np.negative).map_blocks(np.exp)
    Rounds(as_samples(made)).ask(QUESTION, 1.0)
    (graph,) = graphs
    assert len(graph.tasks) == 4 + 1  # chunks, made where they answer, and one merge
    assert len(graph.sources) == 1  # the value; no chunk is left to be made elsewhere


def test_errors_name_the_chunk():
    def refuse(small, X, sample_weight, row):
        if row == 5:
            raise ValueError("X is bad.")
        return [row]

    rounds = Rounds(as_samples(da.from_array(X, chunks=((5, 7), -1))))
    with pytest.raises(ValueError, match=r"In chunk 1 of the samples: X is bad\."):
        rounds.ask(Question(refuse, united), None)
    nothing = Rounds(as_samples(da.from_array(X[:0], chunks=(0, -1))))
    with pytest.raises(ValueError, match="no samples in any"):
        nothing.ask(QUESTION, 1.0)
