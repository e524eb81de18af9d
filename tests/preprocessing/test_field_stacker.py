"""Fields as samples and features: the way there is that of plain loops, the way back exact."""

import pickle

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler as PlainScaler

from dask_exa.decomposition import IncrementalPCA
from dask_exa.preprocessing import FieldStacker
from dask_exa.testing.contracts import MergeableEstimatorContract
from tests import naive
from tests.preprocessing.films import film, run_with_query_planning, with_gaps


def dataset(**how):
    field = film(**how)
    probes = field.isel(x=0, drop=True).drop_vars("angle").astype(float) * 2
    probes = probes.rename("probe").transpose("y", "time")
    counts = xr.DataArray(np.arange(field.sizes["time"]), dims="time", name="count")
    parts = {"density": field, "probe": probes, "count": counts}
    return xr.Dataset(parts, attrs={"title": "a run"}).assign_coords(machine="laptop")


class TestFieldStacker(MergeableEstimatorContract):
    takes_weights = False

    def make(self):
        return FieldStacker()

    def bad_calls(self, X):
        calls = super().bad_calls(X)
        legal = ("NaN", "infinity", "NaN in a chunk", "NaN in fit")
        return {name: call for name, call in calls.items() if name not in legal}

    def test_error_of_a_source_leaves_everything_as_it_was(self):
        pytest.skip("does not look at values")


class TestDroppingStacker(TestFieldStacker):
    test_error_of_a_source_leaves_everything_as_it_was = (
        MergeableEstimatorContract.test_error_of_a_source_leaves_everything_as_it_was
    )

    def make(self):
        return FieldStacker(drop_missing=True)

    def samples(self):
        X = super().samples()
        X[:, 2] = np.nan
        X[5:11, 3] = np.nan
        return X

    def test_samples_are_never_written_to(self):
        X = self.samples()
        before = X.copy()
        X.flags.writeable = False
        model = self.fitted(X).partial_fit(X)
        model.inverse_transform(model.transform(X))
        np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("chunks", [None, {"time": 4}, {"time": 2, "y": 3, "x": 1}])
@pytest.mark.parametrize(
    "sample_dims", ["time", ("time",), ("time", "y"), ("y", "x"), ("x", "time"), ("time", "y", "x")]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, bool])
def test_round_trip_is_exact(chunks, sample_dims, dtype):
    X = film(dtype=dtype)
    given = X if chunks is None else X.chunk(chunks)
    stacker = FieldStacker(sample_dims).fit(given)
    rows = stacker.transform(given)
    assert rows.dims == ("sample", "feature")
    dims = (sample_dims,) if isinstance(sample_dims, str) else sample_dims
    np.testing.assert_array_equal(rows.values, naive.stacked(X, dims))
    for form in (rows, rows.data, rows.values):
        back = stacker.inverse_transform(form)
        xr.testing.assert_identical(back.compute(), X)
        assert back.dtype == X.dtype
        assert (back.chunks is None) == (
            chunks is None or (form is not rows and form is not rows.data)
        )


def test_rows_of_lazy_fields_are_chunked_as_the_first_sample_dimension():
    X = film(7).chunk(time=3, y=2)
    rows = FieldStacker("time").fit_transform(X)
    assert rows.chunks == ((3, 3, 1), (12,))
    rows = FieldStacker(("time", "x")).fit_transform(X)
    assert rows.chunks == ((9, 9, 3), (4,))
    assert dask.is_dask_collection(rows.coords["time"].data)
    np.testing.assert_array_equal(rows.coords["time"], np.repeat(X.time, 3))
    np.testing.assert_array_equal(rows.coords["y"], X.y)


def test_nothing_is_computed():
    def fail(block):
        raise AssertionError("computed")

    data = da.zeros((6, 4, 3), chunks=(2, 4, 3)).map_blocks(fail, meta=np.empty((0, 0, 0)))
    X = film().copy(data=data)
    stacker = FieldStacker(("time", "y")).fit(X).partial_fit(X)
    rows = stacker.transform(X)
    stacker.inverse_transform(rows)
    stacker.unstack_samples(rows[:, 0])


