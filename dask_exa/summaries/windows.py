"""Counts of the leaves of a forest, window by window of a stream.

Windows are aligned at the number of a row in its stream: row i belongs to window ``i // size``.
Only the two latest are kept, which makes merging associative: no union brings an earlier one back.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, namespace, to_host
from dask_exa.kernels.forest import Forest

Numbers = Any
"""Numbers of rows in their stream, increasing: a range, or an array of shape (n_rows,)."""


class Window(NamedTuple):
    """What some range of row numbers weighs."""

    number: int
    """Its place in the stream; -1 for the window of nothing."""
    masses: np.ndarray
    """Shape (n_trees, n_leaves), float64."""

    def __reduce__(self) -> tuple[Callable[..., Window], tuple[Any, ...]]:
        """Travel without the empty leaves, which are most."""
        places = np.flatnonzero(self.masses)
        if 2 * places.size > self.masses.size:
            return Window, tuple(self)
        values = self.masses.ravel()[places]
        return _from_places, (self.number, self.masses.shape, places.astype(np.uint32), values)


def _from_places(
    number: int, shape: tuple[int, int], places: np.ndarray, values: np.ndarray
) -> Window:
    masses = np.zeros(shape)
    masses.ravel()[places] = values
    return Window(number, masses)


def nothing(forest: Forest) -> Window:
    """Return the window that every other one takes precedence over."""
    return Window(-1, np.zeros(forest.leaf.shape))


def weighty(
    X: Array, sample_weight: Array | None, first: int
) -> tuple[Array, Array | None, Numbers]:
    """Return the rows that weigh anything, their weights (on the host) and their numbers.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    sample_weight : array of shape (n_samples,), optional
    first : int
        Number of the first row.
    """
    numbers = range(first, first + X.shape[0])
    if sample_weight is None:
        return X, None, numbers
    sample_weight = to_host(sample_weight)
    (places,) = np.nonzero(sample_weight)
    if places.size == len(numbers):
        return X, sample_weight, numbers
    xp = namespace(X)
    return xp.take(X, xp.asarray(places), axis=0), sample_weight[places], first + places


def count(
    X: Array, sample_weight: Array | None, numbers: Numbers, forest: Forest, size: int | None
) -> list[Window]:
    """Count the rows of the last two windows; others are never read.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    sample_weight : array of shape (n_samples,), optional
    numbers : range or array of shape (n_samples,)
    forest : Forest
    size : int, optional
        Rows of a window; None for one window of everything.
    """
    windows: list[Window] = []
    stop = len(numbers)
    while stop and len(windows) < 2:
        number, start = 0, 0
        if size is not None:
            number = int(numbers[stop - 1]) // size
            start = bisect.bisect_left(numbers, number * size)
        weight = None if sample_weight is None else sample_weight[start:stop]
        counts = kernels.leaf_counts(X[start:stop, :], weight, forest)
        windows.append(Window(number, to_host(counts)))
        stop = start
    return windows


def latest_two(windows: Sequence[Window]) -> tuple[Window, Window | None]:
    """Add up windows of one number, and return the two of largest number, the latest first.

    Examples
    --------
    >>> import numpy as np
    >>> some = [Window(number, np.array([[1.0, number]])) for number in (3, 0, 4, 3)]
    >>> latest_two(some)
    (Window(number=4, masses=array([[1., 4.]])), Window(number=3, masses=array([[2., 6.]])))
    """
    masses: dict[int, np.ndarray] = {}
    for window in windows:
        known = masses.get(window.number)
        masses[window.number] = window.masses if known is None else known + window.masses
    latest, *others = (Window(number, masses[number]) for number in sorted(masses, reverse=True))
    return latest, others[0] if others and others[0].number >= 0 else None
