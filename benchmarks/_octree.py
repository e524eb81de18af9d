"""Adaptive meshes: build, paste, sample, conserve; yt's covering grid as the peer."""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _labelled import DATA
from _table import Table, interleaved

from dask_exa._threads import thread_share
from dask_exa.inputs import dyablo
from dask_exa.inputs.amr import Octree

N_LEAVES = 10_000_000
N_POINTS = 5_000_000
N_THREADS = 2
DYABLO = DATA.parent / "dyablo"
SNAPSHOTS = ("blast2d_iter0000234", "blast3d_iter0000054")


def cells_around_a_shell(n_leaves: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centres (n, 3), sizes (n,) and a density (n,), float32, of an octree in any order.

    It is refined at a shell, to four levels or more.
    """
    level = max(0, int(math.log(n_leaves / 16, 8)))
    side = np.arange(1 << level, dtype=np.float32)
    nodes = np.stack(np.meshgrid(side, side, side), axis=-1).reshape(-1, 3)
    children = np.stack(np.meshgrid(*[[0, 1]] * 3), axis=-1).reshape(-1, 3).astype(np.float32)
    leaves: list[tuple[np.ndarray, int]] = []
    n = len(nodes)
    while n < n_leaves:
        radius = np.linalg.norm((nodes + 0.5) / (1 << level) - 0.5, axis=1)
        n_split = min(len(nodes) // 2, -(-(n_leaves - n) // 7))
        near = np.zeros(len(nodes), dtype=bool)
        near[np.argpartition(abs(radius - 0.3), n_split - 1)[:n_split]] = True
        leaves.append((nodes[~near], level))
        nodes = (2 * nodes[near][:, None] + children).reshape(-1, 3)
        n, level = n + 7 * n_split, level + 1
    leaves.append((nodes, level))
    centers = np.concatenate([(part + np.float32(0.5)) / (1 << k) for part, k in leaves])
    sizes = np.concatenate([np.full(len(part), 0.5**k, np.float32) for part, k in leaves])
    order = np.random.default_rng(0).permutation(len(sizes))
    centers, sizes = centers[order], sizes[order]
    radius = np.linalg.norm(centers - 0.5, axis=1)
    return centers, sizes, 1 + 3 * np.exp(-(((radius - 0.3) / 0.02) ** 2))


def dyablo_tree(name: str) -> Octree:
    """Return the density of a snapshot of Dyablo, in double precision."""
    with dyablo.open_snapshots(str(DYABLO / f"{name}.h5"), variables=["rho"]) as stream:
        (step,) = stream
    return Octree.from_patches(step.astype(np.float64))


def octree_speed(repeats: int) -> None:
    """Time what is done with ten million leaves."""
    centers, sizes, density = cells_around_a_shell(N_LEAVES)
    small = slice(None, None, -1)
    with thread_share(N_THREADS):
        tree = Octree.from_cells(centers, sizes, {"rho": density})
        finest = tree.lattice.depth
        table = Table(
            f"{tree!r} in float32, {N_THREADS} threads, median of {repeats}",
            "what", "seconds", "million a second",
        )  # fmt: skip

        def time_it(what: str, n: int, call: Callable[[], Any]) -> None:
            call()
            median = statistics.median(_seconds(call) for _ in range(repeats))
            table.row(what, median, n / median / 1e6)

        n = len(tree)
        fields = {"rho": density[small].copy()}
        centers, sizes = centers[small].copy(), sizes[small].copy()
        time_it("build", n, lambda: Octree.from_cells(centers, sizes, fields))
        time_it("neighbors (faces)", 6 * n, tree.neighbors)
        time_it("gradients (cells)", n, lambda: tree.gradient("rho"))
        for level in (finest, finest - 1):
            cells = 8**level
            time_it(f"to_uniform({level})", cells, lambda level=level: tree.to_uniform(level))
        for weights in ("volume", "mixture", "gradient"):
            time_it(
                f"sample {weights}", N_POINTS,
                lambda weights=weights: tree.sample(N_POINTS, weights, random_state=0),
            )  # fmt: skip
    table.show()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.1f} GiB")


def octree_mass(repeats: int) -> None:
    """Print the mass on uniform grids, and of samples with and without their weights."""
    table = Table("mass of grids, relative error", "data", "level", "error")
    for name in SNAPSHOTS:
        tree = dyablo_tree(name)
        volumes = tree.volumes()
        mass = math.fsum(tree.fields["rho"].ravel() * volumes)
        for level in range(tree.lattice.depth + 1):
            grid = tree.to_uniform(level).rho.values
            error = math.fsum(grid.ravel()) / grid.size / mass * float(volumes.sum()) - 1
            table.row(name, level, f"{error:.1e}")
    table.show()
    n_draws, n_points = 200, 2000
    table = Table(
        f"mass of {n_points} points, {n_draws} draws",
        "data", "weights", "plain mean", "weighted mean", "its standard error", "points in shocks",
    )  # fmt: skip
    for name in SNAPSHOTS:
        tree = dyablo_tree(name)
        steep = np.quantile(tree.steepness("rho"), 0.9)
        for weights in ("volume", "mixture", "gradient"):
            draws = [tree.sample(n_points, weights, random_state=k) for k in range(n_draws)]
            mass = tree.integral("rho")
            plain = np.array([float(p.rho.mean()) for p in draws]) / mass - 1
            weighted = np.array([float(p.weight @ p.rho) for p in draws]) / mass - 1
            slopes = [np.linalg.norm(p.gradient_rho, axis=1) for p in draws]
            table.row(
                name, weights, f"{plain.mean():+.1%}", f"{weighted.mean():+.2e}",
                f"{weighted.std() / math.sqrt(n_draws):.1e}",
                f"{np.mean([(s > steep).mean() for s in slopes]):.0%}",
            )  # fmt: skip
    table.show()


def octree_yt(repeats: int) -> None:
    """Compare uniform grids of the finest level with yt's covering grid of the same blocks."""
    table = Table(
        f"to_uniform on {N_THREADS} threads, and yt's covering grid (goal: ratio 20)",
        "tree", "in yt", "cells of the grid", "ours (s)", "yt (s)", "yt / ours", "difference",
    )  # fmt: skip
    trees = {"Dyablo, blast3d": dyablo_tree("blast3d_iter0000054")}
    for n, side in ((20_000, 4), (1_000_000, 1)):
        centers, sizes, density = cells_around_a_shell(n)
        block = np.broadcast_to(density[:, None, None, None], (len(density), *(side,) * 3))
        trees[f"{n} leaves of {side}³ cells"] = Octree.from_cells(
            centers, sizes, {"rho": block.astype(float)}
        )
    for name, tree in trees.items():
        kinds = {"octree": as_yt_octree}
        if tree.block[0] > 1 and len(tree) < 10_000:  # yt takes a millisecond a grid
            kinds["grids"] = as_yt_grids
        for kind, give in kinds.items():
            source, level, sides = give(tree)

            def ours(tree: Octree = tree) -> np.ndarray:
                with thread_share(N_THREADS):
                    return tree.to_uniform().rho.values

            def peer(source: Any = source, level: int = level, sides: Any = sides) -> np.ndarray:
                grid = source.covering_grid(level, [0.0] * 3, sides)
                return np.asarray(grid["gas", "density"])

            difference = float(abs(ours() - peer()).max())
            timed = interleaved(ours, peer, repeats)
            table.row(name, kind, sides[0] ** 3, *timed, difference)
    table.show()


def as_yt_octree(tree: Octree) -> tuple[Any, int, list[int]]:
    """Return a tree as an octree of yt in the same blocks, its finest level, and cells there."""
    import yt

    yt.set_log_level("error")
    depth, codes = tree.lattice.depth, tree.tree.codes
    refined = []
    for level, code in zip(tree.level.tolist(), codes.tolist(), strict=True):
        begins = (code % (1 << 3 * (depth - above)) == 0 for above in range(level))
        refined += [8] * sum(begins) + [0]
    # yt counts children and cells with z fastest: it gets our axes in its order, x for z
    source = yt.load_octree(
        np.array(refined, dtype=np.uint8),
        {("gas", "density"): tree.fields["rho"].reshape(len(tree), -1)},
        bbox=np.array([[0.0, 1.0]] * 3),
        num_zones=tree.block[0],
        partial_coverage=0,
    )
    return source, depth, [tree.block[0] << depth] * 3


def as_yt_grids(tree: Octree) -> tuple[Any, int, list[int]]:
    """Return a tree as a hierarchy of grids of yt, a grid a block, and the same."""
    import yt

    yt.set_log_level("error")
    lowest, depth = int(tree.level.min()), tree.lattice.depth
    grids = [
        {
            "left_edge": corner[::-1],
            "right_edge": (corner + size)[::-1],
            "level": level - lowest,
            "dimensions": tree.block,
            "density": (values, "g/cm**3"),
        }
        for corner, size, level, values in zip(
            tree.position, tree.size, tree.level.tolist(), tree.fields["rho"], strict=True
        )
    ]
    source = yt.load_amr_grids(grids, [tree.block[0] << lowest] * 3)
    return source, depth - lowest, [tree.block[0] << depth] * 3


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


TABLES = {"octree": octree_speed, "octree-mass": octree_mass, "octree-yt": octree_yt}
ON_REAL_DATA = ("octree-mass", "octree-yt")
