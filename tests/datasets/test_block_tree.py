"""The mesh of the blast wave: balance, ghost cells and what blocks become, against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_exa.datasets._block_tree import BlockTree

B, MAX = 4, 4


def some_tree(seed, ndim, n_rounds=5):
    random = np.random.default_rng(seed)
    tree = BlockTree.uniform(1, ndim, B, MAX)
    for _ in range(n_rounds):
        share = 0.3 if ndim == 2 else 0.1
        refine = random.random(len(tree)) < share
        coarsen = random.random(len(tree)) < 0.8
        tree, _ = tree.adapt(refine, coarsen, 1)
    return tree


def painted(tree):
    """Which block covers each block of the finest level, and how often each is covered."""
    n = 1 << tree.max_level
    owner, count = np.full((n,) * tree.ndim, -1), np.zeros((n,) * tree.ndim, dtype=int)
    for number, (level, coords) in enumerate(zip(tree.level, tree.coords, strict=True)):
        side = 1 << (tree.max_level - level)
        part = tuple(slice(c * side, (c + 1) * side) for c in coords)
        owner[part] = number
        count[part] += 1
    return owner, count


TREES = {"seed": st.integers(0, 10**6), "ndim": st.sampled_from([2, 3])}


@given(**TREES)
@settings(max_examples=15)
def test_leaves_fill_the_box_once_and_neighbours_differ_by_one_level(seed, ndim):
    tree = some_tree(seed, ndim)
    owner, count = painted(tree)
    assert np.all(count == 1)
    level = tree.level[owner]
    for offset in itertools.product((-1, 0, 1), repeat=ndim):
        shifted = np.roll(level, offset, axis=tuple(range(ndim)))
        assert np.abs(level - shifted).max() <= 1


@given(**TREES)
@settings(max_examples=10)
def test_ghost_cells_lie_in_the_cells_that_they_are_made_of(seed, ndim):
    """Whole numbers: positions in units of half the finest cells."""
    tree, width = some_tree(seed, ndim), 2
    side = B + 2 * width
    plan = tree.ghosts(width)
    size = (2 << (MAX - tree.level)).reshape(-1, *(1,) * (ndim + 1))
    local = np.moveaxis(np.indices((side,) * ndim) - width, 0, -1)
    corner = tree.coords.reshape(-1, *(1,) * ndim, ndim) * B + local
    box = 2 * (B << MAX)
    middle = (corner * size + size // 2).reshape(-1, ndim)
    size = np.broadcast_to(size, (*corner.shape[:-1], 1)).reshape(-1, 1)

    def away(first, second):
        return (first - second + box // 2) % box - box // 2

    target, source = plan.copied
    assert not away(middle[target], middle[source]).any()
    assert np.array_equal(size[target], size[source])
    coarse, fine = plan.averaged
    assert np.array_equal(size[fine][:, :, 0] * 2, np.repeat(size[coarse], 2**ndim, axis=1))
    apart = away(middle[fine], middle[coarse][:, None])
    assert np.array_equal(np.abs(apart), np.broadcast_to(size[fine] // 2, apart.shape))
    assert len(np.unique(apart[0], axis=0)) == 2**ndim if len(apart) else True
    targets = [target, coarse]
    for target, source, half in plan.interpolated:
        assert np.array_equal(size[source], 2 * size[target])
        assert np.array_equal(away(middle[target], middle[source]), half * size[target] // 2)
        targets.append(target)
    outside = np.ones((side,) * ndim, dtype=bool)
    outside[(slice(width, -width),) * ndim] = False
    expected = np.flatnonzero(np.tile(outside.ravel(), len(tree)))
    np.testing.assert_array_equal(np.sort(np.concatenate(targets)), expected)


@pytest.mark.parametrize("ndim", [2, 3])
def test_coarse_faces_are_those_in_front_of_finer_blocks(ndim):
    tree = some_tree(7, ndim)
    owner, _ = painted(tree)
    for axis in range(ndim):
        plan = tree.coarse_faces(axis)
        shape = [B + (a == axis) for a in range(ndim)]
        block, *face = np.unravel_index(plan.coarse, (len(tree), *shape))
        assert plan.fine.shape == (len(plan.coarse), 2 ** (ndim - 1))
        other, *fine = np.unravel_index(plan.fine, (len(tree), *shape))
        assert np.all(tree.level[other] == tree.level[block][:, None] + 1)
        unit = B << MAX
        for a in range(ndim):
            scale = 1 << (MAX - tree.level)
            here = ((tree.coords[block, a] * B + face[a]) * scale[block])[:, None]
            there = (tree.coords[other, a] * B + fine[a]) * scale[other]
            offset = (there - here) % unit
            assert np.all(offset < (1 if a == axis else scale[block][:, None]))
        # every face with a finer block behind it is there
        side = 1 << (MAX - tree.level)
        found = 0
        for number in range(len(tree)):
            for end in (-1, side[number]):
                at = [tree.coords[number, a] * side[number] for a in range(ndim)]
                at[axis] += end
                window = [
                    np.arange(c, c + (1 if a == axis else side[number])) % (1 << MAX)
                    for a, c in enumerate(at)
                ]
                finer = tree.level[owner[np.ix_(*window)]] > tree.level[number]
                found += finer.sum() * B ** (ndim - 1) / side[number] ** (ndim - 1)
        assert found == len(plan.coarse)


def test_blocks_that_stay_are_kept_and_others_come_from_their_own():
    tree = some_tree(3, 2)
    random = np.random.default_rng(0)
    new, transfer = tree.adapt(random.random(len(tree)) < 0.2, random.random(len(tree)) < 0.9, 1)
    (kept, old), (split, parents, halves), (joined, children) = transfer
    assert sorted([*kept, *split, *joined]) == list(range(len(new)))
    assert np.array_equal(new.coords[kept], tree.coords[old])
    assert np.array_equal(new.coords[split], 2 * tree.coords[parents] + halves)
    assert np.array_equal(2 * new.coords[joined][:, None] + tree.halves, tree.coords[children])
    assert len(joined)
    assert len(split)
