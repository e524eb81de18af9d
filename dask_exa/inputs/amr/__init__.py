"""Adaptive meshes as something that can be learnt: patches, samples, uniform grids, features."""

from dask_exa.inputs.amr.leaf_features import LeafFeatures
from dask_exa.inputs.amr.octree import Octree
from dask_exa.inputs.amr.points import PointCloud
from dask_exa.inputs.amr.sampling import sample

__all__ = ["LeafFeatures", "Octree", "PointCloud", "sample"]
