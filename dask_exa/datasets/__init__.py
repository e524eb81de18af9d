"""Built-in simulations and data sets that need no file and no other code."""

from dask_exa.datasets._injection import Injection
from dask_exa.datasets._tokam2d_inputs import read_parameters
from dask_exa.datasets._tokam2d_parameters import Gaussian, Tokam2DParameters, Wave
from dask_exa.datasets._tokam2d_state import Tokam2DState
from dask_exa.datasets.tokam2d import Tokam2D

__all__ = [
    "Gaussian",
    "Injection",
    "Tokam2D",
    "Tokam2DParameters",
    "Tokam2DState",
    "Wave",
    "read_parameters",
]
