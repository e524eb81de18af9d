"""Real files of Dyablo, and small ones of the same layout that are broken on purpose."""

import math
import shutil
import threading

import h5py
import numpy as np
import pytest

from dask_exa.inputs import dyablo
from dask_exa.inputs.amr import Octree


@pytest.fixture(scope="module")
def real(shared_data):
    return shared_data / "dyablo"


def _write(path, *, levels=(1, 1, 1, 1), block=(2, 3), iteration=0, **more):
    """Write a snapshot of a quadtree of four octs as Dyablo does: octs with nodes of their own."""
    n_y, n_x = block
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * 0.5
    nodes, cells = [], []
    for corner in corners:
        first = sum(map(len, nodes))
        y, x = np.meshgrid(np.arange(n_y + 1) / n_y, np.arange(n_x + 1) / n_x, indexing="ij")
        at = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1) * 0.5
        nodes.append(at + np.array([*corner, 0]))
        row = n_x + 1
        cells += [
            [first + j * row + i + k for k in (0, 1, row + 1, row)]
            for j in range(n_y)
            for i in range(n_x)
        ]
    n = len(cells)
    with h5py.File(path, "w") as file:
        file["coordinates"] = np.concatenate(nodes).astype(np.float32)
        file["connectivity"] = np.array(cells, dtype=np.uint64)
        file["level"] = np.repeat(levels, n // 4).astype(np.uint32)
        file["rho"] = np.arange(n, dtype=np.float32) + iteration
        clock = file.create_group("scalar_data").attrs
        clock.update({"iter": iteration, "time": 0.1 * iteration, "dt": 0.01})
        for name, values in more.items():
            del file[name]
            if values is not None:
                file[name] = values
    return path


def test_snapshots_are_steps_in_order(real):
    with dyablo.open_snapshots(str(real / "blast2d_iter*.h5")) as stream:
        steps = list(stream)
        assert stream.variables == ("e_tot", "rho", "rho_vx", "rho_vy")
    assert [int(step.iteration) for step in steps] == [0, 31, 61, 91, 121, 150, 178, 206, 234]
    assert [int(step.timestep) for step in steps][:2] == [0, 31]
    assert len(stream) == 9
    assert [step.sizes["oct"] for step in steps][::4] == [592, 1144, 1504]
    assert float(steps[-1].time) == pytest.approx(0.08)
    assert float(steps[-1]["dt"]) == pytest.approx(8.654749e-05)
    assert math.isnan(float(steps[0]["dt"]))
    assert steps[0].rho.dims == ("oct", "y", "x")
    assert steps[0].attrs["periodic"] == [1, 1]


@pytest.mark.parametrize("name", ["blast2d_iter0000234", "blast3d_iter0000054"])
def test_patches_are_the_cells_of_the_file(real, name):
    """Mass by cells as the file has them equals mass of patches, tree and uniform grids."""
    with h5py.File(real / f"{name}.h5") as file:
        cells = file["coordinates"][:].astype(float)[file["connectivity"][:].astype(int)]
        rho = file["rho"][:].astype(float)
    ndim = 2 if name.startswith("blast2d") else 3
    widths = np.ptp(cells, axis=1)[:, :ndim]
    mass = math.fsum(rho * widths.prod(axis=1))
    (step,) = dyablo.open_snapshots(str(real / f"{name}.h5"))
    tree = Octree.from_patches(step)
    assert np.shares_memory(tree.fields["rho"], step.rho.values)
    np.testing.assert_allclose(
        tree.centers().reshape(-1, ndim), cells.mean(axis=1)[:, :ndim], atol=1e-7
    )
    assert tree.integral("rho") == pytest.approx(mass, rel=1e-12)
    for level in range(tree.lattice.depth + 1):
        grid = tree.to_uniform(level, dtype=np.float64).rho.values
        assert math.fsum(grid.ravel()) / grid.size == pytest.approx(mass, rel=1e-12)
    assert np.array_equal(tree.level, step.level)


def test_restart_and_snapshot_agree(real):
    (restart,) = dyablo.open_snapshots(str(real / "restart_blast2d_234.h5"))
    (snapshot,) = dyablo.open_snapshots(str(real / "blast2d_iter0000234.h5"))
    assert int(restart.iteration) == int(snapshot.iteration) == 234
    assert float(restart.time) == float(snapshot.time)
    assert restart.attrs == snapshot.attrs
    first, second = (Octree.from_patches(step) for step in (restart, snapshot))
    assert np.array_equal(first.tree.codes, second.tree.codes)
    np.testing.assert_allclose(first.position, second.position, atol=1e-7)
    for name in ("rho", "rho_vx", "rho_vy", "e_tot"):
        assert first.fields[name].dtype == np.float64
        single = first.fields[name].astype(np.float32)
        np.testing.assert_array_equal(single, second.fields[name])


def test_gradient_alone_misses_a_third_of_the_mass(real):
    """Points that follow gradients: far off unweighted, unbiased weighted."""
    (step,) = dyablo.open_snapshots(str(real / "blast2d_iter0000234.h5"))
    tree = Octree.from_patches(step)
    mass = tree.integral("rho")
    points = tree.sample(2000, "gradient", by="rho", random_state=0)
    assert abs(float(points.rho.mean()) / mass - 1) > 0.3
    found = [
        float((p.weight * p.rho).sum())
        for p in (
            tree.sample(2000, "gradient", by="rho", names=["rho"], random_state=seed)
            for seed in range(100)
        )
    ]
    error = np.std(found) / 10
    assert abs(np.mean(found) - mass) < 3 * error
    assert error < 4e-3 * mass


def test_every_kind_of_source(real, tmp_path):
    for name in ("blast3d_iter0000054.h5", "blast3d_iter0000054.xmf", "blast3d_iter*.h5"):
        assert dyablo.recognise(str(real / name))
        with dyablo.open_snapshots(str(real / name)) as stream:
            *_, last = stream
        assert last.rho.dims == ("oct", "z", "y", "x")
        assert int(last.iteration) == 54
    for name in ("blast2d_iter0000000.h5", "blast2d_iter0000031.h5", "blast2d_iter0000000.xmf"):
        shutil.copy(real / name, tmp_path / name)
    shutil.copy(real / "blast2d_iter0000031.xmf", tmp_path)
    series = tmp_path / "blast2d_main.xmf"
    series.write_text(
        '<?xml version="1.0" ?>\n<Xdmf Version="2.0" xmlns:xi="http://www.w3.org/2001/XInclude">'
        '<Domain><Grid GridType="Collection" CollectionType="Temporal">'
        '<xi:include href="blast2d_iter0000000.xmf" xpointer="xpointer(//Xdmf/Domain/Grid)"/>'
        '<xi:include href="blast2d_iter0000031.xmf" xpointer="xpointer(//Xdmf/Domain/Grid)"/>'
        "</Grid></Domain></Xdmf>"
    )
    for source in (tmp_path, series):
        assert dyablo.recognise(str(source))
        with dyablo.open_snapshots(str(source)) as stream:
            assert [int(step.iteration) for step in stream] == [0, 31]
    with pytest.raises(ValueError, match="several runs"):
        dyablo.open_snapshots(str(real))


def test_lazy_steps_equal_those_in_memory(real):
    source = str(real / "blast2d_iter*.h5")
    (whole, *_), (lazy, *_) = (
        list(dyablo.open_snapshots(source, chunks=chunks, variables=["rho"]))
        for chunks in (None, {"oct": 100})
    )
    assert lazy.rho.data.chunksize == (100, 4, 4)
    assert np.array_equal(lazy.rho.compute(), whole.rho)
    assert np.array_equal(lazy.rho[37:205, 1, ::2].compute(), whole.rho[37:205, 1, ::2])
    known = Octree.from_patches(whole)
    assert np.array_equal(Octree.from_patches(lazy).fields["rho"], known.fields["rho"])
    tree = dyablo.open_dyablo(source)
    assert list(tree.children) == [str(i) for i in range(9)]
    assert np.array_equal(tree["0"].rho.compute(), whole.rho)
    (restart,) = dyablo.open_snapshots(str(real / "restart_blast2d_234.h5"), chunks={"oct": 99})
    (known,) = dyablo.open_snapshots(str(real / "restart_blast2d_234.h5"))
    assert np.array_equal(restart.rho.compute(), known.rho)


def test_blocks_of_any_sides(tmp_path):
    """The cells of an oct follow from how cells count their nodes, along every axis by itself."""
    for block in ((2, 3), (5, 1), (1, 4), (1, 1)):
        path = _write(tmp_path / "run_iter0000000.h5", block=block)
        (step,) = dyablo.open_snapshots(str(path))
        assert step.rho.shape == (4, *block)
        assert step.rho.values.ravel().tolist() == list(range(step.rho.size))
        assert step.position.values.tolist() == [[0, 0], [0.5, 0], [0, 0.5], [0.5, 0.5]]
        tree = Octree.from_patches(step)
        assert tree.integral("rho") == pytest.approx(float(step.rho.mean()))


def test_cells_that_share_nodes_are_read_one_by_one(tmp_path):
    y, x = np.meshgrid(np.arange(3.0), np.arange(3.0), indexing="ij")
    nodes = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1)
    cells = np.array([[i, i + 1, i + 4, i + 3] for i in (0, 1, 3, 4)])
    path = _write(
        tmp_path / "m_iter0.h5",
        coordinates=nodes[::-1],
        connectivity=8 - cells,
        level=np.ones(4),
        rho=np.arange(4.0),
    )
    (step,) = dyablo.open_snapshots(str(path))
    assert step.rho.shape == (4, 1, 1)
    assert Octree.from_patches(step).to_uniform().rho.values.tolist() == [[0, 1], [2, 3]]


