"""Any input as samples and features: arrays as they are, labelled arrays by their dimensions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa._array import Array
from dask_exa._frames import column_names, is_lazy_frame, is_lazy_series, lazy_array


class Labels(NamedTuple):
    """Names of what a labelled input is made of."""

    sample_dims: tuple[Hashable, ...]
    feature_dims: tuple[Hashable, ...]
    feature_sizes: tuple[int, ...]
    coords: Mapping[Hashable, Any]
    """Coordinates that depend on feature dimensions only, by name."""

    def stored(self) -> Labels:
        """Return the labels with coordinates that are in memory and that every storage takes."""
        return self._replace(coords=plain_coords(self.coords))

    def wrap(self, array: Any, leading: tuple[Hashable, ...] = (), **coords: Any) -> xr.DataArray:
        """Label an array whose last axis, or last axes, are the features."""
        shape = (*array.shape[: len(leading)], *self.feature_sizes)
        if array.shape != shape:
            array = array.reshape(shape)
        return xr.DataArray(
            array, dims=(*leading, *self.feature_dims), coords={**self.coords, **coords}
        )


class Samples(NamedTuple):
    """Data whose first axes are samples and whose other axes are features."""

    array: Any
    """NumPy and CuPy: (n_samples, n_features). Dask: sample axes first, then feature axes, each
    chunked as it came."""
    n_sample_axes: int = 1
    labels: Labels | None = None
    sample_coords: Mapping[Hashable, Any] | None = None
    """Coordinates of the samples, for labelled output."""
    sample_sizes: tuple[int, ...] = ()
    columns: Any = None
    """Of a Dask DataFrame: a data frame whose columns have the names of the features."""
    single: Any = None
    """Dask, of one sample that came without sample axes: the array as it came, whose chunks need
    no task to get them."""

    @property
    def is_lazy(self) -> bool:
        """Whether the data are a Dask array."""
        return is_dask(self.array)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return math.prod(self.array.shape[: self.n_sample_axes])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return math.prod(self.array.shape[self.n_sample_axes :])

    def label(self, values: Any, dim: str | None = None, names: Any = None) -> Any:
        """Label values of the samples with their dimensions; without labels, return them.

        Parameters
        ----------
        values : array of shape (n_samples,) or (n_samples, n_values)
            Or with the sample axes in the place of n_samples.
        dim : str, optional
            Name of the last axis, if there is one that is not of samples.
        names : array of shape (n_values,), optional
            Its coordinate; by default the numbers from 0.
        """
        labels = self.labels
        if labels is None:
            return values
        coords = dict(self.sample_coords or {})
        if dim is None:
            values = _shaped(values, self.sample_sizes)
            return xr.DataArray(values, dims=labels.sample_dims, coords=coords)
        n_values = values.shape[-1]
        values = _shaped(values, (*self.sample_sizes, n_values))
        coords[dim] = np.arange(n_values) if names is None else np.asarray(names)
        return xr.DataArray(values, dims=(*labels.sample_dims, dim), coords=coords)

    def label_features(self, values: Any) -> Any:
        """Label one value per feature of every sample; without labels, return them.

        Parameters
        ----------
        values : array of shape (n_samples, n_features)
            Or with the axes of the samples and features in their place.
        """
        labels = self.labels
        if labels is None:
            return values
        values = _shaped(values, (*self.sample_sizes, *labels.feature_sizes))
        coords: dict[Any, Any] = {**labels.coords, **(self.sample_coords or {})}
        return xr.DataArray(values, dims=(*labels.sample_dims, *labels.feature_dims), coords=coords)


def _shaped(values: Any, shape: tuple[int, ...]) -> Any:
    return values if values.shape == shape else values.reshape(shape)


def is_dask(X: Any) -> bool:
    """Whether `X` is a Dask array, in either of Dask's array modes."""
    return isinstance(X, da.Array)


