"""The GPU twins of the octree kernels, their CUDA code run on the CPU."""

import sys

import numpy as np
import pytest

from dask_exa.kernels import (
    _octree_cupy,
    _octree_fields_cupy,
    _octree_numba,
    _octree_samples_cupy,
)
from dask_exa.kernels import octree as kernels
from tests.kernels import cuda_on_cpu
from tests.kernels.test_octree import TREES, Case

MODULES = (_octree_cupy, _octree_fields_cupy, _octree_samples_cupy)


@pytest.fixture(scope="module", autouse=True)
def _cuda_on_cpu(tmp_path_factory):
    if not cuda_on_cpu.is_possible():
        pytest.skip("needs g++ on the PATH")
    cupy = cuda_on_cpu.stand_in(tmp_path_factory.mktemp("cuda"))
    for module in MODULES:
        module._module.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", cupy)
        yield
    for module in MODULES:
        module._module.cache_clear()


@pytest.fixture(params=[False, True], ids=["open", "periodic"], scope="module")
def periodic(request):
    return request.param


@pytest.fixture(params=TREES, ids=str, scope="module")
def octree(request, periodic):
    return Case(*request.param, periodic=periodic).tree


def test_builds_the_same_tree(octree):
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(octree))
    centers, sizes = (octree.position + 0.5 * octree.size)[shuffled], octree.size[shuffled]
    for twin in (_octree_cupy, _octree_numba):
        found = twin.extents(centers, sizes)
        np.testing.assert_allclose(found[1] - found[0], octree.extent)
        np.testing.assert_allclose(found[2], octree.size.min(axis=0))
        codes, level, misplaced = twin.place(
            centers, sizes, octree.origin, octree.root, octree.lattice
        )
        assert misplaced == -1
        order = twin.sort(codes, octree.lattice.n_bits)
        order = slice(None) if order is None else order
        assert np.array_equal(codes[order], octree.tree.codes)
        assert np.array_equal(level[order], octree.level)
        starts, shift = twin.buckets(octree.tree.codes, octree.lattice.n_bits)
        assert shift == octree.tree.shift
        assert np.array_equal(starts, octree.tree.starts)
        whole = np.prod(octree.roots) << (octree.ndim * octree.lattice.depth)
        assert twin.first_fault(octree.tree.codes, octree.level, octree.lattice) == (-1, whole)


def test_faults_are_found():
    octree = Case((1, 1), (1, 1), 4).tree
    centers, sizes = octree.position + 0.5 * octree.size, octree.size.copy()
    sizes[5] *= 0.7
    codes = octree.tree.codes.copy()
    codes[7] = codes[6]
    for twin in (_octree_cupy, _octree_numba):
        where = (octree.origin, octree.root, octree.lattice)
        assert twin.place(centers, sizes, *where)[2] == 5
        assert twin.first_fault(codes, octree.level, octree.lattice)[0] == 6
        assert np.isnan(twin.extents(np.where(centers == centers[3], np.nan, centers), sizes)).any()


def test_finds_the_same_leaves(octree):
    coordinates = kernels.decode(octree.tree.codes, octree.ndim)
    assert np.array_equal(_octree_cupy.decode(octree.tree.codes, octree.ndim), coordinates)
    assert np.array_equal(_octree_cupy.encode(coordinates), octree.tree.codes)
    found = _octree_cupy.locate(octree.tree, octree.lattice, coordinates)
    assert np.array_equal(found, np.arange(len(octree)))
    assert np.array_equal(_octree_cupy.neighbors(octree.tree, octree.lattice), octree.neighbors())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pastes_the_same_grids_and_halos(octree, dtype):
    field = octree.fields["f"].astype(dtype)
    tree, lattice = octree.tree, octree.lattice
    for level in range(lattice.depth + 2):
        sides = zip(octree.roots[::-1], octree.block, strict=True)
        shape = [(n_roots * n) << level for n_roots, n in sides]
        grids = [np.empty(shape), np.empty(shape)]
        kernels.paste(tree, lattice, field, level, grids[0])
        _octree_fields_cupy.paste(tree, lattice, field, level, grids[1])
        np.testing.assert_allclose(*grids, rtol=1e-13, atol=1e-14)
    padded = [np.empty((len(octree), *(n + 4 for n in octree.block)), dtype) for _ in range(2)]
    kernels.fill_halo(tree, lattice, field, 2, padded[0])
    _octree_fields_cupy.fill_halo(tree, lattice, field, 2, padded[1])
    np.testing.assert_allclose(*padded, rtol=1e-6 if dtype == "float32" else 1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_the_same_samples(octree, dtype):
    field = octree.fields["f"].astype(dtype)
    mesh = (octree.tree, octree.lattice)
    size = octree.cell_root
    twins = (kernels, _octree_samples_cupy)
    found = [twin.stencils(*mesh, field, size) for twin in twins]
    for pair in zip(*found, strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(*[t.steepness(*mesh, field, size) for t in twins], rtol=1e-9)
    drawn = [t.draw(np.cumsum(octree.volumes()), 700, octree.ndim, 9) for t in twins]
    for pair in zip(*drawn, strict=True):
        assert np.array_equal(*pair)
    cells, places = drawn[0]
    where = (*mesh, octree.origin, size, cells, places)
    np.testing.assert_allclose(*[t.locate_points(*where) for t in twins], rtol=1e-13)
    points = [t.interpolate(*mesh, field, size, cells, places) for t in twins]
    for pair in zip(*points, strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-9, atol=1e-10)
