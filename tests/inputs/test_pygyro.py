"""Files of PyGyro: dimension order from an attribute, mesh from the parameters."""

import json
import pickle
import shutil

import dask
import h5py
import numpy as np
import pytest

from dask_exa.inputs import pygyro
from dask_exa.inputs.velocity_space import PhaseSpace, summarize

SIZES = {"r": 6, "theta": 4, "z": 3, "vpar": 7}
PARAMETERS = {
    "npts": list(SIZES.values()),
    "splineDegrees": [3, 3, 3, 3],
    "rMin": 0.1,
    "rMax": 14.5,
    "zMin": 0.0,
    "zMax": 30.0,
    "vMin": -7.0,
    "vMax": 7.0,
}


def write(folder, time, layout=(0, 2, 1, 3), kinds=("grid", "phi")):
    random = np.random.default_rng(time)
    written = {}
    for kind in kinds:
        order = [axis for axis in layout if kind == "grid" or axis < 3]
        values = random.normal(size=[list(SIZES.values())[axis] for axis in order])
        with h5py.File(folder / f"{kind}_{time:06}.h5", "w") as file:
            file["dset"] = values if kind == "grid" else values.astype(complex)
            file["dset"].attrs["Layout"] = np.array(order, dtype=">i4")
        written[kind] = values
    return written


def test_dimensions_come_from_the_attribute(tmp_path):
    first = write(tmp_path, 0)
    second = write(tmp_path, 40, layout=(3, 0, 1, 2))
    write(tmp_path, 80, kinds=("phi",))
    assert pygyro.recognise(str(tmp_path))
    with pygyro.open_run(str(tmp_path)) as stream:
        assert stream.sizes == {"r": 6, "z": 3, "theta": 4, "vpar": 7}
        assert stream.variables == ("f", "potential")
        steps = list(stream)
        assert [int(step.timestep) for step in steps] == [0, 40]
        assert [float(step.time) for step in stream.read(1)] == [40.0]
    assert steps[0].f.dims == ("r", "z", "theta", "vpar")
    assert steps[1].f.dims == ("vpar", "r", "theta", "z")
    np.testing.assert_array_equal(steps[0].f, first["grid"])
    np.testing.assert_array_equal(steps[1].f, second["grid"])
    assert steps[0].potential.dtype == np.float64
    assert stream.faults == []
    write(tmp_path, 120, kinds=("grid",))
    with pygyro.open_run(str(tmp_path)) as stream:
        assert [int(step.timestep) for step in stream] == [0, 40]
    assert stream.faults == ["grid_000120.h5 was left out: there is no phi file of time 120"]


def test_mesh_comes_from_the_parameters(tmp_path):
    write(tmp_path, 0)
    (tmp_path / "initParams.json").write_text(json.dumps(PARAMETERS))
    with pygyro.open_run(str(tmp_path), variables=["f"]) as stream:
        step = next(iter(stream))
    assert step.theta.values.tolist() == [0, np.pi / 2, np.pi, 3 * np.pi / 2]
    assert step.z.values.tolist() == [0, 10, 20]
    assert (step.vpar.values[0], step.vpar.values[-1]) == (-7.0, 7.0)
    assert step.vpar.values[1] == pytest.approx(-7 + 14 / 4 / 3)  # a third of a cell


def test_chunks_are_read_where_they_are_needed(tmp_path):
    written = write(tmp_path, 0)
    with pygyro.open_run(str(tmp_path), chunks={"r": 2}) as stream:
        step = next(iter(stream))
    assert step.f.chunksizes["r"] == (2, 2, 2)
    assert dask.is_dask_collection(step.potential.data)
    sent = pickle.loads(pickle.dumps(step))  # as to another process
    np.testing.assert_array_equal(sent.f, written["grid"])


def test_one_file_is_a_run_of_one_step(tmp_path):
    write(tmp_path, 0)
    written = write(tmp_path, 40)
    path = tmp_path / "phi_000040.h5"
    assert pygyro.recognise(str(path))
    with pygyro.open_run(str(path)) as stream:
        assert (len(stream), stream.variables) == (1, ("potential",))
        np.testing.assert_array_equal(next(iter(stream)).potential, written["phi"].real)


def test_damaged_files_are_left_out(tmp_path):
    for time in (0, 40, 80):
        write(tmp_path, time, kinds=("grid",))
    path = tmp_path / "grid_000040.h5"
    path.write_bytes(path.read_bytes()[:700])
    with pygyro.open_run(str(tmp_path)) as stream:
        assert [int(step.timestep) for step in stream] == [0, 80]
    assert len(stream.faults) == 1
    assert "grid_000040.h5 was left out" in stream.faults[0]
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros(3)
    with pygyro.open_run(str(path)[:-3].replace("000040", "000000") + ".h5") as stream:
        assert len(stream) == 1
    assert not pygyro.recognise(str(path))


def test_what_is_not_there_is_told(tmp_path):
    write(tmp_path, 0, kinds=("grid",))
    with pytest.raises(ValueError, match=r"variables=\['potential'\].*\['f'\]"):
        pygyro.open_run(str(tmp_path), variables=["potential"])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not pygyro.recognise(str(empty))
    assert not pygyro.recognise(str(tmp_path / "none"))


def test_the_codes_own_files(shared_data, tmp_path):
    for kind in ("grid", "phi"):
        path = shared_data / "pygyro" / f"original_layout_{kind}_000080.h5"
        assert pygyro.recognise(str(path))
        shutil.copy(path, tmp_path / f"{kind}_000080.h5")
    with pygyro.open_run(str(tmp_path)) as stream:
        step = next(iter(stream))
    assert dict(step.f.sizes) == {"r": 32, "z": 8, "theta": 32, "vpar": 24}
    assert dict(step.potential.sizes) == {"r": 32, "z": 8, "theta": 32}
    assert float(abs(step.potential).max()) == pytest.approx(0.010834, rel=1e-4)


def test_particles_and_norm_are_those_of_the_codes_own_diagnostics(shared_data):
    rows = np.loadtxt(shared_data / "pygyro" / "ref_phiDat.txt")
    (start,) = rows[rows[:, 0] == 0]
    source = str(shared_data / "pygyro" / "ref_f.h5")
    assert pygyro.recognise(source)
    with pygyro.open_run(source) as stream:
        assert len(stream) == 4
        f = next(iter(stream)).f
    assert PhaseSpace.of(f).velocity == ("vpar",)
    sums = summarize(f).sums
    assert sums.particles == pytest.approx(start[4], rel=1e-7)
    assert sums.l2_norm == pytest.approx(start[2], rel=1e-7)
    assert sums.largest == pytest.approx(start[6], rel=1e-6)
    assert sums.kinetic_energy == pytest.approx(start[7], rel=1e-5)


@pytest.mark.parametrize("written", ["", '{"rMin": 0.1, "rM', "{}", "[]"])
def test_parameters_that_are_not_written_yet_leave_the_mesh_out(tmp_path, written):
    write(tmp_path, 0)
    (tmp_path / "initParams.json").write_text(written)
    with pygyro.open_run(str(tmp_path)) as stream:
        (step,) = stream
    assert set(step.coords) == {"time", "timestep"}
