"""Stored arrays with a time axis as a stream, whatever the format that stores them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from dask_exa.inputs.stream import Stream

TIME_NAMES = ("time", "t")


@dataclass(frozen=True)
class StoredArray:
    """One array of a file: what is known of it without reading it.

    Parameters
    ----------
    name : str
        Path inside of the file; the variable of a step has dots in place of its slashes.
    array : object
        With ``shape``, ``dtype`` and NumPy's basic indexing. It has to be picklable when chunks
        are read by other processes.
    dims : tuple of str or None, optional
        Names of the dimensions, None for each that has none.
    attrs : dict, optional
    """

    name: str
    array: Any
    dims: tuple[str | None, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.array.shape)

    @property
    def time_axis(self) -> int:
        """The axis named time or t, else the first."""
        named = [axis for axis, dim in enumerate(self.dims) if dim in TIME_NAMES]
        return named[0] if named else 0

    @property
    def n_steps(self) -> int:
        """Length of the time axis."""
        return int(self.array.shape[self.time_axis])

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape without the time axis."""
        axis = self.time_axis
        return tuple(int(n) for n in (*self.array.shape[:axis], *self.array.shape[axis + 1 :]))


class Frame:
    """One step of a stored array, read when and where it is indexed."""

    def __init__(self, array: Any, axis: int, position: int) -> None:
        self.array, self.axis, self.position = array, axis, position
        self.shape = (*array.shape[:axis], *array.shape[axis + 1 :])
        self.dtype, self.ndim = array.dtype, len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part of the step."""
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in key:
            at = key.index(Ellipsis)
            whole = (slice(None),) * (self.ndim - len(key) + 1)
            key = (*key[:at], *whole, *key[at + 1 :])
        return np.asarray(self.array[(*key[: self.axis], self.position, *key[self.axis :])])


def stream_arrays(
    arrays: Sequence[StoredArray],
    *,
    name: str,
    chunks: Any = None,
    variables: Sequence[str] | None = None,
    close: Callable[[], Any] | None = None,
    constants: Mapping[str, Any] = MappingProxyType({}),
) -> Stream:
    """Return the steps of stored arrays that share a time axis.

    Parameters
    ----------
    arrays : sequence of StoredArray
        All arrays of the file; those of one dimension may be coordinates.
    name : str
        For messages and reports.
    chunks, variables
        As for `open_stream`.
    close : callable, optional
    constants : mapping of str to coordinate, optional
        Scalar coordinates that every step gets.

    Returns
    -------
    Stream
    """
    chosen = _choose(arrays, variables, name)
    steps = {stored.n_steps for stored in chosen}
    if len(steps) > 1:
        lengths = ", ".join(f"{stored.name}: {stored.n_steps}" for stored in chosen)
        raise ValueError(
            f"variables of {name!r} have different numbers of steps ({lengths}); pass variables= "
            "with those that belong together."
        )
    (n_steps,) = steps
    if n_steps == 0:
        raise ValueError(f"source={name!r} has no steps: {chosen[0].name} is {_shape(chosen[0])}.")
    dims = _name_dims(chosen)
    sizes = {
        dim: size
        for stored in chosen
        for dim, size in zip(dims[stored.name], stored.step_shape, strict=True)
    }
    coords = {s.name: s for s in arrays if s.ndim == 1 and sizes.get(s.name) == s.array.shape[0]}
    times = [
        s for s in arrays if s.ndim == 1 and _leaf(s) in TIME_NAMES and s.array.shape[0] == n_steps
    ]
    clock = _clock(times[0] if times else None, n_steps)
    labels = {dim: (dim, np.asarray(s.array[:]), s.attrs) for dim, s in coords.items()}

    def read(start: int) -> Iterator[xr.Dataset]:
        for position in range(start, n_steps):
            data = {_variable(s): _frame(s, dims[s.name], position, chunks) for s in chosen}
            yield xr.Dataset(data, coords={**labels, **constants, **clock(position)})

    names = tuple(_variable(stored) for stored in chosen)
    return Stream(read, name=name, sizes=sizes, variables=names, n_steps=n_steps, close=close)


def _frame(stored: StoredArray, dims: tuple[str, ...], position: int, chunks: Any) -> Any:
    frame = Frame(stored.array, stored.time_axis, position)
    if chunks is None:
        return dims, frame[...], stored.attrs
    if isinstance(chunks, Mapping):
        chunks = tuple(chunks.get(dim, -1) for dim in dims)
    lazy = da.from_array(
        frame, chunks=chunks, name=False, inline_array=True, meta=np.empty(0, frame.dtype)
    )
    return dims, lazy, stored.attrs


def _clock(times: StoredArray | None, n_steps: int) -> Callable[[int], dict[str, Any]]:
    """Return a function from a position to the scalar coordinates of that step."""
    values = np.arange(n_steps, dtype=float) if times is None else np.asarray(times.array[:])
    attrs = {} if times is None else times.attrs
    return lambda position: {
        "time": ((), values[position], attrs),
        "timestep": ((), position, {"long_name": "position in the file"}),
    }


def _choose(
    arrays: Sequence[StoredArray], variables: Sequence[str] | None, name: str
) -> list[StoredArray]:
    """Return the arrays to stream: those asked for, else those that share the largest's steps."""
    by_name = {stored.name: stored for stored in arrays}
    if variables is not None:
        missing = [variable for variable in variables if variable not in by_name]
        if missing or not variables:
            raise ValueError(
                f"variables={list(variables)} are not all in {name!r}; it has {_listing(arrays)}."
            )
        chosen = [by_name[variable] for variable in variables]
        flat = [stored for stored in chosen if stored.ndim < 2 or stored.array.dtype.kind in "OSUV"]
        if flat:
            raise ValueError(
                f"variables={[stored.name for stored in flat]} of {name!r} are not numeric arrays "
                f"of two or more dimensions; it has {_listing(arrays)}."
            )
        return chosen
    candidates = [s for s in arrays if s.ndim >= 2 and s.array.dtype.kind in "iufc"]
    if not candidates:
        raise ValueError(
            f"source={name!r} has no numeric array of two or more dimensions, (time, …); it has "
            f"{_listing(arrays)}."
        )
    floating = [s for s in candidates if s.array.dtype.kind in "fc"] or candidates
    timed = [s.array.shape[0] for s in arrays if s.ndim == 1 and _leaf(s) in TIME_NAMES]
    largest = max(floating, key=lambda s: (s.n_steps in timed, np.prod(s.array.shape)))
    return [s for s in floating if s.n_steps == largest.n_steps]


