"""A block as the core of orthonormal transforms along its axes: Tucker's decomposition.

Each axis has the transform that makes the block cheapest: its own principal modes (the
higher-order SVD; the block carries them), a Fourier series where it is periodic, cosines, or none.
Smooth fields of four and five dimensions take a few modes an axis, turbulence in a periodic box
Fourier series in space and cosines in time.

References
----------
L. De Lathauwer, B. De Moor, J. Vandewalle, "A multilinear singular value decomposition", SIAM J.
Matrix Analysis and Applications 21, 1253 (2000).
R. Ballester-Ripoll, P. Lindstrom, R. Pajarola, "TTHRESH: tensor compression for multidimensional
visual data", IEEE Trans. Visualization and Computer Graphics 26, 2891 (2020).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg

from dask_exa.compression import axes
from dask_exa.compression._byte_fields import Reader, Writer
from dask_exa.compression.bands import decode_bands, encode_bands
from dask_exa.compression.bounds import Tolerance
from dask_exa.compression.corrections import correct, encode_corrections
from dask_exa.compression.entropy import decode_integers, encode_integers
from dask_exa.compression.quantiser import quantise, step_for

STEP_PER_LARGEST = 2.4
"""Step of the coefficients, in units of the largest error allowed. Up to a tenth of the values is
then off by more and is corrected, which takes less than finer steps (measured on turbulence)."""
_LONGEST_MODES = 512
_HANDICAPS = (1.0, 1.03)
"""Of modes, when transforms are chosen: the coefficients of waves fall more regularly with their
number, and code better than is thought. Both choices are tried."""
_TAIL = 0.01
_LEAK = 0.1
_FINEST, _FINEST_SINGLE = 2.0**-48, 2.0**-14
"""Errors relative to the largest value that double, respectively single precision is fine for."""
_NO_CORRECTIONS = b"\0"


class Core(NamedTuple):
    """Coefficients of a block.

    Attributes
    ----------
    coefficients : array
    kinds : str
        Of every axis, see `dask_exa.compression.axes`.
    modes : dict of int to array of shape (n, rank)
        Orthonormal columns of the axes whose kind is ``k``.
    coded_modes : dict of int to bytes
        What `_decode_modes` makes them of.
    lost : float
        Sum of squares that the modes left out have.
    """

    coefficients: np.ndarray
    kinds: str
    modes: dict[int, np.ndarray]
    coded_modes: dict[int, bytes]
    lost: float


class Coded(NamedTuple):
    """A block that was coded.

    Attributes
    ----------
    data : bytes
    decoded : array
        What `data` decodes to.
    kinds : str
        Transform of every axis.
    """

    data: bytes
    decoded: np.ndarray
    kinds: str


def encode_separable(
    values: np.ndarray, tolerance: Tolerance, kinds: str | None = None
) -> Coded | None:
    """Code a block.

    Parameters
    ----------
    values : array, float32 or float64, finite
    tolerance : Tolerance
    kinds : str, optional
        Transform of every axis; by default the cheapest ones.

    Returns
    -------
    Coded or None
        None where the tolerance is too fine for this coder. The sum of squared errors is allowed
        by a sample of the coefficients only, and may be a percent too large.
    """
    typical = typical_error(values, tolerance)
    peak = float(np.abs(values).max())
    if not typical > 0 or typical < _FINEST * peak:
        return None
    work = values
    if values.dtype == np.float32 and typical < _FINEST_SINGLE * peak:
        work = values.astype(np.float64)
    if kinds is None:
        chosen = dict.fromkeys(choose_kinds(work, typical, share) for share in _HANDICAPS)
        tried = [encode_separable(values, tolerance, kinds) for kinds in chosen]
        return min(filter(None, tried), key=lambda coded: len(coded.data), default=None)
    core = _transform(work, kinds, typical)
    if tolerance.pointwise:
        data, decoded = _encode_core(core, largest_step(tolerance), values.shape, work.dtype)
        fixes = encode_corrections(work, decoded, tolerance.value)
        return Coded(Writer().section(data).rest(fixes), correct(decoded, fixes), kinds)
    left = tolerance.value - core.lost
    step = step_for(core.coefficients, left) if left > 0 else None
    if step is None:
        return None
    data, decoded = _encode_core(core, step, values.shape, work.dtype)
    return Coded(Writer().section(data).rest(_NO_CORRECTIONS), decoded, kinds)


def decode_separable(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return the block that `encode_separable` has coded, float32 or float64."""
    reader = Reader(data)
    return correct(_decode_core(reader.section(), shape), reader.rest())


