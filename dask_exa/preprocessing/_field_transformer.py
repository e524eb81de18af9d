"""The shell of the representations of fields: what is learnt is their layout, and no values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import xarray as xr
from sklearn.base import TransformerMixin

from dask_exa._samples import Labels, Samples
from dask_exa.base import MergeableEstimator
from dask_exa.preprocessing import _field_rows as back
from dask_exa.preprocessing._field_layout import Layout


class FieldTransformer(TransformerMixin, MergeableEstimator):
    """Base of transformers between fields and rows.

    A subclass's `_validate` returns a tuple that ends with the coordinates of the fields and an
    array of their values; its `_learn_layout` and `_check_same_features` do the rest. Its
    summaries have a `layout` and `present`; see `dask_exa.preprocessing._field_rows.learnt_last`.
    """

    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override]  # no weights
        """Learn the layout of a field, forgetting what was learnt before.

        Parameters
        ----------
        X : xarray.DataArray, xarray.Dataset or array of shape (n_samples, ...)
        y : None
            Ignored.

        Returns
        -------
        self
        """
        return super().fit(X)

    def partial_fit(  # type: ignore[override]  # no weights
        self, X: Any, y: Any = None, check_input: bool = True
    ) -> Self:
        """Learn more samples of the same layout; see `fit`."""
        return super().partial_fit(X)

    def _absorb(self, samples: Any, sample_weight: Any, learn: Any = None) -> None:
        known, coords, array = samples

        def learn_layout(samples: Samples, sample_weight: None, start: Any) -> Any:
            return self._learn_layout(known, samples, start)

        array = array if isinstance(array, Samples) else Samples(array)
        super()._absorb(array, None, learn_layout)
        layout = self._state.summary.layout
        if layout.kind != "plain":
            self._state.labels = _labels(layout, coords)

    def _check_mergeable(self, model: Any) -> bool:
        fitted = super()._check_mergeable(model)
        if fitted and self._is_fitted():
            known, other = self._state, model._state
            coords = [back.learnt_last(state)[2] for state in (known, other)]
            self._check_same_features(known.summary, other.summary, *coords)
        return fitted

    def _learn_layout(self, known: Any, samples: Samples, start: Any) -> Any:
        """Return the summary of fields, merged with what was learnt before."""
        raise NotImplementedError

    def _check_same_features(self, known: Any, other: Any, coords: Any, other_coords: Any) -> None:
        """Raise ValueError for a model of fields of another layout."""
        raise NotImplementedError

    def _forget_summary(self, summary: Any, factor: float) -> Any:
        return summary


def _labels(layout: Layout, coords: Mapping[Any, xr.DataArray]) -> Labels:
    """Return all that has a name, for the checkpoint."""
    dims = layout.all_feature_dims
    return Labels(layout.sample_dims, (*dims,), (*dims.values(),), coords).stored()
