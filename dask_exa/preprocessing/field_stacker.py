"""Labelled fields as samples and features, and back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from dask_exa._array import to_host
from dask_exa._samples import Samples, is_dask
from dask_exa._state import Fitted, State
from dask_exa.preprocessing import _field_blocks as field_blocks
from dask_exa.preprocessing import _field_layout as layouts
from dask_exa.preprocessing import _field_rows as back
from dask_exa.preprocessing._field_layout import FEATURE, SAMPLE, Layout
from dask_exa.preprocessing._field_transformer import FieldTransformer
from dask_exa.reduction.pieces import Piece, map_pieces
from dask_exa.reduction.samples import reduce_samples
from dask_exa.summaries import Reducer

_VALUES = Reducer(field_blocks.find_values, field_blocks.join_values)


class FieldSummary(NamedTuple):
    """The layout of fields, and where they have values."""

    n_samples: int
    layout: Layout
    """Sizes of the samples are those of the field learnt last."""
    observed: np.ndarray
    """Features that have a value in any sample, bool (n_features,)."""
    present: np.ndarray
    """Samples of the field learnt last that have a value in any feature, bool (n_samples,); empty
    where all have."""


class _Model(NamedTuple):
    feature_mask: np.ndarray
    columns: np.ndarray | None
    """Numbers of the features that are kept; None for all."""


class FieldStacker(FieldTransformer):
    """Labelled n-d fields as samples × features, and back to the last bit.

    The first step of a pipeline whose input is an `xarray.DataArray`, or a `Dataset` of several
    variables whose features stand side by side. What comes out is a two-dimensional labelled
    array with the dimensions ``sample`` and ``feature``, which scikit-learn takes as well; its
    coordinates are those of the field, one value per row or column. Nothing is computed of lazy
    fields.

    Parameters
    ----------
    sample_dims : hashable or sequence of hashable, optional
        Dimensions that count samples, in the order of the rows; by default the first one. Numbers
        of axes for arrays without names.
    feature_dims : hashable or sequence of hashable, optional
        The other dimensions in the order of the columns, by default that of the field.
    variables : hashable or sequence of hashable, optional
        Variables of a Dataset, by default all. Every one must have all sample dimensions.
    drop_missing : bool, default=False
        Leave out features that are NaN in all samples that were learnt, such as a land mask, and
        samples that are NaN in all features. They come back as NaN. Samples are looked at when
        they are transformed, so that a lazy field is read once more then.

    Attributes
    ----------
    feature_mask_ : ndarray of shape (n_features_in_,), bool
        Features that are kept.
    n_features_in_, n_samples_seen_ : int

    Notes
    -----
    A lazy field gives one chunk of rows per chunk of its first sample dimension. Its chunks along
    all other dimensions are joined (a rechunk): rows are whole samples. `unstack` rejoins rows of
    one position along the first sample dimension that are in several chunks.

    Coordinates that depend on samples and features alike come back with the samples learnt last.
    Values come out as float32 or float64, and go back to the dtype of their variable. Only the
    layout is learnt, so merging demands the same one: names, feature dimensions and their
    coordinates. Rows without labels are taken for those of the field learnt last if there are as
    many, else for those of as many new positions along the first sample dimension.

    See Also
    --------
    PatchExtractor : Parts of fields as samples.
    dask_exa.decomposition.IncrementalPCA : Takes labelled fields as they are, also split by
        features, as all estimators do.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> film = xr.DataArray(np.arange(24.0).reshape(4, 3, 2), dims=("time", "y", "x"))
    >>> stacker = FieldStacker(sample_dims="time").fit(film)
    >>> stacker.transform(film).shape
    (4, 6)
    >>> stacker.inverse_transform(stacker.transform(film)).identical(film)
    True

    Clusters of grid points as a map:

    >>> points = FieldStacker(sample_dims=("y", "x")).fit(film)
    >>> labels = (points.transform(film)[:, 0] > 2).astype(int)
    >>> points.unstack_samples(labels).values
    array([[0, 0],
           [0, 1],
           [1, 1]])
    """

    feature_mask_ = Fitted("Features that are kept.")

    _moves_samples = False
    _state_params = ("drop_missing",)

    def __init__(
        self,
        sample_dims: Any = None,
        feature_dims: Any = None,
        *,
        variables: Any = None,
        drop_missing: bool = False,
    ) -> None:
        self.sample_dims = sample_dims
        self.feature_dims = feature_dims
        self.variables = variables
        self.drop_missing = drop_missing

    def transform(self, X: Any) -> Any:
        """Return a field as rows of features.

        Parameters
        ----------
        X : xarray.DataArray, xarray.Dataset or array of shape (n_samples, ...)
            Of the layout that was learnt; any number of positions along the sample dimensions.

        Returns
        -------
        array of shape (n_rows, n_columns)
            Lazy for Dask; a DataArray (``sample``, ``feature``) for labelled fields. Where samples
            were left out, the coordinate ``sample`` has the numbers of the others.
        """
        columns = self._model.columns
        fields = self._validate(X, reset=False)
        places = None
        if self._drops:
            present = to_host(reduce_samples(_VALUES, fields.samples)[1])
            places = None if present.all() else np.flatnonzero(present)
        matrix = _select(fields.samples.array, places, columns)
        if fields.layout.kind == "plain":
            return matrix
        chunks = matrix.chunks[0] if is_dask(matrix) else None
        coords = back.stack_coords(fields.layout, fields.coords, places, chunks)
        coords.update(layouts.stack_feature_coords(fields.layout, fields.coords, columns))
        return back.label_field(matrix, (SAMPLE, FEATURE), coords)

    def inverse_transform(self, X: Any) -> Any:
        """Return rows of features as a field.

        Parameters
        ----------
        X : array of shape (n_rows, n_columns), or labelled array (..., ``feature``)
            What `transform` returned, or a model made of it. Labelled rows with other dimensions
            than ``sample``, such as components, keep these.

        Returns
        -------
        xarray.DataArray, xarray.Dataset or array, as was learnt
            With its dimensions, coordinates, attributes and dtype.
        """
        check_is_fitted(self)
        return back.restore_fields(X, self._state, self._model.columns)

    def unstack_samples(self, values: Any) -> Any:
        """Return values of rows, such as labels or scores, on the sample dimensions: a map.

        Parameters
        ----------
        values : array of shape (n_rows,) or (n_rows, n_values), or labelled array

        Returns
        -------
        xarray.DataArray, or an array for arrays without names
            Of the dtype of the values; float64 with NaN where samples were left out.
        """
        check_is_fitted(self)
        return back.restore_samples(values, self._state)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns: variable and position, such as ``density[3,5]``."""
        check_is_fitted(self)
        layout = self._state.summary.layout
        if layout.kind == "plain" and len(layout.feature_sizes[0]) == 1:
            return _check_feature_names_in(self, input_features)[self.feature_mask_]
        return np.array(layouts.feature_names(layout), dtype=object)[self.feature_mask_]

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what kinds of data the transformer takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _drops(self) -> bool:
        return bool(self._state.params["drop_missing"])

    def _validate(self, X: Any, *, reset: bool, **how: Any) -> Any:
        is_labelled = isinstance(X, xr.DataArray | xr.Dataset)
        as_usual = not is_labelled and self.sample_dims is None and getattr(X, "ndim", 2) <= 2
        if as_usual:
            X = super()._validate(X, reset=reset).array
        known = None if reset else self._state.summary.layout
        fields = layouts.read_fields(X, self, known)
        if not as_usual:
            self._check_n_features(fields.samples.n_features, reset=reset)
        if reset and not as_usual:
            self.__dict__.pop("feature_names_in_", None)
        if known is not None:
            layouts.check_same(known, back.learnt_last(self._state)[2], fields)
        return fields

    def _learn_layout(
        self, known: Layout, samples: Samples, start: FieldSummary | None
    ) -> FieldSummary:
        return _learn(known, samples, start, self.drop_missing)

    def _check_fitted(self, state: State) -> None:
        if not state.summary.observed.any():
            raise ValueError("X has nothing but missing values (NaN); pass a field that has some.")

    def _check_same_features(
        self, known: FieldSummary, other: FieldSummary, coords: Any, other_coords: Any
    ) -> None:
        layouts.check_layout(known.layout, other.layout, "a model to merge")
        layouts.check_coords(known.layout, coords, other_coords, "a model to merge")

    def _merge_summaries(self, summaries: Sequence[FieldSummary], dtype: str) -> FieldSummary:
        n_samples = sum(part.n_samples for part in summaries)
        observed = np.any([part.observed for part in summaries], axis=0)
        return summaries[0]._replace(n_samples=n_samples, observed=observed)

    def _finalize(self, state: State) -> _Model:
        observed = state.summary.observed
        return _Model(observed, None if observed.all() else np.flatnonzero(observed))


