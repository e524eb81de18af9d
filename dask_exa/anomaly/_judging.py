"""From blocks to measures, and from measures to features and alarms: the logic of a monitor."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dask_exa.anomaly import _blocks
from dask_exa.anomaly.alarm import Alarm, Block
from dask_exa.anomaly.checks import BlockFields, Check, Clock, Contents, Evidence

_NO_BLOCK = [(0, 0)]


class Measures(NamedTuple):
    """What the checks have measured in the blocks of one step."""

    checks: tuple[Check, ...]
    timestep: int
    time: float
    rows: np.ndarray
    """(n_blocks, n_measures)."""
    bounds: np.ndarray
    """First and last index of every block along every dimension, (n_blocks, n_dims, 2)."""
    sizes: np.ndarray
    """Length of every dimension of the whole field."""
    contents: Contents
    carried: np.ndarray
    """What checks keep of the step, one after the other."""
    carried_sizes: np.ndarray
    """Length of the part of each check that keeps anything."""

    def __or__(self, other: Measures) -> Measures:
        """Return the measures of two parts of one step, side by side."""
        if self.checks != other.checks or self.timestep != other.timestep:
            raise ValueError(
                f"cannot put measures of step {self.timestep} and {other.timestep} side by side "
                "unless step and checks are the same."
            )
        return self._replace(
            rows=np.concatenate([self.rows, other.rows]),
            bounds=np.concatenate([self.bounds, other.bounds]),
        )


class MonitorState(NamedTuple):
    """What later steps are compared with."""

    n_steps: int
    timestep: int
    time: float
    rows: np.ndarray
    """Measures of every block in the last step, (n_blocks, n_measures)."""
    bounds: np.ndarray
    """(n_blocks, n_dims, 2)."""
    sizes: np.ndarray
    first: np.ndarray
    """Quantities of the whole field in the first step, (n_quantities,)."""
    lowest: np.ndarray
    highest: np.ndarray
    carried: np.ndarray
    carried_sizes: np.ndarray
    variables: tuple[str, ...]
    has_time_step: bool
    """Whether the first step had one; this and the next decide which checks fit."""
    spaced: tuple[str, ...]
    """Dimensions that had even coordinates in the first step."""
    names: tuple[str, ...]
    """Of all quantities."""
    feature_names: tuple[str, ...]


class Judgement(NamedTuple):
    """What measures say."""

    features: np.ndarray
    blocks: tuple[Block, ...]
    alarms: list[Alarm]
    state: MonitorState


def measure(
    step: xr.Dataset,
    contents: Contents,
    checks: tuple[Check, ...],
    clock: Clock,
    blocks: Any,
    state: MonitorState | None,
) -> Measures:
    """Return what checks measure in the blocks of a step."""
    read = {name for check in checks for name in check.variables if name in contents.fields}
    read |= {"level", "rho_vz"} & set(contents.fields) if contents.is_octree else set()
    names = [name for name in contents.fields if name in read]
    timestep = int(clock.scalars.get("timestep", 0 if state is None else state.timestep + 1))
    if names:
        layout = _blocks.split(step, names, contents, blocks)
        _check_sizes(state, layout.sizes, contents, timestep)
        carried = _carried(checks, state)
        function = functools.partial(measure_block, checks=checks)
        found = _blocks.map_blocks(function, step, names, contents, layout, clock, carried)
        places = layout.places(step)
        bounds = [[(p.start[d], p.stop[d] - 1) for d in layout.dims] for p in places]
        sizes = list(layout.sizes.values())
    else:
        place = _blocks.Place({}, {}, {}, {}, {})
        found = [measure_block(BlockFields({}, {}, place, clock), checks)]
        bounds, sizes = [_NO_BLOCK], [1]
    rows = np.stack([row for row, _ in found])
    kept = found[0][1] if len(found) == 1 else []  # what keeps anything has one block
    return Measures(
        checks,
        timestep,
        clock.time,
        rows,
        np.array(bounds, dtype=np.int64),
        np.array(sizes, dtype=np.int64),
        contents,
        np.concatenate([np.empty(0), *kept]),
        np.array([part.size for part in kept], dtype=np.int64),
    )


def measure_block(
    block: BlockFields, checks: tuple[Check, ...]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the measures of all checks, and what they keep of the block for the next step."""
    rows, kept = [], []
    with np.errstate(all="ignore"):  # what is not finite is told by a check
        for check in checks:
            fields = [name for name in check.variables if name in block.dims]
            if not all(block.place.owns(block.dims[name]) for name in fields):
                rows.append(check.neutral())
            elif check.tolerates_nan or all(block.finite(name) for name in fields):
                rows.append(np.asarray(check.measure(block), dtype=np.float64))
                kept += [block.carry(check).ravel()] if check.carries else []
            else:
                rows.append(np.full(check.size, np.nan))
                kept += [np.empty(0)] if check.carries else []
    return np.concatenate(rows), kept


