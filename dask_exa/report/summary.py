"""The run for programs: summary.json, whose fields docs/summary-schema.md describes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np

from dask_exa import __version__
from dask_exa.report.result import FieldResult, RunResult

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""

FITTED = (
    "n_components",
    "n_samples_seen",
    "explained_variance",
    "explained_variance_ratio",
    "singular_values",
    "noise_variance",
    "truncation_error",
)
"""Fitted quantities by name; those that an estimator of a pipeline does not have are null."""


def run_summary(result: RunResult) -> dict[str, Any]:
    """Return the summary of a run, made of what JSON knows.

    Parameters
    ----------
    result : RunResult

    Returns
    -------
    dict
        Numbers that are not finite are None.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "command": result.command,
        "source": result.source,
        "started": result.started,
        "finished": result.finished,
        "interrupted": result.interrupted,
        "stopped": result.stopped,
        "faults": list(result.faults),
        "steps": {
            "seen": result.n_steps,
            "timestep": _plain(result.timestep),
            "time": _plain(result.time),
            "time_units": result.time_units,
        },
        "fitted": {name: _fitted(field) for name, field in result.fields.items()},
        "errors": {name: _errors(field) for name, field in result.fields.items()},
        "seconds": {name: _plain(values) for name, values in result.seconds.items()},
        "bytes": {name: _plain(values) for name, values in result.bytes.items()},
        "alarms": [_plain(alarm.as_dict()) for alarm in result.alarms],
        "detection": _detection(result),
        "outputs": dict(result.outputs),
        "versions": installed_versions(),
    }


def write_summary(result: RunResult, path: str | os.PathLike[str]) -> None:
    """Write summary.json; an interruption leaves an earlier one whole.

    Parameters
    ----------
    result : RunResult
    path : path-like
    """
    text = json.dumps(run_summary(result), indent=1, allow_nan=False)
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path)


def installed_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of all that it depends on.

    Examples
    --------
    >>> from dask_exa.report.summary import installed_versions
    >>> sorted({"python", "dask-exa", "numpy"} & set(installed_versions()))
    ['dask-exa', 'numpy', 'python']
    """
    versions = {"python": platform.python_version(), "dask-exa": __version__}
    for name in required_distributions():
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def required_distributions(extra: str = "") -> list[str]:
    """Return the names of what the package requires, or of what one of its extras adds.

    Parameters
    ----------
    extra : str, optional
    """
    try:
        requirements = importlib.metadata.requires("dask-exa") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder, without an installation
        return []
    names = []
    for requirement in requirements:
        wanted = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if (wanted[1] if wanted else "") == extra:
            names.append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    return sorted(names)


def format_bytes(n_bytes: float) -> str:
    """Write a number of bytes for people, with three digits.

    Examples
    --------
    >>> from dask_exa.report.summary import format_bytes
    >>> format_bytes(131072), format_bytes(17)
    ('131 kB', '17 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 1000 or unit == "TB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.3g} {unit}"


def _fitted(field: FieldResult) -> dict[str, Any]:
    quantities = {name: _plain(field.fitted.get(name)) for name in FITTED}
    return {"estimator": field.estimator, "units": field.units, **quantities}


def _errors(field: FieldResult) -> dict[str, Any]:
    late = field.error_at_the_end
    return {
        "at_the_time": _plain(field.error_at_the_time),
        "at_the_end": {
            "timestep": _plain([*late]),
            "relative_l2": _plain([*late.values()]),
            "as_stored": _plain([field.error_as_stored[step] for step in late]),
        },
    }


def _detection(result: RunResult) -> dict[str, Any]:
    found = result.detection
    if found is None:
        return {"detector": None, "score": None, "limit": None}
    return {
        "detector": found.detector,
        "score": _plain(found.score),
        "limit": _plain(found.limit),
    }


def _plain(value: Any) -> Any:
    """Return a value in the types of JSON, None for what is not finite."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
