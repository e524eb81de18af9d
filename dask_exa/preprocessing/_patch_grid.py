"""Where patches are along one axis: positions, the tiles that make them, weights to blend them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Run(NamedTuple):
    """Points that follow each other both here and there."""

    tile: int
    there: slice
    """In the tile."""
    here: slice


@dataclass(frozen=True)
class PatchAxis:
    """Patches along one axis of a field, each made by the tile that has its first point.

    What patches of a tile cover is a region: from the first point of its first patch to the last
    point of its last one. It may reach into other tiles, and beyond the end of the field.
    """

    n_points: int
    size: int
    stride: int
    padding: str
    tiles: tuple[int, ...]
    """Points of every tile; the chunks of the field."""

    @property
    def starts(self) -> np.ndarray:
        """First point of every patch."""
        if self.padding == "wrap":
            return np.arange(0, self.n_points, self.stride)
        last = self.n_points - self.size
        if self.padding == "reflect":  # so far that every point is in a patch
            last = min(-(-last // self.stride) * self.stride, self.n_points - 1)
        return np.arange(0, last + 1, self.stride)

    @property
    def edges(self) -> np.ndarray:
        """Points between which tiles are."""
        return np.cumsum([0, *self.tiles])

    @property
    def active(self) -> list[int]:
        """Tiles in which patches start."""
        return [tile for tile, count in enumerate(self._counts()) if count]

    @property
    def counts(self) -> list[int]:
        """Patches of every active tile."""
        return [int(count) for count in self._counts() if count]

    @property
    def region_sizes(self) -> list[int]:
        """Points that the patches of every active tile cover."""
        return [(count - 1) * self.stride + self.size for count in self.counts]

    def first_starts(self) -> list[int]:
        """Return the first point of the first patch of every active tile."""
        ends = np.cumsum([0, *self.counts])[:-1]
        return self.starts[ends].tolist()

    def reads(self, i: int) -> list[Run]:
        """Return from where the region of active tile `i` is read."""
        points = self.first_starts()[i] + np.arange(self.region_sizes[i])
        beyond = points >= self.n_points
        if self.padding == "reflect":
            points = np.where(beyond, 2 * (self.n_points - 1) - points, points)
        return self._runs(points % self.n_points, np.arange(len(points)))

    def writes(self, i: int) -> list[Run]:
        """Return where in the field the region of active tile `i` belongs."""
        here = np.arange(self.region_sizes[i])
        points = self.first_starts()[i] + here
        if self.padding == "wrap":
            return self._runs(points % self.n_points, here)
        inside = points < self.n_points
        return self._runs(points[inside], here[inside])

    def weights(self, blend: str) -> np.ndarray:
        """Return the weight of every point of every patch, (n_patches, size).

        Those of all patches that have a point add up to 1 there.
        """
        line = np.ones(self.size)
        centred = (np.arange(self.size) + 0.5) / self.size
        if blend == "hann":
            line = np.sin(np.pi * centred) ** 2
        elif blend == "linear":
            line = 1 - np.abs(2 * centred - 1)
        total = np.zeros(self.n_points)
        points = self.starts[:, None] + np.arange(self.size)
        inside = np.ones(points.shape, bool) if self.padding == "wrap" else points < self.n_points
        points = points % self.n_points
        lines = np.broadcast_to(line, points.shape)
        np.add.at(total, points[inside], lines[inside])
        return np.where(inside, lines / np.where(total > 0, total, 1.0)[points], 0.0)

    def covered(self) -> np.ndarray:
        """Return which points are in a patch, bool (n_points,)."""
        found = np.zeros(self.n_points, bool)
        points = self.starts[:, None] + np.arange(self.size)
        if self.padding == "wrap":
            points = points % self.n_points
        found[points[points < self.n_points]] = True
        return found

    def _counts(self) -> np.ndarray:
        return np.diff(np.searchsorted(self.starts, self.edges))

    def _runs(self, points: np.ndarray, here: np.ndarray) -> list[Run]:
        tiles = np.searchsorted(self.edges, points, side="right") - 1
        steps = np.diff(points)
        is_break = (np.diff(tiles) != 0) | (np.abs(steps) != 1)
        is_break[1:] |= (steps[1:] != steps[:-1]) & ~is_break[:-1]
        breaks = [0, *(np.flatnonzero(is_break) + 1).tolist(), len(points)]
        found = []
        for start, stop in itertools.pairwise(breaks):
            tile = int(tiles[start])
            first, last = (int(points[i] - self.edges[tile]) for i in (start, stop - 1))
            step = 1 if last >= first else -1
            end = last + step if last + step >= 0 else None
            found.append(
                Run(tile, slice(first, end, step), slice(int(here[start]), int(here[stop - 1]) + 1))
            )
        return found


def products(runs: Sequence[Sequence[Run]]) -> list[tuple[Run, ...]]:
    """Return the boxes that runs along several axes make."""
    return list(itertools.product(*runs))
