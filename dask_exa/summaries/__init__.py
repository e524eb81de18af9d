"""Mergeable summaries: pure mathematics on arrays, without Dask and without scikit-learn."""

from dask_exa.summaries.reducer import Reducer, Summary

__all__ = ["Reducer", "Summary"]