def test_no_level_in_the_file(tmp_path):
    (step,) = dyablo.open_snapshots(str(_write(tmp_path / "run_iter0.h5", level=None)))
    assert step.level.values.tolist() == [1, 1, 1, 1]


def _run(folder, iterations=(0, 5, 10)):
    return [
        _write(folder / f"run_iter{iteration:07d}.h5", iteration=iteration)
        for iteration in iterations
    ]


@pytest.mark.parametrize("broken", [1, 2])
@pytest.mark.parametrize("how", ["truncated", "half", "zeros"])
def test_files_that_are_not_complete_are_left_out(tmp_path, broken, how):
    path = _run(tmp_path)[broken]
    whole = path.read_bytes()
    if how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "zeros":
        with h5py.File(path, "r+") as file:
            file["coordinates"][...] = 0
    else:
        with h5py.File(path, "w") as file:
            file["coordinates"] = np.zeros((4, 3))
    others = [number for number in (0, 5, 10) if number != 5 * broken]
    with dyablo.open_snapshots(str(tmp_path)) as stream:
        assert [int(step.iteration) for step in stream] == others
        assert len(stream) == (3 if how == "zeros" else 2)  # which only shows when it is read
        assert path.name in "; ".join(stream.faults)
    path.write_bytes(whole)
    with dyablo.open_snapshots(str(tmp_path)) as stream:
        assert len(stream) == 3


