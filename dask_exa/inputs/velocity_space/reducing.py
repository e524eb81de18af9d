"""One pass over a distribution function: moments, invariants, a marginal and a projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dask_exa._samples import is_dask
from dask_exa.inputs.velocity_space.chunks import map_chunks
from dask_exa.inputs.velocity_space.invariants import Invariants
from dask_exa.inputs.velocity_space.mesh import PhaseSpace
from dask_exa.inputs.velocity_space.moments import fluid_moments, moment_columns
from dask_exa.inputs.velocity_space.projection import TensorProjection
from dask_exa.kernels.phase_space import reduce_phase_space


class PhaseSpaceSummary(NamedTuple):
    """What is kept of a distribution function, or of a slab of it. `merge` puts slabs together.

    Parameters
    ----------
    mesh : PhaseSpace
        Of the whole.
    raw : xarray.DataArray
        Sums over velocities at every position, along ``moment``, see `moment_columns`.
    marginal : xarray.DataArray
        Integral over positions, on the dimensions of velocity.
    sums : Invariants
    projection : array or None
    """

    mesh: PhaseSpace
    raw: xr.DataArray
    marginal: xr.DataArray
    sums: Invariants
    projection: Any

    @property
    def moments(self) -> xr.Dataset:
        """Density, mean velocity, temperature and heat flux at every position."""
        return fluid_moments(self.raw, self.mesh.components)

    @property
    def invariants(self) -> xr.Dataset:
        """Numbers that tell whether a run is sound, see `Invariants.named`."""
        return xr.Dataset({name: ((), value) for name, value in self.sums.named().items()})

    @classmethod
    def merge(cls, parts: Sequence[PhaseSpaceSummary]) -> PhaseSpaceSummary:
        """Return the summary of slabs that split positions, velocities or both.

        Raises
        ------
        ValueError
            When slabs have no coordinates to tell where they lie.
        """
        first = parts[0]
        for part in parts:
            missing = [dim for dim in part.raw.dims[:-1] if dim not in part.raw.coords]
            if missing and len(parts) > 1:
                raise ValueError(f"slabs have no coordinate {missing[0]!r} to be put together by.")
        raw, marginal = (
            _add([getattr(part, name) for part in parts]) for name in ("raw", "marginal")
        )
        sums = Invariants.merge([part.sums for part in parts])
        projection = None
        if first.projection is not None:
            projection = np.sum([part.projection for part in parts], axis=0)
        return cls(first.mesh, raw, marginal, sums, projection)


def summarize(
    f: xr.DataArray,
    mesh: PhaseSpace | None = None,
    *,
    projection: TensorProjection | None = None,
    start: Mapping[str, int] | None = None,
) -> PhaseSpaceSummary:
    """Reduce a distribution function in one pass.

    Nothing of the size of `f` is made, if its dimensions of velocity are the last ones in memory;
    else a copy that has them there.

    Parameters
    ----------
    f : xarray.DataArray
        On positions and velocities, float32 or float64: NumPy, or Dask in any chunks. One task a
        chunk then; what leaves it is small and all results are lazy.
    mesh : PhaseSpace, optional
        Of the whole function; default: `PhaseSpace.of(f)`.
    projection : TensorProjection, optional
        Fitted to the whole; adds its components, in the same pass.
    start : mapping of str to int, optional
        Where `f` is a slab of the whole: its first index along the dimensions that are split.

    Returns
    -------
    PhaseSpaceSummary

    Examples
    --------
    >>> from dask_exa.datasets import Vlasov
    >>> from dask_exa.inputs.velocity_space import PhaseSpace, PhaseSpaceSummary, summarize
    >>> f = Vlasov(shape=(8, 8, 16, 16, 3)).fields.f
    >>> summary = summarize(f)
    >>> list(summary.moments)
    ['density', 'mean_vx', 'mean_vy', 'temperature', 'heat_flux_vx', 'heat_flux_vy']
    >>> mesh = PhaseSpace.of(f)
    >>> parts = [summarize(f[:5], mesh), summarize(f[5:], mesh, start={"x": 5})]
    >>> merged = PhaseSpaceSummary.merge(parts)
    >>> bool(abs(merged.sums.particles / summary.sums.particles - 1) < 1e-14)
    True
    """
    mesh = PhaseSpace.of(f) if mesh is None else mesh
    if set(f.dims) != set(mesh.dims):
        raise ValueError(f"f has the dimensions {list(f.dims)}, its mesh {list(mesh.dims)}.")
    if f.dtype.kind != "f":
        raise TypeError(f"f has the dtype {f.dtype}; pass real floating-point values.")
    f = f.transpose(*mesh.dims)
    reduce_part = _Reduction(mesh, projection, dict(start or {}))
    if is_dask(f.data):
        return _summarize_chunks(f, reduce_part)
    found = reduce_part(f.values, (0,) * f.ndim)
    raw = xr.DataArray(found.raw, _coords(f, mesh.space), (*mesh.space, "moment"))
    marginal = xr.DataArray(found.marginal, _coords(f, mesh.velocity), mesh.velocity)
    return PhaseSpaceSummary(mesh, raw, marginal, found.sums, found.projection)


class _Record(NamedTuple):
    raw: np.ndarray
    marginal: np.ndarray
    sums: Invariants
    projection: np.ndarray | None


class _Reduction:
    """Reduces a part of phase space, given where it begins; small and picklable."""

    def __init__(
        self, mesh: PhaseSpace, projection: TensorProjection | None, start: dict[str, int]
    ) -> None:
        self.mesh, self.projection, self.start = mesh, projection, start

    def __call__(self, values: np.ndarray, begin: Sequence[int]) -> _Record:
        mesh = self.mesh
        start = {
            dim: self.start.get(dim, 0) + int(at) for dim, at in zip(mesh.dims, begin, strict=True)
        }
        part = mesh.part(start, dict(zip(mesh.dims, values.shape, strict=True)))
        n_space = len(mesh.space)
        space, velocity = values.shape[:n_space], values.shape[n_space:]
        columns = moment_columns(part)
        n_moments = len(columns)
        if self.projection is not None:
            columns = np.concatenate([columns, self._velocity_matrix(start, velocity)])
        weights = part.volumes(mesh.velocity)
        points = part.volumes(mesh.space)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        sums = reduce_phase_space(
            values.reshape(points.size, weights.size), columns, points, weights
        )
        energies = np.sum(part.velocities() ** 2, axis=0) / 2
        invariants = Invariants(
            particles=float(weights @ sums.marginal),
            absolute=sums.absolute,
            squares=sums.squares,
            kinetic_energy=float((weights * energies) @ sums.marginal),
            largest=sums.largest,
            smallest=sums.smallest,
        )
        raw = sums.projected[:, :n_moments].reshape(*space, n_moments)
        projected = None
        if self.projection is not None:
            projected = self._project(sums.projected[:, n_moments:], start, space)
        return _Record(raw, sums.marginal.reshape(velocity), invariants, projected)

    def _velocity_matrix(self, start: Mapping[str, int], sizes: Sequence[int]) -> np.ndarray:
        """Return the Kronecker product of the matrices of all dimensions of velocity."""
        assert self.projection is not None
        product = np.ones((1, 1))
        for dim, size in zip(self.mesh.velocity, sizes, strict=True):
            product = np.kron(product, self.projection.matrix(dim, start[dim], size))
        return product

    def _project(
        self, values: np.ndarray, start: Mapping[str, int], sizes: Sequence[int]
    ) -> np.ndarray:
        """Project what is left of a function, (n_points, n), along the dimensions of space."""
        assert self.projection is not None
        values = values.reshape(*sizes, -1)
        for dim, size in zip(self.mesh.space, sizes, strict=True):
            # the first axis each time; what it becomes goes before those of velocity
            matrix = self.projection.matrix(dim, start[dim], size)
            values = np.moveaxis(np.tensordot(matrix, values, (1, 0)), 0, -2)
        return self._in_order(values)

    def _in_order(self, values: np.ndarray) -> np.ndarray:
        """Return components flat in the order of the dimensions that the projection knows."""
        assert self.projection is not None
        counts = self.projection.counts_
        values = values.reshape([counts[dim] for dim in self.mesh.dims])
        axes = [self.mesh.dims.index(dim) for dim in self.projection.sizes_]
        return values.transpose(axes).ravel()


def _summarize_chunks(f: xr.DataArray, reduce_part: _Reduction) -> PhaseSpaceSummary:
    """Reduce every chunk where it is; records of chunks are small and become lazy arrays."""
    mesh, data = reduce_part.mesh, f.data

    def of_chunk(block: np.ndarray, begin: Sequence[int]) -> np.ndarray:
        record = np.empty((1,) * block.ndim, dtype=object)
        record.flat[0] = reduce_part(block, begin)
        return record

    ones = tuple((1,) * len(chunks) for chunks in data.chunks)
    records = map_chunks(of_chunk, data, ones, dtype=object)
    n_space = len(mesh.space)
    n_moments = len(moment_columns(mesh))
    raw = _lazy(records, _raw, (*data.chunks[:n_space], *ones[n_space:], (n_moments,)))
    raw = raw.sum(axis=tuple(range(n_space, f.ndim)))
    marginal = _lazy(records, _marginal, (*ones[:n_space], *data.chunks[n_space:]))
    marginal = marginal.sum(axis=tuple(range(n_space)))
    n_sums = len(Invariants._fields)
    sums = _lazy(records, _sums, (*ones, (n_sums,)))
    every = tuple(range(f.ndim))
    totals, largest = sums.sum(axis=every), sums.max(axis=every)
    smallest = sums.min(axis=every)
    invariants = Invariants(totals[0], totals[1], totals[2], totals[3], largest[4], smallest[5])
    projected = None
    if reduce_part.projection is not None:
        n_out = int(np.prod(list(reduce_part.projection.counts_.values())))
        projected = _lazy(records, _projection, (*ones, (n_out,))).sum(axis=every)
    return PhaseSpaceSummary(
        mesh,
        xr.DataArray(raw, _coords(f, mesh.space), (*mesh.space, "moment")),
        xr.DataArray(marginal, _coords(f, mesh.velocity), mesh.velocity),
        invariants,
        projected,
    )


def _lazy(records: Any, take: Any, chunks: Any) -> Any:
    return map_chunks(lambda record, begin: take(record), records, chunks)


def _raw(record: np.ndarray) -> np.ndarray:
    raw = record.item().raw
    n_velocity = record.ndim - (raw.ndim - 1)
    return raw.reshape(*raw.shape[:-1], *(1,) * n_velocity, raw.shape[-1])


def _marginal(record: np.ndarray) -> np.ndarray:
    marginal = record.item().marginal
    return marginal.reshape(*(1,) * (record.ndim - marginal.ndim), *marginal.shape)


def _sums(record: np.ndarray) -> np.ndarray:
    return np.array(record.item().sums).reshape(*(1,) * record.ndim, -1)


def _projection(record: np.ndarray) -> np.ndarray:
    return record.item().projection.reshape(*(1,) * record.ndim, -1)


def _coords(f: xr.DataArray, dims: Sequence[str]) -> dict[str, Any]:
    return {dim: f[dim] for dim in dims if dim in f.coords}


def _add(parts: Sequence[xr.DataArray]) -> xr.DataArray:
    """Add arrays that lie side by side, on top of one another, or both."""
    if len(parts) == 1:
        return parts[0]
    aligned = xr.align(*parts, join="outer", fill_value=0.0)
    total = aligned[0].copy(deep=True)
    for part in aligned[1:]:
        total += part
    return total
