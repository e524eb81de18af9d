"""Visibilities of interferometers as something that can be learnt: images, features, averages."""

from dask_exa.inputs.visibilities.averaging import average_baselines
from dask_exa.inputs.visibilities.blocks import fit_in_blocks, vote_in_blocks
from dask_exa.inputs.visibilities.closures import closure_amplitudes, closure_phases
from dask_exa.inputs.visibilities.coherence import TransientSearch
from dask_exa.inputs.visibilities.cubes import baseline_cubes
from dask_exa.inputs.visibilities.features import BaselineFeatures, baseline_features
from dask_exa.inputs.visibilities.imaging import (
    dirty_images,
    grid_visibilities,
    image_visibilities,
)
from dask_exa.inputs.visibilities.residual import SkyResidual
from dask_exa.inputs.visibilities.screening import Screening
from dask_exa.inputs.visibilities.sources import (
    brightest_directions,
    light_curves,
    source_features,
)
from dask_exa.inputs.visibilities.votes import Votes

__all__ = [
    "BaselineFeatures",
    "Screening",
    "SkyResidual",
    "TransientSearch",
    "Votes",
    "average_baselines",
    "baseline_cubes",
    "baseline_features",
    "brightest_directions",
    "closure_amplitudes",
    "closure_phases",
    "dirty_images",
    "fit_in_blocks",
    "grid_visibilities",
    "image_visibilities",
    "light_curves",
    "source_features",
    "vote_in_blocks",
]
