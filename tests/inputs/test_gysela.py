"""Files of Gysela and gyselalib++, in exactly the layouts that they write."""

import dask
import h5py
import numpy as np
import pytest

from dask_exa.inputs import gysela
from dask_exa.inputs.gysela import open_run, recognise
from dask_exa.inputs.velocity_space import summarize

TORUS = {"tor1": 5, "tor2": 4, "tor3": 3, "vpar": 8, "mu": 4}


def write_5d(path, n_species=2, with_potential=True):
    random = np.random.default_rng(0)
    f = random.random((n_species, *TORUS.values()))
    with h5py.File(path, "w") as file:
        for dim, n in TORUS.items():
            file[dim] = np.linspace(-1 if dim == "vpar" else 0, 1, n)
        file["fdistribu_sptor3Dv2D"] = f
        if with_potential:
            file["electrostatic_potential"] = random.random(tuple(TORUS.values())[:3])
    return f


def write_reduced(
    folder, number, stem="VOICEXX", dims=("X", "Vx"), species=True, mesh_inside=False
):
    sizes = {"X": 6, "Y": 4, "Vx": 8, "Vy": 10}
    shape = ([2] if species else []) + [sizes[dim] for dim in dims]
    f = np.random.default_rng(number).random(shape)
    meshes = {f"Mesh{dim}": np.linspace(0, 1, sizes[dim]) for dim in dims}
    with h5py.File(folder / f"{stem}_{number:05d}.h5", "w") as file:
        file["fdistribu"] = f
        file["electrostatic_potential"] = np.full([sizes[d] for d in dims if d in "XY"], number)
        file["time_saved"] = 0.25 * number
        for name, points in meshes.items() if mesh_inside else ():
            file[name] = points
    if not mesh_inside:
        with h5py.File(folder / f"{stem}_initstate.h5", "w") as file:
            for name, points in meshes.items():
                file[name] = points
            file["nbstep_diag"] = 1
    return f


def test_five_dimensions(tmp_path):
    path = tmp_path / "fdistribu_5D_output.h5"
    f = write_5d(path)
    assert recognise(str(path))
    with open_run(str(path)) as stream:
        assert len(stream) == 1
        assert stream.sizes == {"species": 2, **TORUS}
        assert stream.variables == ("f", "potential")
        (step,) = stream
        assert list(stream.read(1)) == []
    np.testing.assert_array_equal(step.f, f)
    assert step.potential.dims == ("tor1", "tor2", "tor3")
    assert step.vpar.values.tolist() == np.linspace(-1, 1, 8).tolist()
    assert (int(step.timestep), float(step.time)) == (0, 0.0)


def test_moments_are_those_of_the_codes_trapezoidal_rule(tmp_path):
    path = tmp_path / "fdistribu_5D_output.h5"
    write_5d(path)
    with open_run(str(path), chunks={"tor1": 2, "vpar": 3}) as stream:
        (step,) = stream
    assert step.f.chunksizes["tor1"] == (2, 2, 1)
    vpar, mu = step.vpar.values, step.mu.values
    values = step.f.isel(species=1).values
    density = np.trapezoid(np.trapezoid(values, mu, axis=-1), vpar, axis=-1)
    momentum = np.trapezoid(np.trapezoid(values, mu, axis=-1) * vpar, vpar, axis=-1)
    moments = summarize(step.f.isel(species=1)).moments
    np.testing.assert_allclose(moments.density, density, rtol=1e-12)
    np.testing.assert_allclose(moments.mean_vpar, momentum / density, rtol=1e-10, atol=1e-13)


def test_fluid_moments(tmp_path):
    path = tmp_path / "fluid_moments.h5"
    with h5py.File(path, "w") as file:
        for number, name in enumerate(("density", "mean_velocity", "temperature")):
            file[name] = np.full((2, 5, 4, 3), float(number))
    assert recognise(str(path))
    with open_run(str(path)) as stream:
        (step,) = stream
    assert step.temperature.dims == ("species", "tor1", "tor2", "tor3")
    assert float(step.temperature.mean()) == 2.0