def choose_kinds(values: np.ndarray, typical: float, handicap: float) -> str:
    """Return the transform of every axis that makes a block cheapest, one axis after the other.

    Parameters
    ----------
    values : array
    typical : float
        Root-mean-square error that is allowed.
    handicap : float
        Factor of the bits that coefficients of modes are thought to take.

    Returns
    -------
    str
    """
    step = math.sqrt(12) * typical
    block, chosen = values, []
    for axis, size in enumerate(values.shape):
        if size == 1:
            chosen.append(axes.NONE)
            continue
        trials = {axes.NONE: block}
        trials |= {k: axes.forward(block, axis, k) for k in (axes.FOURIER, axes.COSINE)}
        costs = {kind: _bits(trial, step) for kind, trial in trials.items()}
        if size <= min(_LONGEST_MODES, values.size // size):
            modes, energies = axes.principal(axes.products(block, axis))
            trials[axes.MODES] = axes.along(modes.T, block, axis)
            levels = np.sqrt(energies * size / (values.size * _LEAK * step**2))
            bits_of_modes = size * float(np.log2(1 + levels).sum())
            costs[axes.MODES] = handicap * _bits(trials[axes.MODES], step) + bits_of_modes
        best = min(costs, key=costs.__getitem__)
        chosen.append(best)
        block = trials[best]
    return "".join(chosen)


def _bits(coefficients: np.ndarray, step: float) -> float:
    scaled = coefficients / coefficients.dtype.type(step)
    return 0.5 * float(np.log2(1 + scaled * scaled).sum(dtype=np.float64))


def largest_step(tolerance: Tolerance) -> float:
    """Return the step of coefficients for a bound of the largest error."""
    return STEP_PER_LARGEST * tolerance.value


def typical_error(values: np.ndarray, tolerance: Tolerance) -> float:
    """Return the root-mean-square error that a tolerance allows, or leads to."""
    if tolerance.pointwise:
        return largest_step(tolerance) / math.sqrt(12)
    return math.sqrt(tolerance.value / values.size)


def _transform(work: np.ndarray, kinds: str, typical: float) -> Core:
    block, modes, coded_modes, lost = work, {}, {}, 0.0
    for axis, kind in enumerate(kinds):
        if kind == axes.MODES:
            products = axes.products(block, axis)
            coded_modes[axis] = _encode_modes(products, typical, work.size)
            modes[axis] = basis = _decode_modes(coded_modes[axis], len(products))
            lost += max(float(np.trace(products) - np.sum(basis * (products @ basis))), 0.0)
        block = axes.forward(block, axis, kind, modes.get(axis))
    return Core(np.ascontiguousarray(block), kinds, modes, coded_modes, lost)


def _encode_modes(products: np.ndarray, typical: float, n_values: int) -> bytes:
    """Quantise the modes of an axis, each as finely as its energy asks for."""
    modes, energies = axes.principal(products)
    n = len(products)
    tails = np.cumsum(energies[::-1])[::-1]
    rank = max(int((tails > _TAIL * typical**2 * n_values).sum()), 1)
    # an error of a mode leaks energy into the others, where it must stay below the quantiser's
    levels = np.sqrt(energies[:rank] * n / (n_values * _LEAK * 12 * typical**2)) + 1
    levels = np.exp2(np.minimum(np.ceil(np.log2(levels)), 30))
    signs = np.sign(modes[np.abs(modes[:, :rank]).argmax(axis=0), np.arange(rank)])
    numbers = np.rint(modes[:, :rank] * signs * levels * math.sqrt(n) / 2)
    exponents = np.log2(levels).astype(np.int64)
    coded = Writer().number(rank).section(encode_integers(exponents))
    return coded.rest(encode_integers(numbers.T.reshape(-1).astype(np.int64)))


def _decode_modes(data: bytes, n: int) -> np.ndarray:
    reader = Reader(data)
    rank = reader.number()
    levels = np.exp2(decode_integers(reader.section(), rank).astype(np.float64))
    numbers = decode_integers(reader.rest(), rank * n).reshape(rank, n).T
    # quantised columns are orthonormal again, so that errors of coefficients are errors of fields
    return scipy.linalg.qr(numbers / levels, mode="economic")[0]


def _encode_core(
    core: Core, step: float, shape: tuple[int, ...], dtype: np.dtype
) -> tuple[bytes, np.ndarray]:
    quantised = quantise(core.coefficients, step)
    writer = Writer().number(dtype.itemsize).real(step).section(core.kinds.encode())
    for axis in sorted(core.coded_modes):
        writer.section(core.coded_modes[axis])
    data = writer.rest(encode_bands(quantised, core.kinds))
    return data, _reconstruct(quantised, step, core.kinds, core.modes, dtype)


def _decode_core(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    reader = Reader(data)
    dtype, step = np.dtype(f"f{reader.number()}"), reader.real()
    kinds = reader.section().decode()
    modes = {
        axis: _decode_modes(reader.section(), shape[axis])
        for axis, kind in enumerate(kinds)
        if kind == axes.MODES
    }
    ranks = tuple(modes[axis].shape[1] if axis in modes else n for axis, n in enumerate(shape))
    quantised = decode_bands(reader.rest(), ranks, kinds)
    return _reconstruct(quantised.astype(dtype), step, kinds, modes, dtype)


def _reconstruct(
    quantised: np.ndarray, step: float, kinds: str, modes: dict[int, np.ndarray], dtype: np.dtype
) -> np.ndarray:
    block = quantised
    block *= dtype.type(step)
    for axis in reversed(range(len(kinds))):
        block = axes.inverse(block, axis, kinds[axis], modes.get(axis))
    return np.ascontiguousarray(block)