def test_rows_and_columns_have_the_coordinates_of_the_field():
    X = film()
    rows = FieldStacker("time").fit_transform(X)
    np.testing.assert_array_equal(rows.time, X.time)
    np.testing.assert_array_equal(rows.coords["y"], np.repeat(X.y, 3))
    np.testing.assert_array_equal(rows.coords["x"], np.tile(X.x, 4))
    np.testing.assert_array_equal(rows.coords["angle"], np.arange(12.0))
    assert rows.coords["run"] == 7
    points = FieldStacker(("y", "x")).fit_transform(X)
    np.testing.assert_array_equal(points.coords["angle"], np.arange(12.0))
    np.testing.assert_array_equal(points.coords["x"], np.tile(X.x, 4))


@pytest.mark.parametrize("sample_dims", ["time", ("time", "y"), ("y", "time"), ("time", "y", "x")])
@pytest.mark.parametrize("lazy", [False, True])
def test_new_samples_come_back_with_their_coordinates(sample_dims, lazy):
    stacker = FieldStacker(sample_dims).fit(film())
    new = film(4 if sample_dims[0] != "y" else 6, start=20)
    given = new.chunk(time=3) if lazy else new
    rows = stacker.transform(given)
    back = stacker.inverse_transform(rows).compute()
    if sample_dims[0] == "y":  # rows cannot tell what depends on samples and features
        new = new.drop_vars("angle")
    xr.testing.assert_identical(back, new)
    if sample_dims[0] == "time":
        bare = stacker.inverse_transform(rows.values)
        xr.testing.assert_identical(bare, new.drop_vars(["time", "step"]))


@pytest.mark.parametrize("lazy", [False, True])
def test_datasets_stand_side_by_side(lazy):
    X = dataset()
    given = X.chunk(time=4) if lazy else X
    stacker = FieldStacker("time").fit(given)
    rows = stacker.transform(given)
    assert rows.shape == (6, 12 + 4 + 1)
    assert rows.dtype == np.float64
    wanted = [naive.stacked(X[name], ("time",)) for name in X.data_vars]
    np.testing.assert_array_equal(rows, np.hstack(wanted))
    assert [*rows.coords["variable"].values[[0, 12, 16]]] == ["density", "probe", "count"]
    back = stacker.inverse_transform(rows).compute()
    xr.testing.assert_identical(back, X)
    assert [back[name].dtype for name in back] == [X[name].dtype for name in X]
    assert stacker.get_feature_names_out()[[0, 13, 16]].tolist() == [
        *("density[0,0]", "probe[1]", "count[]")
    ]
    some = FieldStacker("time", variables=["probe"]).fit(given)
    assert some.transform(given).shape == (6, 4)
    xr.testing.assert_identical(
        some.inverse_transform(some.transform(given)).compute().probe.drop_attrs(),
        X.probe.drop_attrs(),
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_labels_of_grid_points_are_a_map(lazy):
    X = film()
    given = X.chunk(y=2) if lazy else X
    stacker = FieldStacker(("y", "x")).fit(given)
    rows = stacker.transform(given)
    labels = KMeans(3, n_init=1, random_state=0).fit_predict(rows)
    found = stacker.unstack_samples(labels)
    assert found.dims == ("y", "x")
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found, labels.reshape(4, 3))
    np.testing.assert_array_equal(found.y, X.y)
    np.testing.assert_array_equal(found.angle, X.angle)
    scores = stacker.unstack_samples(rows.rename("score"))  # labelled, one column per feature
    np.testing.assert_array_equal(scores.values, rows.values.reshape(4, 3, 6))
    assert scores.name == "score"


