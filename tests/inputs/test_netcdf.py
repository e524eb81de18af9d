"""NetCDF files: format 3 through SciPy, format 4 as HDF5."""

import pickle

import dask
import h5py
import numpy as np
import pytest
from scipy.io import netcdf_file

from dask_exa.inputs import hdf5, netcdf

VALUES = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)


def write_3(path, version=1, record=True):
    with netcdf_file(path, "w", version=version) as file:
        file.createDimension("time", None if record else 5)
        for dim, n in (("lat", 4), ("lon", 6)):
            file.createDimension(dim, n)
            axis = file.createVariable(dim, "f8", (dim,))
            axis[:] = np.arange(n) * 0.5
            axis.units = "degrees"
        time = file.createVariable("time", "f8", ("time",))
        time[:] = np.arange(5) * 0.1
        density = file.createVariable("density", "f4", ("time", "lat", "lon"))
        density[:] = VALUES
        density.units = "kg m-3"
    return str(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("chunks", [None, {"lon": 4}])
def test_format_3(tmp_path, version, record, chunks):
    source = write_3(tmp_path / "run.nc", version, record)
    assert netcdf.recognise(source)
    with netcdf.open_file(source, chunks=chunks) as stream:
        assert stream.sizes == {"lat": 4, "lon": 6}
        steps = list(stream)
    assert [float(step.time) for step in steps] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert steps[0].lon.values.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert steps[0].density.attrs["units"] == "kg m-3"
    for step, values in zip(steps, VALUES, strict=True):
        assert step.density.dtype == np.dtype("float32")  # in the byte order of the machine
        np.testing.assert_array_equal(step.density, values)
    if chunks:
        assert dask.is_dask_collection(steps[0].density.data)
        sent = pickle.loads(pickle.dumps(steps[3]))  # as to another process
        part = sent.density.isel(lat=slice(1, 3))
        np.testing.assert_array_equal(part, VALUES[3, 1:3])


def test_files_are_closed(tmp_path):
    source = write_3(tmp_path / "run.nc")
    with netcdf.open_file(source) as stream:
        first = next(iter(stream)).density
    write_3(tmp_path / "run.nc")
    np.testing.assert_array_equal(first, VALUES[0])


def test_format_4_is_read_as_hdf5(tmp_path):
    path = tmp_path / "run.nc"
    with h5py.File(path, "w") as file:  # the layout that netCDF writes
        for name, values in (
            ("time", np.arange(5.0)),
            ("z", np.arange(4.0)),
            ("r", np.arange(6.0)),
        ):
            file[name] = values
            file[name].make_scale(name)
        file["density"] = VALUES
        for axis, name in enumerate(("time", "z", "r")):
            file["density"].dims[axis].attach_scale(file[name])
    assert not netcdf.recognise(str(path))
    with hdf5.open_file(str(path)) as stream:
        assert (stream.dims, stream.variables) == (("z", "r"), ("density",))


def test_what_is_wrong_is_told(tmp_path):
    source = write_3(tmp_path / "run.nc")
    with pytest.raises(ValueError, match="pressure"):
        netcdf.open_file(source, variables=["pressure"])
    whole = (tmp_path / "run.nc").read_bytes()
    for size in (50, 300, len(whole) - 200):
        (tmp_path / "run.nc").write_bytes(whole[:size])
        assert netcdf.recognise(source)
        with pytest.raises(OSError, match="cannot be read to its end"):
            netcdf.open_file(source)
    (tmp_path / "run.nc").write_bytes(b"CD")
    assert not netcdf.recognise(source)
    assert not netcdf.recognise(str(tmp_path / "none.nc"))
