"""Watch the fields of a simulation: short features of every block, and checks with limits."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Self

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator

from dask_exa._state import State
from dask_exa.anomaly import _blocks, _judging
from dask_exa.anomaly._judging import Measures, MonitorState
from dask_exa.anomaly.alarm import Alarm, Block
from dask_exa.anomaly.checks import Check, Contents, choose


class Observation(NamedTuple):
    """What a monitor makes of one step."""

    features: np.ndarray
    """One short vector a block, (n_blocks, n_features). NaN where there is nothing to say: in the
    first step of what compares with the step before, and in blocks that are not finite."""
    feature_names: tuple[str, ...]
    blocks: tuple[Block, ...]
    """First and last index along each dimension, of every block."""
    alarms: list[Alarm]
    """Of the checks that failed."""


class FieldMonitor(BaseEstimator):
    """Turn every block of a field into a short feature vector, and check what must hold.

    Checks are small records (`dask_exa.anomaly.checks`) that measure a block where it is: one
    task for each block and step reads all variables, and a vector of numbers is all that leaves
    it. The vectors say what the features of a block are, for any detector, and together whether
    the whole field is as it must be: finite, positive, conserving, resolved, in balance. Limits
    follow from physics or from what the solver can do, not from the run.

    Features have no units: logarithms, ratios, and changes in spreads of the field.

    Parameters
    ----------
    checks : "auto", str, check, or list of names and checks, default="auto"
        "auto" takes the checks that fit the names and dimensions of the variables in the first
        step. A name is a family of these: "finite", "bounds", "spread", "jump", "gridscale",
        "kurtosis", "plasma", "distribution", "octree", "tensors", "series", "clock".
        `["auto", conserved("density")]` adds a check to them.
    blocks : int or mapping of str to int, optional
        How fields in memory are split: a number of blocks along the first dimension, or the
        largest size of a block along some dimensions. By default a field is one block. The chunks
        of a lazy field are its blocks, whatever is asked for here.
    dt : float, optional
        Time step of the solver, in the units of time. By default it is what a step has as ``dt``
        or ``time_step``: a variable or coordinate without dimensions, or an attribute. The check
        of the Courant number needs it.

    Attributes
    ----------
    state : MonitorState or None
        What later steps are compared with; grows with the number of blocks, not of steps.
    n_features_in_ : int
        Number of features of a block.

    See Also
    --------
    dask_exa.anomaly.alarm.episodes : Put together the alarms of steps in a row.

    Notes
    -----
    Ranks that each have a part of a field call `measure`; their `Measures`, put side by side by
    ``|``, give with `judge` what `observe` gives for the whole field. A rank may also observe its
    part alone; totals that flow between ranks do not hold then: leave out the families
    "distribution", "octree" and "tensors".

    `merge` puts monitors side by side that have seen the same steps of different parts, for the
    steps to come. First, smallest and largest totals of the whole cannot be had from those of the
    parts: they start anew.

    Examples
    --------
    >>> from dask_exa.anomaly import FieldMonitor
    >>> from dask_exa.datasets import Injection, Tokam2D
    >>> fault = Injection(timestep=3, kind="nonphysical")
    >>> run = Tokam2D.sol(shape=(32, 32), rk4_steps_per_frame=2, inject=fault)
    >>> monitor = FieldMonitor(blocks={"y": 16, "x": 16})
    >>> for step in run.run(3):
    ...     seen = monitor.observe(step)
    ...     print(seen.features.shape, [alarm.variable for alarm in seen.alarms])
    (4, 22) []
    (4, 22) []
    (4, 22) ['density']
    """

    _state: State | None

    def __init__(self, checks: Any = "auto", blocks: Any = None, dt: float | None = None) -> None:
        self.checks = checks
        self.blocks = blocks
        self.dt = dt

    @property
    def state(self) -> MonitorState | None:
        """What later steps are compared with; None before the first."""
        held = self.__dict__.get("_state")
        return None if held is None else held.summary

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features; empty before the first step."""
        return () if self.state is None else self.state.feature_names

    def observe(self, step: xr.Dataset) -> Observation:
        """Look at a step, and keep what the next one is compared with.

        Parameters
        ----------
        step : xarray.Dataset
            Variables in memory or lazy, scalar coordinates ``time`` and ``timestep``.

        Returns
        -------
        Observation

        Raises
        ------
        TypeError
            If `step` is no data set, or has complex variables.
        ValueError
            If a check does not fit the step, or the step does not fit those before.
        """
        return self.judge(self.measure(step))

    def measure(self, step: xr.Dataset) -> Measures:
        """Return what the checks measure in the blocks of a step; the state stays as it is."""
        contents = _judging.known_contents(self.state, _blocks.read_contents(step, self.dt))
        checks = self._fitting_checks(contents)
        clock = _blocks.read_clock(step, self.dt, np.nan if self.state is None else self.state.time)
        return _judging.measure(step, contents, checks, clock, self.blocks, self.state)

    def judge(self, measures: Measures) -> Observation:
        """Return what measures say, and keep what the next ones are compared with."""
        found = _judging.judge(measures, self.state)
        self._keep(found.state)
        return Observation(found.features, found.state.feature_names, found.blocks, found.alarms)

    def transform(self, step: xr.Dataset) -> np.ndarray:
        """Return the features (n_blocks, n_features) of a step, after `observe`."""
        return self.observe(step).features

    def partial_fit(self, step: xr.Dataset, y: None = None) -> Self:
        """Observe a step and return the monitor."""
        self.observe(step)
        return self

    def fit(self, step: xr.Dataset, y: None = None) -> Self:
        """Forget all steps, then observe one."""
        self.fit_transform(step)
        return self

    def fit_transform(self, step: xr.Dataset, y: None = None) -> np.ndarray:
        """Forget all steps, observe one, and return its features."""
        before = self.__dict__.pop("_state", None)
        try:
            return self.transform(step)
        except BaseException:
            self._state = before
            raise

    def merge(self, *others: Self) -> Self:
        """Put monitors side by side that have seen the same steps of other parts of the field."""
        states = [monitor.state for monitor in (self, *others)]
        known = [state for state in states if state is not None]
        if known:
            self._keep(functools.reduce(_judging.side_by_side, known))
        return self

    def save(self, path: Any) -> None:
        """Write parameters and state to a zarr group; `checks` must then be names."""
        from dask_exa import _checkpoint

        if self.state is None:
            raise ValueError("the monitor has not seen a step; observe one before you save it.")
        _checkpoint.save(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Return the monitor that `save` wrote, ready for the next step."""
        from dask_exa import _checkpoint

        return _checkpoint.load(cls, path)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that steps are no matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

    def _fitting_checks(self, contents: Contents) -> tuple[Check, ...]:
        checks = choose(self.checks, contents)
        for check in checks:
            missing = [name for name in check.variables if name not in contents.names]
            if missing:
                raise ValueError(
                    f"the step has no variable {missing[0]!r}, which the check "
                    f"{type(check).__name__} reads; it has {list(contents.names)}."
                )
        if not checks:
            raise ValueError(f"no check of {self.checks!r} fits a step of {list(contents.names)}.")
        return checks

    def _keep(self, state: MonitorState) -> None:
        self.n_features_in_ = len(state.feature_names)
        self._state = State(state, {}, np.dtype(np.float64), None)
