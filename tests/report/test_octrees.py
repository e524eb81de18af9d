"""Pictures of octrees: the values and outlines that are in them."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from dask_exa.inputs.amr import Octree
from dask_exa.report.octrees import draw_octree


def _tree(ndim, scale=1.0):
    """A tree whose first root octant is refined once more."""
    corners = np.array(list(np.ndindex(*(2,) * ndim)), dtype=float)[:, ::-1] * 0.5
    fine = corners[corners.sum(axis=1) == 0] + np.array(list(np.ndindex(*(2,) * ndim))) * 0.25
    low = np.concatenate([corners[corners.sum(axis=1) > 0], fine])
    size = np.array([0.5] * (len(corners) - 1) + [0.25] * len(fine))
    values = scale ** np.arange(len(low), dtype=float)
    return Octree.from_cells(low + 0.5 * size[:, None], size, {"rho": values})


def _parts(figure):
    axes = figure.axes[0]
    return axes.images[0], axes.collections[0].get_segments()


def test_every_pixel_has_the_value_of_its_cell():
    tree = _tree(2)
    tree.fields["rho"][:] = np.arange(len(tree))[:, None, None]
    image, outlines = _parts(draw_octree(tree, "rho"))
    shown = np.asarray(image.get_array())
    n = shown.shape[0] // 4
    expected = tree.to_uniform().rho.values
    assert np.array_equal(shown, np.kron(expected, np.ones((n, n))))
    assert image.get_extent() == pytest.approx([0, 1, 0, 1])
    assert len(outlines) == len(tree)
    areas = [np.prod(np.ptp(outline, axis=0)) for outline in outlines]
    assert sum(areas) == pytest.approx(1.0)


def test_a_slice_has_the_leaves_that_it_cuts():
    tree = _tree(3)
    _, low = _parts(draw_octree(tree, "rho", z=0.1))
    image, middle = _parts(draw_octree(tree, "rho"))
    assert len(low) == 3 + 4
    assert len(middle) == 4
    shown = np.unique(np.asarray(image.get_array()))
    assert np.array_equal(shown, np.unique(tree.to_uniform().rho.values[2]))


@pytest.mark.parametrize(("scale", "is_log"), [(1.5, False), (5.0, True)])
def test_many_decades_are_drawn_on_a_logarithmic_scale(scale, is_log):
    image, _ = _parts(draw_octree(_tree(2, scale), "rho"))
    assert isinstance(image.norm, LogNorm) is is_log


def test_small_leaves_have_no_outline():
    tree = Octree.from_uniform({"f": np.random.default_rng(0).random((256, 256))}).split(1)
    _, outlines = _parts(draw_octree(tree, "f"))
    assert len(outlines) == 0
