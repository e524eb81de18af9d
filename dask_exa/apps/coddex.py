"""Crystals under load: fields of stress that cannot be, from Coddex, DAMASK and other solvers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from dask_exa._samples import is_dask
from dask_exa.anomaly import FieldDetector, FieldMonitor
from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.checks import Ceiling, LoneChange
from dask_exa.apps.use_case import Pictures, UseCase
from dask_exa.inputs.stream import Stream
from dask_exa.inputs.tensors import cauchy_stress, force_imbalance, tensor_names, von_mises
from dask_exa.report.crystals import draw_crystal, draw_stress_strain

IMBALANCE_LIMIT = 0.01
"""Solvers stop at 1e-3 to 1e-7; increments that have not converged are at .1 to .6."""
_UNLOADED = 1e-10
"""Strain that is rounding."""
WHOLE_BYTES = 256 << 20
"""Size of a stress that is read whole although it is in several chunks."""
_FINITE_STRAIN = ("P", "F")
_SMALL_STRAIN = ("stress", "strain")


def is_crystal(stream: Stream) -> bool:
    """Whether a stream has stresses and strains: P and F, or stress and strain."""
    has_components = sum(size == 3 for size in stream.sizes.values()) >= 2
    names = set(stream.variables)
    return has_components and any(names >= set(pair) for pair in (_FINITE_STRAIN, _SMALL_STRAIN))


class CrystalFields:
    """Steps with what is made of their tensors: von Mises stress, grains, balance of forces.

    A step keeps its variables and gets ``von_mises`` on its cells and, where there is a coordinate
    ``grain``, ``grain_stress``, the mean deviator of every grain. Its coordinate ``imbalance`` is
    the norm of the divergence of the stress relative to that of its gradient: NaN without strain,
    and not there for a large field in several chunks, which would have to be read whole. The
    attribute ``stress_strain`` has the mean strain and stress of all steps so far, along the first
    strain that is not zero.

    Examples
    --------
    >>> from dask_exa.apps.coddex import CrystalFields
    >>> from dask_exa.datasets import Crystal
    >>> step = CrystalFields()(Crystal(shape=(5, 5, 5), n_grains=3).advance())
    >>> list(step.data_vars), step.grain_stress.shape[0], bool(step.imbalance < 1e-5)
    (['strain', 'stress', 'slip', 'von_mises', 'grain_stress'], 3, True)
    """

    def __init__(self) -> None:
        self._direction: np.ndarray | None = None
        self._curve: list[tuple[float, float]] = []

    def __call__(self, step: xr.Dataset) -> xr.Dataset:
        """Represent a step."""
        force, stress, strain = _tensors(step)
        made = {"von_mises": von_mises(stress)}
        if "grain" in step.coords and step.grain.dims == stress.dims[:-2]:
            made["grain_stress"] = _grain_deviators(stress, step.grain)
        represented = step.assign(made)
        if _is_whole(force):
            is_loaded = bool((abs(strain) > _UNLOADED).any())  # else all stress is rounding
            balance = np.sqrt((force_imbalance(force) ** 2).mean()) if is_loaded else np.nan
            represented = represented.assign_coords(imbalance=balance)
        self._add_to_curve(stress, strain)
        return represented.assign_attrs(stress_strain=tuple(self._curve))

    def _add_to_curve(self, stress: xr.DataArray, strain: xr.DataArray) -> None:
        cells = strain.dims[:-2]
        mean_strain, mean_stress = (
            _deviator(field.mean(cells).values) for field in (strain, stress)
        )
        size = np.linalg.norm(mean_strain)
        if self._direction is None and size > 1e-12:
            self._direction = mean_strain / size
        along = np.zeros((3, 3)) if self._direction is None else self._direction
        self._curve.append(
            (
                float(np.sqrt(2 / 3) * np.vdot(mean_strain, along)),
                float(np.sqrt(3 / 2) * np.vdot(mean_stress, along)),
            )
        )


def _tensors(step: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return the stress that balances, the Cauchy stress and the strain of a step."""
    names = tensor_names(step)
    if {*_FINITE_STRAIN} <= set(names):
        force, gradient = step.P, step.F
        return force, cauchy_stress(force, gradient), gradient - np.eye(3)
    if {*_SMALL_STRAIN} <= set(names):
        return step.stress, step.stress, step.strain
    raise ValueError(
        f"the step has the tensors {names}; it must have P and F, or stress and strain, with "
        "their 3 x 3 components along the last two dimensions."
    )


def _is_whole(field: xr.DataArray) -> bool:
    """Whether a field is in one piece, or small enough to become one."""
    return not is_dask(field.data) or field.data.npartitions == 1 or field.nbytes <= WHOLE_BYTES


def _deviator(tensor: np.ndarray) -> np.ndarray:
    even = (tensor + np.swapaxes(tensor, -1, -2)) / 2.0
    return even - np.trace(even, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) / 3.0


def _grain_deviators(tensor: xr.DataArray, grain: xr.DataArray) -> xr.DataArray:
    """Return the mean deviator (n_grains, 3, 3) of every grain, in the order of their numbers."""
    _, place = np.unique(grain.values.ravel(), return_inverse=True)
    count = np.bincount(place)

    def average(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(place, part) for part in values.reshape(-1, 9).T]
        return _deviator((np.stack(sums, axis=1) / count[:, None]).reshape(-1, 3, 3))

    components = list(tensor.dims[-2:])
    found = xr.apply_ufunc(
        average,
        tensor.chunk(-1) if is_dask(tensor.data) else tensor,
        input_core_dims=[tensor.dims],
        output_core_dims=[["grain_number", *components]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"grain_number": len(count)}},
    )
    return found.assign_attrs(tensor.attrs)


def crystal_detector(stream: Stream) -> FieldDetector:
    """Return what looks at represented steps: all that a field monitor checks, and the balance."""
    balance = Ceiling(
        "imbalance",
        IMBALANCE_LIMIT,
        what="imbalance of forces",
        because="the divergence of the stress does not vanish, the solver has not converged",
    )
    checks: list[Any] = ["auto", balance]
    if "grain_stress" in stream.variables:
        checks.append(LoneChange("grain_stress"))
    return FieldDetector(FieldMonitor(checks))


def draw_pictures(step: xr.Dataset, represented: xr.Dataset, alarms: list[Alarm]) -> Pictures:
    """Draw stress and imbalance with the grains, and the stress-strain curve up to the step."""
    force, _, _ = _tensors(step)
    parts = next((step[name] for name in ("grain", "phase") if name in step.coords), None)
    fields = draw_crystal(represented.von_mises, force_imbalance(force), parts)
    curve = draw_stress_strain(represented.stress_strain, represented.von_mises.attrs["units"])
    return [("Stress and balance of forces", fields), ("Stress-strain curve", curve)]


USE_CASE = UseCase(
    label="a crystal under load",
    recognise=is_crystal,
    represent=CrystalFields(),
    detector=crystal_detector,
    pictures=draw_pictures,
)