@pytest.mark.parametrize(
    ("stem", "dims", "names"),
    [
        ("VOICEXX", ("X", "Vx"), ("x", "vx")),
        ("GYSELALIBXX", ("X", "Y", "Vx", "Vy"), ("x", "y", "vx", "vy")),
    ],
)
@pytest.mark.parametrize("mesh_inside", [True, False])
def test_saved_steps_of_reduced_runs(tmp_path, stem, dims, names, mesh_inside):
    written = [write_reduced(tmp_path, n, stem, dims, mesh_inside=mesh_inside) for n in (0, 1, 10)]
    assert recognise(str(tmp_path))
    with open_run(str(tmp_path)) as stream:
        assert len(stream) == 3
        steps = list(stream)
    assert [int(step.timestep) for step in steps] == [0, 1, 10]
    assert [float(step.time) for step in steps] == [0.0, 0.25, 2.5]
    for step, f in zip(steps, written, strict=True):
        assert step.f.dims == ("species", *names)
        np.testing.assert_array_equal(step.f, f)
        assert step.potential.dims == names[: len(names) // 2]
        assert step.x.values.tolist() == np.linspace(0, 1, 6).tolist()
        assert (step.potential == int(step.timestep)).all()


def test_old_files_without_species(tmp_path):
    f = write_reduced(tmp_path, 0, species=False, mesh_inside=True)
    with open_run(str(tmp_path)) as stream:
        (step,) = stream
    assert step.f.dims == ("x", "vx")
    np.testing.assert_array_equal(step.f, f)


def test_lazy_steps_leave_no_file_open(tmp_path):
    f = write_reduced(tmp_path, 0)
    with open_run(str(tmp_path), chunks={"x": 2}) as stream:
        (step,) = stream
    assert dask.is_dask_collection(step.f.data)
    with h5py.File(tmp_path / "VOICEXX_00000.h5", "a"):  # fails where it is open to read
        pass
    np.testing.assert_array_equal(step.f, f)


def test_steps_that_are_skipped_are_not_read(tmp_path, monkeypatch):
    for number in range(3):
        write_reduced(tmp_path, number)
    read, asked = gysela.read_variables, []

    def note_and_read(path, variables, chunks):
        asked.append((path.name[-4], chunks))
        return read(path, variables, chunks)

    with open_run(str(tmp_path)) as stream:
        monkeypatch.setattr(gysela, "read_variables", note_and_read)
        assert [int(step.timestep) for step in stream.read(2)] == [2]
    assert asked == [("0", {}), ("1", {}), ("2", None)]


def test_the_file_of_one_rank_with_the_mesh_of_all(tmp_path):
    path = tmp_path / "fdistribu_5D_output_0.h5"
    write_5d(path)
    with h5py.File(path, "a") as file:
        del file["tor1"]
        file["tor1"] = np.linspace(0, 1, 10)
    with open_run(str(path)) as stream:
        (step,) = stream
    assert "tor1" not in step.coords
    assert step.sizes["tor1"] == 5


def test_damaged_steps_are_left_out_with_a_note(tmp_path):
    for number in range(4):
        write_reduced(tmp_path, number)
    cut = tmp_path / "VOICEXX_00001.h5"
    cut.write_bytes(cut.read_bytes()[:1000])
    with h5py.File(tmp_path / "VOICEXX_00002.h5", "a") as file:
        del file["fdistribu"]
        file["fdistribu"] = np.zeros((2, 5, 8))
    with open_run(str(tmp_path)) as stream:
        assert len(stream) == 2
        assert [int(step.timestep) for step in stream] == [0, 3]
    assert [note.partition(" was")[0] for note in stream.faults] == [cut.name, "VOICEXX_00002.h5"]
    assert "(2, 5, 8), which is not that of the mesh" in stream.faults[1]


def test_groups_and_empty_times_in_place_of_data(tmp_path):
    for number in range(3):
        write_reduced(tmp_path, number)
    with h5py.File(tmp_path / "VOICEXX_00001.h5", "a") as file:
        del file["fdistribu"]
        file.create_group("fdistribu")
    with h5py.File(tmp_path / "VOICEXX_00002.h5", "a") as file:
        del file["time_saved"]
        file["time_saved"] = np.zeros(0)
    with open_run(str(tmp_path)) as stream:
        assert [(int(step.timestep), float(step.time)) for step in stream] == [(0, 0.0), (2, 2.0)]
    assert "VOICEXX_00001.h5 has none of" in stream.faults[0]


def test_what_is_wrong_is_told(tmp_path):
    path = tmp_path / "fdistribu_5D_output.h5"
    write_5d(path, with_potential=False)
    with pytest.raises(ValueError, match=r"variables=\['potential'\].*it has f\."):
        open_run(str(path), variables=["potential"])
    path.write_bytes(path.read_bytes()[:2000])
    assert not recognise(str(path))
    with pytest.raises(OSError, match="wait until it is written"):
        open_run(str(path))
    plain = tmp_path / "other_00000.h5"
    with h5py.File(plain, "w") as file:
        file["density"] = np.zeros((2, 3))
    assert not recognise(str(plain))
    assert not recognise(str(tmp_path))
