"""scikit-learn's transformer of columns for data that are seen once, in pieces, anywhere.

`StreamingColumnTransformer` is a subclass of `sklearn.compose.ColumnTransformer`, for the reason
that is given in `dask_exa.compose.streaming_pipeline`, and builds on its public attribute
``transformers_``: the fitted transformers with the columns that are theirs.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_is_fitted, validate_data

from dask_exa._frames import is_lazy_frame, lazy_array
from dask_exa._samples import is_dask
from dask_exa.base import MergeableEstimator
from dask_exa.compose import _routing, _steps
from dask_exa.compose._columns import numbers, select, side_by_side
from dask_exa.reduction._errors import naming
from dask_exa.summaries.affine import Coordinates


class StreamingColumnTransformer(ColumnTransformer):
    """Other transformers for other columns, which learn from the same batch and merge.

    `sklearn.compose.ColumnTransformer` with `partial_fit`, `merge` and `forget` through all of its
    transformers; a step of `StreamingPipeline` like any other, whose later steps follow the
    samples when the transformers learn. Dask arrays are transformed lazily; what comes out has
    its features in one chunk. Dask data frames select columns by name, as pandas' do.

    Parameters
    ----------
    transformers : list of (str, transformer, columns)
        As in scikit-learn. A transformer that has `fit` only is refused by `partial_fit`;
        "passthrough", "drop" and a `sklearn.frozen.FrozenEstimator` do not learn.
    remainder : {"drop", "passthrough"} or estimator, default="drop"
    sparse_threshold : float, default=0.3
    n_jobs : int, optional
    transformer_weights : dict, optional
    verbose : bool, default=False
    verbose_feature_names_out : bool, str or callable, default=True
        All as in scikit-learn.

    Attributes
    ----------
    transformers_ : list of (str, transformer, columns)
        The fitted transformers; copies of those that were passed.

    See Also
    --------
    dask_exa.compose.StreamingPipeline : Steps one after the other.

    Notes
    -----
    Columns that are picked by a callable are those that it picks from the first batch.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_exa.compose import StreamingColumnTransformer
    >>> from dask_exa.decomposition import IncrementalPCA
    >>> from dask_exa.preprocessing import StandardScaler
    >>> X = np.random.default_rng(0).standard_normal((300, 5))
    >>> columns = StreamingColumnTransformer(
    ...     [("scale", StandardScaler(), [0, 1]), ("reduce", IncrementalPCA(2), [2, 3, 4])]
    ... )
    >>> for batch in np.array_split(X, 3):
    ...     columns = columns.partial_fit(batch)
    >>> columns.transform(X).shape
    (300, 4)
    >>> columns.named_transformers_["scale"].n_samples_seen_
    300
    """

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all transformers to their columns and transform these; see `transform`."""
        with _steps.unchanged_on_error([self]):
            if not is_lazy_frame(X):
                return _in_one_chunk(super().fit_transform(X, y, **params))
            by_number = self._by_number(X)
            transformed = by_number.fit_transform(lazy_array(X), y, **params)
            self.__dict__.update({**by_number.__dict__, **self.get_params(deep=False)})
            self.feature_names_in_ = np.array(list(X.columns), dtype=object)
        return transformed

    def transform(self, X: Any, **params: Any) -> Any:
        """Transform the columns and put what comes out side by side.

        Parameters
        ----------
        X : array of shape (n_samples, n_features) or data frame
        **params : dict
            As of `sklearn.compose.ColumnTransformer.transform`.

        Returns
        -------
        array of shape (n_samples, n_outputs) or data frame
            Lazy for lazy input.
        """
        return _in_one_chunk(super().transform(self._selectable(X), **params))

    def partial_fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Let every transformer learn more samples of its columns.

        Parameters
        ----------
        X : array of shape (n_samples, n_features) or data frame
        y : array of shape (n_samples,), optional
        **params : dict
            What transformers request by metadata routing.

        Returns
        -------
        self
        """
        remainder = ("remainder", self.remainder, None)
        for name, transformer, _ in [*self.transformers, remainder]:
            _steps.check_learns(name, transformer)
        routed: Any = {}
        if params:
            routed = process_routing(self, "partial_fit", **params)
        with _steps.unchanged_on_error([self]):
            first = not _steps.is_fitted(self)
            if first:
                self.fit(X, y)
            elif not is_lazy_frame(X):
                validate_data(self, X=X, reset=False, skip_check_array=True)
            X = self._selectable(X)
            for i, (name, transformer, columns) in enumerate(self.transformers_):
                if not _steps.learns(transformer):
                    continue
                arguments = dict(routed[name]["partial_fit"]) if name in routed else {}
                if first:
                    is_ours = isinstance(transformer, MergeableEstimator)
                    if is_ours and transformer._fits_as_a_stream() and not arguments:
                        continue  # its fit was all that a partial_fit would be
                    transformer = self._blank(name)
                    self.transformers_[i] = (name, transformer, columns)
                with naming(f"transformer {name!r}"):
                    transformer.partial_fit(select(X, columns), y, **arguments)
        return self

    def merge(self, *others: Self) -> Self:
        """Take over what the transformers of other models have learnt of the same columns.

        Parameters
        ----------
        *others : StreamingColumnTransformer
            They stay as they are; unfitted ones change nothing.

        Returns
        -------
        self
        """
        fitted = [model for model in (self, *others) if self._check_mergeable(model)]
        if not fitted:
            return self
        with _steps.unchanged_on_error([self]):
            if fitted[0] is not self:
                self.__dict__.update({**fitted[0]._duplicate().__dict__, **self.get_params(False)})
            for i, (name, transformer, _) in enumerate(self.transformers_):
                if _steps.learns(transformer):
                    with naming(f"transformer {name!r}"):
                        transformer.merge(*(model.transformers_[i][1] for model in fitted[1:]))
        return self

    def __or__(self, other: Self) -> Self:
        """Return a new model that has learnt what both have: ``(a | b)``."""
        if not isinstance(other, StreamingColumnTransformer):
            return NotImplemented
        return self._duplicate().merge(other)

    def forget(self, factor: float) -> Self:
        """Scale the weight of all that every transformer has learnt.

        Parameters
        ----------
        factor : float in (0, 1]
        """
        check_is_fitted(self)
        _steps.forget(self, [(name, t) for name, t, _ in self.transformers_], factor)
        return self

    def get_metadata_routing(self) -> Any:
        """Return scikit-learn's routing of metadata, and that of `partial_fit`."""
        return _routing.add_partial_fit(super().get_metadata_routing())

    def _blank(self, name: str) -> Any:
        """Return an unfitted copy of a transformer, by its name."""
        found = {name: transformer for name, transformer, _ in self.transformers}
        return clone(found.get(name, self.remainder))

    def _by_number(self, X: Any) -> Self:
        """Return an unfitted copy that selects the columns of a data frame by their numbers."""
        names = [*X.columns]
        transformers = []
        for name, transformer, columns in self.transformers:
            chosen = columns(X._meta) if callable(columns) else columns
            transformers.append((name, transformer, numbers(chosen, names)))
        return clone(self).set_params(transformers=transformers)

    def _selectable(self, X: Any) -> Any:
        """Return what columns can be selected from."""
        if not is_lazy_frame(X):
            return X
        names = [*getattr(self, "feature_names_in_", X.columns)]
        if missing := [name for name in names if name not in X.columns]:
            raise ValueError(f"columns are missing: {missing}; pass the columns of the first X.")
        return lazy_array(X[names])

    def _check_mergeable(self, model: Any) -> bool:
        if not isinstance(model, StreamingColumnTransformer):
            raise TypeError(
                f"cannot merge a {type(model).__name__} into a StreamingColumnTransformer; pass "
                "models of the same transformers."
            )
        if not _steps.is_fitted(model):
            return False
        for name, transformer, _ in model.transformers_:
            _steps.check_has(name, transformer, "merge")
        ours = self if _steps.is_fitted(self) else model
        if _layout(model) != _layout(ours):
            raise ValueError(
                f"cannot merge a model of the transformers {_layout(model)} into one of "
                f"{_layout(ours)}; pass models of the same transformers of the same columns."
            )
        return True

    def _members(self) -> list[Any]:
        return [transformer for _, transformer, _ in getattr(self, "transformers_", [])]

    def _duplicate(self) -> Self:
        duplicate = copy.copy(self)
        if hasattr(self, "transformers_"):
            duplicate.transformers_ = [
                (name, _steps.duplicate(transformer), columns)
                for name, transformer, columns in self.transformers_
            ]
        return duplicate

    def _coordinates(self) -> Coordinates | None:
        if self.transformer_weights:
            return None
        names = [*getattr(self, "feature_names_in_", range(self.n_features_in_))]
        parts = [
            (transformer, numbers(columns, names), self.output_indices_[name])
            for name, transformer, columns in self.transformers_
        ]
        return side_by_side(parts, self.n_features_in_)


def _in_one_chunk(X: Any) -> Any:
    return X.rechunk({1: -1}) if is_dask(X) and X.ndim > 1 else X


def _layout(model: Any) -> list[tuple[str, str, str]]:
    return [(name, type(t).__name__, str(columns)) for name, t, columns in model.transformers_]
