"""Readers: every source of data as one iterator of labelled steps, and learning from it."""

from dask_exa.inputs.damask import open_damask
from dask_exa.inputs.dyablo import open_dyablo
from dask_exa.inputs.goosefft import open_goosefft
from dask_exa.inputs.gysela import open_gysela
from dask_exa.inputs.learning import StateLostError
from dask_exa.inputs.measurement_set import open_measurement_set
from dask_exa.inputs.netcdf import open_netcdf
from dask_exa.inputs.oskar import open_oskar
from dask_exa.inputs.pygyro import open_pygyro
from dask_exa.inputs.readers import open_stream
from dask_exa.inputs.replay import replay
from dask_exa.inputs.represented import RepresentedStream
from dask_exa.inputs.residence import bring_home
from dask_exa.inputs.run_store import Run
from dask_exa.inputs.stream import Stream
from dask_exa.inputs.tokam2d_folder import open_tokam2d

__all__ = [
    "RepresentedStream",
    "Run",
    "StateLostError",
    "Stream",
    "bring_home",
    "open_damask",
    "open_dyablo",
    "open_goosefft",
    "open_gysela",
    "open_measurement_set",
    "open_netcdf",
    "open_oskar",
    "open_pygyro",
    "open_stream",
    "open_tokam2d",
    "replay",
]