def _learn(
    known: Layout, samples: Samples, start: FieldSummary | None, drop_missing: bool
) -> FieldSummary:
    observed, present = np.ones(samples.n_features, bool), np.ones(0, bool)
    if drop_missing:
        observed, present = map(to_host, reduce_samples(_VALUES, samples))
        present = np.ones(0, bool) if present.all() else present
    if start is None:
        return FieldSummary(known.n_samples, known, observed, present)
    n_samples = start.n_samples + known.n_samples
    return FieldSummary(n_samples, known, observed | start.observed, present)


def _select(matrix: Any, places: np.ndarray | None, columns: np.ndarray | None) -> Any:
    """Return some rows and columns of a matrix, chunk by chunk if lazy; None for all."""
    if places is None and columns is None:
        return matrix
    if not is_dask(matrix):
        return field_blocks.select([matrix], places, columns)
    edges = np.cumsum([0, *matrix.chunks[0]])
    blocks: dict[tuple[int, ...], Any] = {}
    sizes = []
    for i, (start, stop) in enumerate(itertools.pairwise(edges.tolist())):
        rows = None
        if places is not None:
            first, last = np.searchsorted(places, [start, stop])
            rows = places[first:last] - start
        sizes.append(stop - start if rows is None else len(rows))
        blocks[i, 0] = ([Piece((i, 0))], (rows, columns))
    n_columns = matrix.shape[1] if columns is None else len(columns)
    chunks = (tuple(sizes), (n_columns,))
    return map_pieces(field_blocks.select, matrix, blocks, chunks, matrix.dtype)
