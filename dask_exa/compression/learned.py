"""A block in modes that were learnt from other blocks: of patches, or global ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dask_exa.compression import peers
from dask_exa.compression._byte_fields import Reader, Writer
from dask_exa.compression.axes import MODES, NONE
from dask_exa.compression.bands import decode_bands, encode_bands
from dask_exa.compression.basis import Basis, cut, full_patch, join
from dask_exa.compression.bounds import Tolerance
from dask_exa.compression.corrections import correct, encode_corrections
from dask_exa.compression.quantiser import quantise, step_for
from dask_exa.compression.separable import (
    decode_separable,
    encode_separable,
    largest_step,
    typical_error,
)

_REMAINDERS = ("none", "corrections", "tucker", "sz3")
_DIRECT = 0.5
"""Share of the allowed squares that the modes left out may take before the rest is coded apart."""


class _Coefficients(NamedTuple):
    values: np.ndarray
    lost: float


def transform_of(basis: Basis, shape: tuple[int, ...]) -> str | None:
    """Return what a block of this shape is coded with: "basis", "patch-klt", or None for neither.

    Global modes are as large as the block, but for leading axes that count fields.
    """
    if len(basis.patch) > len(shape):
        return None
    return "basis" if shape[len(shape) - len(basis.patch) :] == basis.patch else "patch-klt"


def encode_learned(values: np.ndarray, tolerance: Tolerance, basis: Basis) -> bytes | None:
    """Code a block in the modes of a basis.

    Coefficients are quantised; what the modes cannot show is corrected value by value where it is
    rare, and coded as a block of its own else.

    Parameters
    ----------
    values : array, float32 or float64, finite
    tolerance : Tolerance
    basis : Basis

    Returns
    -------
    bytes or None
        None where the tolerance is too fine for this coder, or nothing is gained.
    """
    typical = typical_error(values, tolerance)
    if not typical > 0 or typical < 2.0**-48 * float(np.abs(values).max()):
        return None
    work = values.astype(np.float64)
    patches = cut(work, basis.patch) - basis.mean
    coefficients = patches @ basis.modes
    lost = max(float(np.vdot(patches, patches) - np.vdot(coefficients, coefficients)), 0.0)
    step = _step(coefficients, tolerance, typical, lost)
    data = _encode_coefficients(coefficients, step)
    decoded = _decode_coefficients(data, values.shape, basis)
    remainder = _encode_remainder(work, decoded, values.dtype, tolerance)
    if remainder is None:
        return None
    kind, rest = remainder
    return Writer().section(data).number(_REMAINDERS.index(kind)).rest(rest)


def decode_learned(data: bytes, shape: tuple[int, ...], basis: Basis) -> np.ndarray:
    """Return the block that `encode_learned` has coded, float64."""
    reader = Reader(data)
    decoded = _decode_coefficients(reader.section(), shape, basis)
    kind, rest = _REMAINDERS[reader.number()], reader.rest()
    if kind == "corrections":
        return correct(decoded, rest)
    if kind == "tucker":
        return decoded + decode_separable(rest, shape)
    if kind == "sz3":
        return decoded + peers.decode_sz3(rest, shape, np.dtype(np.float64))
    return decoded


def _step(coefficients: np.ndarray, tolerance: Tolerance, typical: float, lost: float) -> float:
    if tolerance.pointwise:
        return largest_step(tolerance)
    left = tolerance.value - lost
    if left > (1 - _DIRECT) * tolerance.value:
        return step_for(coefficients, left) or math.sqrt(12) * typical
    return math.sqrt(12) * typical  # the rest is coded, with these errors in it


def _encode_coefficients(coefficients: np.ndarray, step: float) -> bytes:
    quantised = quantise(coefficients, step)
    return Writer().real(step).rest(encode_bands(quantised, NONE + MODES))


def _decode_coefficients(data: bytes, shape: tuple[int, ...], basis: Basis) -> np.ndarray:
    reader = Reader(data)
    step = reader.real()
    patch = full_patch(basis.patch, len(shape))
    n_patches = math.prod(-(-size // part) for size, part in zip(shape, patch, strict=True))
    numbers = decode_bands(reader.rest(), (n_patches, basis.n_components), NONE + MODES)
    return join((numbers * step) @ basis.modes.T + basis.mean, shape, basis.patch)


def _encode_remainder(
    work: np.ndarray, decoded: np.ndarray, dtype: np.dtype, tolerance: Tolerance
) -> tuple[str, bytes] | None:
    """Return the smallest code of what is left over after the modes, and its kind."""
    if tolerance.holds(work.astype(dtype), decoded.astype(dtype)):
        return "none", b""
    rest = work - decoded
    found: list[tuple[str, bytes]] = []
    if tolerance.pointwise and np.mean(np.abs(rest) > tolerance.value) < _DIRECT:
        found.append(("corrections", encode_corrections(work, decoded, tolerance.value)))
    separable = encode_separable(rest, tolerance)
    if separable is not None and tolerance.holds(rest, separable.decoded):
        found.append(("tucker", separable.data))
    if not found:
        sz3 = peers.encode_sz3(rest, tolerance)
        if sz3 is not None:
            found.append(("sz3", sz3))
    return min(found, key=lambda pair: len(pair[1])) if found else None
