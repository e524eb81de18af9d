"""How a model takes the steps of a stream: as labelled fields, as data sets or as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dask_exa.compose import _steps
from dask_exa.inputs.windows import TIME, join

FORMS = ("steps", "datasets", "fields", "rows")


class Learner(NamedTuple):
    """One model, and what it gets of a step."""

    name: str
    """For messages and checkpoints."""
    model: Any
    form: str
    """"steps": observes data sets of one step; "datasets", "fields" and "rows" are learnt."""
    variables: tuple[str, ...]
    """One for fields and rows."""

    def observe(self, step: xr.Dataset) -> Any:
        """Show the model a step, and return what it finds; None where a variable is missing."""
        return self.model.observe(step[list(self.variables)]) if self._fits(step) else None

    def learn(self, steps: Sequence[xr.Dataset]) -> None:
        """Let the model learn those of some steps at once that have all its variables."""
        steps = [step for step in steps if self._fits(step)]
        if steps:
            self.model.partial_fit(self.take(steps))

    def _fits(self, step: xr.Dataset) -> bool:
        """Whether a step has what the model learns: variables may come at rates of their own."""
        return all(name in step for name in self.variables)

    def take(self, steps: Sequence[xr.Dataset]) -> Any:
        """Return what the model gets of some steps."""
        if self.form == "datasets":
            return self._in_time(join([step[list(self.variables)] for step in steps]), steps)
        (name,) = self.variables
        if len(steps) == 1 and self.form == "fields" and self._takes_one_field():
            return steps[0][name]
        batch = join([step[[name]] for step in steps])[name]
        if self.form == "rows":
            return np.asarray(batch).reshape(len(steps), -1)
        return self._in_time(batch, steps)

    def check_window(self, window: int) -> None:
        """Raise ValueError where the model cannot take as many steps at once."""
        dims = _sample_dims(self.model)
        if window > 1 and self.form in ("datasets", "fields") and dims and TIME not in dims:
            raise ValueError(
                f"window={window} joins steps along {TIME!r}, which sample_dims={dims!r} of the "
                f"{type(self.model).__name__} leaves out; add it, or leave window=1."
            )

    def _in_time(self, batch: Any, steps: Sequence[xr.Dataset]) -> Any:
        """Return a batch without its single time where the model has samples of another kind."""
        dims = _sample_dims(self.model)
        if dims and TIME not in dims:
            return batch.isel({TIME: 0}, drop=True)
        return batch

    def _takes_one_field(self) -> bool:
        """Whether a field without a time is one sample, which saves a task for every chunk."""
        first = _first(self.model)
        return _sample_dims(self.model) == (TIME,) and not hasattr(first, "variables")


def as_learners(
    model: Any, detector: Any, stream: Any, variables: Sequence[str] | None = None
) -> list[Learner]:
    """Return the learners of a stream, those that observe first.

    Parameters
    ----------
    model : estimator, list of estimators, or mapping of variable to estimator
    detector : FieldDetector or None
    stream : Stream
    variables : sequence of str, optional
        By default all of the stream.

    Raises
    ------
    ValueError
        For unknown variables, and for an estimator of one variable where there are several.
    TypeError
        For a model that can neither learn nor observe steps.
    """
    names = stream.variables if variables is None else tuple(variables)
    _check_names("variables", names, stream)
    if isinstance(model, Mapping):
        _check_names("model", tuple(model), stream)
        found = [_learner(str(name), one, (name,)) for name, one in model.items()]
    elif isinstance(model, list | tuple):
        found = [_learner(f"model {i}", one, names) for i, one in enumerate(model)]
    else:
        found = [_learner("model", model, names)]
    if detector is not None:
        found.insert(0, _learner("detector", detector, names))
    if not found:
        raise ValueError(f"model={model!r} is empty; pass an estimator.")
    if len({id(learner.model) for learner in found}) < len(found):
        raise ValueError("model has one estimator twice, which would learn every step twice.")
    return sorted(found, key=lambda learner: learner.form != "steps")


def _learner(name: str, model: Any, variables: tuple[str, ...]) -> Learner:
    if hasattr(model, "observe"):
        return Learner(name, model, "steps", variables)
    if not hasattr(model, "partial_fit") or isinstance(model, type):
        raise TypeError(
            f"{name} is {model!r}, which has neither partial_fit nor observe; pass an estimator "
            "that learns from more and more samples."
        )
    first = _first(model)
    # what makes samples of data sets has to be told of which variables
    if hasattr(first, "variables"):
        return Learner(name, model, "datasets", variables)
    if len(variables) > 1:
        raise ValueError(
            f"{name} is a {type(model).__name__}, which learns one variable, and the stream has "
            f"{', '.join(variables)}; pass variables= with one of them, a dict of variable to "
            "estimator, or a StreamingPipeline that starts with a FieldStacker."
        )
    are_labelled = all(hasattr(one, "sample_dims") for one in _members(model) or [model])
    return Learner(name, model, "fields" if are_labelled else "rows", variables)


def _members(model: Any) -> list[Any]:
    return [step for _, step in getattr(model, "steps", ()) if _steps.is_there(step)]


def _first(model: Any) -> Any:
    """Return the estimator that gets the samples: the first step of a pipeline."""
    members = _members(model)
    return _first(members[0]) if members else model


def _sample_dims(model: Any) -> tuple[Any, ...] | None:
    dims = getattr(_first(model), "sample_dims", None)
    return dims if dims is None else (dims,) if isinstance(dims, str) else tuple(dims)


def _check_names(argument: str, names: tuple[str, ...], stream: Any) -> None:
    unknown = [name for name in names if name not in stream.variables]
    if unknown or not names:
        raise ValueError(
            f"{argument} names {unknown or 'no variables'}; the stream of {stream.name} has "
            f"{', '.join(stream.variables)}."
        )
