"""Summaries in memory, worked on a cache-sized tile of columns at a time.

The centred float64 copy of a block never exists as a whole: every tile is cast, centred and
multiplied while it is in the cache, and tiles run side by side on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa import kernels
from dask_exa._array import Array, as_float64, is_host, namespace, product, scratch
from dask_exa._threads import map_threads
from dask_exa.summaries import moments, svd
from dask_exa.summaries.moments import Moments
from dask_exa.summaries.svd import SVDSummary, Truncation, Turn

_TILE_BYTES = 2 << 20


class Batch(NamedTuple):
    """A block of samples that nobody has looked at yet."""

    X: Array
    """Shape (n_samples, n_features)."""
    sample_weight: Array | None = None


Part = SVDSummary | Batch


class Tiles:
    """The columns of stacked parts, in tiles (see `dask_exa.summaries.svd.Columns`)."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.n_rows = sum(map(n_rows, parts)) + len(parts) - 1
        self.n_features = _matrix(parts[0]).shape[1]
        width = max(256, _TILE_BYTES // (8 * max(self.n_rows, 1)))
        starts = range(0, self.n_features, width)
        self.tiles = [slice(i, min(i + width, self.n_features)) for i in starts]

    def gather(
        self,
        function: Callable[[SVDSummary], Any],
        combine: Callable[[Sequence[Any]], Any],
        finish: Callable[[Any], Any],
    ) -> Any:
        """Apply `function` to every tile, combine the small answers and finish the result."""
        return finish(combine(map_threads(lambda tile: function(self.stack(tile)), self.tiles)))

    def rotate(self, turn: Turn, dtype: str) -> SVDSummary:
        """Return the parts as one summary, its rows turned and in the given dtype."""
        like = _matrix(self.parts[0])
        xp = namespace(like)
        kept = self.n_rows if turn.rotation is None else turn.rotation.shape[0]
        rows = xp.empty((kept, self.n_features), dtype=getattr(xp, dtype))
        mean, m2 = (xp.empty(self.n_features, dtype=xp.float64) for _ in range(2))

        def fill(tile: slice) -> Moments:
            stacked = self.stack(tile)
            turned = stacked.rows
            if turn.rotation is not None:
                turned = product(turn.rotation, stacked.rows)
            rows[:, tile] = xp.astype(turned, rows.dtype, copy=False)
            mean[tile] = stacked.moments.mean
            m2[tile] = stacked.moments.m2
            return stacked.moments

        total = map_threads(fill, self.tiles)[0]._replace(mean=mean, m2=m2)
        return SVDSummary(total, rows, turn.tail, turn.bound)

    def stack(self, tile: slice) -> SVDSummary:
        """Put the rows of all parts under each other, in float64, exactly.

        The rows are valid until this thread stacks the next tile.
        """
        stacked = scratch("rows", (self.n_rows, tile.stop - tile.start), _matrix(self.parts[0]))
        total: Any = None
        filled = 0
        for part in self.parts:
            block = stacked[filled : filled + n_rows(part), :]
            seen = _fill(part, tile, block)
            filled += n_rows(part)
            if total is None:
                total = seen
                continue
            weight = total.weight + seen.weight
            scale = (total.weight * seen.weight / weight) ** 0.5 if weight else 0.0
            with np.errstate(invalid="ignore"):  # infinity is refused when all tiles are seen
                stacked[filled, :] = (seen.mean - total.mean) * scale
                total = moments.merge([total, seen])
            filled += 1
        tail, bound = (
            sum(getattr(part, name, 0.0) for part in self.parts) for name in ("tail", "bound")
        )
        return SVDSummary(total, stacked, tail, bound)


def merge(parts: Sequence[Part], truncation: Truncation, batch_size: int) -> SVDSummary:
    """Merge summaries and raw batches, in their order, into one compressed summary.

    Parameters
    ----------
    parts : sequence of SVDSummary and Batch
    truncation : Truncation
    batch_size : int
        Samples that are stacked before the stack is compressed.
    """
    rank = batch_size if truncation.loss else truncation.svd_rank or 0
    limit = max(truncation.capacity, rank + batch_size + 1)
    pending: list[Part] = []
    stacked = 0
    for part in parts:
        for piece in _pieces(part, batch_size):
            if len(pending) > 1 and stacked + n_rows(piece) + 1 > limit:
                pending = [svd.compress(Tiles(pending), truncation)]
                stacked = n_rows(pending[0])
            stacked += n_rows(piece) + (1 if pending else 0)
            pending.append(piece)
    if len(pending) == 1 and isinstance(pending[0], SVDSummary) and stacked <= limit:
        return pending[0]
    return svd.compress(Tiles(pending), truncation)


def n_rows(part: Part) -> int:
    """Return how many rows a part adds to a stack: a single sample has no scatter."""
    rows = _matrix(part).shape[0]
    return 0 if isinstance(part, Batch) and rows == 1 else rows


def _matrix(part: Part) -> Array:
    return part.X if isinstance(part, Batch) else part.rows


def _pieces(part: Part, batch_size: int) -> Iterator[Part]:
    if isinstance(part, SVDSummary):
        yield part
        return
    n_samples = part.X.shape[0]
    weight = moments.checked_weight(part.sample_weight)
    for start in range(0, n_samples, batch_size):
        rows = slice(start, min(start + batch_size, n_samples))
        yield Batch(part.X[rows, :], None if weight is None else weight[rows])


def _fill(part: Part, tile: slice, out: Array) -> Moments:
    """Write the centred rows of one part and return its moments."""
    if isinstance(part, SVDSummary):
        out[:, :] = as_float64(part.rows[:, tile]) if not is_host(out) else part.rows[:, tile]
        total = part.moments
        return Moments(total.n_samples, total.weight, total.mean[tile], total.m2[tile])
    X, weight = part.X, part.sample_weight
    xp = namespace(X)
    if X.shape[0] == 1:
        mean = xp.astype(X[0, tile], xp.float64)
        m2 = xp.where(xp.isfinite(mean), xp.zeros_like(mean), mean)
    else:
        mean, m2 = kernels.center(X, tile, weight, out)
    summed = float(X.shape[0]) if weight is None else float(xp.sum(weight))
    return Moments(X.shape[0], summed, mean, m2)