def test_a_run_that_goes_on_is_followed(tmp_path):
    """Files that come after the stream was opened, one of them written slowly."""
    ready = tmp_path / "ready"
    ready.mkdir()
    later = _run(ready)
    shutil.move(later[0], tmp_path)
    with dyablo.open_snapshots(str(tmp_path / "run_iter*.h5"), timeout=20.0) as stream:
        steps = iter(stream)
        assert int(next(steps).iteration) == 0
        shutil.move(later[1], tmp_path)
        assert int(next(steps).iteration) == 5
        whole = later[2].read_bytes()
        path = tmp_path / later[2].name
        path.write_bytes(whole[:4000])
        finish = threading.Timer(0.3, path.write_bytes, [whole])
        finish.start()
        assert int(next(steps).iteration) == 10
        finish.join()
        assert not stream.faults


def test_a_named_file_that_is_broken_is_an_error(tmp_path):
    path = _run(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(OSError, match=r"run_iter0000000\.h5' cannot be read"):
        dyablo.open_snapshots(str(path))
    with pytest.raises(ValueError, match="names no HDF5 files"):
        dyablo.open_snapshots(str(tmp_path / "nothing.h5"))


def test_what_is_missing_is_named(tmp_path):
    path = _write(tmp_path / "run_iter0.h5")
    with pytest.raises(ValueError, match=r"variables=\['T'\] are not in .*; it has rho"):
        dyablo.open_snapshots(str(path), variables=["T"])
    path = _write(tmp_path / "run_iter0.h5", connectivity=np.zeros(40, dtype=int))
    with pytest.raises(ValueError, match="only meshes of quadrilaterals"):
        dyablo.open_snapshots(str(path))
    path = _write(tmp_path / "run_iter0.h5", rho=np.zeros(7, np.float32))
    with pytest.raises(ValueError, match="are not in"):
        dyablo.open_snapshots(str(path), variables=["rho"])
    assert not dyablo.recognise(str(tmp_path / "nothing.h5"))
    mixed = tmp_path / "mixed.xmf"
    mixed.write_text('<Xdmf><Topology TopologyType="Mixed"/></Xdmf>')
    assert not dyablo.recognise(str(mixed))
    with pytest.raises(ValueError, match="types \\['Mixed'\\]"):
        dyablo.open_snapshots(str(mixed))


def test_restart_without_parameters(real, tmp_path):
    """In a unit box of as many octs as the level says."""
    path = tmp_path / "restart_blast2d_234.h5"
    shutil.copy(real / "restart_blast2d_234.h5", path)
    (step,) = dyablo.open_snapshots(str(path))
    (known,) = dyablo.open_snapshots(str(real / "restart_blast2d_234.h5"))
    assert np.array_equal(step.position, known.position)
    assert step.attrs["periodic"] == [0, 0]
    text = (
        (real / "restart_blast2d_234.ini")
        .read_text()
        .replace("xmax                 = 1.0", "xmax = 3")
    )
    path.with_suffix(".ini").write_text(text)
    (step,) = dyablo.open_snapshots(str(path))
    assert float((step.position + step["size"]).max()) == 3.0
    assert step.attrs["periodic"] == [1, 1]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"connectivity": np.zeros(3)}, r"connectivity of .* has shape \(3,\)"),
        ({"connectivity": np.zeros((0, 4))}, r"connectivity of .* has shape \(0, 4\)"),
        ({"coordinates": np.zeros(5)}, r"coordinates of .* have shape \(5,\)"),
        ({"coordinates": np.zeros((0, 3))}, r"coordinates of .* have shape \(0, 3\)"),
        ({"coordinates": np.zeros((9, 1))}, r"coordinates of .* have shape \(9, 1\)"),
    ],
)
def test_nodes_that_are_none_are_named(tmp_path, broken, message):
    path = _write(tmp_path / "a_iter0000000.h5", **broken)
    with pytest.raises(ValueError, match=message):
        dyablo.open_snapshots(str(path))


