"""Checkpoints: resumed streams are bit-identical, and an interruption costs nothing."""

import errno
import json
import os

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from dask_exa import _checkpoint
from dask_exa.base import MergeableEstimator
from dask_exa.decomposition import IncrementalPCA
from dask_exa.testing.contracts import snapshot

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 12)) * 0.8 ** np.arange(12) + 3
FILM = xr.DataArray(
    X.reshape(60, 4, 3),
    dims=("time", "y", "x"),
    coords={
        "y": ("y", np.linspace(0, 1, 4), {"units": "m"}),
        "x": ["left", "middle", "right"],
        "start": ("y", np.array(["2024-01-01"] * 4, dtype="datetime64[ns]")),
    },
)

FORMS = {
    "numpy": lambda X: X,
    "rows": lambda X: da.from_array(X, chunks=(7, -1)),
    "columns": lambda X: da.from_array(X, chunks=(len(X), 4)),
    "both": lambda X: da.from_array(X, chunks=(7, 4)),
}
PARAMETERS = {
    "count": {"n_components": 3},
    "low rank": {"n_components": 3, "solver": "gram", "oversampling": 2},
    "qr": {"n_components": 3, "solver": "qr", "oversampling": 2},
    "share": {"n_components": 0.8},
    "tolerance": {"tol": 0.3},
    "all": {"n_components": None, "solver": "gram"},
    "forgetting": {"n_components": 3, "forgetting_factor": 0.9, "whiten": True, "batch_size": 11},
}


def assert_same_bits(resumed, uninterrupted):
    for name in ("components_", "mean_", "var_", "singular_values_", "explained_variance_ratio_"):
        one, other = getattr(resumed, name), getattr(uninterrupted, name)
        assert type(one) is type(other)
        assert np.array_equal(np.asarray(one), np.asarray(other)), name
    for name in ("noise_variance_", "truncation_error_", "n_components_", "n_samples_seen_"):
        assert getattr(resumed, name) == getattr(uninterrupted, name), name


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS.keys())
def test_resumes_to_the_last_bit(form, parameters, tmp_path):
    uninterrupted = IncrementalPCA(**parameters)
    for step in np.split(X, 3):
        uninterrupted.partial_fit(form(step))
    model = IncrementalPCA(**parameters)
    for i, step in enumerate(np.split(X, 3)):
        model.partial_fit(form(step))
        model.save(tmp_path / "state")
        model = IncrementalPCA.load(tmp_path / "state")
        assert model.get_params() == IncrementalPCA(**parameters).get_params()
        assert model.n_samples_seen_ == 20 * (i + 1)
        assert model.n_features_in_ == 12
    assert_same_bits(model, uninterrupted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["scatter", "gram"])
def test_types_are_kept(dtype, solver, tmp_path):
    model = IncrementalPCA(3, solver=solver).fit(X.astype(dtype))
    model.save(tmp_path / "state")
    again = IncrementalPCA.load(tmp_path / "state")
    assert snapshot(again) == snapshot(model)
    assert again.components_.dtype == dtype


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.parametrize("chunks", [None, {"y": 2}])
def test_labels_are_kept(chunks, tmp_path):
    film = FILM if chunks is None else FILM.chunk(chunks)
    model = IncrementalPCA(3, sample_dims=("time",)).fit(film[:30])
    model.save(tmp_path / "state")
    again = IncrementalPCA.load(tmp_path / "state")
    assert again.sample_dims == ("time",)
    for name in ("components_", "mean_", "var_"):
        one, other = getattr(again, name).compute(), getattr(model, name).compute()
        xr.testing.assert_identical(one.rename(None), other.rename(None))
    assert again.mean_.coords["y"].attrs == {"units": "m"}
    again.partial_fit(film[30:])
    assert_same_bits(again, model.partial_fit(film[30:]))


def test_names_of_features_are_kept(tmp_path):
    frame = pd.DataFrame(X[:, :3], columns=["a", "b", "ü"])
    IncrementalPCA(2).fit(frame).save(tmp_path / "state")
    again = IncrementalPCA.load(tmp_path / "state")
    assert again.feature_names_in_.tolist() == ["a", "b", "ü"]
    with pytest.raises(ValueError, match="feature names should match"):
        again.partial_fit(frame[["b", "a", "ü"]])


