"""What a monitor looks at: one small record for each thing that can go wrong."""

from dask_exa.anomaly.checks.auto import FAMILIES, Contents, choose
from dask_exa.anomaly.checks.block import BlockFields, Place
from dask_exa.anomaly.checks.check import Check, Clock, Evidence, Failure
from dask_exa.anomaly.checks.clock import TimeStep
from dask_exa.anomaly.checks.finite import Finite, Positive
from dask_exa.anomaly.checks.gridscale import GridScale
from dask_exa.anomaly.checks.kurtosis import PrincipalKurtosis
from dask_exa.anomaly.checks.limits import Ceiling
from dask_exa.anomaly.checks.plasma import Courant, DrivenGrowth
from dask_exa.anomaly.checks.residual import Residual
from dask_exa.anomaly.checks.spread import Jump, LoneChange, Spread
from dask_exa.anomaly.checks.tensors import Determinant, Symmetry, WaveBalance
from dask_exa.anomaly.checks.totals import Total, conserved

__all__ = [
    "FAMILIES",
    "BlockFields",
    "Ceiling",
    "Check",
    "Clock",
    "Contents",
    "Courant",
    "Determinant",
    "DrivenGrowth",
    "Evidence",
    "Failure",
    "Finite",
    "GridScale",
    "Jump",
    "LoneChange",
    "Place",
    "Positive",
    "PrincipalKurtosis",
    "Residual",
    "Spread",
    "Symmetry",
    "TimeStep",
    "Total",
    "WaveBalance",
    "choose",
    "conserved",
]