def judge(measures: Measures, state: MonitorState | None) -> Judgement:
    """Return features and alarms of a step, given what is known of those before."""
    _check_names(measures, state)
    comparable = state is not None and state.rows.shape == measures.rows.shape
    before = state.rows if state is not None and comparable else None
    blocks = tuple(tuple((int(a), int(b)) for a, b in bounds) for bounds in measures.bounds)
    features, totals, alarms = [], [], []
    measured, derived = 0, 0
    for check in measures.checks:
        own = slice(measured, measured + check.size)
        part = measures.rows[:, own]
        earlier = None if before is None else before[:, own]
        with np.errstate(all="ignore"):
            whole_before = None if state is None else check.combine(state.rows[:, own])
            of_blocks = check.derive(part, earlier)
            now = check.derive(check.combine(part), whole_before)
        theirs = slice(derived, derived + len(now))
        evidence = _evidence(now, of_blocks, theirs, state)
        alarms += [_alarm(f, blocks, measures.timestep) for f in check.judge(evidence)]
        shown = np.broadcast_to(now, of_blocks.shape) if check.is_whole else of_blocks
        features.append(shown[:, : check.n_features])
        totals.append(now)
        measured, derived = own.stop, theirs.stop
    values = np.concatenate(features, axis=1)
    values = np.where(np.isfinite(values), values, np.nan)
    return Judgement(values, blocks, alarms, _next_state(measures, np.concatenate(totals), state))


def side_by_side(state: MonitorState, other: MonitorState) -> MonitorState:
    """Return the state of two monitors that have seen the same steps of different blocks."""
    if state.names != other.names or state.timestep != other.timestep:
        raise ValueError(
            f"cannot merge a monitor at step {other.timestep} into one at step {state.timestep} "
            "unless step and checks are the same."
        )
    unknown = np.full(state.first.shape, np.nan)
    return state._replace(
        n_steps=0,
        rows=np.concatenate([state.rows, other.rows]),
        bounds=np.concatenate([state.bounds, other.bounds]),
        first=unknown,
        lowest=unknown,
        highest=unknown,
        carried=np.empty(0),
        carried_sizes=np.empty(0, dtype=np.int64),
    )


def known_contents(state: MonitorState | None, contents: Contents) -> Contents:
    """Return what is in a step, as far as the first step had it too.

    Raises
    ------
    ValueError
        If the step lacks a variable that earlier steps had.
    """
    if state is None:
        return contents
    missing = [name for name in state.variables if name not in contents.names]
    if missing:
        raise ValueError(
            f"the step has no variable {missing[0]!r}, which earlier steps had; it has "
            f"{list(contents.names)}."
        )
    fields = {name: dims for name, dims in contents.fields.items() if name in state.variables}
    return contents._replace(
        fields=fields,
        tensors=contents.tensors & fields.keys(),
        scalars=contents.scalars & set(state.variables),
        has_time_step=state.has_time_step,
        spaced=frozenset(state.spaced),
    )


def _evidence(
    now: np.ndarray, blocks: np.ndarray, theirs: slice, state: MonitorState | None
) -> Evidence:
    if state is None:
        unknown = np.full(now.shape, np.nan)
        return Evidence(now, blocks, now, unknown, unknown, 0)
    first = np.where(np.isnan(state.first[theirs]), now, state.first[theirs])
    low, high = state.lowest[theirs], state.highest[theirs]
    return Evidence(now, blocks, first, low, high, state.n_steps)


def _alarm(failure: Any, blocks: tuple[Block, ...], timestep: int) -> Alarm:
    block = None if failure.block is None else blocks[failure.block]
    return Alarm(
        step=timestep,
        score=float(failure.score),
        reason=failure.reason,
        block=block,
        features=(failure.quantity,),
        variable=failure.variable,
    )


def _next_state(measures: Measures, totals: np.ndarray, state: MonitorState | None) -> MonitorState:
    totals = np.where(np.isfinite(totals), totals, np.nan)
    contents = measures.contents
    names = tuple(name for check in measures.checks for name in check.names)
    shown = tuple(name for check in measures.checks for name in check.feature_names)
    if state is None:
        first, lowest, highest, n_steps = totals, totals, totals, 0
    else:
        first = np.where(np.isnan(state.first), totals, state.first)
        lowest, highest = np.fmin(state.lowest, totals), np.fmax(state.highest, totals)
        n_steps = state.n_steps
    return MonitorState(
        n_steps + 1,
        measures.timestep,
        measures.time,
        measures.rows,
        measures.bounds,
        measures.sizes,
        first,
        lowest,
        highest,
        measures.carried,
        measures.carried_sizes,
        contents.names,
        contents.has_time_step,
        tuple(sorted(contents.spaced)),
        names,
        shown,
    )


def _carried(
    checks: tuple[Check, ...], state: MonitorState | None
) -> dict[tuple[str, ...], np.ndarray]:
    """Return what checks have kept of the step before, by the names of their quantities."""
    keeping = [check for check in checks if check.carries]
    if state is None or len(state.carried_sizes) != len(keeping):
        return {}
    parts = np.split(state.carried, np.cumsum(state.carried_sizes)[:-1]) if keeping else []
    found = zip(keeping, parts, strict=True)
    return {check.names: part for check, part in found if part.size}


def _check_names(measures: Measures, state: MonitorState | None) -> None:
    names = tuple(name for check in measures.checks for name in check.names)
    if state is not None and names != state.names:
        differing = sorted({*names} ^ {*state.names})
        raise ValueError(
            f"the checks are not those of earlier steps ({', '.join(differing[:3])}); take a new "
            "monitor for other checks."
        )


def _check_sizes(
    state: MonitorState | None, sizes: dict[str, int], contents: Contents, timestep: int
) -> None:
    """Raise ValueError for fields that have changed their shape; those of an octree may."""
    if state is None or contents.is_octree or state.sizes.tolist() == list(sizes.values()):
        return
    raise ValueError(
        f"the fields of step {timestep} have the shape {tuple(sizes.values())}, those of earlier "
        f"steps {tuple(state.sizes.tolist())}; take a new monitor for another grid."
    )
