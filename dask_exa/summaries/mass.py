"""Masses of the cells of half-space trees, window by window: additive, so exact to merge.

The cells are a function of a seed and of the ranges of the features; all that data add is how much
of them falls into each leaf. Masses of inner nodes are sums of those, and are never stored.

**Windows** (`dask_exa.summaries.windows`) are aligned at the numbers of rows, counted by the model
that learns them, so that a fold, a tree over chunks and a stream come to the same; models of
streams that ran side by side add window by window.

**Ranges** that nobody has given are those of the first rows. Until these are known, rows are kept
as they are (`WarmUp`) and merge as sets; then their cells are counted like all others. A model
that has its ranges counts the rows of one that has not in its own cells.

**Sample.** Beside the masses goes one `Reservoir` of rows, for what needs rows again. With windows
it forgets at the rate of one window.

References
----------
S. C. Tan, K. M. Ting, T. F. Liu, "Fast anomaly detection for streaming data", IJCAI 2011.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, to_host
from dask_exa.kernels.forest import Forest
from dask_exa.summaries import reservoir, windows
from dask_exa.summaries.moments import checked_weight
from dask_exa.summaries.reducer import Reducer
from dask_exa.summaries.reservoir import Reservoir, Sampling
from dask_exa.summaries.windows import Numbers, Window

SAMPLE_SIZE = 512
LARGEST = float(np.finfo(np.float32).max) / 16
"""Ranges end here, so that work ranges are finite in float32."""


class Counting(NamedTuple):
    """Which cells rows are counted in, and which windows."""

    n_trees: int
    max_depth: int
    window_size: int | None
    sampling: Sampling
    """Seed of the cells too, and number of the first row of the next block."""
    ranges: np.ndarray | None = None
    """Smallest and largest value of every feature, shape (2, n_features); None: not known yet."""

    def at(self, row: int) -> Counting:
        """Return the counting of a block that starts that many rows later."""
        return self._replace(sampling=self.sampling.at(row))


class Masses(NamedTuple):
    """What was learnt in cells that are known."""

    seed: int
    ranges: np.ndarray
    latest: Window
    earlier: Window | None
    sample: Reservoir

    @property
    def n_samples(self) -> int:
        """Number of samples seen."""
        return self.sample.n_samples

    @property
    def position(self) -> int:
        """Number of the next row of the stream."""
        return self.sample.position


class WarmUp(NamedTuple):
    """Rows whose cells are not known yet."""

    seed: int
    rows: np.ndarray
    """Shape (n_rows, n_features), float32; those without weight are left out."""
    weight: np.ndarray
    """Shape (n_rows,), float64."""
    numbers: np.ndarray
    """Shape (n_rows,), int64: their numbers in their streams."""
    sample: Reservoir

    @property
    def n_samples(self) -> int:
        """Number of samples seen."""
        return self.sample.n_samples

    @property
    def position(self) -> int:
        """Number of the next row of the stream."""
        return self.sample.position


def counting(
    n_trees: int,
    max_depth: int,
    window_size: int | None,
    seed: int,
    ranges: np.ndarray | None = None,
    *,
    stream: int = 0,
    first: int = 0,
) -> Counting:
    """Return how rows from number `first` of a stream on are counted."""
    decay = 0.0 if window_size is None else 1.0 / window_size
    sampling = Sampling(1, SAMPLE_SIZE, seed, stream, decay, first)
    return Counting(n_trees, max_depth, window_size, sampling, ranges)


def reducer(how: Counting) -> Reducer:
    """Return the reduction of a block that starts where `how` says."""
    return Reducer(
        functools.partial(summarize, how=how),
        functools.partial(merge, window_size=how.window_size),
        functools.partial(extend, how=how),
        functools.partial(_located, how=how),
    )


def summarize(X: Array, sample_weight: Array | None, how: Counting) -> Masses | WarmUp:
    """Return the masses of the rows of `X`, or the rows where their cells are not known yet.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    sample_weight : array of shape (n_samples,), optional
    how : Counting

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(0, 1, 100)[:, None]
    >>> how = counting(3, 4, 40, seed=0, ranges=np.array([[0.0], [1.0]]))
    >>> whole = summarize(X, None, how)
    >>> whole.latest.number, whole.latest.masses.sum(axis=1), whole.earlier.masses.sum(axis=1)
    (2, array([20., 20., 20.]), array([40., 40., 40.]))
    >>> parts = merge([summarize(X[:70], None, how), summarize(X[70:], None, how.at(70))], 40)
    >>> bool(np.all(parts.latest.masses == whole.latest.masses))
    True
    """
    sample_weight = checked_weight(sample_weight)
    sample = reservoir.summarize(X, sample_weight, how.sampling)
    weighty = windows.weighty(X, sample_weight, how.sampling.first)
    if how.ranges is None:
        return _warm_up(*weighty, how.sampling.seed, sample)
    return _count(*weighty, how.ranges, how, sample)


def extend(
    summary: Masses | WarmUp, X: Array, sample_weight: Array | None, how: Counting
) -> Masses | WarmUp:
    """Return ``merge([summary, summarize(X, sample_weight, how)])``, in one go."""
    if how.ranges is None or isinstance(summary, WarmUp):
        return merge([summary, summarize(X, sample_weight, how)], how.window_size)
    sample_weight = checked_weight(sample_weight)
    weighty = windows.weighty(X, sample_weight, how.sampling.first)
    counted = windows.count(*weighty, half_spaces(summary), how.window_size)
    latest, earlier = windows.latest_two([*_kept(summary), *counted])
    sample = reservoir.extend(summary.sample, X, sample_weight, how.sampling)
    return summary._replace(latest=latest, earlier=earlier, sample=sample)


def merge(summaries: Sequence[Masses | WarmUp], window_size: int | None) -> Masses | WarmUp:
    """Return the masses of all the rows that the given summaries saw, whatever their order.

    Raises
    ------
    ValueError
        If two of them count in different cells.
    """
    if len(summaries) == 1:
        return summaries[0]
    settled = [summary for summary in summaries if isinstance(summary, Masses)]
    warm = [summary for summary in summaries if isinstance(summary, WarmUp)]
    sample = reservoir.merge([summary.sample for summary in summaries])
    if not settled:
        numbers = np.concatenate([summary.numbers for summary in warm])
        order = np.argsort(numbers, kind="stable")
        rows = np.concatenate([summary.rows for summary in warm])[order]
        weight = np.concatenate([summary.weight for summary in warm])[order]
        return WarmUp(min(w.seed for w in warm), rows, weight, numbers[order], sample)
    one = settled[0]
    for other in settled[1:]:
        _check_same_cells(one, other)
    counted = [window for summary in settled for window in _kept(summary)]
    forest = half_spaces(one)
    for late in warm:
        counted += windows.count(late.rows, late.weight, late.numbers, forest, window_size)
    return Masses(one.seed, one.ranges, *windows.latest_two(counted), sample)


def forget(summary: Masses | WarmUp, factor: float) -> Masses | WarmUp:
    """Scale the weight of all that was seen by `factor`."""
    sample = reservoir.forget(summary.sample, factor)
    if isinstance(summary, WarmUp):
        return summary._replace(weight=summary.weight * factor, sample=sample)
    latest, *earlier = (
        window._replace(masses=window.masses * factor) for window in reversed(_kept(summary))
    )
    return summary._replace(latest=latest, earlier=earlier[0] if earlier else None, sample=sample)


def settle(summary: WarmUp, ranges: np.ndarray, how: Counting) -> Masses:
    """Count the rows of a warm-up in the cells of some ranges, and of the seed of `how`."""
    return _count(summary.rows, summary.weight, summary.numbers, ranges, how, summary.sample)


def ranges_of(rows: np.ndarray) -> np.ndarray:
    """Return the smallest and the largest value of every feature, (2, n_features), float64.

    Values that are not finite do not count; a feature without any is taken to be zero.
    """
    rows = _as_float32(rows)
    finite = np.isfinite(rows)
    known = finite.any(axis=0)
    low = np.min(rows, axis=0, where=finite, initial=np.inf)
    high = np.max(rows, axis=0, where=finite, initial=-np.inf)
    return as_ranges(np.where(known, [low, high], 0.0))


def as_ranges(pair: np.ndarray) -> np.ndarray:
    """Return finite bounds of shape (2, n_features) as the cells take them, float64."""
    return np.clip(pair, -LARGEST, LARGEST).astype(np.float32).astype(np.float64)


def reference(summary: Masses, window_size: int | None) -> Window:
    """Return the last complete window, or what there is before one is."""
    latest = summary.latest
    is_complete = window_size is None or summary.position >= (latest.number + 1) * window_size
    return latest if is_complete or summary.earlier is None else summary.earlier


def half_spaces(summary: Masses) -> Forest:
    """Return the trees whose leaves are counted."""
    n_trees, n_leaves = summary.latest.masses.shape
    return _forest(summary.ranges, summary.seed, n_trees, n_leaves.bit_length() - 1)


def _located(row: int, how: Counting) -> Reducer:
    return reducer(how.at(row))


def _warm_up(
    X: Array, sample_weight: Array | None, numbers: Numbers, seed: int, sample: Reservoir
) -> WarmUp:
    rows = _as_float32(to_host(X))
    weight = np.ones(len(rows)) if sample_weight is None else sample_weight
    return WarmUp(seed, rows, weight, np.asarray(numbers, dtype=np.int64), sample)


def _count(
    X: Array,
    sample_weight: Array | None,
    numbers: Numbers,
    ranges: np.ndarray,
    how: Counting,
    sample: Reservoir,
) -> Masses:
    forest = _forest(ranges, how.sampling.seed, how.n_trees, how.max_depth)
    counted = windows.count(X, sample_weight, numbers, forest, how.window_size)
    counted.append(windows.nothing(forest))
    return Masses(how.sampling.seed, ranges, *windows.latest_two(counted), sample)


def _kept(summary: Masses) -> list[Window]:
    return [window for window in (summary.earlier, summary.latest) if window is not None]


def _as_float32(rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # infinite in float32, which is how the trees see it
        return rows.astype(np.float32)


def _check_same_cells(one: Masses, other: Masses) -> None:
    if one.seed != other.seed:
        raise ValueError(
            f"cannot merge half-space trees of the seeds {one.seed} and {other.seed}, whose cells "
            "differ; pass the same int as random_state (with None, only copies of one model "
            "merge)."
        )
    if not np.array_equal(one.ranges, other.ranges):
        raise ValueError(
            "cannot merge half-space trees whose feature ranges differ, since so do their cells; "
            "pass the same feature_ranges to all, for instance the feature_ranges_ of one."
        )


def _forest(ranges: np.ndarray, seed: int, n_trees: int, max_depth: int) -> Forest:
    return _grown(ranges.tobytes(), seed, n_trees, max_depth)


@functools.lru_cache(maxsize=4)
def _grown(ranges: bytes, seed: int, n_trees: int, max_depth: int) -> Forest:
    low, high = np.frombuffer(ranges).reshape(2, -1)
    return kernels.grow_half_spaces(low.copy(), high.copy(), seed, n_trees, max_depth)
