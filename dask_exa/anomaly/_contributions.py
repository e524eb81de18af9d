"""What features and regions add to a statistic, in the kind of array that comes in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import xarray as xr

from dask_exa._samples import Samples
from dask_exa.anomaly._subspace import Scorer
from dask_exa.reduction.samplewise import PER_FEATURE, map_samples


def contributions(samples: Samples, scorer: Scorer) -> Any:
    """Return what every feature adds to a statistic, in the kind and shape of the samples."""
    return samples.label_features(map_samples(scorer.contributions, samples, PER_FEATURE))


def by_region(field: Any, regions: Mapping[Hashable, int]) -> xr.DataArray:
    """Return sums over regions of a labelled field.

    Parameters
    ----------
    field : xarray.DataArray
    regions : mapping of dimension to int
        Lengths of the regions; the last ones may be shorter.
    """
    if not isinstance(field, xr.DataArray):
        raise TypeError(
            f"regions={dict(regions)} names dimensions, but X is a {type(field).__name__}; pass "
            "an xarray.DataArray."
        )
    missing = [dim for dim in regions if dim not in field.dims]
    if missing:
        raise ValueError(
            f"regions={dict(regions)} names {missing}, but X has the dimensions "
            f"{list(field.dims)}; name some of those."
        )
    coarse = field.coarsen({dim: int(size) for dim, size in regions.items()}, boundary="pad")
    return coarse.sum()
