"""What the last dumps let expect of the next one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dask_exa.inputs.visibilities.field_modes import Expectation, FieldModes, expect
from dask_exa.kernels.visibilities import expect_coefficients

_MAX_EXPECTATIONS = 128
_MARGIN = 2.0
"""Of the variance of the sky over that of the first dump."""


class Expected(NamedTuple):
    """Coefficients that are expected of a dump."""

    coefficients: np.ndarray
    """(n_baselines, max_modes), complex64."""
    variance: np.ndarray
    """(n_patterns, n_groups, max_modes), see `Expectation`."""
    pattern: np.ndarray
    """(n_baselines,), int32: which variance a baseline has."""
    is_known: np.ndarray
    """(n_baselines,), bool: whether anything is expected."""

    @property
    def usual(self) -> int:
        """The pattern that most baselines have."""
        return int(np.bincount(self.pattern).argmax())


class Memory:
    """The coefficients of the last dumps, and which of them are worth nothing.

    Parameters
    ----------
    field : FieldModes
    n_dumps : int
        As many are kept.
    interval : float, optional
        Between dumps, in seconds; by default that between the first two.
    """

    def __init__(self, field: FieldModes, n_dumps: int, interval: float | None) -> None:
        n_baselines, max_modes = len(field.group), field.modes.shape[1]
        self._field, self._interval = field, interval
        self._history = np.zeros((n_dumps, n_baselines, max_modes), dtype=np.complex64)
        self._present = np.zeros((n_dumps, n_baselines), dtype=bool)
        self._next, self._time, self._sky_variance = 0, np.nan, 1.0
        self._expectations: dict[bytes, Expectation] = {}

    def expect(self, time: float) -> Expected:
        """Return what to expect of the dump at a time."""
        self._go_to(time)
        order = self._order
        present = self._present[order]
        if (present == present[:, :1]).all():
            patterns = present[:, :1].T
            pattern = np.zeros(present.shape[1], dtype=np.int32)
        else:
            patterns, inverse = np.unique(present.T, axis=0, return_inverse=True)
            pattern = inverse.ravel().astype(np.int32)
        found = [self._expectation(row) for row in patterns]
        weights = np.empty((len(found), *found[0].weights.shape), dtype=np.float32)
        weights[:, order] = [one.weights for one in found]
        field = self._field
        coefficients = expect_coefficients(
            self._history, weights, pattern, field.group, field.n_modes
        )
        variance = np.stack([one.variance for one in found])
        is_known = np.any(present, axis=0)
        return Expected(coefficients, variance, pattern, np.asarray(is_known))

    def expect_as(self, baseline: int, share: float) -> np.ndarray:
        """Return what would be expected, were all baselines known from the dumps that one is.

        Parameters
        ----------
        baseline : int
        share : float
            Of the fringe rates that the field allows. Less of them makes less noise over a gap,
            and is right where the sources are near the middle of the field.
        """
        order = self._order
        found = self._expectation(self._present[order, baseline], share)
        weights = np.empty((1, *found.weights.shape), dtype=np.float32)
        weights[0, order] = found.weights
        field = self._field
        pattern = np.zeros(len(field.group), dtype=np.int32)
        return expect_coefficients(self._history, weights, pattern, field.group, field.n_modes)

    @property
    def _order(self) -> np.ndarray:
        """Places of the dumps in the history, the oldest first."""
        return np.roll(np.arange(len(self._history)), -self._next)

    def learn(self, coefficients: np.ndarray, is_sound: np.ndarray) -> None:
        """Remember a dump, but for the baselines that are not sound in it."""
        self._history[self._next] = coefficients
        self._present[self._next] = is_sound
        self._next = (self._next + 1) % len(self._history)

    def scale_to(self, sky_variance: float) -> None:
        """Expect a sky of some variance relative to the noise."""
        self._sky_variance = max(_MARGIN * sky_variance, 1.0)
        self._expectations.clear()

    def forget(self, baselines: np.ndarray) -> None:
        """Forget all that is known of some baselines."""
        self._present[:, baselines] = False

    def _go_to(self, time: float) -> None:
        """Leave room for dumps that have not come."""
        if np.isfinite(self._time) and time > self._time:
            if self._interval is None:
                self._interval = time - self._time
            n_missing = round((time - self._time) / self._interval) - 1
            for _ in range(min(n_missing, len(self._history))):
                self.learn(self._history[self._next], np.zeros(self._present.shape[1], dtype=bool))
        self._time = time

    def _expectation(self, present: np.ndarray, share: float = 1.0) -> Expectation:
        key = present.tobytes() + np.float64(share).tobytes()
        if key not in self._expectations:
            if len(self._expectations) >= _MAX_EXPECTATIONS:
                self._expectations.pop(next(iter(self._expectations)))
            interval = 1.0 if self._interval is None else self._interval
            field = self._field._replace(fringe_rate=share * self._field.fringe_rate)
            dumps = tuple(present.tolist())
            self._expectations[key] = expect(field, interval, dumps, self._sky_variance)
        return self._expectations[key]
