"""Built-in simulations and data sets that need no file and no other code."""

from dask_exa.datasets._amr_blast_parameters import AmrBlastParameters, BlastInjection
from dask_exa.datasets._crystal_parameters import CrystalInjection, CrystalParameters
from dask_exa.datasets._injection import Injection
from dask_exa.datasets._interferometer_injection import InterferometerInjection
from dask_exa.datasets._sky import Sky
from dask_exa.datasets._tokam2d_inputs import read_parameters
from dask_exa.datasets._tokam2d_parameters import Gaussian, Tokam2DParameters, Wave
from dask_exa.datasets._tokam2d_state import Tokam2DState
from dask_exa.datasets._vlasov_parameters import VlasovInjection, VlasovParameters
from dask_exa.datasets.amr_blast import AmrBlast
from dask_exa.datasets.crystal import Crystal
from dask_exa.datasets.interferometer import Interferometer
from dask_exa.datasets.tokam2d import Tokam2D
from dask_exa.datasets.vlasov import Vlasov

__all__ = [
    "AmrBlast",
    "AmrBlastParameters",
    "BlastInjection",
    "Crystal",
    "CrystalInjection",
    "CrystalParameters",
    "Gaussian",
    "Injection",
    "Interferometer",
    "InterferometerInjection",
    "Sky",
    "Tokam2D",
    "Tokam2DParameters",
    "Tokam2DState",
    "Vlasov",
    "VlasovInjection",
    "VlasovParameters",
    "Wave",
    "read_parameters",
]
