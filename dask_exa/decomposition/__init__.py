"""Decompositions whose fitted state merges."""

from dask_exa.decomposition.incremental_pca import IncrementalPCA

__all__ = ["IncrementalPCA"]
