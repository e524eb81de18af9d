"""The octree as people use it: from cells, patches and grids, and back, without losing mass."""

import math

import numpy as np
import pytest
import xarray as xr

from dask_exa.inputs.amr import Octree
from tests.naive import _octree as naive

RNG = np.random.default_rng(0)


def _cells(roots=(1, 1), max_level=5, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    corners, levels = naive.grow_leaves(rng, roots, max_level, chance=0.85)
    sizes = 0.5**levels
    centers = corners + 0.5 * sizes[:, None]
    return centers.astype(dtype), sizes.astype(dtype), rng.random(len(sizes))


def _tree(*args, **options):
    centers, sizes, values = _cells(*args, **options)
    return Octree.from_cells(centers, sizes, {"rho": values})


@pytest.mark.parametrize("roots", [(1, 1), (3, 2), (1, 1, 1), (1, 3, 2)])
def test_mass_is_conserved_on_every_grid(roots):
    centers, sizes, values = _cells(roots, 5 if len(roots) == 2 else 3)
    mass = math.fsum(values * sizes ** len(roots))
    tree = Octree.from_cells(centers, sizes, {"rho": values})
    assert tree.integral("rho") == pytest.approx(mass, rel=1e-13)
    for level in range(tree.lattice.depth + 2):
        grid = tree.to_uniform(level)["rho"].values
        found = math.fsum(grid.ravel()) / grid.size * float(np.prod(roots))
        assert found == pytest.approx(mass, rel=1e-12)


def test_one_float32_cell_in_float64():
    """Means of single precision are taken in double precision, copies stay what they are."""
    tree = _tree()
    tree.fields["rho"] = tree.fields["rho"].astype(np.float32)
    assert tree.to_uniform().rho.dtype == np.float32
    assert tree.to_uniform(1).rho.dtype == np.float64
    assert tree.to_uniform(1, dtype="float32").rho.dtype == np.float32


def test_coordinates_are_centres_of_cells():
    centers, sizes, _ = _cells((2, 1), 3)
    centers, sizes = centers * 2 + [5.0, -1.0], sizes * 2
    tree = Octree.from_cells(centers, sizes, {"u": centers[:, 0], "v": centers[:, 1]})
    grid = tree.to_uniform(0)
    assert grid.x.values.tolist() == [6.0, 8.0]
    assert grid.y.values.tolist() == [0.0]
    np.testing.assert_allclose(grid.u.values, [[6.0, 8.0]])
    np.testing.assert_allclose(grid.v.values, 0.0, atol=1e-12)
    points = np.array([[5.1, -0.9], [8.9, 0.9], [4.9, 0.0], [7.0, 1.1]])
    assert tree.contains(points).tolist() == [True, True, False, False]
    inside = tree.centers()[:, 0, 0]
    assert np.array_equal(tree.find(inside), np.arange(len(tree)))


def test_single_precision_at_depth():
    """Twelve levels down, a float32 centre is off by a few thousandths of a cell."""
    corner, size = np.array([0.0, 0.0]), 1.0
    cells, widths = [], []
    for _ in range(12):
        size /= 2
        cells += [corner + size * np.array(at) for at in ([1.5, 0.5], [0.5, 1.5], [1.5, 1.5])]
        widths += [size] * 3
    cells, widths = [*cells, corner + size / 2], [*widths, size]
    tree = Octree.from_cells(np.array(cells, np.float32), np.array(widths, np.float32), {})
    assert (int(tree.level.min()), int(tree.level.max())) == (1, 12)
    np.testing.assert_allclose(tree.size[0], 0.5**12)


def test_fields_are_not_copied_when_in_order():
    blocks = RNG.random((8, 4, 4, 4)).astype(np.float32)
    at = np.array([[i, j, k] for k in (0, 1) for j in (0, 1) for i in (0, 1)])
    tree = Octree.from_cells(0.5 * at + 0.25, np.full(8, 0.5), {"rho": blocks})
    assert np.shares_memory(tree.fields["rho"], blocks)
    patches = tree.to_patches()
    assert np.shares_memory(patches.rho.values, blocks)
    assert patches.rho.dims == ("oct", "z", "y", "x")
    assert patches.level.values.tolist() == [1] * 8
    assert np.array_equal(patches.position.values, 0.5 * at)
    again = Octree.from_patches(patches)
    assert np.shares_memory(again.fields["rho"], blocks)
    assert np.array_equal(again.tree.codes, tree.tree.codes)


def test_uniform_grid_there_and_back():
    field = RNG.random((6, 10, 4))
    tree = Octree.from_uniform({"f": field}, origin=[1, 2, 3], extent=[4, 10, 12])
    assert np.shares_memory(tree.fields["f"], field)
    back = tree.to_uniform()
    assert np.array_equal(back.f.values, field)
    assert back.x.values.tolist() == [1.5, 2.5, 3.5, 4.5]
    for side in (1, 2):
        pieces = Octree.from_uniform({"f": np.tile(field, (2, 2, 2))[:8, :8, :8]}).split(side)
        assert pieces.block == (side,) * 3
        assert np.array_equal(pieces.to_uniform().f.values, np.tile(field, (2, 2, 2))[:8, :8, :8])


def test_linear_fields_have_exact_gradients_at_any_jump_of_level():
    centers, sizes, _ = _cells((1, 1, 1), 4, seed=3)
    slope = np.array([2.0, -3.0, 0.5])
    tree = Octree.from_cells(centers, sizes, {"f": centers @ slope})
    np.testing.assert_allclose(
        tree.gradient("f"), np.broadcast_to(slope, (len(tree), 1, 1, 1, 3)), atol=1e-9
    )


def test_a_node_is_a_slice():
    tree = _tree((2, 2), 4)
    for leaf in range(0, len(tree), 7):
        for level in range(int(tree.level[leaf]) + 1):
            inside = tree.node(leaf, level)
            own = tree.position[leaf] // tree.root * 0 + tree.root * 0.5**level
            low = np.floor(tree.position[leaf] / own + 1e-9) * own
            found = ((tree.position > low - 1e-9) & (tree.position < low + own - 1e-9)).all(axis=1)
            assert np.flatnonzero(found).tolist() == list(range(inside.start, inside.stop))
        parent = tree.node(leaf)
        assert parent == tree.node(leaf, max(int(tree.level[leaf]) - 1, 0))


def test_halo_of_a_periodic_grid_is_the_other_side():
    field = RNG.random((4, 4))
    tree = Octree.from_uniform({"f": field}, periodic=True)
    np.testing.assert_array_equal(tree.to_patches(halo=1).f.values[0], np.pad(field, 1, "wrap"))
    tree = Octree.from_uniform({"f": field})
    np.testing.assert_array_equal(tree.to_patches(halo=1).f.values[0], np.pad(field, 1, "edge"))
    half = Octree.from_uniform({"f": field}, periodic=[True, False])
    expected = np.pad(np.pad(field, [(0, 0), (1, 1)], "wrap"), [(1, 1), (0, 0)], "edge")
    np.testing.assert_array_equal(half.to_patches(halo=1).f.values[0], expected)


def test_overlap_is_named():
    centers, sizes, values = _cells()
    centers, sizes = np.vstack([centers, centers[:1]]), np.append(sizes, sizes[0])
    with pytest.raises(ValueError, match="two leaves overlap: one of level"):
        Octree.from_cells(centers, sizes, {"rho": np.append(values, 0.0)})


def test_parents_among_leaves_are_an_overlap():
    tree = _tree((1, 1), 3)
    centers = np.vstack([tree.centers().reshape(-1, 2), [[0.5, 0.5]]])
    sizes = np.append(tree.size[:, 0], 1.0)
    with pytest.raises(ValueError, match="two leaves overlap"):
        Octree.from_cells(centers, sizes, {})


def test_gap_is_named():
    centers, sizes, values = _cells()
    inner = np.flatnonzero((np.abs(centers - 0.5) < 0.4).all(axis=1))[0]
    keep = np.arange(len(sizes)) != inner
    with pytest.raises(ValueError, match=r"the leaves fill 0\.\d+ of the domain"):
        Octree.from_cells(centers[keep], sizes[keep], {"rho": values[keep]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, s: (c + [[0.2 * s[0], 0]] * (np.arange(len(s)) == 3)[:, None], s), "is not"),
        (lambda c, s: (c, np.where(np.arange(len(s)) == 3, 0.8 * s, s)), "leaf 3|whole number"),
        (lambda c, s: (c, -s), "finite, sizes above zero"),
        (
            lambda c, s: (np.where(np.arange(2 * len(s)).reshape(-1, 2) == 4, np.nan, c), s),
            "finite",
        ),
        (lambda c, s: (c[:, :1], s), "centers has shape"),
        (lambda c, s: (c, s[:-1]), "sizes has shape"),
        (lambda c, s: (c[:0], s[:0]), "one leaf at least"),
    ],
)
def test_bad_leaves_are_named(change, message):
    centers, sizes, _ = _cells(seed=1)
    with pytest.raises(ValueError, match=message):
        Octree.from_cells(*change(centers, sizes), {})


