"""Reducers may ask where among the samples a block stands."""

import itertools

import dask.array as da
import numpy as np

from dask_exa.reduction.fold import fold
from dask_exa.reduction.tree import tree
from dask_exa.summaries import Reducer

X = np.arange(10.0)[:, None]


def reducer(first=0):
    return Reducer(
        lambda block, weight: [(first, len(block))],
        lambda summaries: list(itertools.chain(*summaries)),
        located=lambda row: reducer(first + row),
    )


def test_every_chunk_knows_its_first_row():
    assert tree(reducer(), da.from_array(X, chunks=(4, 1))) == [(0, 4), (4, 4), (8, 2)]
    assert tree(reducer(5), da.from_array(X, chunks=(10, 1))) == [(5, 10)]


def test_empty_chunks_count_nothing():
    lazy = da.concatenate([da.from_array(part) for part in (X[:3], X[:0], X[3:])])
    assert tree(reducer(), lazy) == [(0, 3), (3, 7)]


def test_every_range_knows_its_first_row():
    assert fold(reducer(), X, n_ranges=2) == [(0, 5), (5, 5)]
    assert fold(reducer(), X, start=[(7, 1)]) == [(7, 1), (0, 10)]
