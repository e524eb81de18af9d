"""GaussianMixture on a cluster: one task a chunk and pass, and the same bits anywhere."""

import dask
import dask.array as da
import numpy as np
import pytest

from dask_exa.cluster import GaussianMixture

N_CHUNKS, ROWS, D, K = 12, 500, 16, 3


def make(block_info=None):
    """Make a chunk of samples where it is needed, from its place alone."""
    begin, end = block_info[None]["array-location"][0]
    rng = np.random.default_rng(begin)
    means = 3 * np.random.default_rng(7).standard_normal((K, D))
    return means[rng.integers(K, size=end - begin)] + rng.standard_normal((end - begin, D))


def made():
    chunks = ((ROWS,) * N_CHUNKS, (D,))
    return da.map_blocks(make, chunks=chunks, dtype=float, meta=np.empty((0, 0)))


def received(client):
    """Bytes that workers have received from each other so far."""

    def log(dask_worker):
        return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)

    return sum(client.run(log).values())


@pytest.mark.parametrize("form", ["full", "diag"])
def test_workers_make_no_difference_and_chunks_do_not_move(client, form):
    def fit(X):
        model = GaussianMixture(K, covariance_type=form, random_state=0).fit(X)
        return model, GaussianMixture(K, covariance_type=form, random_state=0).partial_fit(X)

    before = received(client)
    both = fit(made())
    n_passes = both[0].n_iter_ + 2
    statistics = 8 * K * (D * D if form == "full" else D) + 3000
    drawn = 2 * 1024 * 8 * (D + 1)
    assert received(client) - before < 6 * n_passes * statistics + 4 * drawn
    with dask.config.set(scheduler="synchronous"):
        alone = fit(made())
    for there, here in zip(both, alone, strict=True):
        np.testing.assert_array_equal(there.covariances_, here.covariances_)
        np.testing.assert_array_equal(there.means_, here.means_)
    in_memory = fit(made().compute())
    for there, here in zip(both, in_memory, strict=True):
        np.testing.assert_allclose(there.covariances_, here.covariances_, rtol=1e-9, atol=1e-9)
    labels = both[0].predict(made())
    np.testing.assert_array_equal(labels.compute(), in_memory[0].predict(made().compute()))
