"""Gysela's small case: everything that is made of a distribution function, in one pass over it."""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import xarray as xr
from _table import Table, interleaved

from dask_exa._threads import available_threads, map_threads
from dask_exa.inputs.velocity_space import PhaseSpace, TensorProjection, summarize

SIZES = {"tor1": 128, "tor2": 256, "tor3": 32, "vpar": 16, "mu": 8}
"""1.07 GB a step in float64."""


def velocity_space(repeats: int) -> None:
    """Moments, invariants, a marginal and a projection beside the speed of the memory."""
    table = Table(
        f"5D to moments and a vector, {available_threads()} threads",
        "dtype",
        "projection",
        "step (GB)",
        "time (s)",
        "GB/s",
        "reading alone (GB/s)",
        "share of it",
        "peak memory by step",
    )
    for dtype in (np.float64, np.float32):
        f = _distribution(dtype)
        mesh = PhaseSpace.of(f)
        projection = TensorProjection(2).fit(f.expand_dims("time"))
        for used in (None, projection):
            # f is there once; what is added is what the reduction takes
            summarize(f[:2], PhaseSpace.of(f[:2]))  # compiles
            before = _peak()
            _reduce(f, mesh, used)
            extra = max(0, _peak() - before)
            ours, alone, share = interleaved(
                lambda f=f, mesh=mesh, used=used: _reduce(f, mesh, used),
                lambda f=f: _read(f.values),
                repeats,
            )
            size = f.nbytes / 1e9
            table.row(
                np.dtype(dtype).name,
                "no" if used is None else "32 numbers",
                size,
                ours,
                size / ours,
                size / alone,
                share,
                1 + extra / f.nbytes,
            )
        del f
    table.show()
    against_xarray(repeats)


def _reduce(f: xr.DataArray, mesh: PhaseSpace, projection: TensorProjection | None = None) -> Any:
    """Return moments, invariants and the projection."""
    summary = summarize(f, mesh, projection=projection)
    return summary.moments, summary.invariants, summary.projection


def against_xarray(repeats: int) -> None:
    """The same numbers by array expressions, as analysis scripts write them, on an eighth of it."""
    f = _distribution(np.float64, tor1=16)
    mesh = PhaseSpace.of(f)
    ours, peer, ratio = interleaved(lambda: _reduce(f, mesh), lambda: _expressions(f), repeats)
    table = Table("moments and invariants by xarray expressions", "ours (s)", "xarray (s)", "ratio")
    table.row(ours, peer, ratio)
    table.show()


def _expressions(f: xr.DataArray) -> list[float]:
    space = PhaseSpace.of(f)
    weights = xr.DataArray(np.multiply.outer(space.weights["vpar"], space.weights["mu"]))
    weights = weights.rename(dim_0="vpar", dim_1="mu")
    velocity = ("vpar", "mu")
    density = (f * weights).sum(velocity)
    mean = (f * f.vpar * weights).sum(velocity) / density
    temperature = (f * (f.vpar - mean) ** 2 * weights).sum(velocity) / density
    heat_flux = (f * (f.vpar - mean) ** 3 * weights).sum(velocity) / 2
    sums = (density, abs(f) * weights, f**2 * weights)
    found = [temperature, heat_flux, *sums, f.max(), f.min(), f.sum(("tor1", "tor2", "tor3"))]
    return [float(part.sum()) for part in found]


def _distribution(dtype: type, **sizes: int) -> xr.DataArray:
    mesh = {
        dim: np.linspace(-5.0, 5.0, n) if dim == "vpar" else np.arange(n) * 0.1 + 0.1
        for dim, n in {**SIZES, **sizes}.items()
    }
    shape = tuple(map(len, mesh.values()))
    maxwellian = np.exp(-np.add.outer(mesh["vpar"] ** 2 / 2, mesh["mu"]))
    f = np.empty(shape, dtype=dtype)
    density = np.random.default_rng(0).uniform(0.9, 1.1, size=shape[:3])
    for plane, values in zip(f, density, strict=True):
        np.multiply(values[..., None, None], maxwellian, out=plane, casting="same_kind")
    return xr.DataArray(f, mesh, tuple(SIZES))


def _read(values: np.ndarray) -> float:
    """Add everything up: no more than reading it."""
    return float(np.sum(map_threads(np.sum, np.array_split(values, 32))))


def _peak() -> int:
    """Return the largest memory of this process so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


TABLES = {"velocity-space": velocity_space}
