"""Estimators in zarr: parameters as attributes, state as arrays.

A checkpoint is written beside the earlier one and takes its place when it is complete, so that a
full disk or an interruption in the middle costs nothing.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from dask_exa._array import to_host
from dask_exa._replacing import Replacing, find_folder
from dask_exa._samples import Labels, plain_coords
from dask_exa._state import State
from dask_exa.reduction._errors import naming
from dask_exa.reduction._graph import Graph, ref

FORMAT = 1
_MARK = "dask_exa_checkpoint"
_STEPS = "steps"
_IDENTITY = "identity"


class CheckpointReplacedError(RuntimeError):
    """A part of a basis is to be read again, after a later checkpoint took its file's place."""


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write an estimator to a zarr group, replacing an earlier checkpoint only at the end.

    Parameters
    ----------
    estimator : MergeableEstimator or StreamingPipeline
        Fitted. State that is split over workers is written by them: `path` must then be on a
        file system that they share.
    path : str or path-like

    Raises
    ------
    FileExistsError
        If `path` is there and is not a checkpoint.
    """
    path = Path(path)
    if path.exists() and not _is_checkpoint(path):
        raise FileExistsError(f"path={str(path)!r} exists and is not a checkpoint; choose another.")
    with Replacing(path) as folder:
        _write_any(estimator, folder)


def load(cls: type, path: str | os.PathLike) -> Any:
    """Return the estimator that `save` wrote.

    Parameters
    ----------
    cls : type
        The class that is asked for; a checkpoint of another one is refused.
    path : str or path-like

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        If there is no checkpoint, one of a later format, or one of another class.
    """
    found_at = find_folder(Path(path), _is_checkpoint)
    if found_at is None:
        raise FileNotFoundError(f"path={str(path)!r} is not a checkpoint of dask-exa.")
    path = found_at
    group: Any = zarr.open_group(path, mode="r")
    if group.attrs[_MARK] > FORMAT:
        raise ValueError(
            f"path={str(path)!r} has checkpoint format {group.attrs[_MARK]}, this version reads "
            f"up to {FORMAT}; upgrade dask-exa."
        )
    name = group.attrs["class"]
    found = cls if name == _class_name(cls) else _named_class(name)
    if not issubclass(found, cls):
        raise TypeError(f"path={str(path)!r} holds a {found.__name__}, not a {cls.__name__}.")
    if _STEPS in group.attrs:
        return _read_pipeline(found, path, group)
    estimator = found(**_tuples(group.attrs["params"]))
    estimator.n_features_in_ = group.attrs["n_features_in"]
    if "feature_names_in" in group.attrs:
        estimator.feature_names_in_ = np.asarray(group.attrs["feature_names_in"], dtype=object)
    estimator._state = State(
        _read(path, group["summary"]),
        _tuples(group.attrs["state_params"]),
        np.dtype(group.attrs["dtype"]),
        _read_labels(path, group),
    )
    return estimator


def _write_any(estimator: Any, path: Path) -> None:
    if hasattr(estimator, _STEPS):
        _write_pipeline(estimator, path)
    elif "_state" in getattr(estimator, "__dict__", {}):
        _write_estimator(estimator, path)
    else:
        raise TypeError(
            f"a {type(estimator).__name__} has no state that a checkpoint can hold; write the "
            "whole with joblib.dump or skops."
        )


def _write_pipeline(pipeline: Any, path: Path) -> None:
    """Write every step beside the others, by its number."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    params = pipeline.get_params(deep=False)
    names = []
    for i, (name, step) in enumerate(params.pop(_STEPS)):
        is_there = step is not None and not isinstance(step, str)
        names.append([name, step if not is_there else _step_folder(i)])
        if is_there:
            with naming(f"step {name!r}"):
                _write_any(step, path / _step_folder(i))
    attributes = {"class": _class_name(type(pipeline)), "params": _plain(params), _STEPS: names}
    group.attrs.update({**attributes, _MARK: FORMAT})


def _read_pipeline(cls: Any, path: Path, group: Any) -> Any:
    steps = [
        (name, load(object, path / step) if step == _step_folder(i) else step)
        for i, (name, step) in enumerate(group.attrs[_STEPS])
    ]
    return cls(steps, **_tuples(group.attrs["params"]))


def _step_folder(number: int) -> str:
    return f"step-{number:03d}"


