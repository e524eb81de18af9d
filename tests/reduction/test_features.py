"""Blocks of features are summarized where they are, and come together in their places."""

import dask
import dask.array as da
import numpy as np
import pytest

from dask_exa._samples import Samples
from dask_exa.reduction.features import reduce_features
from dask_exa.summaries import Reducer, moments, ranges, sketch
from tests import naive

REDUCERS = {
    "moments": (Reducer(moments.summarize, moments.merge), moments.join),
    "ranges": (Reducer(ranges.summarize, ranges.merge), ranges.join),
    "sketch": (sketch.reducer(64), sketch.join),
}
CHUNKS = {
    "features": (-1, -1, 2, 3),
    "one axis of features": (-1, -1, -1, 1),
    "all": (5, 2, 4, 2),
    "uneven": ((1, 10, 1), (3, 1), (1, 5), (2, 1, 2)),
    "empty": ((0, 12, 0), -1, 3, -1),
}


def fields():
    """Samples (12, 4) of fields (6, 5), and weights."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((12, 4, 6, 5)) * rng.uniform(1, 9, (6, 5)), rng.random(48)


def reduce(name, chunks, weight=None):
    X, _ = fields()
    samples = Samples(da.from_array(X, chunks=chunks), n_sample_axes=2)
    reducer, join = REDUCERS[name]
    with dask.config.set(scheduler="synchronous"):
        return reduce_features(reducer, samples, weight, join)


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
@pytest.mark.parametrize("weighted", [False, True, "lazy"])
def test_moments_of_blocks_are_those_of_the_whole(chunks, weighted):
    X, weight = fields()
    given = {False: None, True: weight, "lazy": da.from_array(weight, chunks=7)}[weighted]
    found = reduce("moments", chunks, given)
    total, mean, scatter = naive.moments(X.reshape(48, 30), weight if weighted else None)
    np.testing.assert_allclose(found.weight, total)
    np.testing.assert_allclose(found.mean, mean, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.m2, scatter.diagonal(), rtol=1e-12)
    assert found.n_samples == 48


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
def test_other_summaries_come_together_in_their_places(chunks):
    X = fields()[0].reshape(48, 30)
    assert np.array_equal(reduce("ranges", chunks).maximum, X.max(axis=0))
    found = reduce("sketch", chunks)
    levels = np.linspace(0, 1, 7)
    wanted = np.percentile(X, 100 * levels, axis=0)
    np.testing.assert_allclose(sketch.quantiles(found, levels), wanted, rtol=0, atol=1e-13)


def test_blocks_of_a_thinned_sketch_have_the_same_weights():
    X = np.random.default_rng(0).standard_normal((5000, 6))
    reducer, join = REDUCERS["sketch"]
    lazy = da.from_array(X, chunks=(700, 2))
    with dask.config.set(scheduler="synchronous"):
        found = reduce_features(reducer, Samples(lazy), None, join)
    quantiles = sketch.quantiles(found, np.array([0.25, 0.5]))
    for f in range(6):
        off = naive.rank_errors(quantiles[:, f], np.array([0.25, 0.5]), X[:, f])
        assert off.max() < sketch.rank_error(found)


def test_no_samples_are_refused():
    samples = Samples(da.zeros((0, 6), chunks=(0, 2)))
    with pytest.raises(ValueError, match="X has no samples in any of its 3 chunks"):
        reduce_features(REDUCERS["moments"][0], samples, None, moments.join)


def test_an_error_names_the_chunk_of_samples():
    X = np.ones((9, 6))
    X[7, 4] = np.nan
    samples = Samples(da.from_array(X, chunks=(3, 2)))
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(ValueError, match=r"chunk 2 of the samples.*NaN"),
    ):
        reduce_features(REDUCERS["moments"][0], samples, None, moments.join)
