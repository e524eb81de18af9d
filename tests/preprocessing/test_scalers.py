"""All scalers: any kind of input gives one result in its own kind, lazily, chunk by chunk."""

import math

import array_api_strict
import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import sklearn.preprocessing as peers
import xarray as xr
from scipy import sparse

from dask_exa.preprocessing import (
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

SCALERS = {
    "standard": (StandardScaler(), peers.StandardScaler()),
    "min-max": (MinMaxScaler((-1, 3), clip=True), peers.MinMaxScaler((-1, 3), clip=True)),
    "robust": (RobustScaler(unit_variance=True), peers.RobustScaler(unit_variance=True)),
    "uniform": (QuantileTransformer(n_quantiles=50), peers.QuantileTransformer(n_quantiles=50)),
    "normal": (
        QuantileTransformer(n_quantiles=50, output_distribution="normal"),
        peers.QuantileTransformer(n_quantiles=50, output_distribution="normal"),
    ),
}
BY_SCALER = pytest.mark.parametrize(("scaler", "peer"), SCALERS.values(), ids=SCALERS.keys())
OTHERWISE = {
    StandardScaler: ("with_mean", False),
    MinMaxScaler: ("clip", False),
    RobustScaler: ("unit_variance", False),
    QuantileTransformer: ("n_quantiles", 7),
}
CHUNKS = {
    "rows": (30, -1),
    "single rows": (1, -1),
    "columns": (-1, 3),
    "both": (40, 4),
    "uneven": ((1, 100, 19), (5, 1, 4)),
}
BY_CHUNKS = pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())


def samples(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((120, 10)) * rng.uniform(0.1, 5, 10) + rng.uniform(-20, 20, 10)
    X[:, 4] = 7.0
    X[:, 5] = rng.integers(0, 3, 120)
    return X.astype(dtype)


def fresh(scaler):
    return type(scaler)(**scaler.get_params())


def close(actual, wanted, rtol=1e-12):
    scale = np.nanmax(np.abs(wanted))
    np.testing.assert_allclose(np.asarray(actual), wanted, rtol=0, atol=rtol * scale)


@BY_SCALER
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
def test_equals_scikit_learn(scaler, peer, dtype):
    X, new = samples(dtype), samples(dtype, seed=1)
    # in float32, scikit-learn takes values at the ends for others that are 1e-7 away
    found, wanted = fresh(scaler).fit(X), peer.fit(X.astype(np.float64))
    rtol = 1e-6 if dtype == np.float32 else 1e-12
    for values in (X, new):
        there = wanted.transform(values.astype(np.float64))
        here = found.transform(values)
        assert here.dtype == (np.float32 if dtype == np.float32 else np.float64)
        close(here, there, rtol)
        close(found.inverse_transform(there), wanted.inverse_transform(there), 1e-12)
    assert np.array_equal(found.fit_transform(X), found.transform(X))


@BY_SCALER
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@BY_CHUNKS
def test_lazy_samples_stay_lazy_and_chunked(scaler, peer, dtype, chunks):
    X = samples(dtype)
    lazy = da.from_array(X, chunks=chunks)
    found, wanted = fresh(scaler).fit(lazy), fresh(scaler).fit(X)
    for there, here in (
        (wanted.transform(X), found.transform(lazy)),
        (wanted.inverse_transform(X), found.inverse_transform(lazy)),
    ):
        assert isinstance(here, da.Array)
        assert (here.chunks, here.dtype) == (lazy.chunks, X.dtype)
        close(here.compute(scheduler="synchronous"), there, 1e-6 if dtype == np.float32 else 1e-12)


@BY_SCALER
@BY_CHUNKS
def test_one_task_a_chunk_is_fused_onto_what_makes_it(scaler, peer, chunks):
    fitted = fresh(scaler).fit(samples())
    lazy = da.ones((120, 10), chunks=chunks).map_blocks(np.sin)
    (optimized,) = dask.optimize(fitted.transform(lazy))
    n_tasks = len(dict(optimized.__dask_graph__()))
    assert n_tasks == lazy.npartitions + lazy.numblocks[1]  # what belongs to a block of features


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler((-1, 3)), RobustScaler()])
def test_scalers_are_affine_maps(scaler):
    X = samples()
    fitted = fresh(scaler).fit(X)
    where = fitted._coordinates()
    close((X - where.origin) * where.matrix + where.start, fitted.transform(X))
    assert MinMaxScaler(clip=True).fit(X)._coordinates() is None


