"""What `KMeans` knows: centres, and sums over the samples that each of them attracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa._array import Array, device, namespace, to_host
from dask_exa.cluster._alignment import align
from dask_exa.cluster._lloyd import means
from dask_exa.cluster._seeding import recluster
from dask_exa.kernels import Attracted
from dask_exa.summaries.affine import Change, carry, mean_stretch, move, turn


class Partition(NamedTuple):
    """Samples that are split among centres."""

    n_samples: int
    seed: int
    n_iter: int
    """Rounds of the last clustering, be it of samples or of centres."""
    centers: Array
    """Shape (n_centers, n_features), float64; fewer than asked for where fewer samples were
    seen."""
    counts: Array
    """Sum of the weights of the samples, shape (n_centers,)."""
    sums: Array
    """Weighted sum of their distances from the centre, shape (n_centers, n_features)."""
    inertia: float
    """Weighted sum of their squared distances from the centre."""


def partition(
    n_samples: int, seed: int, n_iter: int, centers: np.ndarray, attracted: Attracted, like: Array
) -> Partition:
    """Return a partition whose arrays are where an array is."""
    xp = namespace(like)

    def place(array: np.ndarray) -> Array:
        return xp.asarray(np.asarray(array, dtype=np.float64), device=device(like))

    counts, sums = place(attracted.counts), place(attracted.sums)
    inertia = float(attracted.inertia)
    return Partition(n_samples, seed, n_iter, place(centers), counts, sums, inertia)


def merge(partitions: Sequence[Partition], n_clusters: int) -> Partition:
    """Cluster the means of several partitions, each of the weight of its samples.

    Every sample stays with the mean it was with, and goes where that goes: the sum of squares
    about the new centres, Σ inertia_i + Σ counts |shift|², is exact for this split, and an upper
    bound of what assigning every sample anew would give. Centres keep the numbers of those of
    the first partition that they are nearest to.

    Parameters
    ----------
    partitions : sequence of Partition
    n_clusters : int
    """
    if len(partitions) == 1:
        return partitions[0]
    n_samples = sum(part.n_samples for part in partitions)
    seed = min(part.seed for part in partitions)
    found = [_means(part) for part in partitions]
    points = np.concatenate([points for points, _, _ in found])
    counts = np.concatenate([counts for _, counts, _ in found])
    within = sum(inertia for _, _, inertia in found)
    centers, attracted, n_iter = points, Attracted(counts, np.zeros_like(points), 0.0), 0
    if points.shape[0] > n_clusters:
        largest = max(found, key=lambda part: (part[0].shape[0], part[1].sum()))[0]
        starts = [largest] if largest.shape[0] == n_clusters else []
        centers, attracted, n_iter = recluster(points, counts, n_clusters, seed, starts)
    order = _order(to_host(partitions[0].centers), centers)
    attracted = Attracted(
        attracted.counts[order], attracted.sums[order], attracted.inertia + within
    )
    like = partitions[0].centers
    return partition(n_samples, seed, n_iter, centers[order], attracted, like)


def forget(summary: Partition, factor: float) -> Partition:
    """Scale the weight of all that was seen by `factor`; the centres stay where they are."""
    return summary._replace(
        counts=summary.counts * factor,
        sums=summary.sums * factor,
        inertia=summary.inertia * factor,
    )


@carry.register
def carry_partition(summary: Partition, change: Change) -> Partition:
    """Return the same clusters where their samples are now; see `dask_exa.summaries.affine`.

    The sum of squares is taken for that of clusters as wide in all directions.
    """
    return summary._replace(
        centers=move(summary.centers, change),
        sums=turn(summary.sums, change),
        inertia=summary.inertia * mean_stretch(change),
    )


def _means(part: Partition) -> tuple[np.ndarray, np.ndarray, float]:
    """Return means, weights and the sum of squares about the means, on the host."""
    centers, counts, sums = map(to_host, (part.centers, part.counts, part.sums))
    points, kept = means(centers, Attracted(counts, sums, 0.0))
    about_means = part.inertia - float(np.sum(kept[:, None] * _shifts(counts, sums) ** 2))
    return points, kept, max(about_means, 0.0)


def _shifts(counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    some = counts > 0
    return sums[some] / counts[some, None]


def _order(reference: np.ndarray, centers: np.ndarray) -> np.ndarray:
    if reference.shape[0] > centers.shape[0]:
        return np.arange(centers.shape[0])
    return align(reference, centers)
