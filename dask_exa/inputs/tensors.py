"""Stresses and strains on a regular grid: what of them is one number, and whether forces balance.

Tensors have their components along the last two dimensions, (…, 3, 3); the others are the grid of
a periodic box.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from dask_exa._samples import is_dask

_COMPONENTS = (3, 3)
_UNIFORM = 1e-7
"""Derivatives relative to the field, per wave, below which they are rounding."""


def tensor_names(step: xr.Dataset) -> list[str]:
    """Return the variables with 3 x 3 components.

    Examples
    --------
    >>> import xarray as xr
    >>> from dask_exa.inputs.tensors import tensor_names
    >>> step = xr.Dataset({"P": (("x", "i", "j"), np.zeros((4, 3, 3))), "ep": ("x", np.zeros(4))})
    >>> tensor_names(step)
    ['P']
    """
    return [
        str(name)
        for name, field in step.data_vars.items()
        if field.ndim > 2 and field.shape[-2:] == _COMPONENTS and field.dtype.kind == "f"
    ]


def cauchy_stress(stress: xr.DataArray, gradient: xr.DataArray) -> xr.DataArray:
    """Return the Cauchy stress ``P F^T / det F`` of a first Piola-Kirchhoff stress P.

    Parameters
    ----------
    stress, gradient : xarray.DataArray of shape (…, 3, 3)
        P and the deformation gradient F; NumPy or lazy.
    """

    def turn(p: np.ndarray, f: np.ndarray) -> np.ndarray:
        return (p @ np.swapaxes(f, -1, -2)) / np.linalg.det(f)[..., None, None]

    components = list(stress.dims[-2:])
    return _over_cells(turn, [stress, gradient], components, components, stress.attrs)


def von_mises(stress: xr.DataArray) -> xr.DataArray:
    """Return the von Mises stress ``sqrt(3/2 s : s)``, s the deviator of the symmetric part.

    Parameters
    ----------
    stress : xarray.DataArray of shape (…, 3, 3)

    Examples
    --------
    >>> import xarray as xr
    >>> from dask_exa.inputs.tensors import von_mises
    >>> tension = xr.DataArray(np.diag([7.0, 2.0, 2.0]), dims=("i", "j"))
    >>> float(von_mises(tension))
    5.0
    """
    return _equivalent(stress, np.sqrt(1.5), "von Mises stress")


def equivalent_strain(strain: xr.DataArray) -> xr.DataArray:
    """Return the equivalent strain ``sqrt(2/3 e : e)``, e the deviator of the symmetric part.

    Parameters
    ----------
    strain : xarray.DataArray of shape (…, 3, 3)
    """
    return _equivalent(strain, np.sqrt(2.0 / 3.0), "equivalent strain")


def _equivalent(tensor: xr.DataArray, factor: float, what: str) -> xr.DataArray:
    def norm(values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        even = (values + np.swapaxes(values, -1, -2)) / 2.0
        even = even - np.trace(even, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) / 3.0
        return factor * np.sqrt(np.sum(even**2, axis=(-1, -2)))

    attrs = {"units": tensor.attrs.get("units", ""), "long_name": what}
    return _over_cells(norm, [tensor], list(tensor.dims[-2:]), [], attrs)


def _over_cells(
    function: Any, tensors: list[xr.DataArray], taken: list[Any], given: list[Any], attrs: Any
) -> xr.DataArray:
    found = xr.apply_ufunc(
        function,
        *tensors,
        input_core_dims=[taken] * len(tensors),
        output_core_dims=[given],
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found.assign_attrs(attrs)


def force_imbalance(stress: xr.DataArray) -> xr.DataArray:
    """Return the norm of the divergence at every point, relative to that of all derivatives.

    Derivatives are those of the Fourier series. 0 is balance; the root mean square over the box
    is the norm of ``div P`` relative to that of the gradient of P: 1e-3 or less where a solver
    has converged, some 0.6 of noise. Waves at the Nyquist wavenumber are left out, a spectral
    solver does not balance them.

    Parameters
    ----------
    stress : xarray.DataArray of shape (…, 3, 3)
        First Piola-Kirchhoff stress, or Cauchy stress at small strain, on up to three dimensions
        of a periodic box. Lazy stress is read whole, in one task.

    Returns
    -------
    xarray.DataArray
        On the dimensions of the grid. 0 where the stress is uniform, but for rounding.

    Examples
    --------
    >>> import xarray as xr
    >>> from dask_exa.inputs.tensors import force_imbalance
    >>> shear = np.zeros((8, 8, 3, 3))
    >>> shear[..., 0, 1] = shear[..., 1, 0] = np.sin(2 * np.pi * np.arange(8) / 8)
    >>> across_y = xr.DataArray(shear, dims=("x", "y", "i", "j"))  # varies along y only
    >>> imbalance = force_imbalance(across_y)
    >>> round(float((imbalance**2).mean() ** 0.5), 3)
    0.707
    """
    dims = list(stress.dims[:-2])
    if not 1 <= len(dims) <= 3 or stress.shape[-2:] != _COMPONENTS:
        raise ValueError(
            f"stress has the shape {stress.shape}; pass (x[, y[, z]], 3, 3), the components last."
        )
    periods = [_period(stress, dim) for dim in dims]
    known = [period for period in periods if period is not None]
    sides = [np.array(known)] if len(known) == len(dims) else [
        np.array([stress.sizes[dim] for dim in dims], dtype=float),
        np.ones(len(dims)),
    ]  # fmt: skip

    def measure(values: np.ndarray) -> np.ndarray:
        found = [_imbalance(np.asarray(values, dtype=np.float64), side) for side in sides]
        return min(found, key=np.linalg.norm)

    attrs = {"units": "", "long_name": "imbalance of forces"}
    if is_dask(stress.data):
        stress = stress.chunk(-1)
    found = xr.apply_ufunc(
        measure,
        stress,
        input_core_dims=[stress.dims],
        output_core_dims=[dims],
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return found.assign_attrs(attrs)


def _period(stress: xr.DataArray, dim: Any) -> float | None:
    """Return the length of the box along a dimension; None where its cells are not even."""
    if dim not in stress.coords or stress[dim].dtype.kind not in "fiu" or stress.sizes[dim] < 2:
        return None
    steps = np.diff(np.asarray(stress[dim].values, dtype=np.float64))
    even = np.allclose(steps, steps.mean(), rtol=1e-3, atol=0.0) and steps.mean() > 0
    return float(steps.mean() * stress.sizes[dim]) if even else None


def _imbalance(stress: np.ndarray, periods: np.ndarray) -> np.ndarray:
    shape, axes = stress.shape[:-2], tuple(range(stress.ndim - 2))
    spectrum = np.fft.fftn(stress, axes=axes)
    waves = np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in shape], indexing="ij")
    has_slope = np.ones(shape, dtype=bool)
    for wave, n in zip(waves, shape, strict=True):
        has_slope &= 2 * np.abs(wave) != n
    k = np.zeros((*shape, 3))
    k[..., : len(shape)] = np.stack(waves, axis=-1) / periods
    k *= has_slope[..., None]
    every = np.sum(np.abs(spectrum) ** 2, axis=(-1, -2)) * np.sum(k**2, axis=-1)
    longest = np.min(1.0 / periods)
    size = np.sqrt(np.sum(every)) / longest
    if size <= _UNIFORM * np.linalg.norm(spectrum):
        return np.zeros(shape)
    force = 1j * np.einsum("...ij,...j->...i", spectrum, k)
    norm = np.linalg.norm(np.fft.ifftn(force, axes=axes).real, axis=-1)
    return norm / np.sqrt(np.sum(every) / np.prod(shape) ** 2)
