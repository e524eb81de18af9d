"""What error a user allows, and what that means for one block."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dask_exa._parameters import check_choice

KINDS = ("abs", "rel", "l2", "psnr")


class Bound(NamedTuple):
    """Error that a decoded block may have.

    Attributes
    ----------
    kind : {"abs", "rel", "l2", "psnr"}
        ``abs``: the largest error of a value, in the units of the field; of complex values, of
        their modulus. ``rel``: the same, relative to the range (maximum - minimum) of the block.
        ``l2``: ``norm(error) / norm(block)``. ``psnr``: the least peak signal-to-noise ratio,
        ``20 log10(range / rms error)``, in dB.
    value : float
        0 (for ``psnr`` infinity) asks for a lossless code.

    Examples
    --------
    >>> Bound("rel", 1e-3)
    Bound(kind='rel', value=0.001)
    """

    kind: str
    value: float

    @property
    def lossless(self) -> bool:
        """Whether no error is allowed."""
        return self.value == (math.inf if self.kind == "psnr" else 0)


class Tolerance(NamedTuple):
    """The error allowed to one block, in the units of its values.

    Attributes
    ----------
    pointwise : bool
        Whether `value` is allowed to the largest error, or to the sum of squared errors.
    value : float
    """

    pointwise: bool
    value: float

    def tightened(self, share: float) -> Tolerance:
        """Return the tolerance for a share of the error."""
        return Tolerance(self.pointwise, self.value * (share if self.pointwise else share**2))

    def holds(self, original: np.ndarray, decoded: np.ndarray) -> bool:
        """Whether the error of a decoded array is allowed; NaN never is."""
        error = _error(original, decoded)
        found = error.max(initial=0.0) if self.pointwise else np.vdot(error, error)
        return bool(found <= self.value)


def check_bound(bound: Bound) -> None:
    """Raise ValueError for a bound that is none.

    Parameters
    ----------
    bound : Bound
    """
    check_choice("bound.kind", bound.kind, KINDS)
    number = isinstance(bound.value, int | float | np.number) and not isinstance(bound.value, bool)
    if not number or math.isnan(bound.value) or bound.value < 0:
        raise ValueError(f"bound.value={bound.value!r} must be a number of at least 0.")
    if bound.kind != "psnr" and math.isinf(bound.value):
        raise ValueError(
            f"bound.value={bound.value!r} must be finite for bound.kind={bound.kind!r}."
        )


def tolerance_of(bound: Bound, values: np.ndarray) -> Tolerance:
    """Return what a bound allows to these values.

    Parameters
    ----------
    bound : Bound
    values : array of any shape, finite, not empty
        The finite values of the block.

    Returns
    -------
    Tolerance
    """
    if bound.kind == "abs":
        return Tolerance(True, float(bound.value))
    if bound.kind == "l2":
        return Tolerance(False, bound.value**2 * float(np.sum(np.abs(wide(values)) ** 2)))
    span = value_range(values)
    if bound.kind == "rel":
        return Tolerance(True, bound.value * span)
    return Tolerance(False, values.size * span**2 * 10.0 ** (-bound.value / 10))


def value_range(values: np.ndarray) -> float:
    """Return maximum - minimum; of complex values, the larger one of the two parts'."""
    if values.dtype.kind == "c":
        return max(float(np.ptp(wide(values.real))), float(np.ptp(wide(values.imag))))
    return float(values.max()) - float(values.min())


def wide(values: np.ndarray) -> np.ndarray:
    """Return values in double precision."""
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64, copy=False)


def _error(original: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    error = wide(original) - wide(decoded)
    # NaN and infinity are not below any bound; the largest of values with NaN is NaN
    return np.abs(error, out=error if error.dtype.kind == "f" else None).reshape(-1)
