"""Overlapping patches of fields as samples, and fields of patches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from dask_exa._samples import Samples
from dask_exa._state import Fitted, State
from dask_exa.preprocessing import _field_rows as back
from dask_exa.preprocessing import _patch_blocks as blocks
from dask_exa.preprocessing import _patch_layout as layouts
from dask_exa.preprocessing import _patch_rows as patch_rows
from dask_exa.preprocessing._field_layout import FEATURE, SAMPLE
from dask_exa.preprocessing._field_transformer import FieldTransformer
from dask_exa.preprocessing._patch_grid import PatchAxis
from dask_exa.preprocessing._patch_layout import PatchSummary


class _Model(NamedTuple):
    axes: tuple[PatchAxis, ...]
    n_patches: int
    positions: np.ndarray


class PatchExtractor(FieldTransformer):
    """Patches, or windows, of fields: every patch is a row of features.

    The patches of a chunk of a Dask array are made where the chunk is; only the edges of its
    neighbours travel, and never are the patches of all chunks in memory at once. Blending
    overlapping patches gives back the field.

    Parameters
    ----------
    patch_size : int, tuple of int or dict of dimension to int, default=8
        Points of a patch. A dictionary names the dimensions that are cut; all others are samples.
        Else the first dimension is the samples: a tuple is for the dimensions that follow it, one
        number is for all of them.
    stride : int, tuple of int or dict, optional
        Points between patches, by default half of the patch. Longer ones than the patch leave
        gaps.
    padding : {"none", "wrap", "reflect"}, default="none"
        What a patch has beyond the end of the field. "none" makes only patches that fit, so that
        the last points may be in none. "wrap" begins anew, for periodic boxes: a patch starts at
        every multiple of the stride. "reflect" goes back, as often as it takes to have every
        point in a patch.
    blend : {"hann", "linear", "mean"}, default="hann"
        Weights of the points of a patch when patches are put together: falling from its middle
        to its edges, or all the same. Those of all patches add up to 1 at every point.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions that count samples. Those that are neither samples nor cut are whole in every
        patch, such as channels. Numbers of axes for arrays without names.

    Attributes
    ----------
    positions_ : ndarray of shape (n_patches_, n_dims), int
        First point of every patch of one sample, in the order of the rows.
    n_patches_ : int
        Patches of a sample.
    n_features_in_ : int
        Values of a sample.
    n_samples_seen_ : int
        Samples, not patches.

    Notes
    -----
    Rows are ordered by sample, then by position. Where the dimensions that are cut have several
    chunks, in the field that was learnt first, the patches that start in the first chunk come
    first, for all samples, then those of the next one. Other fields are brought to these chunks;
    models of other ones do not merge. Coordinates of rows are the first point of the patch.

    Points that are in no patch come back as NaN. Values come out as float32 or float64, are
    blended in float64 and go back to the dtype of the field.

    See Also
    --------
    sklearn.feature_extraction.image.PatchExtractor : For images in memory, with a stride of 1.

    References
    ----------
    D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", IEEE
    Transactions on Acoustics, Speech, and Signal Processing 32(2), 1984: overlap-add with windows
    whose sum is divided out.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> film = xr.DataArray(np.random.default_rng(0).random((3, 16, 16)), dims=("time", "y", "x"))
    >>> patches = PatchExtractor({"y": 4, "x": 4}, padding="wrap").fit(film)
    >>> rows = patches.transform(film)
    >>> rows.shape
    (192, 16)
    >>> bool(np.allclose(patches.inverse_transform(rows), film))
    True
    >>> patches.unstack_samples(rows.mean("feature")).shape
    (3, 8, 8)
    """

    positions_ = Fitted("First point of every patch of one sample.")
    n_patches_ = Fitted("Patches of a sample.")

    _moves_samples = False
    _state_params = ("patch_size", "stride", "padding")

    def __init__(
        self,
        patch_size: int | tuple[int, ...] | Mapping[Any, int] = 8,
        *,
        stride: int | tuple[int, ...] | Mapping[Any, int] | None = None,
        padding: str = "none",
        blend: str = "hann",
        sample_dims: Any = None,
    ) -> None:
        self.patch_size = patch_size
        self.stride = stride
        self.padding = padding
        self.blend = blend
        self.sample_dims = sample_dims

    def transform(self, X: Any) -> Any:
        """Return the patches of fields.

        Parameters
        ----------
        X : xarray.DataArray or array of shape (n_samples, ...)
            Of the layout that was learnt; any number of samples.

        Returns
        -------
        array of shape (n_samples * n_patches_, n_columns)
            Lazy for Dask; a DataArray (``sample``, ``feature``) for labelled fields.
        """
        axes = self._model.axes
        fields = self._validate(X, reset=False)
        rows = blocks.extract(fields.array, axes)
        if fields.summary.layout.kind == "plain":
            return rows
        return back.label_field(rows, (SAMPLE, FEATURE), patch_rows.row_coords(fields, axes))

    def inverse_transform(self, X: Any) -> Any:
        """Return fields of patches; where patches overlap, their weighted mean.

        Parameters
        ----------
        X : array of shape (n_samples * n_patches_, n_columns), or labelled array
            What `transform` returned, or a model made of it.

        Returns
        -------
        xarray.DataArray or array, as was learnt
            With its dimensions, coordinates, attributes and dtype; whole numbers become float64
            where points are in no patch.
        """
        axes = self._model.axes
        layouts.check_parameters(self)
        return patch_rows.restore_fields(X, self._state, axes, self.blend)

    def unstack_samples(self, values: Any) -> Any:
        """Return values of patches, such as labels or scores, on their positions: a map.

        Parameters
        ----------
        values : array of shape (n_rows,) or (n_rows, n_values), or labelled array

        Returns
        -------
        xarray.DataArray, or an array for arrays without names
            Shape (samples …, positions …[, n_values]); coordinates are the middles of the patches.
        """
        axes = self._model.axes
        return patch_rows.restore_values(values, self._state, axes)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns: the place in the patch, such as ``density[0,3]``."""
        check_is_fitted(self)
        summary = self._state.summary
        name = summary.layout.names[0]
        places = np.ndindex(*summary.sizes, *summary.other_sizes)
        start = "x" if name is None else name
        return np.array([f"{start}[{','.join(map(str, at))}]" for at in places], dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that rows are not samples, as its own extractor of patches does."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validate(self, X: Any, *, reset: bool, **how: Any) -> Any:
        known = None if reset else self._state.summary
        layouts.check_parameters(self)
        fields = layouts.read_field(X, self, known)
        self._check_n_features(math.prod(fields.array.shape[1:]), reset=reset)
        if known is not None:
            layouts.check_known(known, back.learnt_last(self._state)[2], fields)
        return fields

    def _learn_layout(
        self, known: PatchSummary, samples: Samples, start: PatchSummary | None
    ) -> PatchSummary:
        if start is None:
            return known
        n_samples = start.n_samples + known.n_samples
        return known._replace(n_samples=n_samples, tiles=start.tiles)

    def _check_same_features(
        self, known: PatchSummary, other: PatchSummary, coords: Any, other_coords: Any
    ) -> None:
        layouts.check_mergeable(known, coords, other, other_coords)

    def _merge_summaries(self, summaries: Sequence[PatchSummary], dtype: str) -> PatchSummary:
        return summaries[0]._replace(n_samples=sum(part.n_samples for part in summaries))

    def _finalize(self, state: State) -> _Model:
        axes = state.summary.axes(state.params["padding"])
        positions = [
            blocks.row_coordinate(np.arange(axis.n_points), axes, i, 1)
            for i, axis in enumerate(axes)
        ]
        return _Model(axes, blocks.count_patches(axes), np.stack(positions, axis=1))
