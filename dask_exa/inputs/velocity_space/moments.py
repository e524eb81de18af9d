"""Fluid moments of a distribution function, from sums over velocities with fixed weights."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from dask_exa.inputs.velocity_space.mesh import PhaseSpace


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
    d = len(components)
    columns = iter(raw.isel(moment=k, drop=True) for k in range(raw.sizes["moment"]))
    density = next(columns)
    first = list(itertools.islice(columns, d))
    second = {}
    for i, j in _pairs(d):
        second[i, j] = second[j, i] = next(columns)
    third = list(columns)
    found = {"density": density.assign_attrs(long_name="density")}
    populated = density.where(density != 0)
    mean = [momentum / populated for momentum in first]
    for name, velocity in zip(components, mean, strict=True):
        found[f"mean_{name}"] = velocity.assign_attrs(long_name=f"mean {name}")
    if d:
        speed2 = sum(u**2 for u in mean)
        trace = sum(second[i, i] for i in range(d))
        temperature = (trace / populated - speed2) / d
        found["temperature"] = temperature.assign_attrs(long_name="temperature")
    for i, name in enumerate(components):
        carried = sum(mean[j] * second[i, j] for j in range(d))
        flux = third[i] - 2 * carried - mean[i] * trace + 2 * density * mean[i] * speed2
        found[f"heat_flux_{name}"] = (flux / 2).assign_attrs(long_name=f"heat flux along {name}")
    return xr.Dataset(found)


def _pairs(d: int) -> list[tuple[int, int]]:
    return list(itertools.combinations_with_replacement(range(d), 2))
