"""Checks of parameters that many estimators share, and what they draw by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

_LARGEST_SEED = 2**31 - 1


def check_count(name: str, value: Any, *, least: int = 1) -> None:
    """Raise TypeError for what is no int, ValueError for one that is too small."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}={value!r} must be an int of at least {least}.")
    if value < least:
        raise ValueError(f"{name}={value!r} must be an int of at least {least}.")


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ValueError for a value that is not one of the choices."""
    choices = list(choices)
    if not any(value is choice or value == choice for choice in choices):
        shown = ", ".join(map(repr, choices[:-1]))
        raise ValueError(f"{name}={value!r} must be {shown} or {choices[-1]!r}.")


def check_positive(name: str, value: Any, *, zero: bool = False) -> None:
    """Raise TypeError for what is no number, ValueError for one that is negative or not finite.

    Parameters
    ----------
    name : str
    value : float
    zero : bool, default=False
        Whether it may be zero.
    """
    least = "a finite number of at least 0" if zero else "a finite number above 0"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}={value!r} must be {least}.")
    if not (np.isfinite(value) and (value >= 0 if zero else value > 0)):
        raise ValueError(f"{name}={value!r} must be {least}.")


def check_forgetting_factor(value: Any) -> None:
    """Raise ValueError for a factor that is not in (0, 1]."""
    if not 0 < value <= 1:
        raise ValueError(f"forgetting_factor={value!r} must be in (0, 1].")


def draw_seed(random_state: Any) -> int:
    """Return the number that all draws of a model depend on, for scikit-learn's `random_state`."""
    return int(check_random_state(random_state).randint(_LARGEST_SEED))


def draw_seeds(random_state: Any, size: int) -> np.ndarray:
    """Return such numbers for several starts, shape (size,)."""
    return check_random_state(random_state).randint(_LARGEST_SEED, size=size)
