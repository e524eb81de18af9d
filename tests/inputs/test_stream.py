"""Every source is one iterator of labelled steps."""

import itertools
import pickle

import dask
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

from dask_exa.inputs import Stream, open_stream
from dask_exa.inputs.arrays import StoredArray, stream_arrays

N_STEPS, SHAPE = 5, (4, 6)
VALUES = np.random.default_rng(0).normal(size=(N_STEPS, *SHAPE)).astype(np.float32)
TIMES = np.linspace(0.5, 2.5, N_STEPS)


def write_plain(folder):
    path = folder / "run.h5"
    with h5py.File(path, "w") as file:
        file["density"] = VALUES
    return path


def write_tokam2d(folder):
    path = folder / "simulation_fields.h5"
    with h5py.File(path, "w") as file:
        file["density"], file["potential"] = VALUES, 2 * VALUES
        file["time"], file["y"], file["x"] = TIMES, np.arange(4.0), np.arange(6.0)
        file["kx"] = np.arange(6.0)
    return path


def write_netcdf_like(folder):
    path = folder / "scales.h5"
    with h5py.File(path, "w") as file:
        file["density"], file["time"] = VALUES, TIMES
        file["z"], file["r"] = np.arange(4.0), np.arange(6.0)
        for axis, name in enumerate(("time", "z", "r")):
            file[name].make_scale(name)
            file["density"].dims[axis].attach_scale(file[name])
    return path


def write_zarr_array(folder):
    path = folder / "density.zarr"
    zarr.create_array(path, data=VALUES, dimension_names=["t", "z", "r"])
    return path


def write_zarr_group(folder):
    path = folder / "group.zarr"
    data = xr.Dataset({"density": (("time", "z", "r"), VALUES)}, {"time": TIMES, "z": np.arange(4)})
    data.to_zarr(path, consolidated=False)
    return path


def write_zarr_2(folder):
    path = folder / "old.zarr"
    data = xr.Dataset({"density": (("time", "z", "r"), VALUES)})
    data.to_zarr(path, consolidated=False, zarr_format=2)
    return path


WRITERS = {
    write_plain: ("y", "x"),
    write_tokam2d: ("y", "x"),
    write_netcdf_like: ("z", "r"),
    write_zarr_array: ("z", "r"),
    write_zarr_group: ("z", "r"),
    write_zarr_2: ("z", "r"),
}


@pytest.fixture(params=WRITERS, ids=lambda writer: writer.__name__)
def source(request, tmp_path):
    return request.param(tmp_path), WRITERS[request.param]


def test_steps_come_in_order(source):
    path, dims = source
    with open_stream(path) as stream:
        assert len(stream) == stream.n_steps == N_STEPS
        assert stream.dims == dims
        assert stream.sizes == dict(zip(dims, SHAPE, strict=True))
        assert stream.name == str(path)
        for position, step in enumerate(stream):
            assert isinstance(step, xr.Dataset)
            assert step.density.dims == dims
            assert step.density.dtype == np.float32
            assert step.timestep.item() == position
            assert step.timestep.ndim == step.time.ndim == 0
            np.testing.assert_array_equal(step.density, VALUES[position])
    assert position == N_STEPS - 1


def test_time_is_read_where_it_is(tmp_path):
    for writer in (write_tokam2d, write_netcdf_like, write_zarr_group):
        with open_stream(writer(tmp_path)) as stream:
            assert [step.time.item() for step in stream] == TIMES.tolist()
    with open_stream(write_plain(tmp_path)) as stream:
        assert [step.time.item() for step in stream] == [0, 1, 2, 3, 4]


def test_iteration_starts_anew_and_can_start_later(source):
    with open_stream(source[0]) as stream:
        first, second = list(stream), list(stream)
        assert all(a.identical(b) for a, b in zip(first, second, strict=True))
        assert [step.timestep.item() for step in stream.read(3)] == [3, 4]
        with pytest.raises(ValueError, match="start=-1"):
            stream.read(-1)


