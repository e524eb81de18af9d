"""Plasma in phase space: distribution functions of Gysela, PyGyro and codes like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from dask_exa.anomaly import FieldDetector, FieldMonitor
from dask_exa.anomaly.alarm import Alarm
from dask_exa.anomaly.checks import Ceiling
from dask_exa.apps.use_case import Pictures, UseCase
from dask_exa.inputs.stream import Stream
from dask_exa.inputs.velocity_space import PhaseSpace, summarize
from dask_exa.inputs.velocity_space.mesh import velocity_dims
from dask_exa.report.velocity_space import draw_invariants, draw_velocity_space

LIMITS = {"particle_drift": 1e-3, "l2_growth": 2e-3, "negative_share": 5e-3, "max_growth": 1.0}
"""What a sound run stays well below: PyGyro's has 1e-4, 0, 1e-5 and 0.2."""
NAMES = {
    "particle_drift": "drift of the number of particles",
    "l2_growth": "growth of the L2 norm",
    "negative_share": "negative share of f",
    "max_growth": "growth of the maximum of f",
}
_BECAUSE = {
    "particle_drift": "particles are lost or made",
    "l2_growth": "transport cannot let it grow, the solver is unstable",
    "negative_share": "a density in phase space is positive, short waves are not resolved",
    "max_growth": "transport only moves values of f, it cannot make larger ones",
}
_MAX_HISTORY = 2000


def is_distribution(stream: Stream) -> bool:
    """Whether a stream has a distribution function ``f`` on positions and velocities."""
    velocities = velocity_dims(stream.sizes)
    return "f" in stream.variables and 0 < len(velocities) < len(stream.sizes)


class PlasmaFields:
    """Steps as fluid moments, f over velocity, and what must be kept.

    A step becomes ``density``, ``mean_<component>``, ``temperature`` and ``heat_flux_<component>``
    on its dimensions of space, ``f_velocity``, the integral of f over space, on those of velocity,
    and keeps its potential. The function itself is read once, chunk by chunk where it is lazy.
    Coordinates are the invariants of `Invariants.named`, and how far they are from what they must
    be: ``particle_drift`` since the first step, ``l2_growth`` since the smallest so far,
    ``max_growth`` since the first step. The attribute ``invariants`` has those of the steps so far.

    Examples
    --------
    >>> from dask_exa.apps.gysela import PlasmaFields
    >>> from dask_exa.datasets import Vlasov
    >>> step = PlasmaFields()(Vlasov.landau().advance())
    >>> list(step.data_vars)
    ['density', 'mean_vx', 'temperature', 'heat_flux_vx', 'f_velocity', 'potential']
    >>> float(step.particle_drift), bool(step.negative_share < 1e-6)
    (0.0, True)
    """

    def __init__(self) -> None:
        self._mesh: PhaseSpace | None = None
        self._first: dict[str, float] = {}
        self._least_norm = np.inf
        self._history: list[dict[str, float]] = []

    def __call__(self, step: xr.Dataset) -> xr.Dataset:
        """Represent a step."""
        if self._mesh is None:
            self._mesh = PhaseSpace.of(step.f)
        summary = summarize(step.f, self._mesh)
        numbers = {str(name): float(value) for name, value in summary.invariants.compute().items()}
        numbers |= self._compare(numbers)
        self._history = [*self._history, {"time": float(step.time), **numbers}][-_MAX_HISTORY:]
        made = summary.moments.assign(
            f_velocity=summary.marginal.assign_attrs(long_name="f over velocity")
        )
        kept = [name for name in ("potential",) if name in step and step[name].dtype.kind == "f"]
        made = made.assign({name: step[name] for name in kept})
        clock = {name: step[name] for name in step.coords if step[name].ndim == 0}
        return made.assign_coords({**clock, **numbers}).assign_attrs(
            {**step.attrs, "invariants": tuple(self._history)}
        )

    def _compare(self, now: dict[str, float]) -> dict[str, float]:
        first = self._first = self._first or now
        # not 0 / 0 where a run begins with nothing
        floor = np.finfo(float).tiny
        found = {
            "particle_drift": abs(now["particles"] / (first["particles"] or floor) - 1),
            "l2_growth": now["l2f"] / (min(self._least_norm, first["l2f"]) or floor) - 1,
            "max_growth": now["max_f"] / (first["max_f"] or floor) - 1,
        }
        self._least_norm = float(np.fmin(self._least_norm, now["l2f"]))
        return found


def plasma_detector(stream: Stream) -> FieldDetector:
    """Return what looks at represented steps: invariants, and jumps of the moments."""
    ceilings = [
        Ceiling(name, limit, what=NAMES[name], because=_BECAUSE[name])
        for name, limit in LIMITS.items()
    ]
    checks: list[Any] = ["finite", "bounds", "spread", *ceilings]
    return FieldDetector(FieldMonitor(checks))


def draw_pictures(step: xr.Dataset, represented: xr.Dataset, alarms: list[Alarm]) -> Pictures:
    """Draw a slice through phase space, and the invariants up to the step."""
    invariants = draw_invariants(represented.attrs["invariants"], LIMITS, NAMES)
    return [
        ("Distribution function", draw_velocity_space(step.f)),
        ("What the plasma must keep", invariants),
    ]


USE_CASE = UseCase(
    label="a plasma in phase space",
    recognise=is_distribution,
    represent=PlasmaFields(),
    detector=plasma_detector,
    pictures=draw_pictures,
)
