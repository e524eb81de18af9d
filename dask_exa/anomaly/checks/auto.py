"""Which checks fit a step, by the names and the dimensions of its variables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from dask_exa.anomaly.checks.check import Check
from dask_exa.anomaly.checks.clock import TimeStep
from dask_exa.anomaly.checks.finite import Finite, Positive
from dask_exa.anomaly.checks.gridscale import GridScale
from dask_exa.anomaly.checks.kurtosis import PrincipalKurtosis
from dask_exa.anomaly.checks.plasma import Courant, DrivenGrowth
from dask_exa.anomaly.checks.spread import Jump, Spread
from dask_exa.anomaly.checks.tensors import Determinant, Symmetry, WaveBalance
from dask_exa.anomaly.checks.totals import Total

_OVERSHOOT = 3e-3
"""Negative share of a density that spectral codes overshoot by at steep fronts, and heal."""
_NEGATIVE_MASS = 1e-3
"""Negative share of a distribution function; 1e-5 is usual."""
_SCALARS = {
    "l2f": ("falls", 2e-3, False),
    "particles": ("stays", 1e-3, False),
    "max_f": ("falls", 1.0, True),
    "mass": ("falls", 0.02, True),
    "e_tot": ("falls", 0.02, True),
}


class Contents(NamedTuple):
    """What is in a step."""

    fields: dict[str, tuple[str, ...]]
    """Floating-point variables and their dimensions, those of components left out."""
    tensors: frozenset[str]
    """Those with 3 x 3 components."""
    scalars: frozenset[str]
    """Variables without dimensions."""
    has_time_step: bool
    spaced: frozenset[str]
    """Dimensions with an even coordinate."""
    units: dict[str, str]
    """Of the fields that say."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables."""
        return tuple(sorted({*self.fields, *self.scalars}))

    @property
    def plain(self) -> list[str]:
        """Fields that are no tensors and are not `level`."""
        return [name for name in self.fields if name not in self.tensors and name != "level"]

    @property
    def is_octree(self) -> bool:
        """Whether cells are in the order of an octree, where neighbours mean nothing."""
        return "level" in self.fields


def _finite(step: Contents) -> Iterable[Check]:
    return [Finite(name) for name in step.fields if name != "level"]


def _spread(step: Contents) -> Iterable[Check]:
    # plastic strain and the like appear from nothing, however late
    limit = {"limit": math.inf} if step.tensors else {}
    return [Spread(name, **limit) for name in step.plain]


def _jump(step: Contents) -> Iterable[Check]:
    return [] if step.is_octree else [Jump(name) for name in step.plain]


def _gridscale(step: Contents) -> Iterable[Check]:
    if step.is_octree:
        return []
    # grains of a crystal are few points wide, their edges sharp
    limit = {"limit": math.inf} if step.tensors else {}
    return [GridScale(name, **limit) for name in step.fields]


def _kurtosis(step: Contents) -> Iterable[Check]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in step.plain:
        groups.setdefault(step.fields[name], []).append(name)
    return [PrincipalKurtosis(tuple(names[:6])) for names in groups.values() if len(names) > 1]


def _bounds(step: Contents) -> Iterable[Check]:
    strict = step.is_octree
    names = {"rho", "density", "pressure", "temperature", "e_tot"} & set(step.plain)
    return [Positive(name, 0.0 if strict else _OVERSHOOT) for name in sorted(names)]


def _plasma(step: Contents) -> Iterable[Check]:
    dims = step.fields.get("potential")
    electric = step.units.get("potential", "T_e/e") == "T_e/e"
    if dims is None or len(dims) != 2 or step.fields.get("density") != dims or not electric:
        return []
    knows_time = step.has_time_step and set(dims) <= step.spaced
    return [DrivenGrowth(), *([Courant()] if knows_time else [])]


def _distribution(step: Contents) -> Iterable[Check]:
    dims = step.fields.get("f")
    if dims is None or len(dims) < 3 or "f" in step.tensors:
        return []
    # without r, integrals are not those that the code conserves: .5 % apart in a good run
    squares, mass = (2e-3, 1e-3) if "r" not in dims or "r" in step.spaced else (0.02, 0.01)
    return [
        Positive("f", _NEGATIVE_MASS, always=True),
        Total("f", "square", goes="falls", limit=squares, what="squared L2 norm"),
        Total("f", "value", goes="stays", limit=mass, what="number of particles"),
        Total("f", "maximum", goes="falls", limit=1.0, what="maximum", since_start=True),
    ]


def _octree(step: Contents) -> Iterable[Check]:
    if not step.is_octree:
        return []
    # what leaves through an open boundary may be missing; nothing makes more of it
    totals = {"rho": "mass", "e_tot": "energy"}
    return [
        Total(name, goes="falls", limit=0.02, what=what, since_start=True)
        for name, what in totals.items()
        if name in step.fields
    ]


def _tensors(step: Contents) -> Iterable[Check]:
    found: list[Check] = []
    gradient = "F" if "F" in step.tensors else ""
    if gradient:
        found.append(Determinant())
    if gradient and "P" in step.tensors:
        found.append(Symmetry())
    if "stress" in step.tensors:  # at small strain
        found.append(Symmetry("stress", gradient=""))
    for name, operator in (("P", "div"), ("F", "curl"), ("stress", "div")):
        if name in step.tensors and len(step.fields[name]) == 3:
            found.append(WaveBalance(name, operator, gradient if name == "P" else ""))
    if "ep" in step.plain:
        found.append(Total("ep", goes="rises", what="plastic strain"))
    return found


def _series(step: Contents) -> Iterable[Check]:
    return [
        Total(name, goes=goes, limit=limit, what="value", since_start=since)
        for name, (goes, limit, since) in _SCALARS.items()
        if name in step.scalars
    ]


def _clock(step: Contents) -> Iterable[Check]:
    return [TimeStep()] if step.has_time_step or step.is_octree else []


FAMILIES: dict[str, Callable[[Contents], Iterable[Check]]] = {
    "finite": _finite,
    "bounds": _bounds,
    "spread": _spread,
    "jump": _jump,
    "gridscale": _gridscale,
    "kurtosis": _kurtosis,
    "plasma": _plasma,
    "distribution": _distribution,
    "octree": _octree,
    "tensors": _tensors,
    "series": _series,
    "clock": _clock,
}
"""Name to the checks of a family that fit a step; all of them are "auto"."""


def choose(checks: Any, contents: Contents) -> tuple[Check, ...]:
    """Return the checks that "auto", names of families and check objects stand for.

    Raises
    ------
    ValueError, TypeError
        For a name that is unknown, or what is no check.
    """
    wanted = [checks] if isinstance(checks, str | Check) else list(checks)
    found: list[Check] = []
    for item in wanted:
        if isinstance(item, Check):
            found.append(item)
        elif not isinstance(item, str):
            raise TypeError(f"checks has a {type(item).__name__}; pass names and check objects.")
        elif item == "auto":
            found.extend(itertools.chain(*(family(contents) for family in FAMILIES.values())))
        elif item in FAMILIES:
            found.extend(FAMILIES[item](contents))
        else:
            raise ValueError(
                f"checks has {item!r}, which is unknown; pass 'auto', check objects, or one of "
                f"{', '.join(FAMILIES)}."
            )
    return tuple(dict.fromkeys(found))