def _name_dims(chosen: Sequence[StoredArray]) -> dict[str, tuple[str, ...]]:
    """Name the dimensions of a step; a name never stands for two lengths."""
    n_dims = {len(stored.step_shape) for stored in chosen}
    usual = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}.get(max(n_dims), ())
    if len(n_dims) > 1 or not usual:
        usual = tuple(f"dim_{i}" for i in range(1, max(n_dims) + 1))
    lengths: dict[str, int] = {}
    named: dict[str, tuple[str, ...]] = {}
    for stored in chosen:
        given = [dim for axis, dim in enumerate(stored.dims) if axis != stored.time_axis]
        given = given or [None] * len(stored.step_shape)
        names: list[str] = []
        repeated = Counter(given)
        for dim, default, size in zip(given, usual, stored.step_shape, strict=False):
            dim = default if dim is None or repeated[dim] > 1 else dim
            if lengths.setdefault(dim, size) != size:
                dim = f"{dim}_{_leaf(stored)}"
                lengths[dim] = size
            names.append(dim)
        named[stored.name] = tuple(names)
    return named


def _variable(stored: StoredArray) -> str:
    return stored.name.replace("/", ".")


def _leaf(stored: StoredArray) -> str:
    return stored.name.rpartition("/")[2]


def _shape(stored: StoredArray) -> str:
    return f"{tuple(int(n) for n in stored.array.shape)} {stored.array.dtype}"


def _listing(arrays: Sequence[StoredArray]) -> str:
    shown = ", ".join(f"{stored.name} {_shape(stored)}" for stored in arrays[:12])
    return (shown or "no arrays") + (", …" if len(arrays) > 12 else "")