def _write_estimator(estimator: Any, path: Path) -> None:
    state = estimator._state
    group = zarr.open_group(path, mode="w", zarr_format=3)
    _write(group.create_group("summary"), state.summary, path)
    attributes = {
        "class": _class_name(type(estimator)),
        "params": _plain(estimator.get_params(deep=False)),
        "state_params": _plain(state.params),
        "dtype": str(state.dtype),
        "n_features_in": int(estimator.n_features_in_),
        _IDENTITY: uuid.uuid4().hex,
    }
    if hasattr(estimator, "feature_names_in_"):
        attributes["feature_names_in"] = [str(name) for name in estimator.feature_names_in_]
    if state.labels is not None:
        labels = state.labels
        attributes["labels"] = {
            "sample_dims": list(labels.sample_dims),
            "feature_dims": list(labels.feature_dims),
            "feature_sizes": [int(size) for size in labels.feature_sizes],
        }
        coords = xr.Dataset(coords=labels.coords)
        coords.to_zarr(path, group="labels", mode="a", consolidated=False, zarr_format=3)
    group.attrs.update({**attributes, _MARK: FORMAT})


def _read_labels(path: Path, group: Any) -> Labels | None:
    if "labels" not in group.attrs:
        return None
    stored = {name: tuple(value) for name, value in group.attrs["labels"].items()}
    with xr.open_zarr(path, group="labels", consolidated=False, chunks=None) as coords:
        return Labels(**stored, coords=plain_coords(coords.load().coords))


def _write(group: zarr.Group, summary: Any, root: Path) -> None:
    """Write a tuple of arrays, numbers and further such tuples."""
    plain = {}
    for name, value in summary._asdict().items():
        if name == "slabs":
            _write_slabs(group, value, root)
        elif hasattr(value, "_asdict"):
            _write(group.create_group(name), value, root)
        elif hasattr(value, "dtype") and value.ndim > 0:
            data = np.ascontiguousarray(to_host(value))
            # in one chunk: when it fails, no other write is under way
            chunks = tuple(max(size, 1) for size in data.shape)
            array = group.create_array(
                name, shape=data.shape, dtype=data.dtype, chunks=chunks, compressors=None
            )
            array[...] = data
        else:
            plain[name] = value
    group.attrs.update({"class": _class_name(type(summary)), "plain": _plain(plain)})


def _read(root: Path, group: Any) -> Any:
    fields = dict(_tuples(group.attrs["plain"]))
    for name, member in group.members():
        if name == "slabs":
            fields[name] = _read_slabs(root, member)
        else:
            is_array = isinstance(member, zarr.Array)
            fields[name] = member[...] if is_array else _read(root, member)
    return _named_class(group.attrs["class"])(**fields)


def _write_slabs(group: zarr.Group, slabs: tuple[Any, ...], root: Path) -> None:
    """Let every worker write its own slab of a basis that nobody could hold."""
    names = [f"{i:06d}" for i in range(len(slabs))]
    group.create_group("slabs").attrs["names"] = names
    graph = Graph()
    keys = []
    for name, slab in zip(names, slabs, strict=True):
        write = functools.partial(_write_slab, root=root, place=f"{group.path}/slabs/{name}")
        keys.append(graph.add_task("save", write, ref(graph.add_value(slab))))
    graph.run(keys, wait=True)


def _write_slab(slab: Any, root: Path, place: str) -> None:
    _write(zarr.open_group(root, mode="r+").create_group(place), slab, root)


def _read_slabs(root: Path, group: Any) -> tuple[Any, ...]:
    graph = Graph()
    names = group.attrs["names"]
    identity: Any = zarr.open_group(root, mode="r").attrs.get(_IDENTITY)
    keys = [
        graph.add_task(
            "load",
            functools.partial(
                _read_slab, root=root, place=f"{group.path}/{name}", identity=identity
            ),
            home=i / len(names),
        )
        for i, name in enumerate(names)
    ]
    return tuple(graph.run(keys, wait=False))


def _read_slab(root: Path, place: str, identity: str | None) -> Any:
    """Read a slab; Dask does that again, perhaps much later, when a worker is lost with it."""
    group = zarr.open_group(root, mode="r")
    if group.attrs.get(_IDENTITY) != identity:
        raise CheckpointReplacedError(
            f"a part of a basis was lost with its worker, and the checkpoint {str(root)!r} that "
            "it came from has been replaced; load the checkpoint again."
        )
    return _read(root, group[place])


def _is_checkpoint(path: Path) -> bool:
    metadata = path / "zarr.json"
    return metadata.is_file() and _MARK in json.loads(metadata.read_text()).get("attributes", {})


def _class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _named_class(name: str) -> Any:
    module, _, qualname = name.partition(":")
    if module.partition(".")[0] != "dask_exa":
        raise ValueError(
            f"the checkpoint holds a {name}, which is not one of dask-exa's; load it by its class."
        )
    return getattr(importlib.import_module(module), qualname)


def _plain(value: Any) -> Any:
    """Return parameters in the types that JSON has."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if getattr(value, "ndim", 0) > 0:
        return to_host(value).tolist()
    if isinstance(value, np.generic) or getattr(value, "ndim", None) == 0:
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} cannot be written to a checkpoint; use numbers and strings.")


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
