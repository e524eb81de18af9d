"""Steps in, a compressed store out: which arrays there are, and when readers see them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dask_exa._array import to_host
from dask_exa._threads import map_threads
from dask_exa.compression import _folder
from dask_exa.compression._step_arrays import (
    CodedArray,
    Encoder,
    PlainArray,
    encoded,
    steps_per_chunk,
)
from dask_exa.compression.bounds import Bound
from dask_exa.compression.zarr_codec import NAME, BlockCodec

CODED_KINDS = "iufc"
ALWAYS_CHANGE = ("time", "timestep")
_ROOM = 4
STEP_ATTRIBUTES = "step_attributes"
"""Coordinate with the attributes of each step as JSON, where they are not always the same."""


@dataclass
class _Step:
    fields: dict[str, np.ndarray]
    others: dict[str, xr.Variable]


class StoreWriter:
    """Append steps to a store, some at a time.

    Parameters
    ----------
    path : Path
        Of the store.
    bound : Bound
    encode : callable
        See `dask_exa.compression._step_arrays.Encoder`.
    n_together : int, optional
        Steps of a chunk; by default as many as fit into 16 MiB, 16 at most.

    Attributes
    ----------
    n_steps : int
        That readers see.
    n_waiting : int
        That are in memory.
    """

    def __init__(
        self, path: Path, bound: Bound, encode: Encoder, n_together: int | None = None
    ) -> None:
        self.path, self.bound, self.encode, self.n_together = path, bound, encode, n_together
        self.n_steps = 0
        self.coded: dict[str, CodedArray] = {}
        self.plain: dict[str, PlainArray] = {}
        self.constant: dict[str, xr.Variable] = {}
        self.attributes: dict[str, Any] = {}
        self.time_dim = "time"
        self._waiting: list[_Step] = []
        self._constant_metadata: dict[str, Any] = {}
        self._coordinates: list[str] = []
        self._template: xr.Dataset | None = None

    @property
    def n_waiting(self) -> int:
        """Number of steps in memory that are not written yet."""
        return len(self._waiting)

    @classmethod
    def resume(cls, path: Path, bound: Bound, encode: Encoder) -> StoreWriter:
        """Go on behind the last whole step of a store.

        Raises
        ------
        ValueError
            When it has been written within another bound.
        """
        found = _folder.published(path) or {}
        writer = cls(path, bound, encode)
        stored = xr.open_dataset(path, engine="zarr", chunks=None)
        for name, metadata in found.items():
            if metadata["codecs"][0]["name"] == NAME:
                writer.coded[name] = CodedArray(path / name, metadata)
                _check_bound(BlockCodec.from_dict(metadata["codecs"][0]).bound, bound, path)
        first = next(iter(writer.coded.values()))
        writer.n_steps, writer.n_together = first.n_steps, first.chunks[0]
        writer.time_dim = first.metadata["dimension_names"][0]
        for name, metadata in found.items():
            if name in writer.coded:
                continue
            if writer.time_dim in (metadata.get("dimension_names") or ())[:1]:
                writer.plain[name] = PlainArray(path / name, metadata)
            else:
                writer._constant_metadata[name] = metadata
                writer.constant[name] = stored[name].variable.load()
        attributes = _folder.read_metadata(path)["attributes"]
        writer._coordinates = attributes.pop("coordinates", "").split()
        writer.attributes = attributes
        if STEP_ATTRIBUTES not in writer.plain:
            writer.constant[STEP_ATTRIBUTES] = _as_text(attributes)
        sizes = _sizes(stored[list(writer.coded)].isel({writer.time_dim: 0}))
        writer.constant |= {n: v for n, v in sizes.items() if n not in writer.plain}
        stored.close()
        return writer

    def append(self, step: xr.Dataset) -> None:
        """Take a step, which is copied; write when there are enough for a chunk."""
        if not self.coded and self._template is None:
            self._begin(step)
        found = _Step({}, {STEP_ATTRIBUTES: _as_text(step.attrs), **_sizes(step)})
        for name, variable in step.variables.items():
            if _is_coded(step, name):
                found.fields[str(name)] = np.array(to_host(variable.compute().data))
            else:
                found.others[str(name)] = variable
        self._check_fields(found.fields)
        self._check_others(found.others)
        found.others = {name: self._kept(name, value) for name, value in found.others.items()}
        self._waiting.append(found)
        assert self.n_together is not None
        if (self.n_steps + self.n_waiting) % self.n_together == 0:
            self.flush()

    def flush(self) -> None:
        """Write the steps that wait, and let readers see them.

        Raises
        ------
        OSError
            When the disk is full; what readers see is as it was.
        """
        if not self._waiting:
            return
        try:
            if not self.coded:
                self._create()
            self._write(self._waiting)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror or error}: writing steps {self.n_steps} to "
                f"{self.n_steps + self.n_waiting - 1} of {str(self.path)!r} failed; the "
                f"{self.n_steps} steps before them are whole and readable. Make room, and go on "
                "with resume (--resume)",
            ) from error
        self.n_steps += self.n_waiting
        self._waiting.clear()

    def _begin(self, step: xr.Dataset) -> None:
        """Learn from the first step which arrays there will be."""
        fields = [step[name] for name in step.data_vars if _is_coded(step, name)]
        if not fields:
            raise ValueError(
                f"the steps have no numeric variables to compress, only "
                f"{', '.join(map(str, step.variables)) or 'nothing'}; pass a source with fields."
            )
        if self.n_together is None:
            self.n_together = steps_per_chunk(max(field.nbytes for field in fields))
        if self.time_dim in step.dims:
            self.time_dim = "step"
        self._template = step.drop_vars([n for n in step.variables if not _is_coded(step, n)])
        self._template = self._template.copy(
            data={
                name: np.broadcast_to(np.zeros((), v.dtype), v.shape)
                for name, v in self._template.data_vars.items()
            }
        )
        self.attributes = dict(step.attrs)
        self._coordinates = [str(name) for name in step.coords if step[name].dims != (name,)]
        self.constant = {STEP_ATTRIBUTES: _as_text(step.attrs), **_sizes(step)} | {
            str(name): variable.copy(deep=True).load()
            for name, variable in step.variables.items()
            if not _is_coded(step, name) and name not in ALWAYS_CHANGE
        }

    def _kept(self, name: str, value: xr.Variable) -> xr.Variable:
        """Return the constant itself where a value is equal to it, else a copy."""
        constant = self.constant.get(name)
        if constant is not None and constant.equals(value):
            return constant
        if constant is not None and value.dims == (name,):
            raise ValueError(
                f"the coordinate {name!r} of step {self.n_steps + self.n_waiting} is not that of "
                "the steps before it; a store has one axis for all steps: compress the steps "
                "before and after the change into stores of their own."
            )
        return value.copy(deep=True).load()

    def _check_others(self, others: Mapping[str, xr.Variable]) -> None:
        known = self.constant.keys() | self.plain.keys()
        if self._template is not None:
            known |= set(ALWAYS_CHANGE)
        for name in known ^ others.keys():
            has = "has no" if name in known else "has a"
            raise ValueError(
                f"step {self.n_steps + self.n_waiting} {has} coordinate {name!r}, unlike the steps "
                "before it; give all steps the same coordinates."
            )

    def _check_fields(self, fields: Mapping[str, np.ndarray]) -> None:
        expected = self._expected()
        found = {name: (field.ndim, field.dtype) for name, field in fields.items()}
        for name in expected.keys() | found.keys():
            if expected.get(name) != found.get(name):
                raise ValueError(
                    f"step {self.n_steps + self.n_waiting} has {_described(found.get(name))} for "
                    f"{name!r} where the steps before it have {_described(expected.get(name))}; "
                    "choose other variables, or compress the steps from here on into a store of "
                    "their own."
                )

    def _expected(self) -> dict[str, tuple[int, np.dtype]]:
        if self._template is not None:
            return {str(n): (v.ndim, v.dtype) for n, v in self._template.data_vars.items()}
        return {
            name: (len(array.metadata["shape"]) - 1, np.dtype(array.metadata["data_type"]))
            for name, array in self.coded.items()
        }

    def _create(self) -> None:
        assert self._template is not None
        assert self.n_together is not None
        codec = BlockCodec(self.bound)
        for name, field in self._template.data_vars.items():
            dims = (self.time_dim, *map(str, field.dims))
            shapes = [step.fields[str(name)].shape for step in self._waiting]
            # what has begun to grow goes on to: chunks of a few octs would be coded badly
            room = [max(s) * (1 if min(s) == max(s) else _ROOM) for s in zip(*shapes, strict=True)]
            self.coded[str(name)] = CodedArray.create(
                self.path / str(name), dims, field, tuple(room), self.n_together, codec
            )
        self._write_constants(self.constant)

    def _write_constants(self, constant: Mapping[str, xr.Variable]) -> None:
        """Write what is the same in all steps, but what the group and its arrays say."""
        assert self._template is not None
        known = {STEP_ATTRIBUTES, *_sizes(self._template)}
        kept = {name: value for name, value in constant.items() if name not in known}
        coords = {name: value.copy(deep=False) for name, value in kept.items()}
        for variable in coords.values():
            variable.encoding = {}
        dataset = xr.Dataset(coords=xr.Coordinates(coords, indexes={}))
        with _folder.quiet_about_text():
            dataset.to_zarr(self.path, mode="a", zarr_format=3, consolidated=False)
        self._constant_metadata = {name: _folder.read_metadata(self.path / name) for name in kept}

    def _write(self, steps: list[_Step]) -> None:
        for name in steps[0].others:
            values = [step.others[name] for step in steps]
            if name in self.plain:
                self.plain[name].append(_stack(values))
            elif any(value is not self.constant.get(name) for value in values):
                self._let_change(name, values)
        fields = {name: [step.fields[name] for step in steps] for name in self.coded}
        is_split = any(map(CodedArray.splits, self.coded.values(), fields.values()))
        # parts of a field on the threads where there are any, else fields: never one in the other
        for_each: Any = map if is_split else map_threads
        list(for_each(self._append, fields.items()))
        arrays: dict[str, CodedArray | PlainArray] = {**self.coded, **self.plain}
        grown = {name: array.metadata for name, array in arrays.items()}
        constant = {n: m for n, m in self._constant_metadata.items() if n not in self.plain}
        coordinates = {"coordinates": " ".join(self._coordinates)} if self._coordinates else {}
        _folder.publish(self.path, {**grown, **constant}, {**self.attributes, **coordinates})

    def _append(self, item: tuple[str, list[np.ndarray]]) -> None:
        name, fields = item
        for _, alike in itertools.groupby(fields, key=np.shape):
            self.coded[name].append(np.stack(list(alike)), self.encode)

    def _let_change(self, name: str, values: list[xr.Variable]) -> None:
        """Give something that was the same in all steps so far a value of its own in each."""
        assert self.n_together is not None
        value = encoded(values[-1])
        dims = (self.time_dim, *map(str, value.dims))
        self.plain[name] = PlainArray.create(self.path / name, dims, value, self.n_together)
        if self.n_steps:
            before = _stack([self.constant[name]])
            for first in range(0, self.n_steps, self.n_together):
                n_rows = min(self.n_together, self.n_steps - first)
                self.plain[name].append(np.repeat(before, n_rows, axis=0))
        self.plain[name].append(_stack(values))
        if name not in self._coordinates:
            self._coordinates.append(name)


def _is_coded(step: xr.Dataset, name: Any) -> bool:
    return name in step.data_vars and step[name].dtype.kind in CODED_KINDS


def _as_text(attributes: Mapping[Any, Any]) -> xr.Variable:
    return xr.Variable((), json.dumps(_folder.plain(attributes), sort_keys=True))


def _stack(values: Iterable[xr.Variable]) -> np.ndarray:
    """Return values of all steps, with the fill value behind those of the smaller ones."""
    rows = [encoded(value).values for value in values]
    shape = tuple(map(max, zip(*(row.shape for row in rows), strict=True)))
    if any(row.shape != shape for row in rows):
        fill_value = _folder.fill_value("str" if rows[0].dtype.kind in "OUS" else rows[0].dtype)
        padded = [np.full(shape, fill_value, row.dtype) for row in rows]
        for place, row in zip(padded, rows, strict=True):
            place[tuple(map(slice, row.shape))] = row
        rows = padded
    found = np.stack(rows)
    return found.astype(object) if found.dtype.kind in "US" else found


def _check_bound(found: Bound, asked: Bound, path: Path) -> None:
    if tuple(found) != tuple(asked):
        raise ValueError(
            f"out={str(path)!r} has been written within {found}, but {asked} is asked for; pass "
            "the same bound, or another folder."
        )


def _described(found: tuple[int, np.dtype] | None) -> str:
    return "nothing" if found is None else f"{found[1]} values of {found[0]} dimensions"


def _sizes(step: xr.Dataset) -> dict[str, xr.Variable]:
    """Return the lengths of dimensions, such as "n_oct", which are kept where they change."""
    names = {f"n_{dim}": size for dim, size in step.sizes.items()}
    return {name: xr.Variable((), size) for name, size in names.items() if name not in step}
