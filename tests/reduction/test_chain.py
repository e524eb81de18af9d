"""Chunks are learnt in their order, one after the other, where they are."""

import dask
import dask.array as da
import numpy as np
import pytest

from dask_exa.reduction.chain import chain


def extend(seen, X):
    if (X < 0).any():
        raise ValueError("negative")
    return (*seen, *X[:, 0].tolist())


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (0, 2, 0, 0, 5), (1,) * 7])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_every_row_in_its_order(sizes, scheduler):
    X = da.from_array(np.arange(14.0).reshape(7, 2), chunks=(sizes, -1))
    with dask.config.set(scheduler=scheduler):
        assert chain(extend, X + 1, (0.5,)) == (0.5, 1, 3, 5, 7, 9, 11, 13)


def test_making_a_chunk_is_part_of_learning_it():
    """So that no more than one is in memory at a time."""
    alive = []

    def make(block):
        alive.append(block.shape)
        return block

    X = da.zeros((40, 2), chunks=(10, 2)).map_blocks(make, meta=np.empty((0, 2)))
    made = []
    with dask.config.set(scheduler="threads", num_workers=4):
        chain(lambda seen, X: made.append(len(alive)) or seen, X, ())
    assert made == [1, 2, 3, 4]


def test_errors_name_the_chunk():
    X = da.from_array(np.array([[1.0], [2.0], [-3.0]]), chunks=(1, 1))
    with pytest.raises(ValueError, match="In chunk 2 of the samples: negative"):
        chain(extend, X, ())
    with pytest.raises(ValueError, match="no samples in any of its 1 chunks"):
        chain(extend, X[:0], ())
