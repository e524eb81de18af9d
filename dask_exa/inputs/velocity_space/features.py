"""Distribution functions as rows of a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import dask
import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from dask_exa.inputs.velocity_space.invariants import Invariants
from dask_exa.inputs.velocity_space.mesh import PhaseSpace
from dask_exa.inputs.velocity_space.moments import moment_names
from dask_exa.inputs.velocity_space.projection import TensorProjection
from dask_exa.inputs.velocity_space.reducing import summarize


class VelocitySpaceFeatures(TransformerMixin, BaseEstimator):
    """Invariants, means and spreads of fluid moments, and random projections of f.

    A sample is a distribution function, or the slab of one that a rank owns; it becomes a row of
    some ten numbers, of which the slab is read once. Rows of sums (``particles``, ``l1f``,
    ``kinetic_energy`` and projections) add over slabs.

    Parameters
    ----------
    velocity : sequence of str, optional
        Dimensions of velocity, see `PhaseSpace.of`.
    n_projections : int or mapping of str to int, default=0
        Components of a `TensorProjection` of every dimension; 0 for none.
    seed : int, default=0
        Of the projection.

    Attributes
    ----------
    mesh_ : PhaseSpace
    projection_ : TensorProjection or None

    Examples
    --------
    >>> from dask_exa.datasets import Vlasov
    >>> from dask_exa.inputs.velocity_space import VelocitySpaceFeatures
    >>> f = Vlasov.landau(shape=(16, 32)).fields.f.expand_dims("time")
    >>> features = VelocitySpaceFeatures(n_projections=2)
    >>> features.fit_transform(f).shape
    (1, 19)
    >>> features.get_feature_names_out()[:3].tolist()
    ['particles', 'l1f', 'l2f']
    """

    def __init__(
        self,
        velocity: Sequence[str] | None = None,
        n_projections: int | Mapping[str, int] = 0,
        seed: int = 0,
    ) -> None:
        self.velocity = velocity
        self.n_projections = n_projections
        self.seed = seed

    def fit(self, X: xr.DataArray, y: None = None) -> Self:
        """Note the mesh; nothing is learnt from values.

        Parameters
        ----------
        X : xarray.DataArray
            Distribution functions along the first dimension; those of a whole mesh, where later
            ones are slabs of it.
        """
        if not isinstance(X, xr.DataArray) or X.ndim < 2:
            raise TypeError(
                f"X is a {type(X).__name__}; pass an xarray.DataArray (time, position, velocity)."
            )
        self.mesh_ = PhaseSpace.of(X[0], self.velocity)
        self.projection_ = None
        if self.n_projections:
            self.projection_ = TensorProjection(self.n_projections, self.seed).fit(X)
        self.n_features_in_ = int(np.prod(X.shape[1:]))
        return self

    def transform(self, X: xr.DataArray, start: Mapping[str, int] | None = None) -> xr.DataArray:
        """Return the rows of distribution functions.

        Parameters
        ----------
        X : xarray.DataArray
            As for `fit`, or slabs.
        start : mapping of str to int, optional
            Where slabs begin, along the dimensions that are split.

        Returns
        -------
        xarray.DataArray of shape (n_samples, n_features_out)
            Computed where `X` is, chunk by chunk, for Dask.
        """
        check_is_fitted(self, "mesh_")
        rows = np.stack([self._row(sample, start) for sample in X])
        samples = str(X.dims[0])
        coords = {samples: X[samples]} if samples in X.coords else {}
        names = {"feature": self.get_feature_names_out()}
        return xr.DataArray(rows, {**coords, **names}, (samples, "feature"))

    def _row(self, f: xr.DataArray, start: Mapping[str, int] | None) -> np.ndarray:
        summary = summarize(f, self.mesh_, projection=self.projection_, start=start)
        moments = summary.moments
        spread = [(moments[name].mean().data, moments[name].std().data) for name in moments]
        # everything at once: what is lazy is then read once
        sums, spread, projection = dask.compute(summary.sums, spread, summary.projection)
        row = [*Invariants(*sums).named().values(), *(value for pair in spread for value in pair)]
        return np.array([*row, *([] if projection is None else projection)], dtype=np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features."""
        check_is_fitted(self, "mesh_")
        names = ["particles", "l1f", "l2f", "negative_share", "max_f", "min_f", "kinetic_energy"]
        moments = moment_names(self.mesh_.components)
        names += [f"{what} of {name}" for name in moments for what in ("mean", "spread")]
        if self.projection_ is not None:
            n_projections = int(np.prod(list(self.projection_.counts_.values())))
            names += [f"projection {i}" for i in range(n_projections)]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that samples are no rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags
