"""Clusterings whose fitted state merges."""

from dask_exa.cluster.birch import Birch
from dask_exa.cluster.gaussian_mixture import GaussianMixture
from dask_exa.cluster.kmeans import KMeans
from dask_exa.cluster.minibatch_kmeans import MiniBatchKMeans

__all__ = ["Birch", "GaussianMixture", "KMeans", "MiniBatchKMeans"]