def as_samples(
    X: Any,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    feature_dims: Sequence[Hashable] | None = None,
) -> Samples:
    """Bring an input into the form that reductions take.

    Parameters
    ----------
    X : numpy.ndarray, cupy.ndarray, dask.array.Array, xarray.DataArray or Dask DataFrame
        The partitions of a Dask DataFrame are all made once, to be counted.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of a labelled input that count samples; all others are features. By default
        the first one. A named one that `X` lacks makes `X` a single sample.
    feature_dims : sequence of hashable, optional
        The other dimensions, in the order that they are to have.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> film = xr.DataArray(np.zeros((5, 4, 3)), dims=("time", "y", "x"))
    >>> samples = as_samples(film, "time")
    >>> samples.n_samples, samples.n_features
    (5, 12)
    """
    if isinstance(X, xr.Dataset):
        raise TypeError(
            f"X is an xarray.Dataset of {list(X.data_vars)}; pass one variable, or "
            "X.to_dataarray() to make the variables one more feature dimension."
        )
    if is_lazy_frame(X):
        return Samples(_checked_dask(lazy_array(X)), columns=column_names(X))
    if not isinstance(X, xr.DataArray):
        return Samples(_checked_dask(X) if is_dask(X) else X)
    dims = _sample_dims(X, sample_dims)
    missing = [dim for dim in dims if dim not in X.dims]
    given = X
    X = X.expand_dims(missing).transpose(*dims, ...)
    found = X.dims[len(dims) :]
    if feature_dims is not None and {*feature_dims} != {*found}:
        raise ValueError(
            f"X has the feature dimensions {list(found)}, the model {list(feature_dims)}; pass "
            "fields of the same dimensions."
        )
    feature_dims = found if feature_dims is None else tuple(feature_dims)
    X = X.transpose(*dims, *feature_dims)
    features = set(feature_dims)
    of_features = {
        name: coord for name, coord in X.coords.items() if coord.dims and {*coord.dims} <= features
    }
    sample_coords = {
        name: coord for name, coord in X.coords.items() if not features & {*coord.dims}
    }
    sizes, feature_sizes = X.shape[: len(dims)], X.shape[len(dims) :]
    labels = Labels(dims, feature_dims, feature_sizes, of_features)
    if is_dask(X.data):
        array = _checked_dask(X.data)
        is_as_given = missing and given.dims == feature_dims and given.dtype == array.dtype
        single = given.data if is_as_given else None
        return Samples(array, len(dims), labels, sample_coords, sizes, single=single)
    matrix = X.data.reshape((math.prod(sizes), math.prod(feature_sizes)))
    return Samples(matrix, 1, labels, sample_coords, sizes)


def as_series(X: Any) -> Any:
    """Return one value per sample as an array, be it a labelled array or a Dask Series."""
    if is_lazy_series(X):
        return lazy_array(X)
    return X.data if isinstance(X, xr.DataArray) else X


def plain_coords(coords: Mapping[Hashable, xr.DataArray]) -> dict[Hashable, Any]:
    """Return coordinates as tuples that every kind of storage takes, and xarray too."""
    return {name: (c.dims, c.values, dict(c.attrs)) for name, c in coords.items()}


def _sample_dims(
    X: xr.DataArray, sample_dims: Hashable | Sequence[Hashable] | None
) -> tuple[Hashable, ...]:
    if sample_dims is None:
        sample_dims = X.dims[:1]
    named: Any = (sample_dims,) if isinstance(sample_dims, str) else sample_dims
    dims = tuple(named)
    missing = [dim for dim in dims if dim not in X.dims]
    if missing and (len(missing) < len(dims) or not X.dims):
        raise ValueError(
            f"sample_dims={list(dims)} but X has the dimensions {list(X.dims)}; name "
            "dimensions that X has."
        )
    return dims


def _checked_dask(X: Any) -> Any:
    if any(math.isnan(size) for sizes in X.chunks for size in sizes):
        raise ValueError(
            f"X has unknown chunk sizes {X.chunks}; call X.compute_chunk_sizes() first."
        )
    if X.ndim < 2:
        raise ValueError(
            f"Expected samples and features, got a Dask array of shape {X.shape}; use "
            "X[:, None] for a single feature or X[None, :] for a single sample."
        )
    if X.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: X has dtype {X.dtype}; pass real and imaginary parts "
            "as features."
        )
    if X.dtype.kind not in "buif":
        raise TypeError(f"X has dtype {X.dtype}; pass numbers.")
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def flatten(block: Array, n_sample_axes: int) -> Array:
    """Return a block of a lazy input as a matrix (n_samples, n_features)."""
    n_samples = math.prod(block.shape[:n_sample_axes])
    n_features = math.prod(block.shape[n_sample_axes:])
    if block.shape == (n_samples, n_features):
        return block
    return block.reshape((n_samples, n_features))


def flat_rows(samples: Samples, sample_weight: Any = None) -> tuple[Samples, Any]:
    """Return lazy samples as a matrix with one chunk of features, and weights chunked alike."""
    X, a = samples.array, samples.n_sample_axes
    X = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    if X.ndim > 2:
        X = da.map_blocks(
            flatten,
            X,
            a,
            drop_axis=list(range(2, X.ndim)),
            chunks=(flat_sizes(X.chunks[:a]), (samples.n_features,)),
            dtype=X.dtype,
            meta=np.empty((0, 0), dtype=X.dtype),
        )
    if sample_weight is not None:
        sample_weight = split_weight(sample_weight, X.chunks[0])
    return samples._replace(array=X, n_sample_axes=1), sample_weight


def split_weight(sample_weight: Any, sizes: tuple[int, ...]) -> Any:
    """Return weights as a Dask array of these chunks."""
    if not is_dask(sample_weight):
        sample_weight = da.from_array(sample_weight, chunks=(sizes,))
    return sample_weight.rechunk((sizes,))


def flat_sizes(sample_chunks: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Return the numbers of samples of chunks that are split along the first axis only."""
    rest = math.prod(sum(sizes) for sizes in sample_chunks[1:])
    return tuple(size * rest for size in sample_chunks[0])
