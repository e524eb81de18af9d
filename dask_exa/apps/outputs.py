"""Files of a run: checkpoint, coefficients, basis, summary and report."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from distributed.protocol.pickle import dumps, loads  # classes of a pipeline file too

from dask_exa._replacing import Replacing, find_folder
from dask_exa.apps.detection import Watcher
from dask_exa.apps.model import SAMPLE_DIM
from dask_exa.apps.session import Session
from dask_exa.inputs.model_store import load_model, save_model
from dask_exa.inputs.windows import join
from dask_exa.report import Report, RunResult, write_summary

CHECKPOINT, COEFFICIENTS, BASIS = "checkpoint.zarr", "coefficients.zarr", "basis.zarr"
WATCHER = "watcher.pickle"
REPORT, SUMMARY = "report.html", "summary.json"
_FORMAT = 1


def save_checkpoint(session: Session, out: Path, *, finished: bool = False) -> None:
    """Write all that a resumption needs, and the coefficients; the earlier ones go at the end.

    Parameters
    ----------
    session : Session
    out : Path
    finished : bool
        Whether the run came to its end.
    """
    attributes: Any = {
        "dask_exa_run": _FORMAT,
        "variables": list(session.models),
        "positions": [position for position, _ in session.kept],
        "stride": session.stride,
        "finished": finished,
    }
    with Replacing(out / CHECKPOINT) as folder:
        group = zarr.open_group(folder, mode="w", zarr_format=3, attributes=attributes)
        group.create_group("estimators")
        (folder / WATCHER).write_bytes(dumps(session.watcher))
        _to_zarr(_history(session), folder, "history")
        if session.kept:
            _to_zarr(join([step for _, step in session.kept]), folder, "kept")
        for name, model in session.models.items():
            save_model(model.estimator, folder / "estimators" / name)
            if model.early:
                fields = join([field.to_dataset(name=name) for _, field in model.early])
                fields["place"] = (SAMPLE_DIM, [place for place, _ in model.early])
                _to_zarr(fields, folder, f"early/{name}")
    with Replacing(out / COEFFICIENTS) as folder:
        _publish(_coefficients(session), folder)


def load_checkpoint(session: Session, out: Path) -> None:
    """Bring a new session to where the checkpoint of another one was.

    Raises
    ------
    FileNotFoundError
        When there is no checkpoint.
    ValueError
        When the session has other variables or other parameters.
    """
    folder = _found(out / CHECKPOINT)
    if folder is None:
        raise FileNotFoundError(
            f"out={str(out)!r} has no {CHECKPOINT} to resume; leave --resume out to start anew."
        )
    attributes: Any = zarr.open_group(folder, mode="r").attrs.asdict()
    if attributes["variables"] != list(session.models):
        raise ValueError(
            f"the checkpoint in out={str(out)!r} has the variables {attributes['variables']}, "
            f"the source {list(session.models)}; pass another out."
        )
    session.watcher = _load_watcher(session.watcher, folder / WATCHER)
    session.stride = attributes["stride"]
    _restore_history(session, _from_zarr(folder, "history"))
    if attributes["positions"]:
        kept = _from_zarr(folder, "kept")
        steps = [kept.isel({SAMPLE_DIM: i}) for i in range(kept.sizes[SAMPLE_DIM])]
        session.kept.extend(zip(attributes["positions"], steps, strict=True))
    for name, model in session.models.items():
        load_model(model.estimator, folder / "estimators" / name)
        if (folder / "early" / name).is_dir():
            early = _from_zarr(folder, f"early/{name}")
            for i, place in enumerate(early.place.values.tolist()):
                model.early.append((place, early[name].isel({SAMPLE_DIM: i})))


def check_finished(out: Path) -> None:
    """Refuse a folder that has the checkpoint of a run that was stopped.

    Raises
    ------
    FileExistsError
    """
    folder = _found(out / CHECKPOINT)
    if folder is not None and not zarr.open_group(folder, mode="r").attrs["finished"]:
        raise FileExistsError(
            f"out={str(out)!r} has the checkpoint of a run that was stopped; pass --resume to go "
            "on with it, or another out."
        )


def save_results(session: Session, result: RunResult, out: Path) -> None:
    """Write the basis, the summary and the report."""
    with Replacing(out / BASIS) as folder:
        zarr.open_group(folder, mode="w", zarr_format=3)
        for name, model in session.models.items():
            if model.is_ready and session.kept:
                _publish(model.basis(session.kept[0][1][name]), folder, name)
    write_report(result, out)


def write_report(result: RunResult, out: Path) -> None:
    """Write the summary and the report."""
    write_summary(result, out / SUMMARY)
    Report(result).save(out / REPORT)


def output_paths(out: Path) -> dict[str, str]:
    """Return the files and folders of a run by what they hold."""
    names = {
        "report": REPORT,
        "summary": SUMMARY,
        "coefficients": COEFFICIENTS,
        "basis": BASIS,
        "checkpoint": CHECKPOINT,
    }
    return {name: str(out / file) for name, file in names.items()}


def _found(path: Path) -> Path | None:
    return find_folder(path, lambda folder: (folder / "zarr.json").is_file())


def _history(session: Session) -> xr.Dataset:
    """Return what happened in each step as one table, and the coefficients."""
    columns = {**session.history}
    columns |= {f"error.{name}": model.errors for name, model in session.models.items()}
    table = np.array(list(columns.values()), dtype=float).T
    found: dict[str, Any] = {
        "history": (("step", "quantity"), table, {"quantities": list(columns)})
    }
    for name, model in session.models.items():
        found[f"coefficients.{name}"] = (("step", f"component.{name}"), model.coefficients)
    return xr.Dataset(found)


def _restore_history(session: Session, stored: xr.Dataset) -> None:
    table = stored["history"]
    columns = dict(zip(table.attrs["quantities"], table.values.T.tolist(), strict=True))
    for name, values in session.history.items():
        is_count = name == "timestep" or name.startswith("bytes")
        values.extend(int(value) if is_count else value for value in columns[name])
    for name, model in session.models.items():
        model.errors.extend(columns[f"error.{name}"])
        model.coefficients = stored[f"coefficients.{name}"].values


def _coefficients(session: Session) -> xr.Dataset:
    """Return the coefficients of all variables; NaN beyond the rank of those with fewer."""
    found = {}
    for name, model in session.models.items():
        coords = {
            "timestep": session.history["timestep"],
            "time": ("timestep", session.history["time"]),
            "component": np.arange(model.coefficients.shape[1]),
        }
        found[name] = xr.DataArray(model.coefficients, coords, ("timestep", "component"))
    arrays = [values.rename(name) for name, values in found.items()]
    return xr.merge(arrays, join="outer", compat="equals")


def _to_zarr(data: xr.Dataset, folder: Path, group: str | None = None) -> None:
    data.to_zarr(folder, group=group, mode="a", zarr_format=3, consolidated=False)


def _publish(data: xr.Dataset, folder: Path, group: str | None = None) -> None:
    """Write what users open; without consolidated metadata xr.open_zarr would warn each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        data.to_zarr(folder, group=group, mode="a", zarr_format=3, consolidated=True)


def _from_zarr(folder: Path, group: str) -> xr.Dataset:
    options: Any = {"consolidated": False, "decode_times": False, "decode_timedelta": False}
    with xr.open_zarr(folder, group=group, chunks=None, **options) as stored:
        return stored.load()


def _load_watcher(fresh: Watcher, path: Path) -> Watcher:
    """Return the detector that was saved, with its alarms."""
    found = loads(path.read_bytes())
    if repr(found.detector) != repr(fresh.detector):
        raise ValueError(
            f"the checkpoint was made with the detector {found.detector!r}, but "
            f"{fresh.detector!r} is asked for; pass the same options or another out."
        )
    return found
