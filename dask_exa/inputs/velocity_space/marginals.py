"""Integrals of a distribution function over all dimensions but some."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from dask_exa._samples import is_dask
from dask_exa.inputs.velocity_space.chunks import map_chunks
from dask_exa.inputs.velocity_space.mesh import PhaseSpace


def marginal(f: xr.DataArray, keep: Sequence[str], mesh: PhaseSpace | None = None) -> xr.DataArray:
    """Return the integral over all dimensions but those to keep.

    Parts of phase space have marginals that add to that of the whole.

    Parameters
    ----------
    f : xarray.DataArray
        NumPy, or Dask in any chunks: one task a chunk, and only marginals move.
    keep : sequence of str
        Such as ``("x", "vpar")``.
    mesh : PhaseSpace, optional
        Of `f`; default: `PhaseSpace.of(f)`.

    Returns
    -------
    xarray.DataArray
        On `keep`, in float64.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from dask_exa.inputs.velocity_space import marginal
    >>> mesh = {"x": np.arange(4) * 0.5, "vpar": np.linspace(-1, 1, 3)}
    >>> f = xr.DataArray(np.ones((4, 3)), mesh, ("x", "vpar"))
    >>> marginal(f, ["vpar"]).values.tolist(), float(marginal(f, []))
    ([2.0, 2.0, 2.0], 4.0)
    """
    mesh = PhaseSpace.of(f) if mesh is None else mesh
    unknown = [dim for dim in keep if dim not in mesh.dims]
    if unknown:
        raise ValueError(f"keep={list(keep)} has {unknown}; f has {list(mesh.dims)}.")
    gone = [str(dim) for dim in f.dims if dim not in keep]
    if not gone:
        return f.transpose(*keep).astype(np.float64)
    # one array of weights for all that is summed over: einsum is fast for two operands
    weights = mesh.volumes(gone).reshape([f.sizes[dim] for dim in gone])
    axes = [axis for axis, dim in enumerate(f.dims) if dim in gone]
    left = [axis for axis in range(f.ndim) if axis not in axes]

    def integrate(block: np.ndarray, begin: Sequence[int]) -> np.ndarray:
        part = weights[tuple(slice(begin[axis], begin[axis] + block.shape[axis]) for axis in axes)]
        return np.einsum(block, list(range(f.ndim)), part, axes, left)

    if is_dask(f.data):
        sizes = f.data.chunks
        chunks = tuple((1,) * len(c) if axis in axes else c for axis, c in enumerate(sizes))
        values = map_chunks(
            lambda block, begin: np.expand_dims(integrate(block, begin), axes), f.data, chunks
        ).sum(axis=tuple(axes))
    else:
        values = integrate(f.values, [0] * f.ndim)
    dims = [str(f.dims[axis]) for axis in left]
    labels = {dim: f[dim] for dim in dims if dim in f.coords}
    return xr.DataArray(values, labels, dims).astype(np.float64).transpose(*keep)
