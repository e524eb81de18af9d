"""Fitted estimators in files of skops, joblib and pickle."""

import io
import pickle

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.preprocessing
import skops.io
from sklearn.pipeline import make_pipeline
from sklearn.utils.fixes import parse_version

from dask_exa._state import Fitted
from dask_exa.anomaly import IsolationForest, StreamingThreshold, SubspaceDetector
from dask_exa.base import MergeableEstimator
from dask_exa.cluster._centroid_model import CentroidModel
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import PatchExtractor, StandardScaler
from dask_exa.testing.estimator_checks import public_estimators
from tests.interoperability._data import LABELLED, LAZY, X, values

MERGEABLE = [cls for cls in public_estimators("dask_exa") if issubclass(cls, MergeableEstimator)]
CLUSTERINGS = [cls for cls in MERGEABLE if issubclass(cls, CentroidModel)]
ARGUMENTS = {SubspaceDetector: {"confidence": 0.9}, PatchExtractor: {"patch_size": 2}}
FIELDS = {"FieldStacker", "PatchExtractor", "SpectralFeatures"}  # they take labelled arrays


def unpack_skops(model):
    packed = skops.io.dumps(model)
    unknown = skops.io.get_untrusted_types(data=packed)
    assert all(name.startswith("dask_exa.") for name in unknown), unknown
    return skops.io.loads(packed, trusted=unknown)


def unpack_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def unpack_pickle(model):
    return pickle.loads(pickle.dumps(model))


FORMATS = {"skops": unpack_skops, "joblib": unpack_joblib, "pickle": unpack_pickle}


def data_for(cls):
    if cls is StreamingThreshold:
        return X.reshape(-1)
    return LABELLED if cls.__name__ in FIELDS else X


def learnt(model):
    """Return all fitted attributes, as bytes that differ if a bit does."""
    found = {}
    for cls in type(model).__mro__:
        for name in (name for name, value in vars(cls).items() if isinstance(value, Fitted)):
            found[name] = np.asarray(getattr(model, name)).tobytes()
    return found | {"n_samples_seen_": model.n_samples_seen_}


@pytest.mark.parametrize("unpack", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("cls", MERGEABLE, ids=lambda cls: cls.__name__)
def test_unpacked_model_is_the_same_and_learns_on(cls, unpack):
    data = data_for(cls)
    half = len(data) // 2
    model = cls(**ARGUMENTS.get(cls, {}))
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    model.fit(data[:half])
    unpacked = unpack(model)
    assert type(unpacked) is cls
    assert unpacked.get_params() == model.get_params()
    assert learnt(unpacked) == learnt(model)
    for each in (model, unpacked):
        each.partial_fit(data[half:])
    assert learnt(unpacked) == learnt(model)


@pytest.mark.parametrize("unpack", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "data", [LAZY, LABELLED, LABELLED.chunk(time=50)], ids=["Dask", "xarray", "both"]
)
def test_labels_and_chunks_are_no_obstacle(data, unpack):
    pca = IncrementalPCA(2).fit(data)
    unpacked = unpack(pca)
    assert type(unpacked.components_) is type(pca.components_)
    assert np.array_equal(unpacked.components_, pca.components_)
    assert np.array_equal(values(unpacked.transform(data)), values(pca.transform(data)))
    assert np.array_equal((unpacked | pca).mean_, (pca | pca).mean_)


@pytest.mark.parametrize("unpack", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("cls", CLUSTERINGS, ids=lambda cls: cls.__name__)
def test_labels_of_clusters_are_kept_if_they_are_there(cls, unpack):
    """Lazy ones would take all the data along; they are `predict` of the data."""
    model = cls(n_clusters=3)
    for data in (X, LABELLED):
        kept = unpack(model.fit(data)).labels_
        assert type(kept) is type(model.labels_)
        assert np.array_equal(kept, model.labels_)
    assert kept.time.equals(LABELLED.time)
    for data in (LAZY, LABELLED.chunk(time=50)):
        unpacked = unpack(model.fit(data))
        assert not hasattr(unpacked, "labels_")
        assert np.array_equal(values(unpacked.predict(data)), values(model.labels_))


@pytest.mark.parametrize("unpack", FORMATS.values(), ids=FORMATS)
def test_pipelines_of_our_steps_unpack(unpack):
    pipeline = make_pipeline(StandardScaler(), IncrementalPCA(3), IsolationForest(random_state=0))
    unpacked = unpack(pipeline.fit(X))
    assert np.array_equal(unpacked.score_samples(X), pipeline.score_samples(X))


def test_types_to_trust_are_few():
    """What a reader has to look at before it trusts a file."""
    pca = skops.io.dumps(IncrementalPCA(2).fit(X))
    assert skops.io.get_untrusted_types(data=pca) == [
        "dask_exa._state.State",
        "dask_exa.decomposition.incremental_pca.IncrementalPCA",
        "dask_exa.summaries.moments.Moments",
    ]
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException):
        skops.io.loads(pca)


@pytest.mark.xfail(
    parse_version(skops.__version__) >= parse_version("0.16"),
    strict=True,
    raises=RecursionError,
    reason="skops 0.16 cannot write requests of metadata, whosesoever estimator has them",
)
@pytest.mark.parametrize(
    "scaler", [sklearn.preprocessing.StandardScaler(), StandardScaler()], ids=["theirs", "ours"]
)
def test_requests_of_metadata_in_skops(scaler):
    with sklearn.config_context(enable_metadata_routing=True):
        skops.io.dumps(scaler.set_fit_request(sample_weight=True).fit(X))


def test_requests_of_metadata_in_joblib():
    with sklearn.config_context(enable_metadata_routing=True):
        pca = IncrementalPCA(2).set_partial_fit_request(sample_weight=True).fit(X)
        requests = unpack_joblib(pca).get_metadata_routing().partial_fit.requests
    assert requests == {"sample_weight": True}
