"""Models of any library in a folder, and back into the models that were passed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distributed.protocol.pickle import dumps, loads  # classes of a user's script too

from dask_exa.base import MergeableEstimator
from dask_exa.compose import _steps


def save_model(model: Any, folder: Path) -> None:
    """Write what a model has learnt.

    Estimators of dask-exa are zarr groups, those of other libraries pickles; the steps of a
    pipeline are written one by one. What has learnt nothing leaves no file.

    Parameters
    ----------
    model : estimator
    folder : Path
    """
    members = _named_steps(model)
    if members:
        for number, step in enumerate(members):
            if _steps.learns(step):
                save_model(step, folder / f"step-{number:03d}")
    elif not isinstance(model, MergeableEstimator):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _pickle(folder).write_bytes(dumps(model))
    elif model.__sklearn_is_fitted__():
        model.save(folder)


def load_model(model: Any, folder: Path) -> None:
    """Bring a model to where the one of the same parameters was that was saved.

    Parameters
    ----------
    model : estimator
        Changed in place; forgets what it has learnt if the other one had learnt nothing.
    folder : Path

    Raises
    ------
    ValueError
        If the saved model is of another class or other parameters.
    """
    members = _named_steps(model)
    if members:
        for number, step in enumerate(members):
            if _steps.learns(step):
                load_model(step, folder / f"step-{number:03d}")
        return
    if isinstance(model, MergeableEstimator):
        if not folder.exists():
            model.__dict__.pop("_state", None)
            return
        found: Any = type(model).load(folder)
    else:  # as trusted as the script that passes the model
        found = loads(_pickle(folder).read_bytes())
    if repr(found) != repr(model):
        raise ValueError(
            f"the checkpoint is of {found!r}, but {model!r} is asked for; pass the same parameters "
            "or another place."
        )
    model.__dict__.clear()
    model.__dict__.update(found.__dict__)


def _named_steps(model: Any) -> list[Any]:
    return [step for _, step in getattr(model, "steps", ())]


def _pickle(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.pickle")
