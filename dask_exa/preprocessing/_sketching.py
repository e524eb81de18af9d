"""What the transformers share that learn quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_exa._parameters import check_count
from dask_exa._samples import Samples
from dask_exa._state import Fitted
from dask_exa.preprocessing._scaling import FeatureMap
from dask_exa.summaries import Reducer, Summary, sketch


class Sketching(FeatureMap):
    """Base of the transformers whose state is a sketch, see `dask_exa.summaries.sketch`.

    What `_finalize` returns has an attribute ``rank_error``.
    """

    rank_error_ = Fitted("By how much the rank of a quantile may be off.")

    capacity: int
    _join = staticmethod(sketch.join)
    _max_ranges = 1  # a sketch of a whole has smaller errors than one of sketches

    def _reducer(self) -> Reducer:
        return sketch.reducer(self.capacity)

    def _learn(self, samples: Samples, sample_weight: Any, start: Summary | None) -> Summary:
        check_count("capacity", self.capacity, least=16)
        return super()._learn(samples, sample_weight, start)

    def _merge_summaries(self, summaries: Sequence[Summary], dtype: str) -> Summary:
        return sketch.merge(summaries, capacity=self.capacity)

    def _forget_summary(self, summary: Summary, factor: float) -> Summary:
        return sketch.forget(summary, factor)
