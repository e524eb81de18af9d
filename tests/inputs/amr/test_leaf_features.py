"""Cells of adaptive meshes as rows of features."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from dask_exa.decomposition import IncrementalPCA
from dask_exa.inputs.amr import LeafFeatures, Octree
from tests.naive import _octree as naive


def _tree(seed):
    rng = np.random.default_rng(seed)
    corners, levels = naive.grow_leaves(rng, (1, 1), 4, chance=0.8)
    sizes = 0.5**levels
    rho = rng.random(len(levels))
    return Octree.from_cells(corners + 0.5 * sizes[:, None], sizes, {"rho": rho, "e": 1 - rho})


def test_features_of_every_cell():
    tree = _tree(0)
    features = LeafFeatures()
    rows = features.fit_transform(tree)
    names = features.get_feature_names_out().tolist()
    assert names == [
        "rho", "|∇rho|", "contrast of rho", "e", "|∇e|", "contrast of e", "level",
    ]  # fmt: skip
    assert rows.shape == (len(tree), 7)
    assert np.array_equal(rows[:, 0], tree.fields["rho"].ravel())
    assert np.array_equal(rows[:, 6], tree.level)
    np.testing.assert_allclose(
        rows[:, 1], np.linalg.norm(tree.gradient("rho").reshape(-1, 2), axis=1)
    )
    np.testing.assert_allclose(rows[:, 1], rows[:, 4], rtol=1e-9)
    assert rows[:, 2].min() >= 0
    assert rows[:, 2].max() <= 1  # of a positive field


def test_chosen_features_and_patches():
    tree = _tree(1)
    chosen = LeafFeatures(fields=["e"], kinds=["contrast"], level=False)
    rows = chosen.fit_transform(tree.to_patches())
    assert rows.shape == (len(tree), 1)
    assert np.array_equal(rows, LeafFeatures().fit_transform(tree)[:, 5:6])


def test_meshes_of_any_size_feed_one_model():
    model = make_pipeline(LeafFeatures(), IncrementalPCA(2))
    rows = [LeafFeatures().fit_transform(_tree(seed)) for seed in (0, 1)]
    assert len(rows[0]) != len(rows[1])
    assert model.fit(_tree(0)).transform(_tree(1)).shape == (len(rows[1]), 2)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="fields=\\['T'\\] are not there; there are rho, e"):
        LeafFeatures(fields=["T"]).fit(_tree(0))
    with pytest.raises(ValueError, match="kinds="):
        LeafFeatures(kinds=["curl"]).fit(_tree(0))
    with pytest.raises(TypeError, match="X is a ndarray"):
        LeafFeatures().fit(np.zeros((3, 3)))
