"""Fluid moments of a distribution function, from sums over velocities with fixed weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import xarray as xr

from dask_exa._samples import is_dask
from dask_exa._threads import map_threads
from dask_exa.inputs.velocity_space.mesh import PhaseSpace

_POINTS = 1 << 14
"""That are turned together: what is made of them stays in the cache."""


def moment_columns(mesh: PhaseSpace) -> np.ndarray:
    """Return what sums over velocities are weighted with to give the moments up to the third.

    Returns
    -------
    ndarray of shape (1 + d + d (d + 1) / 2 + d, n_velocities)
        1, v_i, v_i v_j (i <= j) and v_i |v|^2 for the d components of the velocity, times the
        quadrature weights.
    """
    v = mesh.velocities()
    pairs = [v[i] * v[j] for i, j in _pairs(len(v))]
    third = v * np.sum(v**2, axis=0)
    rows = [np.ones((1, v.shape[1])), v, np.reshape(pairs, (-1, v.shape[1])), third]
    return np.concatenate(rows) * mesh.volumes(mesh.velocity)


def fluid_moments(raw: xr.DataArray, components: tuple[str, ...]) -> xr.Dataset:
    """Return moments about the mean velocity from those about zero.

    Parameters
    ----------
    raw : xarray.DataArray
        With the dimension ``moment``: sums with `moment_columns`. May be lazy.
    components : tuple of str
        Names of the components of the velocity.

    Returns
    -------
    xarray.Dataset
        ``density``; ``mean_<component>``, the mean velocity; ``temperature``, the mean square of
        a component about its mean, averaged over components; ``heat_flux_<component>``, half of
        the integral of f w_i |w|^2 with w = v - mean; without mass and charge. NaN where there
        are no particles.
    """
    names = moment_names(components)
    d, dims, values = len(components), raw.dims[:-1], raw.data
    if is_dask(values):
        chunks = (*values.chunks[:-1], (len(names),))
        meta = np.empty((0,) * values.ndim)
        values = values.map_blocks(_about_mean, d, dtype=np.float64, chunks=chunks, meta=meta)
    else:
        values = _about_mean(values, d)
    data = {
        name: (dims, values[..., k], {"long_name": name.replace("_", " ")})
        for k, name in enumerate(names)
    }
    return xr.Dataset(data, coords=raw.coords)


def moment_names(components: Sequence[str]) -> list[str]:
    """Return the names of the moments, by those of the components of the velocity."""
    mean, heat_flux = ([f"{what}_{name}" for name in components] for what in ("mean", "heat_flux"))
    return ["density", *mean, *(["temperature"] if mean else []), *heat_flux]


def _about_mean(raw: np.ndarray, d: int) -> np.ndarray:
    """Return moments (…, n_moments) about the mean velocity, from those about zero."""
    points = raw.reshape(-1, raw.shape[-1])
    found = np.empty((1 + 2 * d + (d > 0), len(points)))  # each moment by itself in memory

    def turn(first: int) -> None:
        part = slice(first, first + _POINTS)
        columns = _turn(list(np.ascontiguousarray(points[part].T)), d)
        for row, column in zip(found, columns, strict=True):
            row[part] = column

    map_threads(turn, range(0, len(points), _POINTS))
    return np.moveaxis(found.reshape(-1, *raw.shape[:-1]), 0, -1)


@np.errstate(divide="ignore", invalid="ignore")  # nobody there: no mean
def _turn(columns: list[np.ndarray], d: int) -> list[np.ndarray]:
    density, first, third = columns[0], columns[1 : 1 + d], columns[len(columns) - d :]
    second = dict(zip(_pairs(d), columns[1 + d : len(columns) - d], strict=True))
    mean = [momentum / density for momentum in first]
    speed2 = sum(u**2 for u in mean)
    trace = sum(second[i, i] for i in range(d))
    temperature = [(trace / density - speed2) / d] if d else []
    heat_flux = []
    for i, u in enumerate(mean):
        carried = sum(mean[j] * second[min(i, j), max(i, j)] for j in range(d))
        heat_flux.append(third[i] / 2 - carried + u * (density * speed2 - trace / 2))
    return [density, *mean, *temperature, *heat_flux]


def _pairs(d: int) -> list[tuple[int, int]]:
    return list(itertools.combinations_with_replacement(range(d), 2))
