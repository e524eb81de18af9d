"""Result files of DAMASK and GooseFFT: tensors on the grid of their increments."""

import pickle

import dask
import h5py
import numpy as np
import pytest
import xarray as xr

from dask_exa.inputs import damask, goosefft
from dask_exa.inputs.tensors import force_imbalance

CELLS = (2, 3, 4)
INCREMENTS = (0, 5, 10)


def write_result(path, skip=None):
    """Write a small file in the layout of DADF5, and return its fields on the grid."""
    random = np.random.default_rng(0)
    n = int(np.prod(CELLS))
    phase = random.integers(2, size=n)
    labels = np.array([b"alpha", b"beta"])[phase]
    entry = np.zeros(n, dtype=int)
    for number in (0, 1):  # the places within a phase in an order of their own
        entry[phase == number] = random.permutation(np.sum(phase == number))
    fields = {}
    with h5py.File(path, "w") as file:
        file.attrs["DADF5_version_major"] = np.int32(1)
        kind = np.dtype([("label", "S5"), ("entry", "<i8")])
        mapping = np.array(list(zip(labels, entry, strict=True)), dtype=kind)
        file["cell_to/phase"] = mapping[:, None]
        geometry = file.create_group("geometry")
        geometry.attrs["cells"] = np.array(CELLS, dtype="i4")
        geometry.attrs["size"] = np.array([1.0, 1.5, 2.0])
        geometry.attrs["origin"] = np.zeros(3)
        for increment in INCREMENTS:
            values = random.normal(size=(n, 3, 3))
            # cell x + 2 y + 6 z of the file is cell (x, y, z) of the grid
            fields[increment] = np.array(
                [
                    [[values[x + 2 * y + 6 * z] for z in range(4)] for y in range(3)]
                    for x in range(2)
                ]
            )
            file.create_group(f"increment_{increment}").attrs["t/s"] = 0.5 * increment
            for number, label in enumerate(("alpha", "beta")):
                group = file.create_group(f"increment_{increment}/phase/{label}/mechanical")
                scattered = np.empty((np.sum(phase == number), 3, 3))
                scattered[entry[phase == number]] = values[phase == number]
                if (increment, label) != skip:
                    group["F"] = scattered
                    group["F"].attrs["unit"] = "1"
                group["xi_sl"] = np.ones((len(scattered), 12 - number))
    return fields


def test_phases_are_put_together_on_the_grid(tmp_path):
    path = tmp_path / "result.hdf5"
    fields = write_result(path)
    assert damask.recognise(str(path))
    with damask.open_result(str(path)) as stream:
        assert (len(stream), stream.variables) == (3, ("F",))  # phases differ in xi_sl
        steps = list(stream)
    assert [int(step.timestep) for step in steps] == list(INCREMENTS)
    assert [float(step.time) for step in steps] == [0.0, 2.5, 5.0]
    for step in steps:
        assert step.F.dims == ("x", "y", "z", "i", "j")
        np.testing.assert_array_equal(step.F, fields[int(step.timestep)])
    assert steps[0].y.values.tolist() == [0.25, 0.75, 1.25]
    assert steps[0].phase.attrs["phases"] == ["alpha", "beta"]
    with h5py.File(path) as file:
        labels = file["cell_to/phase"]["label"][:, 0]
    for x, y, z in np.ndindex(CELLS):
        name = steps[0].phase.attrs["phases"][int(steps[0].phase[x, y, z])]
        assert name == labels[x + 2 * y + 6 * z].decode()


def test_lazy_increments_are_read_where_they_are_needed(tmp_path):
    path = tmp_path / "result.hdf5"
    fields = write_result(path)
    with damask.open_result(str(path), chunks={"z": 2}) as stream:
        step = next(stream.read(1))
    assert dask.is_dask_collection(step.F.data)
    assert step.F.chunksizes["z"] == (2, 2)
    sent = pickle.loads(pickle.dumps(step))  # as to another process
    part = sent.F.isel(x=1, z=slice(1, 3))
    np.testing.assert_array_equal(part, fields[5][1, :, 1:3])


def test_what_is_wrong_is_told(tmp_path):
    path = tmp_path / "result.hdf5"
    write_result(path, skip=(5, "beta"))
    with damask.open_result(str(path)) as stream:
        steps = iter(stream)
        next(steps)
        with pytest.raises(OSError, match="no increment_5/phase/beta/mechanical/F"):
            next(steps)
    with pytest.raises(ValueError, match=r"variables=\['P'\].*it has F\."):
        damask.open_result(str(path), variables=["P"])
    with h5py.File(path, "a") as file:
        mapping = file["cell_to/phase"][()]
        del file["cell_to/phase"]
        file["cell_to/phase"] = np.concatenate([mapping, mapping], axis=1)
    with pytest.raises(ValueError, match="2 constituents"):
        damask.open_result(str(path))
    with h5py.File(path, "a") as file:
        del file["geometry"].attrs["cells"]
    with pytest.raises(ValueError, match="no regular grid"):
        damask.open_result(str(path))
    path.write_bytes(path.read_bytes()[:1000])
    assert not damask.recognise(str(path))