@pytest.mark.parametrize("chunks", [{"z": 2, "r": 3, "y": 2, "x": 3}, 3, "auto"])
def test_chunks_are_read_where_they_are_needed(source, chunks):
    with open_stream(source[0], chunks) as stream:
        steps = list(stream)
    for values, step in zip(VALUES, steps, strict=True):
        assert dask.is_dask_collection(step.density.data)
        elsewhere = pickle.loads(pickle.dumps(step.density))  # as another process would get it
        np.testing.assert_array_equal(elsewhere.compute(), values)
    if isinstance(chunks, dict):
        assert steps[0].density.data.numblocks == (2, 2)


@pytest.mark.distributed
def test_workers_read_their_own_chunks(client, tmp_path):
    with open_stream(write_tokam2d(tmp_path), {"y": 2}) as stream:
        total = dask.compute([step.density.sum() for step in stream])[0]
    np.testing.assert_allclose(total, VALUES.sum(axis=(1, 2)), rtol=1e-5)


def test_fields_of_tokam2d_have_units(tmp_path):
    with open_stream(write_tokam2d(tmp_path)) as stream:
        assert stream.variables == ("density", "potential")
        step = next(iter(stream))
    assert step.potential.attrs["units"] == "T_e/e"
    assert step.x.attrs["units"] == "rho_s"
    assert step.time.attrs["units"] == "1/Omega_ci"


def test_time_may_be_any_axis(tmp_path):
    path = tmp_path / "late.zarr"
    zarr.create_array(path, data=np.moveaxis(VALUES, 0, 1), dimension_names=["z", "time", "r"])
    with open_stream(path, {"z": 2}) as stream:
        assert stream.dims == ("z", "r")
        for values, step in zip(VALUES, stream, strict=True):
            np.testing.assert_array_equal(step.late, values)


def test_default_variables_share_the_time_axis(tmp_path):
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as file:
        file["F"], file["ep"] = np.ones((7, 3, 2, 2, 2)), np.ones((7, 3, 2))
        file["grain"], file["residual"] = np.ones((3, 2), dtype=int), np.ones((9, 2))
        file["inner/P"], file["note"] = np.ones((7, 3, 2)), "text"
    with open_stream(path) as stream:
        assert stream.variables == ("F", "ep", "inner.P")
        step = next(iter(stream))
    assert step.F.dims == ("dim_1", "dim_2", "dim_3", "dim_4")
    assert step.ep.dims == ("dim_1", "dim_2")
    with open_stream(path, variables="inner/P") as stream:
        assert stream.variables == ("inner.P",)


def test_a_dimension_has_one_length(tmp_path):
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = np.ones((7, 3, 2)), np.ones((7, 5, 2))
    with open_stream(path) as stream:
        assert stream.sizes == {"y": 3, "x": 2, "y_b": 5}


def test_values_that_are_not_finite_are_passed_on(tmp_path):
    path = tmp_path / "nan.zarr"
    zarr.create_array(path, data=np.full((2, 3, 3), np.nan))
    with open_stream(path) as stream:
        assert all(np.isnan(step.nan).all() for step in stream)


@pytest.mark.parametrize("name", ["tokam2d", "tokam2d-sol", "tokam2d-hw", "tokam2d-mhw"])
def test_simulation_is_a_stream_without_end(name):
    options = {"shape": (16, 16), "rk4_steps_per_frame": 2}
    with open_stream(name, **options) as stream:
        assert stream.n_steps is None
        with pytest.raises(TypeError, match="no length"):
            len(stream)
        first = list(itertools.islice(stream, 3))
        (again,) = itertools.islice(stream.read(2), 1)
    assert [step.timestep.item() for step in first] == [1, 2, 3]
    assert first[2].identical(again)


