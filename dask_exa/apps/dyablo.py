"""Adaptive meshes of a gas: blasts of Dyablo that go wrong, seen by what must be conserved."""

from __future__ import annotations

import xarray as xr

from dask_exa.anomaly import FieldDetector, FieldMonitor
from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.checks import Positive, Total
from dask_exa.apps.use_case import Pictures, UseCase
from dask_exa.inputs.amr import Octree
from dask_exa.inputs.stream import Stream
from dask_exa.report.octrees import draw_octree

MOST_CELLS = {2: 256, 3: 64}
"""Along each axis of the uniform grid, by the number of dimensions."""
GROWTH_LIMIT = 0.02
"""Of mass and energy: .002 in good runs of Dyablo, .11 and more in bad ones."""
THINNING_LIMIT = 0.999
"""How far the lowest density may fall: to a third in a good blast, by 1e5 in a bad one."""


def is_octree(stream: Stream) -> bool:
    """Whether a stream has patches of an octree with density and energy."""
    return "oct" in stream.dims and {"rho", "e_tot"} <= set(stream.variables)


def as_grid(step: xr.Dataset) -> xr.Dataset:
    """Represent a step by the same cells in every step, and by what is conserved.

    Parameters
    ----------
    step : xarray.Dataset
        Patches, see `dask_exa.inputs.dyablo.open_snapshots`.

    Returns
    -------
    xarray.Dataset
        The fields on the finest uniform grid of at most `MOST_CELLS` cells along each axis, means
        over its cells. Numbers of the mesh itself: ``mass``, ``energy``, ``lowest_density`` of
        any cell and ``n_leaves``.
    """
    tree = Octree.from_patches(step)
    most = max(n * side for n, side in zip(tree.roots[::-1], tree.block, strict=True))
    level = max(0, (MOST_CELLS[tree.ndim] // most).bit_length() - 1)
    grid = tree.to_uniform(level, dtype="float64")
    scalars = {name: coord for name, coord in step.coords.items() if not coord.dims}
    numbers = {
        "mass": tree.integral("rho"),
        "energy": tree.integral("e_tot"),
        "lowest_density": float(tree.fields["rho"].min()),
        "n_leaves": float(len(tree)),
    }
    return grid.assign(numbers).assign_coords(scalars).assign_attrs(step.attrs)


def shock_detector(stream: Stream) -> FieldDetector:
    """Return what looks at represented steps.

    Floors of density and pressure keep a solver in trouble from NaN. What shows it is energy from
    nowhere, a density that falls to the floor, and a time step that collapses.
    """
    checks = [
        "finite",
        "spread",
        "kurtosis",
        "clock",
        Positive("rho", 0.0),
        Positive("e_tot", 0.0),
        _never_more("mass"),
        _never_more("energy"),
        Total("lowest_density", goes="rises", limit=THINNING_LIMIT, what="value", since_start=True),
        Total("n_leaves", goes="rises", limit=1.0, what="number"),
    ]
    return FieldDetector(FieldMonitor(checks))


def _never_more(name: str) -> Total:
    """Return the check that a total does not grow; it may leave through open boundaries."""
    return Total(name, goes="falls", limit=GROWTH_LIMIT, what="total", since_start=True)


def draw_pictures(step: xr.Dataset, represented: xr.Dataset, alarms: list[Alarm]) -> Pictures:
    """Draw density and energy with the leaves of the tree."""
    tree = Octree.from_patches(step)
    return [
        ("Density and the leaves of the octree", draw_octree(tree, "rho")),
        ("Total energy", draw_octree(tree, "e_tot")),
    ]


USE_CASE = UseCase(
    label="a gas on an adaptive mesh",
    recognise=is_octree,
    represent=as_grid,
    detector=shock_detector,
    pictures=draw_pictures,
)
