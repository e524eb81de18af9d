"""Groups of neighbouring chunks that workers can hold, and functions that are sent once."""

import functools
import itertools
import operator

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_exa._samples import as_samples
from dask_exa.reduction import groups, samplewise
from dask_exa.reduction.samplewise import map_samples


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), most=st.integers(1, 30))
def test_groups_are_whole_chunks_and_as_large_as_they_may_be(sizes, most):
    found = groups.group_rows(sizes, 8.0, most)
    edges = {0, *np.cumsum(sizes).tolist()}
    assert [rows.start for rows in found] == [0, *(rows.stop for rows in found[:-1])]
    assert found[-1].stop == sum(sizes)
    assert {rows.stop for rows in found} <= edges
    for rows in found:
        is_one_chunk = not {*range(rows.start + 1, rows.stop)} & edges
        assert rows.stop - rows.start <= most or is_one_chunk
    for first, second in itertools.pairwise(found):
        next_chunk = min(edge for edge in edges if edge > second.start)
        assert next_chunk - first.start > most


def test_a_group_takes_a_fifth_of_the_memory(monkeypatch):
    monkeypatch.setattr(groups, "workers_memory", lambda: 1000.0)
    assert groups.group_rows([10] * 4, 10.0) == [slice(0, 20), slice(20, 40)]


def test_memory_is_that_of_all_workers(client):
    limits = [w["memory_limit"] for w in client.scheduler_info()["workers"].values()]
    assert groups.workers_memory() == pytest.approx(sum(limits))


def test_what_is_not_lazy_is_held_as_it_is():
    values = np.zeros(3)
    assert groups.held(values) is values
    assert groups.held(None) is None


def test_large_functions_travel_once(client, monkeypatch):
    monkeypatch.setattr(samplewise, "_EMBED_BYTES", 1000)
    matrix = np.random.default_rng(0).standard_normal((4, 50))
    function = functools.partial(np.dot, b=matrix)
    lazy = da.ones((60, 4), chunks=(10, 4))
    mapped = map_samples(function, as_samples(lazy), 50)
    assert len(dict(mapped.__dask_graph__())) > 0
    np.testing.assert_allclose(mapped.compute(), np.ones((60, 4)) @ matrix)
    twice = map_samples(operator.itemgetter((slice(None), 0)), as_samples(mapped))
    np.testing.assert_allclose(twice.compute(), (np.ones((60, 4)) @ matrix)[:, 0])