def test_components_come_back_as_fields():
    X = film(20)
    stacker = FieldStacker("time").fit(X)
    rows = stacker.transform(X)
    pca = IncrementalPCA(3).fit(rows)
    fields = stacker.inverse_transform(pca.components_)
    assert fields.dims == ("component", "y", "x")
    np.testing.assert_array_equal(fields.values.reshape(3, 12), pca.components_.values)
    np.testing.assert_array_equal(fields.y, X.y)
    mean = stacker.inverse_transform(pca.mean_)
    np.testing.assert_allclose(mean, X.mean("time"), rtol=1e-6)
    directly = IncrementalPCA(3).fit(X)
    np.testing.assert_allclose(fields, directly.components_, rtol=1e-5, atol=1e-6)


def test_first_step_of_a_pipeline():
    X = film(20)
    model = make_pipeline(FieldStacker("time"), PlainScaler(), KMeans(2, random_state=0, n_init=1))
    labels = model.fit_predict(X)
    assert labels.shape == (20,)
    assert model[0].unstack_samples(labels).dims == ("time",)
    pipeline = make_pipeline(FieldStacker("time"), PlainScaler())
    back = pipeline.inverse_transform(pipeline.fit_transform(X))
    xr.testing.assert_allclose(back, X)
    assert back.dtype == X.dtype
    frame = FieldStacker("time").set_output(transform="pandas").fit_transform(X)
    assert frame.columns[4] == "density[1,1]"
    np.testing.assert_array_equal(frame.to_numpy(), naive.stacked(X, ("time",)))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("sample_dims", [None, 0, (2,), (0, 1), (2, 0)])
def test_arrays_without_names(lazy, sample_dims):
    X = film().values
    given = da.from_array(X, chunks=(2, 4, 2)) if lazy else X
    stacker = FieldStacker(sample_dims).fit(given)
    rows = stacker.transform(given)
    assert not isinstance(rows, xr.DataArray)
    axes = {None: (0,), 0: (0,)}.get(sample_dims, sample_dims)
    np.testing.assert_array_equal(rows, naive.stacked(xr.DataArray(X, dims=range(3)), axes))
    back = stacker.inverse_transform(rows)
    np.testing.assert_array_equal(back, X)
    assert back.dtype == X.dtype
    assert stacker.unstack_samples(rows[:, 0]).shape == tuple(X.shape[axis] for axis in axes)


def test_order_of_the_features():
    X = film()
    turned = FieldStacker("time", ("x", "y")).fit(X)
    np.testing.assert_array_equal(
        turned.transform(X), naive.stacked(X.transpose(..., "y"), ("time",))
    )
    other = X.transpose("x", "time", "y")
    np.testing.assert_array_equal(turned.transform(other), turned.transform(X))


@pytest.mark.filterwarnings("ignore:.*Zarr V3")
@pytest.mark.parametrize("how", ["pickle", "save"])
@pytest.mark.parametrize("make", [film, dataset, lambda: with_gaps(film())])
def test_storage_keeps_everything(how, make, tmp_path):
    X = make()
    stacker = FieldStacker("time", drop_missing=True).fit(X)
    rows = stacker.transform(X)
    if how == "pickle":
        copy = pickle.loads(pickle.dumps(stacker))
    else:
        stacker.save(tmp_path / "stacker")
        copy = FieldStacker.load(tmp_path / "stacker")
    xr.testing.assert_identical(copy.transform(X), rows)
    back = copy.inverse_transform(rows.values)
    for field in (back, X):  # JSON has no lists that are not tuples
        for part in field.data_vars.values() if isinstance(field, xr.Dataset) else [field]:
            part.attrs = {name: str(value) for name, value in part.attrs.items()}
            part.attrs = {name: value.strip("[]()") for name, value in part.attrs.items()}
    xr.testing.assert_identical(back, X)


