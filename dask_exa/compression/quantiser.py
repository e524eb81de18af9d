"""Uniform quantiser of coefficients, with a wider zero, and the search of its step."""

from __future__ import annotations

import math

import numpy as np

ROUNDING = 0.42
"""Added before a coefficient is cut: 1/2 has the least error, Laplacians want less."""
_SAMPLE, _ROUGH = 1 << 16, 1 << 12
_CAUTION = 0.99
_LARGEST = 2.0**52


def quantise(coefficients: np.ndarray, step: float) -> np.ndarray:
    """Return the numbers of the intervals, as floats of the dtype of the coefficients.

    Parameters
    ----------
    coefficients : array, float32 or float64
    step : float
        Width of an interval; the one around zero is ``2 (1 - ROUNDING)`` wide.

    Returns
    -------
    array

    References
    ----------
    G. Sullivan, "Efficient scalar quantization of exponential and Laplacian random variables",
    IEEE Trans. Information Theory 42, 1365 (1996).

    Examples
    --------
    >>> import numpy as np
    >>> quantise(np.array([-1.5, 0.57, 0.59, 2.4]), 1.0)
    array([-1.,  0.,  1.,  2.])
    """
    scaled = coefficients * coefficients.dtype.type(1 / step)
    scaled += np.copysign(coefficients.dtype.type(ROUNDING), coefficients)
    return np.trunc(scaled, out=scaled)


def squared_error(coefficients: np.ndarray, step: float) -> float:
    """Return the sum of squared errors of quantised coefficients."""
    error = quantise(coefficients, step)
    error *= coefficients.dtype.type(step)
    error -= coefficients
    return float(np.vdot(error, error))


def step_for(coefficients: np.ndarray, squares: float) -> float | None:
    """Return about the largest step whose sum of squared errors is at most `squares`.

    It is searched on a sample of the coefficients, where squared errors are all alike: they are
    below the square of the step. Whoever uses it checks the error.

    Parameters
    ----------
    coefficients : array
    squares : float
        Above 0.

    Returns
    -------
    float or None
        None where the dtype does not resolve such small steps.
    """
    sample = coefficients.reshape(-1)
    allowed = squares
    if sample.size > 2 * _SAMPLE:
        chosen = np.random.default_rng(0).integers(0, sample.size, _SAMPLE)
        allowed *= _CAUTION * _SAMPLE / sample.size
        sample = sample[chosen]
    peak = float(np.abs(sample).max(initial=0))
    if float(np.vdot(sample, sample)) <= allowed:
        return 4 * peak or 1.0  # all of them may be 0
    finest = math.sqrt(12 * squares / coefficients.size)
    step = _largest(sample[:: max(1, sample.size // _ROUGH)], finest, allowed / sample.size, 8)
    step = _largest(sample, step / 1.1, allowed / sample.size, 5, growth=1.1)
    return step if peak / step < _LARGEST else None


def _largest(
    sample: np.ndarray, start: float, mean_square: float, n_halvings: int, growth: float = 2.0
) -> float:
    """Return the largest step, from `start` on, whose mean squared error is allowed."""

    def allowed(step: float) -> bool:
        return squared_error(sample, step) <= mean_square * sample.size

    low, high = start, start * growth
    while not allowed(low) and low > start * 2.0**-20:
        low, high = low / growth, low
    peak = float(np.abs(sample).max(initial=0))
    while allowed(high) and low < 2 * peak:
        low, high = high, high * growth
    for _ in range(n_halvings):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low
