"""One value per block: updated chunk by chunk, mapped, reduced in a fixed order."""

import dask.array as da
import numpy as np
import pytest

from dask_exa.reduction import blocks

X = np.arange(6 * 8 * 4).reshape(6, 8, 4)
LAZY = da.from_array(X, chunks=(2, 4, 4))


def append(place, value, chunk):
    return [*value, (place, int(chunk.sum()))]


@pytest.mark.parametrize("where", ["threads", "workers"])
def test_chunks_of_a_block_follow_each_other(where, request):
    if where == "workers":
        request.getfixturevalue("client")
    values = blocks.update_blocks(append, LAZY, (1,), [["first"], ["second"]])
    expected = [
        [name, *(((i,), int(X[t : t + 2, 4 * i : 4 * i + 4].sum())) for t in (0, 2, 4))]
        for i, name in enumerate(["first", "second"])
    ]
    assert blocks.fetch_values(values) == expected
    again = blocks.update_blocks(append, LAZY[:2], (1,), values)
    assert [len(value) for value in blocks.fetch_values(again)] == [5, 5]
    assert blocks.fetch_values(values) == expected


def test_every_axis_may_tell_blocks_apart():
    values = blocks.update_blocks(append, LAZY, (0, 1, 2), [[]] * 6)
    assert [value[0][0] for value in values] == [(i, j, 0) for i in range(3) for j in range(2)]
    assert blocks.count_blocks(LAZY, (0, 2)) == (3, 1)


@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_values_are_reduced_in_their_order(n):
    assert blocks.reduce_values("".join, [chr(65 + i) for i in range(n)], split_every=3) == "".join(
        chr(65 + i) for i in range(n)
    )


def test_values_are_mapped_place_by_place():
    assert blocks.map_values(lambda a, b: a - b, [5, 7], [1, 2]) == [4, 5]


def test_errors_of_a_chunk_are_raised(client):
    def fail(place, value, chunk):
        if place == (1,):
            raise ValueError("the chunk is bad")
        return value

    with pytest.raises(ValueError, match="the chunk is bad"):
        blocks.update_blocks(fail, LAZY, (1,), [0, 0])
