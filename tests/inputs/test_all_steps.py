"""Whole runs as one lazy data set, and which reader takes what."""

import dask
import h5py
import numpy as np
import pytest
from scipy.io import netcdf_file

from dask_exa.inputs import open_stream
from dask_exa.inputs.all_steps import stack_steps
from dask_exa.inputs.damask import open_damask
from dask_exa.inputs.goosefft import open_goosefft
from dask_exa.inputs.gysela import open_gysela
from dask_exa.inputs.netcdf import open_netcdf
from dask_exa.inputs.pygyro import open_pygyro
from dask_exa.inputs.stream import Stream
from dask_exa.inputs.tokam2d_folder import open_tokam2d

VALUES = np.random.default_rng(0).normal(size=(3, 4, 6))


def write_pygyro(folder):
    for number, values in enumerate(VALUES):
        with h5py.File(folder / f"phi_{number:06}.h5", "w") as file:
            file["dset"] = values
            file["dset"].attrs["Layout"] = [1, 0]
    return folder, open_pygyro, "potential", ("theta", "r")


def write_gysela(folder):
    for number, values in enumerate(VALUES):
        with h5py.File(folder / f"VOICEXX_{number:05}.h5", "w") as file:
            file["fdistribu"], file["time_saved"] = values, float(number)
            file["MeshX"], file["MeshVx"] = np.arange(4.0), np.arange(6.0)
    return folder, open_gysela, "f", ("x", "vx")


def write_tokam2d(folder):
    for number, values in enumerate(VALUES):
        with h5py.File(folder / f"fields_{number:05}.h5", "w") as file:
            file["density"], file["potential"], file["time"] = values, 2 * values, float(number)
    return folder, open_tokam2d, "density", ("y", "x")


def write_netcdf(folder):
    with netcdf_file(folder / "run.nc", "w") as file:
        for dim, n in zip(("time", "z", "r"), VALUES.shape, strict=True):
            file.createDimension(dim, n)
        file.createVariable("density", "f8", ("time", "z", "r"))[:] = VALUES
    return folder / "run.nc", open_netcdf, "density", ("z", "r")


@pytest.mark.parametrize("write", [write_pygyro, write_gysela, write_tokam2d, write_netcdf])
def test_runs_are_stacked_and_their_reader_is_found(tmp_path, write):
    source, open_all, name, dims = write(tmp_path)
    whole = open_all(source)
    assert whole[name].dims == ("time", *dims)
    assert dask.is_dask_collection(whole[name].data)
    np.testing.assert_array_equal(whole[name], VALUES)
    assert whole.timestep.values.tolist() == [0, 1, 2]
    assert whole.time.values.tolist() == [0.0, 1.0, 2.0]
    options = {"timeout": 0} if write is write_tokam2d else {}
    with open_stream(source, **options) as stream:
        steps = list(stream)
    assert name in stream.variables
    np.testing.assert_array_equal(np.stack([step[name] for step in steps]), VALUES)
    split = open_all(source, chunks={dims[1]: 3})
    assert split[name].chunks[2] == (3, 3)


def test_results_of_crystal_solvers(shared_data):
    whole = open_damask(shared_data / "damask" / "12grains6x7x8_tensionY.hdf5")
    assert whole.P.dims == ("time", "x", "y", "z", "i", "j")
    assert whole.timestep.values.tolist() == list(range(0, 41, 4))
    assert whole.phase.dims == ("x", "y", "z")
    whole = open_goosefft(shared_data / "goosefft" / "goose_coarse.h5")
    assert whole.anomaly_label.values.tolist() == [1] * 5
    assert whole.grain.dims == ("x", "y", "z")
    with open_stream(shared_data / "damask" / "12grains6x7x8_tensionY.hdf5") as stream:
        assert "F_p" in stream.variables


def test_a_stream_without_steps():
    empty = Stream(lambda start: iter(()), name="nothing", sizes={}, variables=())
    with pytest.raises(ValueError, match="'nothing' has no steps"):
        stack_steps(empty)
