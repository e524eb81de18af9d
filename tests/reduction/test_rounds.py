"""Broadcast-reduce over blocks: Lloyd's algorithm, and slabs that do what tiles do."""

import functools

import dask
import dask.array as da
import numpy as np
import pytest

from dask_exa.reduction import rounds
from dask_exa.reduction._graph import Chunks, Graph, ref
from dask_exa.summaries import svd
from dask_exa.summaries.svd import Truncation, Turn
from dask_exa.summaries.tiles import Batch, Tiles


@pytest.fixture(autouse=True, params=["synchronous", "threads"])
def scheduler(request):
    with dask.config.set(scheduler=request.param):
        yield request.param


def assign(centers, X):
    """Label every row of a block: the value that each block keeps from round to round."""
    distance = ((X[:, None, :] - centers[None]) ** 2).sum(axis=2)
    return distance.argmin(axis=1)


def sums(X, labels, k=3):
    member = labels[:, None] == np.arange(k)
    return member.T.astype(float) @ X, member.sum(axis=0)


def total(answers):
    return tuple(map(sum, zip(*answers, strict=True)))


def centers_of(answer):
    return answer[0] / answer[1][:, None]


def test_lloyd_on_blocks_is_lloyd():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2)) + np.repeat([[0, 0], [6, 0], [0, 6]], 100, axis=0)
    rng.shuffle(X)
    expected = X[:3]
    for _ in range(4):
        expected = centers_of(sums(X, assign(expected, X)))
    graph = Graph()
    chunks = Chunks(da.from_array(X, chunks=(40, 2)))
    keys = list(chunks.keys[:, 0])
    graph.add_chunks(chunks, keys, [0.0] * len(keys))
    centers = graph.add_value(X[:3])
    for _ in range(4):
        labels = rounds.update(graph, assign, [[key] for key in keys], centers)
        blocks = list(zip(keys, labels, strict=True))
        centers = rounds.gather(graph, sums, blocks, total, centers_of)
    (found,) = graph.run([centers], wait=True)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    np.testing.assert_allclose(np.sort(np.linalg.norm(found, axis=1)), [0, 6, 6], atol=0.4)


@pytest.mark.parametrize("n_blocks", [1, 2, 31, 33, 100])
def test_answers_are_combined_in_the_order_of_the_blocks(n_blocks):
    graph = Graph()
    blocks = [[graph.add_value(i), graph.add_value(-i)] for i in range(n_blocks)]
    root = rounds.gather(
        graph, lambda a, b: ((a, b),), blocks, lambda answers: sum(answers, ()), list
    )
    assert graph.run([root], wait=True) == [[(i, -i) for i in range(n_blocks)]]


def summarize(X):
    """Return a block as a summary that is not compressed."""
    return Tiles([Batch(X)]).rotate(Turn(None, 0.0, 0.0), "float64")


@pytest.mark.parametrize("solver", ["gram", "qr"])
@pytest.mark.parametrize("edges", [(), (30,), (10, 20, 30), (1, 2, 3)])
def test_slabs_do_what_tiles_do(edges, solver):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(3, 2, (20, 40)), rng.normal(3, 2, (12, 40))
    truncation = Truncation(6, solver=solver)
    whole = svd.compress(Tiles([summarize(X), Batch(Y)]), truncation)
    graph = Graph()
    slabs = [
        [graph.add_value(summarize(x)), graph.add_value(y)]
        for x, y in zip(np.split(X, edges, axis=1), np.split(Y, edges, axis=1), strict=True)
    ]
    columns = rounds.Slabs(graph, slabs, [lambda summary: summary, Batch], 33)
    found = graph.run(svd.compress(columns, truncation), wait=True)
    rows = np.hstack([slab.rows for slab in found])
    np.testing.assert_allclose(rows.T @ rows, whole.rows.T @ whole.rows, atol=1e-10)
    m2 = np.hstack([slab.moments.m2 for slab in found])
    np.testing.assert_allclose(m2, whole.moments.m2, rtol=1e-13)
    for slab in found:
        np.testing.assert_allclose([slab.tail, slab.bound], [whole.tail, whole.bound], rtol=1e-10)
        assert slab.moments.n_samples == 32


def test_values_of_blocks_are_updated_in_their_order():
    graph = Graph()
    blocks = [[graph.add_value(i)] for i in range(5)]
    small = graph.add_task("small", functools.partial(int, "10"))
    keys = rounds.update(graph, lambda broadcast, value: broadcast * value, blocks, small)
    assert graph.run(keys, wait=True) == [0, 10, 20, 30, 40]
    (values,) = graph.run([graph.add_task("all", list, ref(keys))], wait=True)
    assert values == [0, 10, 20, 30, 40]
