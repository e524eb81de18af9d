"""Fitted models as bytes: small, equal after the trip, and without code that nobody vouches for."""

import io
import pickle

import dask.array as da
import joblib
import numpy as np
import pytest
import skops.io
import xarray as xr

from dask_exa.decomposition import IncrementalPCA

X = np.random.default_rng(0).standard_normal((300, 40)) * 0.8 ** np.arange(40) + 3
FILM = xr.DataArray(X.reshape(300, 8, 5), dims=("time", "y", "x"), coords={"y": np.arange(8.0)})


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def by_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return joblib.load(buffer)


def by_skops(model):
    dumped = skops.io.dumps(model)
    unknown = skops.io.get_untrusted_types(data=dumped)
    # nothing but our own classes, and numpy's and xarray's plain types
    assert all(name.split(".")[0] in ("dask_exa", "numpy", "xarray") for name in unknown), unknown
    return skops.io.loads(dumped, trusted=unknown)


TRIPS = pytest.mark.parametrize("trip", [by_pickle, by_joblib, by_skops])
MODELS = {
    "scatter": IncrementalPCA(4),
    "gram": IncrementalPCA(4, solver="gram"),
    "qr": IncrementalPCA(4, solver="qr", whiten=True),
    "tolerance": IncrementalPCA(tol=0.1),
}


@TRIPS
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_trip_changes_no_bit(trip, model):
    model.fit(X[:200])
    for finalized in (False, True):
        if finalized:
            _ = model.components_
        again = trip(model)
        assert again.get_params() == model.get_params()
        assert np.array_equal(again.components_, model.components_)
        assert np.array_equal(again.transform(X), model.transform(X))
        assert again.n_samples_seen_ == 200
    longer = trip(model).partial_fit(X[200:])
    assert np.array_equal(longer.singular_values_, model.partial_fit(X[200:]).singular_values_)


@TRIPS
def test_labels_travel(trip):
    model = IncrementalPCA(3).fit(FILM)
    xr.testing.assert_identical(trip(model).components_, model.components_)


@pytest.mark.parametrize("trip", [by_pickle, by_joblib])
def test_split_bases_that_are_here_travel(trip):
    lazy = da.from_array(X, chunks=(300, 10))
    model = IncrementalPCA(4).fit(lazy)
    again = trip(model)
    assert isinstance(again.components_, da.Array)
    assert np.array_equal(np.asarray(again.components_), np.asarray(model.components_))
    again.partial_fit(lazy)
    model.partial_fit(lazy)
    assert np.array_equal(again.singular_values_, model.singular_values_)


@pytest.mark.parametrize(
    ("model", "n_bytes"),
    [
        (MODELS["scatter"], 8 * 40 * 40 + 8 * 40),  # scatter matrix and mean
        (MODELS["gram"], 8 * 2 * 14 * 40 + 2 * 8 * 40),  # at most twice the rank kept, 14
    ],
    ids=["scatter", "gram"],
)
def test_models_are_as_small_as_their_state(model, n_bytes):
    model.fit(np.tile(X, (5, 1)))
    _ = model.components_
    assert len(pickle.dumps(model)) <= n_bytes + 2000
    assert len(skops.io.dumps(model)) <= n_bytes + 20_000


def test_what_can_be_derived_does_not_travel():
    model = IncrementalPCA(4).fit(X)
    before = len(pickle.dumps(model))
    _ = model.components_
    assert len(pickle.dumps(model)) == before
