"""What a run on a running simulation shows of itself on the live page."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import dask
import numpy as np
import xarray as xr
from sklearn.exceptions import NotFittedError

from dask_exa._array import to_host
from dask_exa._planes import plane_indexers
from dask_exa._state import NotEnoughSamplesError
from dask_exa.inputs.learners import Learner

logger = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds from what is shown to what is shown next."""
MAX_SHARE = 0.05
"""Of the time that may be spent on it."""
MAX_KEPT = 512
"""Scores that wait for somebody to look."""
MAX_POINTS = 128
"""Of a field, along each axis."""
MAX_PICTURES = 6


class Showing:
    """The live page of one run, which costs next to nothing while nobody looks at it.

    Scores and alarms of every step are kept, and sent when somebody has opened the page. Fields,
    their reconstruction and the explained variance are made only while somebody has.

    Parameters
    ----------
    stream : Stream
    learners : sequence of Learner
        Those that observe, too.
    """

    def __init__(self, stream: Any, learners: Sequence[Learner]) -> None:
        self.stream = stream
        self.learners = [one for one in learners if one.form != "steps"]
        self.variables = list(dict.fromkeys(name for one in learners for name in one.variables))
        self._untold: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self._last, self._pause = -math.inf, PAUSE
        self._is_alarm = self._is_new_alarm = self._has_warned = False

    def note(self, timestep: int, findings: Iterable[tuple[str, Any]]) -> None:
        """Keep what the models that observe have found in a step, by the name of the model."""
        if not self.stream.is_live:
            return
        was_alarm, self._is_alarm = self._is_alarm, False
        for name, found in findings:
            reasons = tuple(alarm.reason for alarm in found.alarms)
            numbers = {key: _known(getattr(found, key, None)) for key in ("score", "limit")}
            self._is_alarm |= bool(reasons)
            if reasons or numbers["score"] is not None:
                about = {"variable": name, "timestep": timestep, "alarms": reasons}
                self._untold.append({**about, **numbers})
        self._is_new_alarm = self._is_alarm and not was_alarm

    def show(self, step: xr.Dataset, *, is_learnt: bool = True) -> None:
        """Show a step and what is known by now, if it is time for that.

        What goes wrong in it is logged, once, and does not end the run.

        Parameters
        ----------
        step : xarray.Dataset
        is_learnt : bool, default=True
            Whether the models can take it; otherwise it is shown without a reconstruction.
        """
        started = time.monotonic()
        pause = PAUSE if self._is_new_alarm else self._pause  # what is wrong is worth a look
        if not self.stream.is_watched or started < self._last + pause:
            return
        try:
            self.tell()
            self._show_variances(int(step.timestep))
            self._show_pictures(step, self.learners if is_learnt else [])
        except Exception:
            if not self._has_warned:
                logger.warning("step of %s is not shown", self.stream.name, exc_info=True)
            self._has_warned = True
        cost = time.monotonic() - started
        # at most twice the last one, as what comes first is compiled, which takes seconds
        self._last, self._pause = started, min(max(PAUSE, cost / MAX_SHARE), 2 * self._pause)

    def tell(self) -> None:
        """Send the scores and alarms that wait."""
        while self._untold:
            self.stream.show(**self._untold.popleft())

    def _show_variances(self, timestep: int) -> None:
        for one in self.learners:
            shares = getattr(_last_step(one.model), "explained_variance_ratio_", None)
            if shares is not None:
                shares = np.asarray(to_host(shares))
                self.stream.show(variable=_label(one), timestep=timestep, explained_variance=shares)

    def _show_pictures(self, step: xr.Dataset, learners: Sequence[Learner]) -> None:
        names = [name for name in self.variables if name in step and step[name].ndim > 1]
        fields = {name: plane(step[name]) for name in names[:MAX_PICTURES]}
        others: dict[str, xr.DataArray] = {}
        for one in learners:
            for name, field in _reconstructions(one, step).items():
                if name in fields and set(field.dims) == set(step[name].dims):
                    others.setdefault(name, plane(field.transpose(*step[name].dims)))
        fields, others = dask.compute(fields, others)  # at once: each costs a cluster a round
        for name, field in fields.items():
            other = others.get(name)
            self.stream.show(
                variable=name,
                timestep=int(step.timestep),
                field=to_host(field.data),
                reconstruction=None if other is None else to_host(other.data),
                dims=tuple(_axis_label(field, dim) for dim in field.dims),
                extent=_extent(field),
                units=str(field.attrs.get("units", "")),
                note=_where(step[name], field),
            )


def plane(field: xr.DataArray) -> xr.DataArray:
    """Return every so many points of the plane of the two longest dimensions, in the middle.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from dask_exa.inputs.showing import plane
    >>> plane(xr.DataArray(np.zeros((300, 5, 128)), dims=("z", "y", "x"))).shape
    (100, 128)
    """
    return field.isel(plane_indexers(field, MAX_POINTS))


def _known(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _label(learner: Learner) -> str:
    return ", ".join(learner.variables)


def _last_step(model: Any) -> Any:
    """Return what a pipeline ends with."""
    steps = getattr(model, "steps", None)
    return _last_step(steps[-1][1]) if steps else model


def _reconstructions(learner: Learner, step: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return what a model makes of a step and back, by variable, where it can do both."""
    model = learner.model
    is_able = all(hasattr(model, name) for name in ("transform", "inverse_transform"))
    if not is_able or any(name not in step for name in learner.variables):
        return {}
    try:
        found = model.inverse_transform(model.transform(learner.take([step])))
    except (NotFittedError, NotEnoughSamplesError):  # it waits for more
        return {}
    if isinstance(found, xr.Dataset):
        return {str(name): _without_time(field) for name, field in found.data_vars.items()}
    (name,) = learner.variables[:1]
    if learner.form == "rows":
        return {name: step[name].copy(data=np.asarray(found).reshape(step[name].shape))}
    return {name: _without_time(found)} if isinstance(found, xr.DataArray) else {}


def _without_time(field: xr.DataArray) -> xr.DataArray:
    return field.isel(time=0) if "time" in field.dims else field


def _axis_label(field: xr.DataArray, dim: Any) -> str:
    units = field[dim].attrs.get("units", "") if dim in field.coords else ""
    return f"{dim} [{units}]" if units else str(dim)


def _extent(field: xr.DataArray) -> tuple[float, float, float, float] | None:
    """Return where a plane begins and ends along its columns and rows; None for plain numbers."""
    edges: list[float] = []
    for dim in reversed(field.dims):
        if dim not in field.coords or field[dim].dtype.kind not in "iuf" or len(field[dim]) < 2:
            return None
        places = field[dim].values
        half = (places[-1] - places[0]) / (len(places) - 1) / 2
        edges += [float(places[0] - half), float(places[-1] + half)]
    return edges[0], edges[1], edges[2], edges[3]


def _where(whole: xr.DataArray, field: xr.DataArray) -> str:
    """Return where a plane lies in its field."""
    return ", ".join(
        f"{dim} = {float(field[dim]):g}" if dim in field.coords else f"{dim}: {size // 2}"
        for dim, size in whole.sizes.items()
        if dim not in field.dims
    )
