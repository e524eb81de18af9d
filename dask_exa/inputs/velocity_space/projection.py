"""Random projections of tensors that add over slabs: a small matrix for every dimension."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from dask_exa._parameters import check_count
from dask_exa._samples import is_dask
from dask_exa.inputs.velocity_space.chunks import map_chunks


class TensorProjection(TransformerMixin, BaseEstimator):
    """Random projection by the Kronecker product of one small Gaussian matrix per dimension.

    A sample of shape (n_1, …, n_d) becomes ``n_components ** d`` numbers, or as many as a mapping
    says, whose squared norm is that of the sample on average. What it needs is the small matrices,
    not one as wide as the sample. Column i of a matrix depends on `seed`, the name of its dimension
    and i alone: where ranks or chunks own slabs, their projections add to that of the whole.

    Parameters
    ----------
    n_components : int or mapping of str to int, default=2
        Rows of the matrix of every dimension; those that a mapping leaves out have 2.
    seed : int, default=0

    Attributes
    ----------
    sizes_ : dict of str to int
        Dimensions of a sample.

    Notes
    -----
    A sample is the more likely to keep its norm the more components there are of every dimension;
    the variance of the squared norm, relative, is up to ``(1 + 2 / n_components) ** d - 1``.

    References
    ----------
    Rakhshan, Rabusseau, "Tensorized Random Projections", AISTATS 2020.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from dask_exa.inputs.velocity_space import TensorProjection
    >>> f = xr.DataArray(np.random.default_rng(0).random((3, 16, 8)), dims=("time", "x", "vpar"))
    >>> projection = TensorProjection().fit(f)
    >>> whole = projection.transform(f)
    >>> whole.shape
    (3, 4)
    >>> left = projection.transform(f.isel(x=slice(0, 5)))
    >>> right = projection.transform(f.isel(x=slice(5, 16)), start={"x": 5})
    >>> bool(np.allclose(left + right, whole))
    True
    """

    def __init__(self, n_components: Any = 2, seed: int = 0) -> None:
        self.n_components = n_components
        self.seed = seed

    def fit(self, X: xr.DataArray, y: None = None) -> Self:
        """Note the dimensions of samples; nothing is learnt from their values.

        Parameters
        ----------
        X : xarray.DataArray
            Samples along the first dimension.
        """
        if not isinstance(X, xr.DataArray) or X.ndim < 2:
            raise TypeError(
                f"X is a {type(X).__name__}; pass an xarray.DataArray (time, …) of two or more "
                "dimensions."
            )
        self.sizes_ = {str(dim): size for dim, size in X.sizes.items() if dim != X.dims[0]}
        self.n_features_in_ = math.prod(self.sizes_.values())
        self.counts_ = {dim: self._count(dim) for dim in self.sizes_}
        return self

    def transform(self, X: xr.DataArray, start: Mapping[str, int] | None = None) -> xr.DataArray:
        """Return the projections of samples, or the part that a slab of them adds.

        Parameters
        ----------
        X : xarray.DataArray
            Samples along the first dimension; NumPy, or Dask in any chunks: one task a chunk.
        start : mapping of str to int, optional
            First index of the slab along the dimensions that are split.

        Returns
        -------
        xarray.DataArray of shape (n_samples, n_components_out)
            Lazy for Dask.
        """
        check_is_fitted(self, "sizes_")
        start = start or {}
        samples = str(X.dims[0])
        dims = [str(dim) for dim in X.dims[1:]]
        if dims != list(self.sizes_):
            raise ValueError(f"X has the dimensions {dims}; fitted was {list(self.sizes_)}.")
        if is_dask(X.data):
            return self._transform_chunks(X, start)
        values = self.project(X.values, start)
        return xr.DataArray(
            values.reshape(X.sizes[samples], -1),
            {samples: X[samples]} if samples in X.coords else {},
            (samples, "projection"),
        )

    def project(self, values: np.ndarray, start: Mapping[str, int]) -> np.ndarray:
        """Return the projections (n_samples, n_1, …, n_d) of an array of samples."""
        for axis, dim in reversed(list(enumerate(self.sizes_, 1))):
            matrix = self.matrix(dim, start.get(dim, 0), values.shape[axis])
            # the last axis first: what is left of the sample shrinks with every dimension
            values = np.moveaxis(np.tensordot(values, matrix, (axis, 1)), -1, axis)
        return values

    def matrix(self, dim: str, start: int, size: int) -> np.ndarray:
        """Return some columns of the matrix of a dimension, (n_components, size)."""
        if start < 0 or start + size > self.sizes_[dim]:
            raise ValueError(
                f"X has points {start} to {start + size} along {dim!r}; fitted was "
                f"{self.sizes_[dim]}."
            )
        whole = _matrix(self.seed, dim, self.counts_[dim], self.sizes_[dim])
        return whole[:, start : start + size]

    def _count(self, dim: str) -> int:
        given = self.n_components
        count = given.get(dim, 2) if isinstance(given, Mapping) else given
        check_count("n_components", count)
        return int(count)

    def _transform_chunks(self, X: xr.DataArray, start: Mapping[str, int]) -> xr.DataArray:
        n_out = math.prod(self.counts_.values())

        def of_chunk(block: np.ndarray, begin: Sequence[int]) -> np.ndarray:
            at = {dim: start.get(dim, 0) + begin[axis] for axis, dim in enumerate(self.sizes_, 1)}
            ones = (1,) * (block.ndim - 1)
            return self.project(block, at).reshape(len(block), *ones, n_out)

        first, *others = X.data.chunks
        chunks = (first, *((1,) * len(sizes) for sizes in others), (n_out,))
        parts = map_chunks(of_chunk, X.data, chunks)
        samples = str(X.dims[0])
        return xr.DataArray(
            parts.sum(axis=tuple(range(1, X.ndim))),
            {samples: X[samples]} if samples in X.coords else {},
            (samples, "projection"),
        )

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that samples are no rows."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


@functools.lru_cache(maxsize=64)
def _matrix(seed: int, dim: str, count: int, size: int) -> np.ndarray:
    # row i of the draw is column i of the matrix, whatever the size
    drawn = np.random.default_rng([seed, *dim.encode()]).standard_normal((size, count))
    matrix = np.ascontiguousarray(drawn.T) / np.sqrt(count)
    matrix.flags.writeable = False
    return matrix
