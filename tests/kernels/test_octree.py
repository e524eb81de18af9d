"""The kernels of octrees against boxes that are compared one by one, and what bits do at depth."""

import numpy as np
import pytest

from dask_exa._threads import thread_share
from dask_exa.inputs.amr import Octree
from dask_exa.kernels import octree as kernels
from tests.naive import _octree as naive

# roots (x, y[, z]), block ([z,] y, x), deepest level: blocks of any size, also odd and oblong
TREES = [
    ((1, 1), (1, 1), 4),
    ((3, 2), (1, 1), 3),
    ((1, 2), (3, 4), 2),
    ((1, 1, 1), (1, 1, 1), 3),
    ((2, 1, 3), (1, 1, 1), 2),
    ((1, 1, 2), (2, 3, 1), 2),
]


class Case:
    """A random tree, and its cells as boxes in the same order."""

    def __init__(self, roots, block, max_level, *, periodic=False, dtype="float64", seed=0):
        rng = np.random.default_rng(seed)
        self.root = np.array([1.0, 0.5, 2.0])[: len(roots)]
        self.extent = self.root * roots
        self.periodic = periodic
        corners, levels = naive.grow_leaves(rng, roots, max_level, chance=0.75)
        values = rng.standard_normal((len(levels), *block)).astype(dtype)
        size = self.root * 0.5 ** levels[:, None]
        self.tree = Octree.from_cells(
            corners * self.root + 0.5 * size, size, {"f": values}, periodic=periodic
        )
        codes = [naive.morton(corner * 2 ** int(self.tree.lattice.depth)) for corner in corners]
        self.order = np.argsort(codes, kind="stable")
        self.corners, self.levels = corners[self.order], levels[self.order]
        self.values = values[self.order]
        self.flat = self.values.reshape(-1).astype(float)
        self.lower, self.upper = naive.cells_of(self.corners, self.levels, block, self.root)
        # a domain of even numbers of roots is that of one root, a level deeper
        self.deeper = int(self.tree.level[0]) - int(self.levels[0])


@pytest.fixture(params=TREES, ids=str, scope="module")
def case(request):
    return Case(*request.param)


@pytest.mark.parametrize("ndim", [2, 3])
def test_codes_interleave_bits(ndim):
    rng = np.random.default_rng(0)
    most = 1 << kernels.MAX_BITS[ndim]
    coordinates = np.vstack([rng.integers(0, most, (500, ndim)), np.full(ndim, most - 1)])
    codes = kernels.encode(coordinates)
    assert codes.tolist() == [naive.morton(row) for row in coordinates]
    assert np.array_equal(kernels.decode(codes, ndim), coordinates)


@pytest.mark.parametrize("n_bits", [1, 11, 12, 30, 62])
@pytest.mark.parametrize("n", [1, 2, 5000, 70_000])
def test_sorts_as_a_stable_sort(n, n_bits):
    codes = np.random.default_rng(n).integers(0, 1 << n_bits, n, dtype=np.uint64)
    given = codes.copy()
    for n_threads in (1, 2):
        with thread_share(n_threads):
            order = kernels.sort(codes, n_bits)
        expected = np.argsort(codes, kind="stable")
        if (np.diff(codes.astype(np.int64)) >= 0).all():
            assert order is None
        else:
            assert np.array_equal(order, expected)
        assert np.array_equal(codes, given)


def test_leaves_are_in_morton_order(case):
    assert np.array_equal(case.tree.fields["f"], case.values)
    assert np.array_equal(case.tree.level - case.deeper, case.levels)
    np.testing.assert_allclose(case.tree.position, case.corners * case.root, atol=1e-12)


def test_points_are_found_in_their_leaf(case):
    rng = np.random.default_rng(1)
    points = rng.random((300, len(case.extent))) * case.extent
    low = case.corners * case.root
    high = low + case.root * 0.5 ** case.levels[:, None]
    inside = ((low[None] <= points[:, None]) & (points[:, None] < high[None])).all(axis=2)
    assert (inside.sum(axis=1) == 1).all()
    assert np.array_equal(case.tree.find(points), inside.argmax(axis=1))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("tree", TREES, ids=str)
def test_neighbors_touch(tree, periodic):
    case = Case(*tree, periodic=periodic)
    found = case.tree.neighbors()
    low = case.corners * case.root
    high = low + case.root * 0.5 ** case.levels[:, None]
    for leaf, face in np.ndindex(*found.shape):
        axis, side = face // 2, 2 * (face % 2) - 1
        across = 0.5 * (low[leaf] + high[leaf])
        across[axis] = (low if side < 0 else high)[leaf, axis] + side * 1e-6
        outside = not 0 < across[axis] < case.extent[axis]
        if outside and not periodic:
            assert found[leaf, face] == kernels.OUTSIDE
            continue
        across = across % case.extent
        # the leaf at the lower corner of the face decides
        other = case.tree.find(across[None])[0]
        expected = other if case.levels[other] <= case.levels[leaf] else kernels.FINER
        assert found[leaf, face] == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tree", TREES, ids=str)