def test_merging_demands_the_same_layout():
    X = film()
    here, there = FieldStacker("time").fit(X), FieldStacker("time").fit(film(3, start=9))
    merged = here | there
    assert merged.n_samples_seen_ == 9
    xr.testing.assert_identical(merged.inverse_transform(merged.transform(X)), X)
    for other, message in (
        (
            FieldStacker("time").fit(X.assign_coords(y=X.y + 1)),
            "other values of the coordinate 'y'",
        ),
        (FieldStacker("time").fit(X.rename("potential")), r"potential \(y: 4, x: 3\).*density"),
        (FieldStacker("time").fit(X[:, :2]), "features"),
        (FieldStacker(("time", "x")).fit(X), "features"),
        (FieldStacker("time", drop_missing=True).fit(X), "drop_missing=True"),
    ):
        with pytest.raises(ValueError, match=message):
            here.merge(other)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sample_dims": "t"}, r"sample_dims=\['t'\] but 'density' has the dimensions"),
        ({"sample_dims": "time", "feature_dims": "x"}, r"feature_dims=\['x'\].*\['y'\] too"),
        ({"sample_dims": "time", "variables": "density"}, "variables='density' names variables"),
    ],
)
def test_parameters_that_make_no_sense(params, message):
    with pytest.raises(ValueError, match=message):
        FieldStacker(**params).fit(film())


def test_fields_that_make_no_sense():
    X = film()
    stacker = FieldStacker("time").fit(X)
    for call in (stacker.transform, stacker.partial_fit):
        with pytest.raises(ValueError, match="other values of the coordinate 'y'"):
            call(X.assign_coords(y=X.y + 1))
        with pytest.raises(ValueError, match="X is one Dataset, the model learnt one DataArray"):
            call(dataset())
    with pytest.raises(ValueError, match=r"expecting 12 features"):
        stacker.transform(X[:, 1:])
    with pytest.raises(ValueError, match="X has shape"):
        stacker.inverse_transform(np.zeros((6, 11)))
    with pytest.raises(ValueError, match="not a multiple of the 4 positions"):
        FieldStacker(("time", "y")).fit(X).inverse_transform(np.zeros((6, 3)))
    with pytest.raises(ValueError, match="variables='entropy' but X has the variables"):
        FieldStacker("time", variables="entropy").fit(dataset())
    with pytest.raises(ValueError, match="nothing but missing values"):
        FieldStacker("time", drop_missing=True).fit(X * np.nan)
    with pytest.raises(ValueError, match="Complex data not supported"):
        FieldStacker("time").fit(X * 1j)


def test_query_planning_mode_gives_the_same():
    script = (
        "from dask_exa.preprocessing import FieldStacker\n"
        "values = np.random.default_rng(0).standard_normal((6, 4, 3))\n"
        "values[2], values[:, 1, 1] = np.nan, np.nan\n"
        "X = xr.DataArray(values, dims=('t', 'y', 'x'), coords={'t': np.arange(6.0)})\n"
        "for drop in (False, True):\n"
        "    for dims in ('t', ('t', 'y'), ('y', 'x')):\n"
        "        stacker = FieldStacker(dims, drop_missing=drop)\n"
        "        rows = stacker.fit_transform(X.chunk(t=4, y=2))\n"
        "        assert rows.chunks is not None\n"
        "        xr.testing.assert_identical(rows.compute(), FieldStacker(dims, "
        "drop_missing=drop).fit_transform(X))\n"
        "        xr.testing.assert_identical(stacker.inverse_transform(rows).compute(), X)\n"
    )
    run_with_query_planning(script)


@pytest.mark.parametrize("run", ["sol", "hw"])
def test_films_of_simulations_come_back(shared_data, run):
    with h5py.File(shared_data / "tokam2d" / run / "simulation_fields.h5") as file:
        parts = {name: (("time", "y", "x"), file[name][:8]) for name in ("density", "potential")}
        coords = {"time": file["time"][:8], "y": file["y"][...], "x": file["x"][...]}
    X = xr.Dataset(parts, coords)
    for given in (X, X.chunk(time=3, y=64)):
        stacker = FieldStacker("time").fit(given)
        rows = stacker.transform(given)
        assert rows.shape == (8, 2 * 128**2)
        assert rows.dtype == np.float32
        xr.testing.assert_identical(stacker.inverse_transform(rows).compute(), X)
