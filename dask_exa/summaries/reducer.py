"""A reduction is a record of three functions; where it runs is somebody else's business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dask_exa._array import Array

Summary = Any
"""A frozen tuple of arrays and numbers: all that an estimator knows of the data it has seen."""


class Reducer(NamedTuple):
    """How one algorithm turns data into a summary and summaries into one.

    The runners of `dask_exa.reduction` take it as it is: the same record folds an array in
    memory, a chunked Dask array and a stream of timesteps.
    """

    summarize: Callable[[Array, Array | None], Summary]
    """`summarize(X, sample_weight)`: what one block of samples (n_samples, n_features) says."""

    merge: Callable[[Sequence[Summary]], Summary]
    """`merge(summaries)`: what they say together. Associative; the given order is kept."""

    extend: Callable[[Summary, Array, Array | None], Summary] | None = None
    """`extend(summary, X, sample_weight)`: equal to ``merge([summary, summarize(X)])``, for
    algorithms that can do it in one go."""

    located: Callable[[int], Reducer] | None = None
    """`located(row)`: the reducer of a block whose first sample is that number of the input, for
    algorithms to which it matters where a block stands."""

    def at(self, row: int) -> Reducer:
        """Return the reducer of a block whose first sample is number `row` of the input."""
        return self if self.located is None else self.located(row)

    def absorb(self, summary: Summary | None, X: Array, sample_weight: Array | None) -> Summary:
        """Return `summary`, or nothing yet, merged with a block of samples."""
        if summary is None:
            return self.summarize(X, sample_weight)
        if self.extend is not None:
            return self.extend(summary, X, sample_weight)
        return self.merge([summary, self.summarize(X, sample_weight)])
