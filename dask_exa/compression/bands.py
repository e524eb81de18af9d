"""Quantised coefficients to bytes: those of like size are coded together.

The spectrum of a field falls by orders of magnitude, and a coder of integers that sees all
coefficients as one sequence pays for it. They are therefore cut into bands of nearly one wave
number; the mean size of each band is stored, and bands of like size go through the entropy coder as
one sequence, which then learns their law (classification gain: Joshi, Fischer, Bamberger, IEEE
Trans. Image Processing 6, 1473, 1997).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dask_exa.compression import axes
from dask_exa.compression._byte_fields import Reader, Writer
from dask_exa.compression.entropy import decode_integers, encode_integers

GROUPINGS = ("separate", "radial", "first-apart")
_WIDTHS = (1.0, 2.0, 6.0)
"""Widths of a class in octaves of the mean size; the last for blocks with few coefficients."""
_FEW = 1 << 13
_EMPTY = -128
_SAMPLE = 1 << 14
_BITS_OF_A_BAND = 6
_RANKS = 4
_LEAST_IN_A_BAND = 4


class Bands(NamedTuple):
    """Which coefficients are a band.

    Attributes
    ----------
    of : array of shape (size,)
        Band of every coefficient, numbered without gaps.
    order : array of shape (size,)
        Coefficients, band by band.
    starts : array of shape (n_bands + 1,)
        Where each band begins in `order`.
    """

    of: np.ndarray
    order: np.ndarray
    starts: np.ndarray


def encode_bands(quantised: np.ndarray, kinds: str) -> bytes:
    """Code quantised coefficients.

    Parameters
    ----------
    quantised : array of any shape, integers (as floats)
    kinds : str
        Transform of every axis, see `dask_exa.compression.axes`.

    Returns
    -------
    bytes
    """
    shape = _padded(quantised.shape, kinds)
    if shape != quantised.shape:
        missing = [(0, n - size) for n, size in zip(shape, quantised.shape, strict=True)]
        quantised = np.pad(quantised, missing)
    flat = quantised.reshape(-1)
    peak = max(float(flat.max()), -float(flat.min()))
    grouping = _cheapest_grouping(flat, shape, kinds)
    bands = bands_of(shape, kinds, grouping)
    narrow = np.int16 if peak < 2**15 else np.int32 if peak < 2**31 else np.int64
    ordered = flat.astype(narrow)[bands.order]
    counts = np.diff(bands.starts)
    means = np.add.reduceat(np.abs(ordered), bands.starts[:-1], dtype=np.float64) / counts
    widths = _WIDTHS if flat.size < _FEW else _WIDTHS[:1]
    coded = [_encode_classes(ordered, bands, _classes(means, width)) for width in widths]
    return Writer().number(GROUPINGS.index(grouping)).rest(min(coded, key=len))


def decode_bands(data: bytes, shape: tuple[int, ...], kinds: str) -> np.ndarray:
    """Return what `encode_bands` has coded, as integers."""
    reader, given = Reader(data), shape
    shape = _padded(shape, kinds)
    bands = bands_of(shape, kinds, GROUPINGS[reader.number()])
    classes = decode_integers(reader.section(), len(bands.starts) - 1)
    ordered = np.zeros(bands.order.size, np.int16)
    for spans in _spans(classes, bands.starts):
        values = decode_integers(reader.section(), sum(end - start for start, end in spans))
        if values.dtype.itemsize > ordered.dtype.itemsize:
            ordered = ordered.astype(values.dtype)
        at = 0
        for start, end in spans:
            ordered[start:end] = values[at : at + end - start]
            at += end - start
    flat = np.empty_like(ordered)
    flat[bands.order] = ordered
    return flat.reshape(shape)[tuple(map(slice, given))]


def _padded(shape: tuple[int, ...], kinds: str) -> tuple[int, ...]:
    """Return the shape with longer axes of modes, whose ranks differ from block to block.

    The bands of the blocks are then mostly the same ones, and need not be made again.
    """
    return tuple(
        -(-size // _RANKS) * _RANKS if kind == axes.MODES else size
        for size, kind in zip(shape, kinds, strict=True)
    )


@lru_cache(maxsize=12)
def bands_of(shape: tuple[int, ...], kinds: str, grouping: str) -> Bands:
    """Return which coefficients are coded together.

    Parameters
    ----------
    shape : tuple of int
    kinds : str
    grouping : {"separate", "radial", "first-apart"}
        Half octaves of the wave number of each axis, or octaves where these are too small; shells
        around the origin of wave space; shells of all axes but the first, and half octaves of that.

    Returns
    -------
    Bands
    """
    waves = [axes.wave_numbers(kind, size) for kind, size in zip(kinds, shape, strict=True)]
    if grouping == "separate":
        marks = [_half_octaves(wave) for wave in waves]
        if math.prod(int(mark.max()) + 1 for mark in marks) > math.prod(shape) / _LEAST_IN_A_BAND:
            marks = [mark // 2 for mark in marks]
        found = _combine(marks, shape)
    else:
        apart = 1 if grouping == "first-apart" and len(shape) > 1 else 0
        rest = shape[apart:]
        longest = max(rest)
        squares = np.zeros(rest)
        for axis, wave in enumerate(waves[apart:]):
            # wave numbers per length, as if the spacing were the same along all axes
            scaled = (wave * (longest / max(rest[axis], 1))) ** 2
            squares = squares + _spread(scaled, axis, len(rest))
        shells = _shells(np.sqrt(squares))
        found = shells
        if apart:
            found = (
                _half_octaves(waves[0]).reshape(-1, *[1] * len(rest)) * (int(shells.max()) + 1)
                + shells
            )
    marks_of = np.broadcast_to(found, shape).reshape(-1)
    there = np.bincount(marks_of)
    numbers = np.cumsum(there > 0) - 1
    of = numbers[marks_of].astype(np.uint16 if numbers[-1] < 2**16 else np.int32)
    order = np.argsort(of, kind="stable").astype(np.int32)
    return Bands(of, order, np.concatenate([[0], np.cumsum(there[there > 0])]))


def _half_octaves(wave: np.ndarray) -> np.ndarray:
    return np.floor(2 * np.log2(2 * wave + 1)).astype(np.int64)


def _shells(wave: np.ndarray) -> np.ndarray:
    # one cycle wide, from 16 cycles on a sixteenth of the wave number
    fine = 16 * np.log2(np.maximum(wave, 16) / 16) + 16
    return np.where(wave < 16, np.round(wave), np.floor(fine)).astype(np.int64)


def _spread(values: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    return values.reshape([-1 if at == axis else 1 for at in range(ndim)])


def _combine(marks: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    found = np.zeros(shape, np.int64)
    for axis, mark in enumerate(marks):
        found = found * (int(mark.max()) + 1) + _spread(mark, axis, len(shape))
    return found


def _cheapest_grouping(flat: np.ndarray, shape: tuple[int, ...], kinds: str) -> str:
    spacing = 1 + flat.size // _SAMPLE
    sizes = np.abs(flat[::spacing])

    def cost(grouping: str) -> float:
        """Return about how many bits there are: those of Laplacians of the mean size of bands."""
        bands = bands_of(shape, kinds, grouping)
        n_bands = len(bands.starts) - 1
        of = bands.of[::spacing]
        counts = np.bincount(of, minlength=n_bands)
        means = np.bincount(of, sizes, minlength=n_bands) / np.maximum(counts, 1)
        below_one = means * np.log2(1 + 1 / np.maximum(means, 1e-9)) * (means < 1)
        bits = np.log2(1 + math.e * means) + below_one
        return spacing * float(counts @ bits) + _BITS_OF_A_BAND * n_bands

    return min(GROUPINGS, key=cost)


def _classes(means: np.ndarray, width: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        octaves = np.round(np.log2(means) / width)
    return np.where(means == 0, _EMPTY, np.clip(octaves, -127, 127)).astype(np.int64)


def _encode_classes(ordered: np.ndarray, bands: Bands, classes: np.ndarray) -> bytes:
    writer = Writer().section(encode_integers(classes))
    for spans in _spans(classes, bands.starts):
        writer.section(encode_integers(np.concatenate([ordered[a:b] for a, b in spans])))
    return writer.rest(b"")


def _spans(classes: np.ndarray, starts: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return for every class but the empty one where its bands begin and end."""
    return [
        [(int(starts[band]), int(starts[band + 1])) for band in np.flatnonzero(classes == found)]
        for found in np.unique(classes)
        if found != _EMPTY
    ]
