"""A step as blocks: which variables there are, how they are split, and one task for each block."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dask_exa._samples import is_dask
from dask_exa._threads import map_threads, thread_share
from dask_exa.anomaly.checks import BlockFields, Contents, Place
from dask_exa.anomaly.checks.check import Clock
from dask_exa.reduction._graph import Chunks, Graph, ref

TIME_STEPS = ("dt", "time_step")
_COMPONENTS = (3, 3)


class Layout(NamedTuple):
    """How the fields of a step are split."""

    dims: tuple[str, ...]
    """Dimensions that are split: those of the field with the most, then others."""
    sizes: dict[str, int]
    edges: dict[str, tuple[int, ...]]
    """First index of every block along a dimension, and the length at the end."""

    def places(self, step: xr.Dataset) -> list[Place]:
        """Return the place of every block, the last dimension fastest."""
        spacing = {dim: value for dim in self.dims if (value := _spacing(step, dim))}
        labels = {dim: np.asarray(step[dim].values) for dim in self.dims if dim in step.coords}
        ranges = [list(itertools.pairwise(self.edges[dim])) for dim in self.dims]
        places = []
        for bounds in itertools.product(*ranges):
            by_dim = dict(zip(self.dims, bounds, strict=True))
            places.append(
                Place(
                    {dim: first for dim, (first, _) in by_dim.items()},
                    {dim: last for dim, (_, last) in by_dim.items()},
                    self.sizes,
                    spacing,
                    {dim: labels[dim][slice(*by_dim[dim])] for dim in labels},
                )
            )
        return places


def read_contents(step: xr.Dataset, time_step: float | None = None) -> Contents:
    """Return what is in a step.

    Raises
    ------
    TypeError
        If it is no data set, or a variable is complex.
    """
    if not isinstance(step, xr.Dataset):
        raise TypeError(
            f"step is a {type(step).__name__}; pass an xarray.Dataset of its variables."
        )
    fields, tensors, scalars, units = {}, set(), set(), {}
    for name, variable in sorted((str(name), step[name]) for name in step.data_vars):
        if variable.dtype.kind == "c":
            raise TypeError(
                f"{name} is complex; pass its real and imaginary parts as two variables."
            )
        if variable.ndim == 0:
            scalars.add(name)
        elif variable.dtype.kind == "f" or name == "level":
            dims = tuple(map(str, variable.dims))
            if variable.ndim > 2 and variable.shape[-2:] == _COMPONENTS:
                tensors.add(name)
                dims = dims[:-2]
            fields[name] = dims
            if variable.attrs.get("units"):
                units[name] = str(variable.attrs["units"])
    every = {dim for dims in fields.values() for dim in dims}
    spaced = frozenset(dim for dim in every if _spacing(step, dim))
    has_time_step = time_step is not None or any(name in _numbers(step) for name in TIME_STEPS)
    return Contents(fields, frozenset(tensors), frozenset(scalars), has_time_step, spaced, units)


def read_clock(step: xr.Dataset, time_step: float | None, time_before: float) -> Clock:
    """Return the numbers of a step that are no fields."""
    numbers = _numbers(step)
    time = numbers.get("time", np.nan)
    if time_step is None:
        time_step = next((numbers[name] for name in TIME_STEPS if name in numbers), np.nan)
    return Clock(time, float(time_step), time - time_before, numbers)


def split(step: xr.Dataset, names: Sequence[str], contents: Contents, blocks: Any) -> Layout:
    """Return how some fields of a step are split.

    Parameters
    ----------
    step : xarray.Dataset
    names : sequence of str
    contents : Contents
    blocks : None, int, or mapping of str to int
        As for `FieldMonitor`; the chunks of a lazy field take its place.
    """
    by_size = sorted(names, key=lambda name: -len(contents.fields[name]))
    dims = tuple(dict.fromkeys(dim for name in by_size for dim in contents.fields[name]))
    sizes = {dim: int(step.sizes[dim]) for dim in dims}
    empty = [dim for dim in dims if sizes[dim] == 0]
    if empty:
        raise ValueError(f"dimensions {empty} of the step have length 0; pass steps with data.")
    chunks: dict[str, tuple[int, ...]] = {}
    for name in by_size:
        if is_dask(step[name].data):
            for dim, parts in zip(step[name].dims, step[name].data.chunks, strict=True):
                chunks.setdefault(str(dim), parts)
    if chunks:
        whole = {dim: (sizes[dim],) for dim in dims}
        parts = {dim: chunks.get(dim, whole[dim]) for dim in dims}
    else:
        parts = _parts(sizes, blocks)
    edges = {dim: tuple(itertools.accumulate(parts[dim], initial=0)) for dim in dims}
    return Layout(dims, sizes, edges)


def map_blocks(
    function: Callable[[BlockFields], Any],
    step: xr.Dataset,
    names: Sequence[str],
    contents: Contents,
    layout: Layout,
    clock: Clock,
    carried: Mapping[tuple[str, ...], np.ndarray],
) -> list[Any]:
    """Return ``function(block)`` of every block.

    Lazy fields are read by one task a block, where their chunks are; nothing but what the
    function returns leaves it. Fields in memory are sliced, and Dask has no part in it.
    """
    places = layout.places(step)
    dims = {name: contents.fields[name] for name in names}
    fields = {name: step[name].data for name in names}
    rest = dims, clock, carried
    if any(is_dask(field) for field in fields.values()):
        return _map_chunks(function, fields, layout, places, *rest)

    def on_place(place: Place) -> Any:
        here = _owned(dims, place)
        arrays = [_part(fields[name], dims[name], place) for name in here]
        with thread_share(1):  # as on a worker: sums are the same to the last bit
            return _on_block(function, here, place, *rest, *arrays)

    return map_threads(on_place, places)


def _map_chunks(
    function: Callable[[BlockFields], Any],
    fields: Mapping[str, Any],
    layout: Layout,
    places: Sequence[Place],
    dims: Mapping[str, tuple[str, ...]],
    clock: Clock,
    carried: Mapping[tuple[str, ...], np.ndarray],
) -> list[Any]:
    graph = Graph()
    grids = {name: _add(graph, fields[name], dims[name], layout) for name in fields}
    ranges = [range(len(layout.edges[dim]) - 1) for dim in layout.dims]
    keys = []
    for i, (place, at) in enumerate(zip(places, itertools.product(*ranges), strict=True)):
        index = dict(zip(layout.dims, at, strict=True))
        here = _owned(dims, place)
        arrays = [
            _part(fields[name], dims[name], place)
            if grids[name] is None
            else ref(grids[name][tuple(index[dim] for dim in dims[name])])
            for name in here
        ]
        task = (_on_block, function, here, place, dims, clock, carried, *arrays)
        keys.append(graph.add_task("monitor", *task, home=i / len(places)))
    return graph.run(keys, wait=True)


def _owned(dims: Mapping[str, tuple[str, ...]], place: Place) -> list[str]:
    return [name for name, theirs in dims.items() if place.owns(theirs)]


def _on_block(
    function: Callable[[BlockFields], Any],
    names: Sequence[str],
    place: Place,
    dims: Mapping[str, tuple[str, ...]],
    clock: Clock,
    carried: Mapping[tuple[str, ...], np.ndarray],
    *arrays: Any,
) -> Any:
    return function(BlockFields(dict(zip(names, arrays, strict=True)), dims, place, clock, carried))


def _add(graph: Graph, array: Any, dims: tuple[str, ...], layout: Layout) -> Any:
    """Add the chunks of a lazy field; return a grid of keys, None for a field in memory."""
    if not is_dask(array):
        return None
    parts = [tuple(np.diff(layout.edges[dim]).tolist()) for dim in dims]
    wanted = (*parts, *((size,) for size in array.shape[len(dims) :]))
    if array.chunks != wanted:
        array = array.rechunk(wanted)
    chunks = Chunks(array)
    keys = chunks.keys.reshape(chunks.keys.shape[: len(dims)])
    flat = list(keys.reshape(-1))
    graph.add_chunks(chunks, flat, [i / len(flat) for i in range(len(flat))])
    return keys


def _part(array: Any, dims: tuple[str, ...], place: Place) -> Any:
    return array[tuple(slice(place.start[dim], place.stop[dim]) for dim in dims)]


def _parts(sizes: Mapping[str, int], blocks: Any) -> dict[str, tuple[int, ...]]:
    """Return the sizes of the blocks along every dimension, of fields in memory."""
    if blocks is None:
        return {dim: (size,) for dim, size in sizes.items()}
    if isinstance(blocks, Mapping):
        unknown = [dim for dim in blocks if dim not in sizes]
        if unknown:
            raise ValueError(
                f"blocks has {unknown}, but the fields have the dimensions {list(sizes)}."
            )
        lengths = {dim: _length(blocks.get(dim, size), dim) for dim, size in sizes.items()}
        return {dim: _even(size, -(-size // lengths[dim])) for dim, size in sizes.items()}
    count = _length(blocks, "the first dimension")
    first, *_ = sizes
    if count > sizes[first]:
        raise ValueError(
            f"blocks={count} is more than the {sizes[first]} points of {first}; lower it."
        )
    return {dim: _even(size, count if dim == first else 1) for dim, size in sizes.items()}


def _length(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"blocks={value!r} along {what} must be an int of 1 or more.")
    return int(value)


def _even(size: int, count: int) -> tuple[int, ...]:
    edges = [size * i // count for i in range(count + 1)]
    return tuple(after - before for before, after in itertools.pairwise(edges))


def _numbers(step: xr.Dataset) -> dict[str, float]:
    """Return scalar variables and coordinates, and the time step where it is an attribute."""
    found = {
        name: float(step.attrs[name]) for name in TIME_STEPS if np.isscalar(step.attrs.get(name))
    }
    for name, variable in step.variables.items():
        if variable.ndim == 0 and variable.dtype.kind in "fiu":
            found[str(name)] = float(variable.values)
    return found


def _spacing(step: xr.Dataset, dim: str) -> float:
    """Return the distance of the points along a dimension, 0 where it is not even or not known."""
    if dim not in step.coords or step.coords[dim].dtype.kind not in "fiu":
        return 0.0
    values = np.asarray(step.coords[dim].values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        return 0.0
    steps = np.diff(values)
    mean = float(steps.mean())
    even = np.allclose(steps, mean, rtol=1e-3, atol=0.0)
    return abs(mean) if even and mean else 0.0
