"""Patches against plain loops, scikit-learn and NumPy; blending gives back the field."""

import pickle

import array_api_strict
import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.feature_extraction.image import PatchExtractor as Peer
from sklearn.pipeline import make_pipeline

from dask_exa.cluster import MiniBatchKMeans
from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import PatchExtractor
from dask_exa.preprocessing._patch_blocks import blend as put_together
from dask_exa.preprocessing._patch_blocks import extract
from dask_exa.preprocessing._patch_grid import PatchAxis
from tests import naive
from tests.preprocessing.films import box as film

PADDINGS = ("none", "wrap", "reflect")


def rows_of(X, sizes, strides, padding):
    return np.vstack([naive.patches(x, sizes, strides, padding=padding)[0] for x in X.values])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("stride", [None, 1, 3, (2, 5)])
@pytest.mark.parametrize("size", [4, (3, 5), {"x": 9, "y": 1}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_patches_are_those_of_plain_loops(padding, stride, size, dtype):
    X = film(dtype=dtype)
    patches = PatchExtractor(size, stride=stride, padding=padding).fit(X)
    rows = patches.transform(X)
    sizes = {4: (4, 4), (3, 5): (3, 5)}.get(size if not isinstance(size, dict) else 0, (1, 9))
    strides = tuple(max(1, n // 2) for n in sizes)
    if stride is not None:
        strides = stride if isinstance(stride, tuple) else (stride, stride)
    np.testing.assert_array_equal(rows, rows_of(X, sizes, strides, padding))
    assert rows.dtype == (np.float32 if dtype == np.float32 else np.float64)
    positions = naive.patches(X.values[0], sizes, strides, padding=padding)[1]
    np.testing.assert_array_equal(patches.positions_, positions)
    np.testing.assert_array_equal(rows.coords["y"], np.tile(X.y[positions[:, 0]], 3))
    np.testing.assert_array_equal(rows.coords["x"], np.tile(X.x[positions[:, 1]], 3))
    np.testing.assert_array_equal(rows.coords["time"], np.repeat(X.time, len(positions)))


@pytest.mark.parametrize("sizes", [{"x": 30}, {"y": 9, "x": 8}, {"z": 6, "y": 7, "x": 5},
                                   {"a": 3, "b": 4, "c": 3, "d": 4, "e": 5}])  # fmt: skip
@pytest.mark.parametrize("blend", ["hann", "linear", "mean"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("lazy", [False, True])
def test_blending_gives_back_the_field(sizes, blend, padding, lazy):
    X = film(2, **sizes)
    some = [*sizes.items()][-2:]
    given = X.chunk({"time": 1, **{dim: max(1, n // 2) for dim, n in some}}) if lazy else X
    patches = PatchExtractor(3, stride=2, padding=padding, blend=blend).fit(given)
    rows = patches.transform(given)
    for form in (rows, rows.data, rows.values):
        back = patches.inverse_transform(form).compute()
        covered = X.copy()
        for dim, n in sizes.items():
            if padding == "none" and n % 2 == 0:
                covered[{dim: n - 1}] = np.nan
        xr.testing.assert_allclose(back, covered, rtol=1e-14, atol=1e-14)
        xr.testing.assert_identical(back * 0, covered * 0)  # names, coordinates and attributes
        assert back.attrs == X.attrs


@pytest.mark.parametrize("padding", PADDINGS)
def test_blending_is_the_weighted_mean(padding):
    X = film(1)[0]
    extractor = PatchExtractor({"y": 4, "x": 5}, stride=3, padding=padding)
    rows = extractor.fit_transform(X)
    rows = rows + np.random.default_rng(1).standard_normal(rows.shape)
    lines = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (4, 5)]
    wanted = naive.blended(
        rows.values, extractor.positions_, X.shape, (4, 5), lines, padding=padding
    )
    np.testing.assert_allclose(extractor.inverse_transform(rows.values), wanted, rtol=1e-12)


def test_arrays_without_names_are_those_of_the_peer():
    X = np.random.default_rng(0).random((5, 9, 8))
    ours = PatchExtractor((4, 3), stride=1)
    theirs = Peer(patch_size=(4, 3)).transform(X)
    np.testing.assert_array_equal(ours.fit_transform(X), theirs.reshape(len(theirs), -1))
    np.testing.assert_allclose(ours.inverse_transform(theirs.reshape(len(theirs), -1)), X)
    colours = np.random.default_rng(0).random((5, 9, 8, 3))
    theirs = Peer(patch_size=(4, 3)).transform(colours)
    rows = ours.fit_transform(colours)
    np.testing.assert_array_equal(rows, theirs.reshape(len(theirs), -1))
    np.testing.assert_allclose(ours.inverse_transform(rows), colours)
    signals = np.random.default_rng(0).random((3, 20))
    windows = np.lib.stride_tricks.sliding_window_view(signals, 6, axis=1)[:, ::4]
    rows = PatchExtractor(6, stride=4).fit_transform(signals)
    np.testing.assert_array_equal(rows, windows.reshape(-1, 6))
    lazy = da.from_array(colours, chunks=(2, 5, 4, 2))
    found = ours.fit(lazy).inverse_transform(ours.transform(lazy))
    np.testing.assert_allclose(found, colours)


def test_other_namespaces_give_the_same():
    X = np.random.default_rng(0).standard_normal((3, 9, 8, 2))
    for padding in PADDINGS:
        axes = (PatchAxis(9, 4, 3, padding, (5, 4)), PatchAxis(8, 3, 2, padding, (8,)))
        rows = extract(X, axes)
        strict = extract(array_api_strict.asarray(X), axes)
        np.testing.assert_array_equal(np.asarray(strict), rows)
        found = put_together(strict, axes, 2, "hann")
        np.testing.assert_allclose(
            np.asarray(found), put_together(rows, axes, 2, "hann"), rtol=1e-14
        )


def test_dimensions_have_roles():
    X = film(2, y=6, x=8).expand_dims(channel=2).transpose("time", "y", "x", "channel")
    X = X * xr.DataArray([1.0, 2.0], dims="channel")
    as_samples = PatchExtractor({"y": 3, "x": 4}).fit(X)
    assert as_samples.transform(X).shape[1] == 12
    whole = PatchExtractor({"y": 3, "x": 4}, sample_dims="time").fit(X)
    rows = whole.transform(X)
    assert rows.shape == (2 * 4 * 3, 3 * 4 * 2)
    np.testing.assert_array_equal(rows[:, 1::2], 2 * rows[:, ::2])
    single = PatchExtractor({"time": 2, "y": 3, "x": 4, "channel": 1}).fit(X)
    for patches in (as_samples, whole, single):
        for field in (X, X.chunk(time=1, y=3, channel=1), X.transpose("x", "channel", "time", "y")):
            back = patches.inverse_transform(patches.transform(field)).compute()
            xr.testing.assert_allclose(back, X.transpose(*back.dims))


def test_new_samples_come_back_with_their_coordinates():
    patches = PatchExtractor({"y": 4, "x": 3}, padding="wrap").fit(film(3))
    new = film(5).assign_coords(time=film(5).time + np.timedelta64(60, "s"))
    for given in (new, new.chunk(time=2)):
        xr.testing.assert_allclose(patches.inverse_transform(patches.transform(given)), new)
    bare = patches.inverse_transform(patches.transform(new).values)
    xr.testing.assert_allclose(bare, new.drop_vars("time"))


def test_maps_of_labels_have_the_coordinates_of_patches():
    X = film(3)
    patches = PatchExtractor({"y": 4, "x": 3}, stride=3, padding="wrap").fit(X)
    rows = patches.transform(X)
    found = patches.unstack_samples(np.arange(len(rows)))
    assert found.dims == ("time", "y", "x")
    assert found.dtype == np.int64
    middle = (X.y[3] - X.y[0]).values / 2  # of four points
    np.testing.assert_allclose(found.y, X.y[::3] + middle, rtol=1e-14)
    np.testing.assert_allclose(found.x, X.x[::3] + (X.x[2] - X.x[0]).values / 2, rtol=1e-14)
    np.testing.assert_array_equal(found.values.ravel(), np.arange(len(rows)))
    several = patches.unstack_samples(rows.rename("patch"))
    assert several.dims == ("time", "y", "x", "feature")
    np.testing.assert_array_equal(several[..., 0], X[:, ::3, ::3])


def test_in_a_pipeline_with_a_clustering():
    X = film(6, y=16, x=16)
    model = make_pipeline(
        PatchExtractor({"y": 4, "x": 4}, padding="wrap"),
        IncrementalPCA(3),
        MiniBatchKMeans(3, random_state=0),
    )
    labels = model.fit_predict(X)
    assert labels.shape == (6 * 8 * 8,)
    assert model[0].unstack_samples(labels).sizes == {"time": 6, "y": 8, "x": 8}
    frame = PatchExtractor({"y": 4, "x": 4}).set_output(transform="pandas").fit_transform(X)
    assert frame.columns[5] == "n[1,1]"


@pytest.mark.parametrize("how", ["pickle", "save"])
def test_storage_keeps_everything(how, tmp_path):
    X = film(3).chunk(y=5)
    patches = PatchExtractor({"y": 4, "x": 3}, padding="reflect").fit(X)
    rows = patches.transform(X)
    if how == "pickle":
        copy = pickle.loads(pickle.dumps(patches))
    else:
        patches.save(tmp_path / "patches")
        copy = PatchExtractor.load(tmp_path / "patches")
    xr.testing.assert_identical(copy.transform(X).compute(), rows.compute())
    xr.testing.assert_allclose(copy.inverse_transform(rows), X)
    assert copy.partial_fit(X).n_samples_seen_ == 6
    assert clone(patches).get_params() == patches.get_params()


def test_merging_demands_the_same_layout():
    X = film(3)
    here, there = PatchExtractor(4).fit(X), PatchExtractor(4).fit(X[:1])
    assert (here | there).n_samples_seen_ == 4
    assert here.merge(PatchExtractor(4)) is here
    assert PatchExtractor(4).merge(here).n_patches_ == here.n_patches_
    for other, message in (
        (PatchExtractor(4).fit(X.chunk(y=5)), "in the order of the chunks"),
        (PatchExtractor(4).fit(X.assign_coords(y=X.y + 1)), "other values of the coordinate 'y'"),
        (PatchExtractor(4).fit(X[:, :9]), "fit both on the same features"),
        (PatchExtractor(3).fit(X), "patch_size=4"),
    ):
        with pytest.raises(ValueError, match=message):
            here.merge(other)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"patch_size": 11}, "patch_size=11 is more than the 10 points of X along 'y'"),
        ({"patch_size": 11, "padding": "wrap"}, "patch_size=11 is more than the 10 points"),
        ({"patch_size": 0}, "patch_size=0 must be an int of at least 1"),
        ({"patch_size": (3, 3, 3)}, r"patch_size=\(3, 3, 3\) is not for the 2 dimensions"),
        ({"patch_size": {"z": 3}}, r"names \['z'\], but X has the dimensions"),
        ({"patch_size": 3, "stride": 0}, "stride=0 must be an int of at least 1"),
        ({"patch_size": 3, "stride": (1,)}, r"stride=\(1,\) is not for the 2 dimensions"),
        ({"patch_size": 3, "padding": "edge"}, "padding='edge' must be 'none', 'wrap' or"),
        ({"patch_size": 3, "blend": "max"}, "blend='max' must be 'hann', 'linear' or 'mean'"),
        ({"patch_size": {"x": 3}, "sample_dims": "x"}, r"sample_dims='x' has \['x'\]"),
    ],
)
def test_parameters_that_make_no_sense(params, message):
    with pytest.raises(ValueError, match=message):
        PatchExtractor(**params).fit(film())


def test_fields_that_make_no_sense():
    X = film(3)
    patches = PatchExtractor(4).fit(X)
    rows = patches.transform(X)
    with pytest.raises(ValueError, match="not a multiple of the 12 patches"):
        patches.inverse_transform(rows.values[:-1])
    with pytest.raises(ValueError, match="patches have 16 values"):
        patches.inverse_transform(rows.values[:, 1:])
    with pytest.raises(TypeError, match="to_dataarray"):
        patches.transform(X.to_dataset())
    with pytest.raises(ValueError, match="fields of the same"):
        patches.transform(X[:, 1:])
    with pytest.raises(ValueError, match="other values of the coordinate 'x'"):
        patches.partial_fit(X.assign_coords(x=X.x + 1))
    with pytest.raises(ValueError, match=r"X has the dimensions \['time', 'y'\]"):
        patches.transform(X[..., 0])
    with pytest.raises(ValueError, match="Complex data not supported"):
        patches.fit(X * 1j)


def test_gaps_come_back_as_nan():
    X = film(2, np.float32, x=10)
    patches = PatchExtractor(2, stride=4).fit(X)
    back = patches.inverse_transform(patches.transform(X))
    np.testing.assert_array_equal(np.isnan(back[0]), [0, 0, 1, 1, 0, 0, 1, 1, 0, 0])
    counts = X.astype(np.int32)
    assert PatchExtractor(2, stride=4).fit(counts).inverse_transform(
        patches.transform(counts.astype(np.float32)).values
    ).dtype == np.float64  # fmt: skip
    assert PatchExtractor(2).fit(counts).inverse_transform(
        PatchExtractor(2).fit_transform(counts)
    ).identical(counts)  # fmt: skip


def test_weights_add_up_to_one():
    for padding in PADDINGS:
        axis = PatchAxis(11, 5, 2, padding, (11,))
        for blend in ("hann", "linear", "mean"):
            total = np.zeros(11)
            points = (axis.starts[:, None] + np.arange(5)) % 11
            np.add.at(total, points, axis.weights(blend))
            np.testing.assert_allclose(total, axis.covered(), rtol=1e-14)


@pytest.mark.parametrize("run", ["sol", "hw"])
def test_films_of_simulations_come_back(shared_data, run):
    with h5py.File(shared_data / "tokam2d" / run / "simulation_fields.h5") as file:
        density = file["density"][:6]
    X = xr.DataArray(density, dims=("time", "y", "x"), name="density")
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(density, ((0, 0), (0, 15), (0, 15)), mode="wrap"), (16, 16), (1, 2)
    )[:, ::8, ::8]
    for given in (X, X.chunk(time=2, y=64)):
        patches = PatchExtractor({"y": 16, "x": 16}, padding="wrap").fit(given)
        rows = patches.transform(given)
        assert rows.shape == (6 * 16 * 16, 256)
        found = patches.unstack_samples(rows).values.reshape(windows.shape)
        np.testing.assert_array_equal(found, windows)
        back = patches.inverse_transform(rows).compute()
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, X, rtol=1e-6)


def test_crystals_come_back(shared_data):
    with h5py.File(shared_data / "goosefft" / "goose_poly.h5") as file:
        X = xr.DataArray(file["P"][-2:], dims=("increment", "x", "y", "z", "i", "j"))
    cut = dict.fromkeys("xyz", 4)
    for field in (X, X.chunk(increment=1, x=X.sizes["x"] // 2)):
        patches = PatchExtractor(cut, padding="wrap", sample_dims="increment").fit(field)
        rows = patches.transform(field)
        assert rows.shape == (2 * 6 * 7 * 8, 4**3 * 9)
        np.testing.assert_array_equal(rows[0], X[0, :4, :4, :4].values.ravel())
        back = patches.inverse_transform(rows).compute()
        np.testing.assert_allclose(back, X, rtol=1e-6)
