"""One estimator on one variable: what it made of every step, in the basis that it has now."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from distributed.protocol.pickle import dumps
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from dask_exa.apps.errors import compare
from dask_exa.report.summary import FITTED

SAMPLE_DIM = "time"
MAX_EARLY = 256


class FieldModel:
    """An estimator that learns the fields of one variable, step by step.

    A basis turns while it learns, and the coefficients of earlier steps are turned with it: what
    the old basis made of the unit coefficients is projected on the new one, which gives the affine
    map from one to the other without any of the earlier fields. What the new basis has dropped of
    the old one is lost, as it is in the estimator itself.

    Parameters
    ----------
    name : str
        Of the variable.
    estimator : estimator
        With ``partial_fit``, ``transform`` and ``inverse_transform``. With a parameter
        ``sample_dims`` it gets labelled fields, else one NumPy row per step, and the first
        ``n_components`` steps together, as scikit-learn's IncrementalPCA needs them.

    Attributes
    ----------
    coefficients : ndarray of shape (n_steps, n_components)
        NaN where a step was not learnt.
    errors : list of float
        Relative L2 error of each step in the basis of the steps before it.
    early : list of (int, xarray.DataArray)
        Position and field of the steps that wait for a basis, no more than `MAX_EARLY` or
        ``n_components`` of them: a variable that stays constant waits for ever.
    is_labelled : bool
        Whether the estimator gets labelled fields.
    """

    def __init__(self, name: str, estimator: Any) -> None:
        self.name, self.estimator = name, estimator
        self.coefficients = np.empty((0, 0))
        self.errors: list[float] = []
        self.early: list[tuple[int, xr.DataArray]] = []
        self.is_labelled = "sample_dims" in estimator.get_params()
        self._units: xr.DataArray | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there is a basis: enough steps were learnt."""
        try:
            check_is_fitted(self.estimator)
            if hasattr(type(self.estimator), "components_"):
                self.estimator.components_  # noqa: B018  raises ValueError before that
        except (NotFittedError, ValueError):
            return False
        return True

    def look(self, field: xr.DataArray) -> Any:
        """Return how far a step is from what the basis before it makes of it.

        Returns
        -------
        array
            For `compared`; lazy for a lazy field.
        """
        return compare(field, self.reconstruct(field) if self.is_ready else None)

    def learn(self, field: xr.DataArray) -> None:
        """Learn a step, and remember what the basis was."""
        self._units = self._unit_fields(field) if self.is_ready else None
        batch = [field]
        n_early = max(MAX_EARLY, _first_batch(self.estimator))
        self.early = [*self.early, (len(self.errors), field)][-n_early:]
        if not self.is_labelled and not self.is_ready:
            batch = [early for _, early in self.early]
            if len(batch) < _first_batch(self.estimator):
                return
        self.estimator.partial_fit(self._samples(batch))

    def turn(self) -> dict[str, Any]:
        """Return what brings all coefficients into the basis after `learn`; lazy where that is."""
        if not self.is_ready:
            return {}
        found = {"early": [self.transform(field) for _, field in self.early]}
        if self._units is not None:
            found["units"] = self.transform(self._units)
        return found

    def record(self, error: float, turned: dict[str, Any] | None) -> None:
        """Add a step, given its error and the computed `turn`; None for a step not learnt."""
        self.errors.append(error)
        self._extend(self.coefficients.shape[1])
        if not turned:
            return
        if "units" in turned:
            self._turn_coefficients(np.asarray(turned["units"], dtype=float))
        for (place, _), row in zip(self.early, turned["early"], strict=True):
            self._extend(row.shape[-1])
            self.coefficients[place] = np.ravel(row)
        self.early.clear()

    def transform(self, fields: xr.DataArray) -> Any:
        """Return coefficients (n_samples, n_components) as an array, lazy for lazy fields."""
        found = self.estimator.transform(self._samples([fields]))
        return found.data if isinstance(found, xr.DataArray) else found

    def reconstruct(self, field: xr.DataArray) -> xr.DataArray:
        """Return what the basis makes of a step, lazy for a lazy one."""
        fields = self._fields(self.transform(field), field)
        return fields.isel({SAMPLE_DIM: 0}, drop=True).drop_vars("timestep", errors="ignore")

    def stored(self, place: int, template: xr.DataArray) -> xr.DataArray:
        """Return what the stored coefficients of a step make of it."""
        fields = self._fields(self.coefficients[place : place + 1], template)
        return fields.isel({SAMPLE_DIM: 0}, drop=True)

    def fitted(self) -> dict[str, Any]:
        """Return the fitted quantities that summaries list, as far as the estimator has them."""
        if not self.is_ready:
            return {}
        found: dict[str, Any] = {name: getattr(self.estimator, f"{name}_", None) for name in FITTED}
        # scikit-learn counts samples in a type that depends on how they came
        is_count = {name for name in FITTED if name.startswith("n_") and found[name] is not None}
        return found | {name: int(found[name]) for name in is_count}

    def basis(self, template: xr.DataArray) -> xr.Dataset:
        """Return components, mean, variance and the fitted numbers as one labelled data set."""
        found = {}
        for name, leading in (("components", ("component",)), ("mean", ()), ("var", ())):
            value = getattr(self.estimator, f"{name}_", None)
            if value is not None:
                found[name] = _labelled(value, template, leading)
        for name, value in self.fitted().items():
            if value is not None:
                found[name] = xr.DataArray(value, dims=("component",) if np.ndim(value) else ())
        return xr.Dataset(found).drop_vars(["time", "timestep"], errors="ignore")

    @property
    def state_bytes(self) -> int:
        """Bytes that the estimator holds, here or on the workers."""
        state = getattr(self.estimator, "_state", None)
        if state is None:
            return len(dumps(self.estimator))
        rows_of_slabs = getattr(state.summary, "n_rows", None)
        if rows_of_slabs is not None:  # with mean and variance, in float64
            return (rows_of_slabs + 2) * self.estimator.n_features_in_ * 8
        return _count_bytes(state.summary)

    def _turn_coefficients(self, units: np.ndarray) -> None:
        """Apply the affine map that takes the old unit coefficients to `units`."""
        offset, twos = units[0], units[-1]
        matrix = units[1:-1] - offset
        # A transform that is not affine (NMF) keeps its coefficients as they were at the time.
        if np.allclose(twos, offset + 2 * matrix.sum(axis=0), atol=1e-3 * np.abs(units).max()):
            self.coefficients = self.coefficients @ matrix + offset

    def _unit_fields(self, template: xr.DataArray) -> xr.DataArray:
        """Return the fields of no coefficient, of each unit coefficient, and of two of each."""
        k = self.coefficients.shape[1]
        units = np.vstack([np.zeros(k), np.eye(k), np.full(k, 2.0)])
        return self._fields(units, template)

    def _extend(self, n_components: int) -> None:
        """Give every step a row, and every row `n_components` columns, of NaN."""
        shape = (len(self.errors), max(n_components, self.coefficients.shape[1]))
        if shape != self.coefficients.shape:
            before = self.coefficients
            self.coefficients = np.full(shape, np.nan)
            self.coefficients[: len(before), : before.shape[1]] = before

    def _samples(self, fields: list[xr.DataArray]) -> Any:
        if self.is_labelled:
            return fields[0]
        rows = [np.asarray(f).reshape(f.sizes.get(SAMPLE_DIM, 1), -1) for f in fields]
        return np.concatenate(rows)

    def _fields(self, coefficients: Any, template: xr.DataArray) -> xr.DataArray:
        if self.is_labelled:
            labelled = xr.DataArray(coefficients, dims=(SAMPLE_DIM, "component"))
            return self.estimator.inverse_transform(labelled)
        fields = self.estimator.inverse_transform(np.asarray(coefficients))
        return _labelled(fields, template, (SAMPLE_DIM,))


def _labelled(value: Any, template: xr.DataArray, leading: tuple[str, ...]) -> xr.DataArray:
    if isinstance(value, xr.DataArray):
        return value
    coords = {name: c for name, c in template.coords.items() if c.dims}
    shape = (*np.shape(value)[: len(leading)], *template.shape)
    return xr.DataArray(np.reshape(value, shape), dims=(*leading, *template.dims), coords=coords)


def _first_batch(estimator: Any) -> int:
    wanted = getattr(estimator, "n_components", 1)
    return wanted if isinstance(wanted, int) else 1


def _count_bytes(summary: Any) -> int:
    """Return the bytes of the arrays in nested tuples."""
    if isinstance(summary, tuple):
        return sum(_count_bytes(item) for item in summary)
    return int(getattr(summary, "nbytes", 0))
