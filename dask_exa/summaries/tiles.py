"""Summaries in memory, worked on a cache-sized tile of columns at a time.

The centred float64 copy of a block never exists as a whole: every tile is cast, centred and
multiplied while it is in the cache, and tiles run side by side on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from dask_exa._array import Array, namespace
from dask_exa._threads import map_threads
from dask_exa.summaries import svd
from dask_exa.summaries.moments import Moments
from dask_exa.summaries.svd import SVDSummary, Truncation

_TILE_BYTES = 4 << 20


class Batch(NamedTuple):
    """A block of samples that nobody has looked at yet."""

    X: Array
    """Shape (n_samples, n_features)."""
    sample_weight: Array | None = None

    @property
    def n_rows(self) -> int:
        """Rows that the block adds to a stack: its samples and the step of the mean."""
        return self.X.shape[0] + 1


Part = SVDSummary | Batch


class Tiles:
    """The columns of stacked parts, in tiles (see `dask_exa.summaries.svd.Columns`)."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        n_features = _matrix(parts[0]).shape[1]
        n_rows = sum(_matrix(part).shape[0] + 1 for part in parts)
        width = max(256, _TILE_BYTES // (8 * n_rows))
        self.tiles = [slice(i, min(i + width, n_features)) for i in range(0, n_features, width)]

    def gather(
        self,
        function: Callable[[SVDSummary], Any],
        combine: Callable[[Sequence[Any]], Any],
        finish: Callable[[Any], Any],
    ) -> Any:
        """Apply `function` to every tile, combine the small answers and finish the result."""
        return finish(combine(map_threads(lambda tile: function(self._stack(tile)), self.tiles)))

    def update(self, function: Callable[..., SVDSummary], small: Any) -> SVDSummary:
        """Return the summary whose tiles are ``function(tile, small)``."""
        done = map_threads(lambda tile: function(self._stack(tile), small), self.tiles)
        if len(done) == 1:
            return done[0]
        xp = namespace(done[0].rows)
        first = done[0].moments
        mean = xp.concat([tile.moments.mean for tile in done])
        m2 = xp.concat([tile.moments.m2 for tile in done])
        rows = xp.concat([tile.rows for tile in done], axis=1)
        return done[0]._replace(moments=first._replace(mean=mean, m2=m2), rows=rows)

    def _stack(self, tile: slice) -> SVDSummary:
        return svd.stack([_columns(part, tile) for part in self.parts])


def merge(parts: Sequence[Part], truncation: Truncation, batch_size: int) -> SVDSummary:
    """Merge summaries and raw batches, in their order, into one compressed summary.

    Parameters
    ----------
    parts : sequence of SVDSummary and Batch
    truncation : Truncation
    batch_size : int
        Samples that are stacked before the stack is compressed.
    """
    limit = max(truncation.capacity, (truncation.svd_rank or 0) + batch_size + 1)
    pending: list[Part] = []
    n_rows = 0
    for part in parts:
        for piece in _pieces(part, batch_size):
            if len(pending) > 1 and n_rows + _n_rows(piece) > limit:
                pending = [svd.compress(Tiles(pending), truncation)]
                n_rows = _n_rows(pending[0])
            pending.append(piece)
            n_rows += _n_rows(piece)
    if len(pending) == 1 and isinstance(pending[0], SVDSummary) and n_rows <= limit:
        return pending[0]
    if n_rows <= truncation.capacity:
        return svd.keep(Tiles(pending), truncation.dtype)
    return svd.compress(Tiles(pending), truncation)


def _matrix(part: Part) -> Array:
    return part.X if isinstance(part, Batch) else part.rows


def _n_rows(part: Part) -> int:
    return _matrix(part).shape[0] + 1


def _pieces(part: Part, batch_size: int) -> Iterator[Part]:
    if isinstance(part, SVDSummary):
        yield part
        return
    for start in range(0, part.X.shape[0], batch_size):
        rows = slice(start, start + batch_size)
        weight = None if part.sample_weight is None else part.sample_weight[rows]
        yield Batch(part.X[rows, :], weight)


def _columns(part: Part, tile: slice) -> SVDSummary:
    if isinstance(part, Batch):
        return svd.summarize(part.X[:, tile], part.sample_weight)
    total = part.moments
    return part._replace(
        moments=Moments(total.n_samples, total.weight, total.mean[tile], total.m2[tile]),
        rows=part.rows[:, tile],
    )