@BY_SCALER
@BY_CHUNKS
def test_every_chunk_is_read_once(scaler, peer, chunks):
    X, read = samples(), []

    def make(block_info):
        place = tuple(slice(*ends) for ends in block_info[None]["array-location"])
        read.append(place)
        return X[place]

    chunks = da.core.normalize_chunks(chunks, X.shape)
    lazy = da.map_blocks(make, chunks=chunks, dtype=float, meta=np.empty((0, 0)))
    with dask.config.set(scheduler="synchronous"):
        read.clear()
        n_chunks = math.prod(lazy.numblocks)
        fitted = fresh(scaler).fit(lazy)
        assert len(read) == n_chunks
        mapped = fitted.transform(lazy)
        assert len(read) == n_chunks
        close(mapped.compute(), fresh(scaler).fit_transform(X))
        assert len(read) == 2 * n_chunks


@BY_SCALER
@pytest.mark.parametrize("chunks", [None, {"time": 13}, {"time": 13, "y": 2}])
def test_labelled_samples_stay_labelled(scaler, peer, chunks):
    X = samples()
    film = xr.DataArray(
        X.reshape(120, 2, 5).transpose(1, 0, 2),
        dims=("x", "time", "y"),
        coords={"x": [3.0, 4.0], "time": np.arange(120) / 2, "height": (("x", "y"), np.eye(2, 5))},
    )
    film = film if chunks is None else film.chunk(chunks)
    found, wanted = fresh(scaler).set_params(sample_dims="time").fit(film), fresh(scaler).fit(X)
    here = found.transform(film)
    assert here.dims == ("time", "x", "y")
    assert (here.chunks is None) == (chunks is None)
    xr.testing.assert_equal(here.drop_vars("time").height, film.height)
    close(here.values.reshape(120, -1), wanted.transform(X))
    back = found.inverse_transform(here).transpose(*film.dims)
    close(
        back.values,
        wanted.inverse_transform(wanted.transform(X)).reshape(120, 2, 5).transpose(1, 0, 2),
    )
    if "scale_" in dir(type(found)):
        assert found.scale_.dims == ("x", "y")
        close(found.scale_.values.ravel(), wanted.scale_)
    else:
        assert found.quantiles_.dims == ("quantile", "x", "y")
        close(found.quantiles_.values.reshape(50, 10), wanted.quantiles_)


@BY_SCALER
def test_other_namespaces_stay_in_theirs(scaler, peer):
    X = samples()
    found, wanted = fresh(scaler).fit(array_api_strict.asarray(X)), fresh(scaler).fit(X)
    there = wanted.transform(X)
    for fitted, values in ((found, X), (wanted, X)):
        here = fitted.transform(array_api_strict.asarray(values))
        assert type(here) is type(array_api_strict.zeros(1))
        close(here, there)
        back = fitted.inverse_transform(here)
        close(back, wanted.inverse_transform(there))
    close(found.transform(X), there)


@BY_SCALER
def test_names_of_features(scaler, peer):
    frame = pd.DataFrame(samples(), columns=[f"n{i}" for i in range(10)])
    fitted = fresh(scaler).set_output(transform="pandas")
    here = fitted.fit_transform(frame)
    assert list(here.columns) == list(fitted.get_feature_names_out()) == list(frame.columns)
    close(here.values, fresh(scaler).fit_transform(samples()))
    close(
        fitted.inverse_transform(here.values),
        fresh(scaler).fit(samples()).inverse_transform(here.values),
    )
    bare = fresh(scaler).fit(samples())
    assert bare.get_feature_names_out()[3] == "x3"


@BY_SCALER
def test_the_way_back_ends_where_it_began(scaler, peer):
    X = samples()
    fitted = fresh(scaler)
    if isinstance(fitted, QuantileTransformer):
        fitted.set_params(n_quantiles=len(X))
    fitted.fit(X)
    close(fitted.inverse_transform(fitted.transform(X)), X, 1e-11)