@pytest.mark.parametrize("shape", [(3,), (7, 2), (7, 2, 0), (7, 2, 2, 2)])
def test_bad_fields_are_named(shape):
    centers, sizes, _ = _cells((1, 1), 1, seed=5)
    with pytest.raises(ValueError, match="fields have shape"):
        Octree.from_cells(centers, sizes, {"f": np.zeros((len(sizes) + 1, *shape[1:]))})


def test_too_deep_a_tree_is_named():
    corner, size = np.zeros(3), 1.0
    cells, widths = [], []
    offsets = np.array([[i, j, k] for k in (0, 1) for j in (0, 1) for i in (0, 1)])
    for _ in range(22):
        size /= 2
        cells += [corner + (at + 0.5) * size for at in offsets[1:]]
        widths += [size] * 7
    cells, widths = [*cells, corner + 0.5 * size], [*widths, size]
    with pytest.raises(ValueError, match="needs 22 bits an axis, 21 fit"):
        Octree.from_cells(np.array(cells), np.array(widths), {})


def test_unknown_names_and_levels():
    tree = _tree()
    with pytest.raises(ValueError, match="name='e' is no field; there are rho"):
        tree.to_uniform(names=["e"])
    with pytest.raises(ValueError, match="level=-1"):
        tree.to_uniform(-1)
    with pytest.raises(ValueError, match="halo=-1"):
        tree.to_patches(-1)
    with pytest.raises(ValueError, match="side=3"):
        Octree.from_uniform({"f": np.zeros((4, 4))}).split(3)
    with pytest.raises(ValueError, match="no coordinates"):
        Octree.from_patches(xr.Dataset({"f": (("oct", "y", "x"), np.zeros((1, 2, 2)))}))


def test_values_that_are_not_finite_stay_where_they_are():
    tree = _tree((1, 1), 4)
    tree.fields["rho"][5] = np.nan
    grid = tree.to_uniform().rho.values
    assert np.isnan(grid).sum() == 4 ** (tree.lattice.depth - int(tree.level[5]))
    assert np.isnan(tree.gradient("rho")).any(axis=-1).sum() < 40


def test_points_that_are_nowhere_have_no_values():
    tree = Octree.from_uniform({"rho": np.ones((2, 2))})
    found = tree.values("rho", np.array([[np.nan, 0.5], [0.5, 0.5], [2.0, 0.5], [np.inf, 0.5]]))
    np.testing.assert_array_equal(found, [np.nan, 1.0, np.nan, np.nan])
    with pytest.raises(ValueError, match=r"positions has shape \(2,\); pass \(n_points, 2\)"):
        tree.find(np.array([0.5, 0.5]))


def test_complex_fields_are_refused():
    with pytest.raises(ValueError, match=r"fields \['q'\] are not real numbers"):
        Octree.from_uniform({"q": np.ones((2, 2)) * 1j})