@pytest.mark.parametrize("level", [np.zeros(0), np.zeros(5), np.float64(1)])
def test_levels_that_do_not_fit_are_those_of_the_sizes(tmp_path, level):
    (step,) = dyablo.open_snapshots(str(_write(tmp_path / "a_iter0000000.h5", level=level)))
    assert step.level.values.tolist() == [1, 1, 1, 1]


def test_restart_fields_that_do_not_fit_the_octs_are_no_fields(real, tmp_path):
    path = shutil.copy(real / "restart_blast2d_234.h5", tmp_path / "restart_blast2d_234.h5")
    with h5py.File(path, "a") as file:
        del file["fields/rho"], file["fields/e_tot"]
        file["fields/rho"] = np.zeros((0, 1, 16))
        file.create_group("fields/e_tot")
    with dyablo.open_snapshots(str(path)) as stream:
        assert stream.variables == ("rho_vx", "rho_vy", "rho_vz")


def test_a_file_without_all_variables_of_the_first_is_left_out(tmp_path):
    for iteration in range(3):
        _write(tmp_path / f"a_iter{iteration:07d}.h5", iteration=iteration)
    with h5py.File(tmp_path / "a_iter0000000.h5", "a") as file:
        file["e_tot"] = file["rho"][:]
    with h5py.File(tmp_path / "a_iter0000002.h5", "a") as file:
        file["e_tot"] = file["rho"][:]
        file["more"] = file["rho"][:]
    with dyablo.open_snapshots(str(tmp_path)) as stream:
        assert [(int(step.timestep), list(step)) for step in stream] == [
            (0, ["e_tot", "rho"]),
            (2, ["e_tot", "rho"]),
        ]
    assert "a_iter0000001.h5 was left out: variables=['e_tot'] are not in" in stream.faults[0]
    with pytest.raises(ValueError, match=r"variables=\['flux'\] are not in"):
        dyablo.open_snapshots(str(tmp_path), variables=("flux",))
