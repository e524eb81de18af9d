"""Samples: unbiased whatever they follow, exact where fields are linear, never negative."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.inputs.amr import Octree, PointCloud, sample
from tests.naive import _octree as naive


def _front(seed=0):
    """An adaptive tree of a density with a steep front."""
    rng = np.random.default_rng(seed)
    corners, levels = naive.grow_leaves(rng, (2, 2), 5, chance=0.8)
    sizes = 0.5**levels
    centers = corners + 0.5 * sizes[:, None]
    radius = np.linalg.norm(centers - 1.0, axis=1)
    rho = 0.1 + np.exp(-(((radius - 0.5) / 0.05) ** 2))
    return Octree.from_cells(centers, sizes, {"rho": rho, "u": centers[:, 0]})


def _itself(tree):
    return tree


def _cloud(tree):
    volumes = tree.volumes()
    centers = tree.centers().reshape(-1, 2)
    return PointCloud(centers, {n: f.ravel() for n, f in tree.fields.items()}, volumes)


def _grid(tree):
    return tree.to_uniform(4)


WEIGHTS = [
    "volume",
    "mixture",
    "gradient",
    {"volume": 1, "gradient": 4},
    lambda source: 0.2 + source.steepness("rho"),
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize(
    "source", [lambda tree: tree, _grid, _cloud], ids=["tree", "grid", "cloud"]
)
def test_means_are_unbiased(source, weights):
    """Over many draws, the mean is within its standard error of the exact integral."""
    tree = _front()
    given, mass = source(tree), tree.integral("rho")
    found, volumes = [], []
    for seed in range(200):
        points = sample(given, 300, weights, random_state=seed, names=["rho"], by="rho")
        found.append(float((points.weight * points.rho).sum()))
        volumes.append(float(points.weight.sum()))
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - mass) < 3.5 * error + 1e-12
    assert np.mean(volumes) == pytest.approx(points.attrs["volume"], rel=0.02)
    assert error < 0.01 * mass


def test_weights_are_needed():
    """Without them, points that follow gradients are far off."""
    tree = _front()
    points = tree.sample(20_000, "gradient", by="rho", random_state=0)
    mean = tree.integral("rho") / 4
    assert float(points.rho.mean()) > 1.3 * mean
    weighted = float((points.weight * points.rho).sum()) / 4
    assert weighted == pytest.approx(mean, rel=0.01)


def test_gradient_gives_fronts_many_points():
    tree = _front()
    shares = []
    for weights in ("volume", "mixture", "gradient"):
        points = tree.sample(4000, weights, by="rho", random_state=0)
        radius = np.linalg.norm(points.position.values - 1.0, axis=1)
        shares.append(np.mean(abs(radius - 0.5) < 0.1))
    assert shares[0] < 0.2 < shares[1] < 0.65 < shares[2]


@pytest.mark.parametrize("ndim", [2, 3])
def test_linear_fields_are_met_exactly(ndim):
    axes = [(np.arange(8) + 0.5) / 8] * ndim
    slope = np.array([1.0, -2.0, 3.0])[:ndim]
    field = 10 + sum(
        s * g for s, g in zip(slope, np.meshgrid(*axes, indexing="ij")[::-1], strict=True)
    )
    tree = Octree.from_uniform({"f": field}).split(2)
    points = tree.sample(2000, random_state=0)
    np.testing.assert_allclose(points.f, 10 + points.position.values @ slope, atol=1e-12)
    np.testing.assert_allclose(points.gradient_f, np.tile(slope, (2000, 1)), atol=1e-11)


def test_positive_fields_stay_positive():
    rng = np.random.default_rng(0)
    rho = 10.0 ** rng.uniform(-8, 2, (16, 16, 16))
    points = Octree.from_uniform({"rho": rho}).sample(100_000, "volume", random_state=0)
    assert float(points.rho.min()) >= 0
    assert float(points.rho.max()) < 2 * 100


def test_points_lie_in_their_cells():
    tree = _front()
    points = tree.sample(5000, random_state=0)
    leaf = tree.find(points.position.values)
    low = tree.position[leaf]
    assert (
        (points.position.values >= low) & (points.position.values <= low + tree.size[leaf])
    ).all()
    assert (np.diff(leaf) >= 0).all()
    # weight x chance by volume is the same for all
    density = np.bincount(leaf, minlength=len(tree)) / tree.volumes()
    often = np.bincount(leaf, minlength=len(tree))[leaf] > 30
    assert often.any()
    product = points.weight.values[often] * density[leaf[often]]
    np.testing.assert_allclose(product, 1.0, atol=0.1)


def test_same_points_for_the_same_seed():
    tree = _front()
    first, again, other = (tree.sample(100, random_state=seed) for seed in (3, 3, 4))
    xr.testing.assert_identical(first, again)
    assert not first.equals(other)


def test_a_labelled_grid_is_sampled_where_its_coordinates_are():
    x, y = 10.0 + np.arange(20), -5.0 + 0.5 * np.arange(30)
    field = xr.DataArray(x + 2 * y[:, None] + 5, {"y": y, "x": x}, ("y", "x"), name="f")
    points = sample(field, 500, "volume", random_state=0)
    position = points.position.values
    np.testing.assert_allclose(points.f, 5 + position @ [1.0, 2.0], atol=1e-9)
    assert position.min(axis=0) == pytest.approx([9.5, -5.25], abs=0.2)
    assert points.attrs["volume"] == pytest.approx(20 * 15)
    assert points.axis.values.tolist() == ["x", "y"]


def test_gradients_of_scattered_points():
    rng = np.random.default_rng(0)
    for ndim in (2, 3):
        at = rng.random((400, ndim))
        slope = np.arange(1.0, ndim + 1)
        cloud = PointCloud(at, {"f": at @ slope})
        np.testing.assert_allclose(cloud.gradient("f"), np.tile(slope, (400, 1)), atol=1e-9)
        assert cloud.sample(10).attrs["volume"] == pytest.approx(1.0)


def test_flat_fields_are_sampled_by_volume():
    tree = Octree.from_uniform({"f": np.ones((8, 8))})
    points = tree.sample(640, "gradient", random_state=0)
    assert (points.f == 1).all()
    np.testing.assert_allclose(points.weight, 1 / 640)


def test_values_that_are_not_finite_are_drawn_by_volume():
    field = np.random.default_rng(0).random((8, 8))
    field[3, 4] = np.nan
    points = Octree.from_uniform({"f": field}).sample(6400, "gradient", random_state=0)
    assert np.isfinite(points.weight).all()
    assert 0 < np.isnan(points.f).mean() < 0.1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("steep", "weights='steep' must be"),
        ({"gradient": 1.0}, "share of 'volume' above 0"),
        ({"volume": 1.0, "slope": 1.0}, "must be"),
        ({"volume": 1.0, "gradient": np.nan}, "share of 'volume'"),
        (lambda tree: np.zeros(64), "weights returned 0.0 for cell 0"),
        (lambda tree: np.where(np.arange(64) == 7, -1.0, 1.0), "-1.0 for cell 7"),
        (lambda tree: np.ones(3), "3 values for 64 cells"),
    ],
)
def test_bad_weights_are_named(weights, message):
    tree = Octree.from_uniform({"f": np.random.default_rng(0).random((8, 8))})
    with pytest.raises(ValueError, match=message):
        tree.sample(10, weights)


def test_bad_sources_are_named():
    tree = Octree.from_uniform({"f": np.zeros((8, 8))})
    with pytest.raises(ValueError, match=r"\['g'\] are no fields; there are f"):
        tree.sample(10, by="g")
    with pytest.raises(ValueError, match="n=0"):
        tree.sample(0)
    with pytest.raises(TypeError, match="source is a list"):
        sample([1, 2], 3)
    uneven = xr.DataArray(np.zeros((3, 3)), {"y": [0, 1, 3], "x": [0, 1, 2]}, ("y", "x"))
    with pytest.raises(ValueError, match="'y' is not evenly spaced"):
        sample(uneven, 3)
    with pytest.raises(ValueError, match="positions must be finite"):
        PointCloud([[0.0, np.inf]], {})
    with pytest.raises(ValueError, match="volumes must be"):
        PointCloud([[0.0, 0.0]], {}, volumes=[-1.0])


def test_lazy_grids_are_sampled_as_those_in_memory():
    grid = xr.DataArray(np.random.default_rng(0).random((6, 8)), dims=("y", "x"), name="rho")
    points = sample(grid.chunk(3), 20, random_state=0)
    xr.testing.assert_identical(points, sample(grid, 20, random_state=0))