def test_is_a_zarr_group_of_version_three_that_others_can_read(tmp_path):
    model = IncrementalPCA(2, whiten=True).fit(X)
    model.save(tmp_path / "state")
    group = zarr.open_group(tmp_path / "state", mode="r")
    assert group.metadata.zarr_format == 3
    assert group.attrs["class"] == "dask_exa.decomposition.incremental_pca:IncrementalPCA"
    assert group.attrs["params"]["whiten"] is True
    centred = X - X.mean(axis=0)
    np.testing.assert_allclose(group["summary/mean"][...], X.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(group["summary/m2"][...], centred.T @ centred, atol=1e-12)
    assert group["summary"].attrs["plain"]["n_samples"] == 60


def test_is_small(tmp_path):
    IncrementalPCA(3, solver="gram").fit(np.tile(X, (100, 1))).save(tmp_path / "state")
    size = sum(file.stat().st_size for file in (tmp_path / "state").rglob("*") if file.is_file())
    assert size < 20_000


def full_disk(monkeypatch, after):
    """Fail to create any file after the first few."""
    create = zarr.storage.LocalStore.set
    left = [after]

    async def failing(store, key, value, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await create(store, key, value, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", failing)


@pytest.mark.parametrize("form", ["numpy", "columns"])
@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_full_disk_leaves_the_earlier_checkpoint(form, after, tmp_path, monkeypatch):
    model = IncrementalPCA(3).fit(FORMS[form](X[:30]))
    model.save(tmp_path / "state")
    earlier = IncrementalPCA.load(tmp_path / "state")
    model.partial_fit(FORMS[form](X[30:]))
    with monkeypatch.context() as patch:
        full_disk(patch, after)
        with pytest.raises(OSError, match="No space left"):
            model.save(tmp_path / "state")
    assert_same_bits(IncrementalPCA.load(tmp_path / "state"), earlier)
    # zarr may go on with other writes for a moment; the next checkpoint sweeps them away
    assert set(os.listdir(tmp_path)) <= {"state", ".state.writing"}
    model.save(tmp_path / "state")
    assert_same_bits(IncrementalPCA.load(tmp_path / "state"), model)
    assert os.listdir(tmp_path) == ["state"]


def test_full_disk_at_the_first_checkpoint_leaves_none(tmp_path, monkeypatch):
    full_disk(monkeypatch, 2)
    with pytest.raises(OSError, match="No space left"):
        IncrementalPCA(3).fit(X).save(tmp_path / "state")
    assert set(os.listdir(tmp_path)) <= {".state.writing"}
    with pytest.raises(FileNotFoundError, match="is not a checkpoint"):
        IncrementalPCA.load(tmp_path / "state")


@pytest.mark.parametrize("renames", [0, 1])
def test_interruption_between_the_renames_leaves_one_of_the_two(renames, tmp_path, monkeypatch):
    model = IncrementalPCA(3).fit(X[:30])
    model.save(tmp_path / "state")
    earlier = IncrementalPCA.load(tmp_path / "state")
    model.partial_fit(X[30:])
    rename, left = os.rename, [renames]

    def killed(self, target):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            model.save(tmp_path / "state")
    assert_same_bits(IncrementalPCA.load(tmp_path / "state"), earlier)
    model.save(tmp_path / "state")
    assert_same_bits(IncrementalPCA.load(tmp_path / "state"), model)
    assert os.listdir(tmp_path) == ["state"]


def foreign_array(path):
    zarr.create_array(path, shape=(3,), dtype="f8")


def foreign_group(path):
    zarr.open_group(path, mode="w").create_array("x", data=np.arange(3.0))


def foreign_folder(path):
    path.mkdir()
    (path / "thesis.tex").write_text("the only copy")


def foreign_file(path):
    path.write_text("the only copy")


@pytest.mark.parametrize(
    "make",
    [foreign_group, foreign_array, foreign_folder, foreign_file],
)
def test_what_is_not_ours_is_not_replaced(make, tmp_path):
    path = tmp_path / "state"
    make(path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(FileExistsError, match=r"path='.*state' exists and is not a ch.*another"):
        IncrementalPCA(2).fit(X).save(path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    with pytest.raises(FileNotFoundError, match=r"path='.*state' is not a checkpoint of dask-exa"):
        IncrementalPCA.load(path)


def test_checkpoint_of_another_class_or_format_is_refused(tmp_path):
    path = tmp_path / "state"
    IncrementalPCA(2).fit(X).save(path)

    class Other(MergeableEstimator):
        pass

    with pytest.raises(TypeError, match="holds a IncrementalPCA, not a Other"):
        Other.load(path)
    assert isinstance(MergeableEstimator.load(path), IncrementalPCA)
    metadata = json.loads((path / "zarr.json").read_text())
    for change, message in (
        ({_checkpoint._MARK: _checkpoint.FORMAT + 1}, "checkpoint format 2.*upgrade dask-exa"),
        ({"class": "os:system"}, "holds a os:system, which is not one of dask-exa's; load it by"),
    ):
        altered = {**metadata, "attributes": {**metadata["attributes"], **change}}
        (path / "zarr.json").write_text(json.dumps(altered))
        with pytest.raises(ValueError, match=message):
            IncrementalPCA.load(path)


class Plugin(IncrementalPCA):
    """An estimator that comes with another package."""


def test_estimators_of_other_packages_are_loaded_by_their_class(tmp_path):
    model = Plugin(2).fit(X)
    model.save(tmp_path / "state")
    assert_same_bits(Plugin.load(tmp_path / "state"), model)


def test_what_json_cannot_write_is_refused(tmp_path):
    model = IncrementalPCA(2, sample_dims=[object()])
    model.fit(X)
    with pytest.raises(TypeError, match="cannot be written to a checkpoint; use numbers and str"):
        model.save(tmp_path / "state")
    assert os.listdir(tmp_path) == []


def test_nothing_learnt_is_not_saved(tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        IncrementalPCA(2).save(tmp_path / "state")
    assert os.listdir(tmp_path) == []


def test_folders_on_the_way_are_made(tmp_path):
    model = IncrementalPCA(2).fit(X)
    model.save(str(tmp_path / "runs" / "one" / "state"))
    assert_same_bits(IncrementalPCA.load(str(tmp_path / "runs" / "one" / "state")), model)