def test_the_codes_own_result(shared_data):
    source = str(shared_data / "damask" / "12grains6x7x8_tensionY.hdf5")
    assert damask.recognise(source)
    with damask.open_result(source) as stream:
        assert len(stream) == 11
        assert stream.variables == ("F", "F_e", "F_p", "L_p", "O", "P", "xi_sl")
        *_, last = stream
    assert int(last.timestep) == 40
    assert dict(last.sizes) == {
        "x": 6,
        "y": 7,
        "z": 8,
        "i": 3,
        "j": 3,
        "quaternion": 4,
        "xi_sl_component": 12,
    }
    assert last.P.attrs["units"] == "Pa"
    mean = last.F.mean(("x", "y", "z")).values
    assert mean[1, 1] == pytest.approx(1.02, abs=1e-9)  # the load: tension along y
    assert np.abs(mean - np.diag(np.diag(mean))).max() < 1e-12
    product = last.F_e.values @ last.F_p.values
    np.testing.assert_allclose(product, last.F, atol=1e-6)
    # forces balance where cells lie in their places, and nowhere else
    in_place = float((force_imbalance(last.P) ** 2).mean() ** 0.5)
    mixed = last.P.values.transpose(2, 1, 0, 3, 4).reshape(last.P.shape)
    elsewhere = float((force_imbalance(last.P.copy(data=mixed)) ** 2).mean() ** 0.5)
    assert in_place < 0.2 < 0.45 < elsewhere


def test_tensors_of_goosefft(tmp_path):
    random = np.random.default_rng(0)
    tensor, ep = random.normal(size=(3, 2, 3, 5, 3, 3)), random.random((3, 2, 3, 5))
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        file["F"], file["P"], file["ep"] = tensor, 2 * tensor, ep
        file["grain"] = np.arange(30).reshape(2, 3, 5)
        file["anomaly_label"], file["lambda"] = [0, 1, 0], [0.1, 0.2, 0.4]
        file["newton_residual"] = np.zeros((7, 2))
    assert goosefft.recognise(str(path))
    for chunks in (None, {"x": 1}):
        with goosefft.open_tensors(str(path), chunks=chunks) as stream:
            assert (len(stream), stream.variables) == (3, ("F", "P", "ep"))
            assert stream.sizes == {"x": 2, "y": 3, "z": 5, "i": 3, "j": 3}
            steps = [step.compute() for step in stream]
        assert [int(step.anomaly_label) for step in steps] == [0, 1, 0]
        assert [float(step.time) for step in steps] == [0.1, 0.2, 0.4]
        np.testing.assert_array_equal(steps[2].P, 2 * tensor[2])
        np.testing.assert_array_equal(steps[2].ep, ep[2])
        assert steps[0].grain.dims == ("x", "y", "z")
    with goosefft.open_tensors(str(path), variables=["P"]) as stream:
        assert stream.variables == ("P",)
    with pytest.raises(ValueError, match=r"variables=.*Q"):
        goosefft.open_tensors(str(path), variables=["Q"])
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["F"] = np.zeros((3, 4))
    assert not goosefft.recognise(str(other))


def test_the_codes_own_tensors(shared_data):
    with goosefft.open_tensors(str(shared_data / "goosefft" / "goose_poly.h5")) as stream:
        steps = list(stream)
    assert len(steps) == 25
    assert {int(step.anomaly_label) for step in steps} == {0}
    assert isinstance(steps[0], xr.Dataset)
    assert float((force_imbalance(steps[-1].P) ** 2).mean() ** 0.5) < 1e-3
    assert {"grain", "K", "mu"} <= set(steps[0].coords)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("cell_to/phase", np.zeros(5), r"cell_to/phase of shape \(5,\) for \(2, 3, 4\) cells"),
        ("geometry", None, "lacks a part of a result .*geometry"),
        ("increment_10", None, "lacks a part of a result .*t/s"),
        ("increment_5/phase/beta/mechanical/F", np.zeros((0, 3, 3)), "F of all cells, but of 0"),
        ("increment_5/phase/beta/mechanical/F", None, "F of all cells, but of 0"),
    ],
)
def test_parts_that_are_not_written_are_named(tmp_path, name, data, message):
    path = tmp_path / "result.hdf5"
    write_result(path)
    with h5py.File(path, "a") as file:
        del file[name]
        if data is not None:
            file[name] = data
        elif name != "geometry":
            file.create_group(name)
    with (
        pytest.raises((OSError, ValueError), match=message),
        damask.open_result(str(path)) as stream,
    ):
        list(stream)