def test_simulation_takes_variables_and_chunks():
    options = {"shape": (16, 16), "rk4_steps_per_frame": 2}
    with open_stream("tokam2d-hw", {"y": 8}, variables="potential", **options) as stream:
        step = next(iter(stream))
    assert list(step.data_vars) == ["potential"]
    assert step.potential.data.numblocks == (2, 1)
    with pytest.raises(ValueError, match="variables=\\['current'\\] are not in 'tokam2d-hw'"):
        open_stream("tokam2d-hw", variables="current", **options)


def test_simulation_that_breaks_down_goes_on_with_nan():
    options = {"shape": (16, 16), "time_step": 40.0, "check_stability": False}
    with open_stream("tokam2d-sol", **options) as stream:
        last = list(itertools.islice(stream, 3))[-1]
    assert np.isnan(last.density).all()


def test_closed_stream_says_so(source):
    stream = open_stream(source[0])
    stream.close()
    stream.close()
    with pytest.raises(ValueError, match="is closed; open it again"):
        iter(stream)


def test_repr_names_what_is_in_it(tmp_path):
    with open_stream(write_tokam2d(tmp_path)) as stream:
        assert repr(stream).endswith(": 5 steps of density, potential (y: 4, x: 6)>")
    endless = Stream(lambda start: iter(()), name="live", sizes={"x": 2}, variables=("n",))
    assert repr(endless) == "<Stream live: endless of n (x: 2)>"


def test_missing_source_names_the_simulations():
    with pytest.raises(FileNotFoundError, match=r"'nothing.h5' does not exist.*tokam2d-hw"):
        open_stream("nothing.h5")


def test_unknown_source_says_what_was_looked_for_and_found(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"looked for .* an HDF5 file.*folder with notes.txt"):
        open_stream(tmp_path)
    with pytest.raises(ValueError, match="starts with b'hello'"):
        open_stream(tmp_path / "notes.txt")


def test_damaged_file_is_named(tmp_path):
    path = write_tokam2d(tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(OSError, match=r"fields.h5' is an HDF5 file that cannot be opened"):
        open_stream(path)


def test_source_without_steps_or_arrays_says_so(tmp_path):
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["density"] = np.empty((0, 3, 3))
    with pytest.raises(ValueError, match=r"has no steps: density is \(0, 3, 3\)"):
        open_stream(tmp_path / "empty.h5")
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["g"] = 1.0
    with pytest.raises(ValueError, match=r"no numeric array .* it has g \(\) float64"):
        open_stream(tmp_path / "flat.h5")
    zarr.create_group(tmp_path / "group.zarr")
    with pytest.raises(ValueError, match="it has no arrays"):
        open_stream(tmp_path / "group.zarr")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (("flux",), r"are not all in .* it has a \(3, 2\) float64"),
        ((), "are not all in"),
        (("t",), "are not numeric arrays of two or more dimensions"),
        (("a", "b"), r"different numbers of steps \(a: 3, b: 4\)"),
    ],
)
def test_wrong_variables_are_named(variables, message):
    arrays = {"a": np.ones((3, 2)), "b": np.ones((4, 2)), "t": np.arange(3.0)}
    stored = [StoredArray(name, array) for name, array in arrays.items()]
    with pytest.raises(ValueError, match=message):
        stream_arrays(stored, name="file", variables=variables)


def test_real_run_of_tokam2d(shared_data):
    with open_stream(shared_data / "tokam2d/sol/simulation_fields.h5") as stream:
        assert len(stream) == 200
        assert stream.sizes == {"y": 128, "x": 128}
        last = next(stream.read(199))
    assert last.time.item() == 25472.0
    assert last.x.values[-1] == 127.0


def test_real_run_that_diverged(shared_data):
    with open_stream(shared_data / "tokam2d/sol_crash/simulation_fields.h5") as stream:
        finite = [bool(np.isfinite(step.density).all()) for step in stream]
    assert finite == [True] * 33 + [False]
