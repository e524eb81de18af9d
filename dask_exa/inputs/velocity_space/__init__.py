"""Distribution functions of plasma as something that can be learnt: few numbers, fixed memory."""

from dask_exa.inputs.velocity_space.features import VelocitySpaceFeatures
from dask_exa.inputs.velocity_space.invariants import Invariants
from dask_exa.inputs.velocity_space.marginals import marginal
from dask_exa.inputs.velocity_space.mesh import PhaseSpace
from dask_exa.inputs.velocity_space.projection import TensorProjection
from dask_exa.inputs.velocity_space.reducing import PhaseSpaceSummary, summarize

__all__ = [
    "Invariants",
    "PhaseSpace",
    "PhaseSpaceSummary",
    "TensorProjection",
    "VelocitySpaceFeatures",
    "marginal",
    "summarize",
]