@BY_SCALER
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_values_are_refused(scaler, peer, bad):
    X = samples()
    fitted = fresh(scaler).fit(X)
    broken = X.copy()
    broken[70, 3] = bad
    for call in (fresh(scaler).fit, fitted.partial_fit, fitted.transform, fitted.inverse_transform):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            call(broken)
    with pytest.raises(ValueError, match=r"chunk 2 of the samples.*NaN"):
        fresh(scaler).fit(da.from_array(broken, chunks=(30, -1)))
    assert np.array_equal(fitted.transform(X), fresh(scaler).fit(X).transform(X))


@BY_SCALER
def test_a_missing_value_of_a_chunk_stays_missing(scaler, peer):
    X = samples()
    fitted = fresh(scaler).fit(X)
    wanted = fitted.transform(X)
    wanted[70, 3] = np.nan
    broken = X.copy()
    broken[70, 3] = np.nan
    here = fitted.transform(da.from_array(broken, chunks=(30, -1))).compute(scheduler="synchronous")
    close(here, wanted)


@BY_SCALER
def test_sparse_matrices_are_refused(scaler, peer):
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        fresh(scaler).fit(sparse.csr_array(samples()))


@BY_SCALER
def test_weights_that_nobody_has_seen_together_may_be_zero(scaler, peer):
    X = samples()
    lazy = da.from_array(X, chunks=(30, -1))
    weights = (np.arange(120) >= 60).astype(float)
    found = fresh(scaler).fit(lazy, sample_weight=da.from_array(weights, chunks=30))
    close(found.transform(X), fresh(scaler).fit(X[60:]).transform(X))
    fitted = fresh(scaler)
    with pytest.raises(ValueError, match="sample_weight is zero for every sample"):
        fitted.fit(lazy, sample_weight=da.zeros(120, chunks=30))
    assert not fitted.__sklearn_is_fitted__()


@BY_SCALER
def test_blocks_of_samples_in_memory_are_not_seen(scaler, peer, monkeypatch):
    from dask_exa.kernels import _affine_numba
    from dask_exa.preprocessing import _scaling, quantile_transformer

    X = samples()
    fitted = fresh(scaler).fit(X)
    whole = fitted.transform(X), fitted.inverse_transform(X)
    monkeypatch.setattr(_affine_numba, "_BLOCK", 1)
    monkeypatch.setattr(quantile_transformer, "_BLOCK_SIZE", 1)
    assert np.array_equal(fitted.transform(X), whole[0])
    close(fitted.inverse_transform(np.asfortranarray(X)), whole[1])
    monkeypatch.setattr(_scaling, "_RANGE_SIZE", 100)
    close(fresh(scaler).fit(X).transform(X), whole[0])


@BY_SCALER
def test_models_of_other_parameters_are_not_merged(scaler, peer):
    name, value = OTHERWISE[type(scaler)]
    other = fresh(scaler).set_params(**{name: value})
    fitted = fresh(scaler).fit(samples())
    with pytest.raises(ValueError, match="fitted with"):
        fitted.merge(other.fit(samples()))


@BY_SCALER
def test_on_a_cluster(scaler, peer, client):
    X = samples()
    lazy = da.from_array(X, chunks=(13, 5)).map_blocks(np.positive)
    with dask.config.set(scheduler="synchronous"):
        here = fresh(scaler).fit(lazy)
    there = fresh(scaler).fit(lazy)
    assert np.array_equal(there.transform(X), here.transform(X))  # to the last bit
    assert np.array_equal(client.compute(there.transform(lazy)).result(), here.transform(X))


@BY_SCALER
def test_blocks_of_features_stay_where_they_are(scaler, peer, client):
    def received(dask_worker):
        return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)

    def make(block_info):
        (start, stop), (left, right) = block_info[None]["array-location"]
        return np.random.default_rng(start).random((stop - start, 4000))[:, left:right]

    lazy = da.map_blocks(make, chunks=((50,) * 4, (1000,) * 4), dtype=float, meta=np.empty((0, 0)))
    before = sum(client.run(received).values())
    fitted = fresh(scaler).fit(lazy)
    moved = sum(client.run(received).values()) - before
    rows = fresh(scaler).fit(lazy.compute(scheduler="synchronous"))
    close(fitted.transform(np.full((1, 4000), 0.5)), rows.transform(np.full((1, 4000), 0.5)))
    if isinstance(scaler, StandardScaler | MinMaxScaler):
        assert moved < 0.05 * lazy.nbytes
