"""Visibilities of interferometers as something that can be learnt: images, features, averages."""

from dask_exa.inputs.visibilities.averaging import average_baselines
from dask_exa.inputs.visibilities.closures import closure_amplitudes, closure_phases
from dask_exa.inputs.visibilities.cubes import baseline_cubes
from dask_exa.inputs.visibilities.features import BaselineFeatures, baseline_features
from dask_exa.inputs.visibilities.imaging import (
    dirty_images,
    grid_visibilities,
    image_visibilities,
)
from dask_exa.inputs.visibilities.sources import (
    brightest_directions,
    light_curves,
    source_features,
)

__all__ = [
    "BaselineFeatures",
    "average_baselines",
    "baseline_cubes",
    "baseline_features",
    "brightest_directions",
    "closure_amplitudes",
    "closure_phases",
    "dirty_images",
    "grid_visibilities",
    "image_visibilities",
    "light_curves",
    "source_features",
]