def test_paste_equals_means_over_boxes(tree, dtype):
    case = Case(*tree, dtype=dtype)
    for level in range(int(case.tree.lattice.depth) + 2):
        grid = case.tree.to_uniform(level)["f"].values
        if grid.size > 20_000:
            continue
        expected = naive.pasted(case.lower, case.upper, case.flat, case.extent, grid.shape)
        np.testing.assert_allclose(grid, expected, atol=1e-13)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("tree", TREES[:3] + TREES[5:], ids=str)
def test_halo_equals_means_over_boxes(tree, periodic):
    case = Case(*tree, periodic=periodic)
    padded = case.tree.to_patches(halo=2)["f"].values
    step = case.root / case.tree.block[::-1] * 0.5 ** case.levels[:, None]
    for leaf, *at in np.ndindex(*padded.shape):
        low = case.corners[leaf] * case.root + (np.array(at[::-1]) - 2) * step[leaf]
        middle = low + 0.5 * step[leaf]
        if periodic:
            low = low + np.where(middle < 0, case.extent, 0) * np.ceil(-middle / case.extent)
            low = low - np.where(middle > case.extent, case.extent, 0) * (middle // case.extent)
        else:
            low = np.clip(low, 0, case.extent - step[leaf])
        middle = low + 0.5 * step[leaf]
        expected = naive.mean_in_box(low, low + step[leaf], case.lower, case.upper, case.flat)
        assert padded[(leaf, *at)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("tree", TREES, ids=str)
def test_stencils_equal_least_squares(tree, periodic):
    case = Case(*tree, periodic=periodic)
    size = case.tree.cell_root
    gradient, contrast = kernels.stencils(
        case.tree.tree, case.tree.lattice, case.tree.fields["f"], size
    )
    for cell in range(0, len(case.flat), max(1, len(case.flat) // 150)):
        expected = naive.gradient_and_contrast(
            cell, case.lower, case.upper, case.flat, case.extent, periodic
        )
        np.testing.assert_allclose(gradient[cell], expected[0], rtol=1e-9, atol=1e-9)
        assert contrast[cell] == pytest.approx(expected[1], rel=1e-12)


def test_draws_one_point_in_each_stratum():
    weights = np.random.default_rng(0).random(50) * (np.arange(50) % 7 > 0)
    cumulative = np.cumsum(weights)
    n = 20_000
    cells, places = kernels.draw(cumulative, n, 3, 5)
    assert (np.diff(cells) >= 0).all()
    share = np.bincount(cells, minlength=50) / n
    assert np.abs(share - weights / weights.sum()).max() <= 2 / n
    assert not share[weights == 0].any()
    assert places.min() > -0.5
    assert places.max() <= 0.5
    assert np.abs(places.mean(axis=0)).max() < 5 * np.sqrt(1 / 12 / n)
    assert np.abs(np.corrcoef(places.T) - np.eye(3)).max() < 5 / np.sqrt(n)
    assert not np.array_equal(places, kernels.draw(cumulative, n, 3, 6)[1])


def test_threads_change_nothing():
    """To the last bit."""
    case = Case((1, 1, 1), (4, 4, 4), 3, seed=2)
    found = []
    for n_threads in (1, 2, 3):
        with thread_share(n_threads):
            points = case.tree.sample(30_000, "gradient", random_state=1)
            grid = case.tree.to_uniform(1)
            parts = (points.f, points.gradient_f, points.weight, points.position, grid.f)
            found.append([part.values.tobytes() for part in parts])
    assert found[0] == found[1] == found[2]


@pytest.mark.gpu
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("tree", TREES, ids=str)
def test_gpu_twins_equal_those_of_the_cpu(tree, periodic):
    cupy = pytest.importorskip("cupy")
    case = Case(*tree, periodic=periodic)
    ours = case.tree
    theirs = Octree.from_cells(
        cupy.asarray(ours.position + 0.5 * ours.size)[::-1],
        cupy.asarray(ours.size)[::-1],
        {"f": cupy.asarray(ours.fields["f"])[::-1]},
        periodic=periodic,
    )
    for name in ("codes", "level", "starts"):
        assert np.array_equal(getattr(theirs.tree, name).get(), getattr(ours.tree, name))
    assert np.array_equal(theirs.neighbors().get(), ours.neighbors())
    np.testing.assert_allclose(theirs.gradient("f").get(), ours.gradient("f"), rtol=1e-12)
    for level in range(int(ours.lattice.depth) + 2):
        pair = (theirs.to_uniform(level).f.data.get(), ours.to_uniform(level).f.data)
        np.testing.assert_allclose(*pair, rtol=1e-13, atol=1e-14)
    halo = (theirs.to_patches(halo=1).f.data.get(), ours.to_patches(halo=1).f.data)
    np.testing.assert_allclose(*halo, rtol=1e-13, atol=1e-14)
    points = [tree.sample(500, random_state=0) for tree in (theirs, ours)]
    for name in ("f", "gradient_f", "position", "weight"):
        pair = (points[0][name].data.get(), points[1][name].data)
        np.testing.assert_allclose(*pair, rtol=1e-10, atol=1e-12)
