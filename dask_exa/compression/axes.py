"""Orthonormal transforms along one axis of a block.

All are real and keep the sum of squares, so that an error of the coefficients is the error of
the block. Coefficients come in the order of their wave number, respectively of their energy.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import scipy.fft
import scipy.fftpack
import scipy.linalg

FOURIER, COSINE, MODES, NONE = "f", "c", "k", "-"
_SERIES = (FOURIER, COSINE)
_SHORT = 32


def forward(block: np.ndarray, axis: int, kind: str, modes: np.ndarray | None = None) -> np.ndarray:
    """Return the coefficients of a block along an axis.

    Parameters
    ----------
    block : array of any shape, float32 or float64
    axis : int
    kind : {"f", "c", "k", "-"}
        Fourier series of a periodic axis, cosines, given modes, none.
    modes : array of shape (n, rank), orthonormal columns, optional
        For ``k``; n is the length of the axis.

    Returns
    -------
    array
        Of the same shape but, with modes, `rank` along the axis.
    """
    if kind in _SERIES and block.shape[axis] <= _SHORT:
        return along(_matrix(kind, block.shape[axis]), block, axis)
    if kind == FOURIER:
        return _fourier(block, axis)
    if kind == COSINE:
        return scipy.fft.dct(block, axis=axis, norm="ortho")
    return block if modes is None else along(modes.T, block, axis)


def inverse(coefficients: np.ndarray, axis: int, kind: str, modes: np.ndarray | None = None):
    """Return the block that belongs to coefficients; the parameters are those of `forward`."""
    if kind in _SERIES and coefficients.shape[axis] <= _SHORT:
        return along(_matrix(kind, coefficients.shape[axis]).T, coefficients, axis)
    if kind == FOURIER:
        return _inverse_fourier(coefficients, axis)
    if kind == COSINE:
        return scipy.fft.idct(coefficients, axis=axis, norm="ortho")
    return coefficients if modes is None else along(modes, coefficients, axis)


def along(matrix: np.ndarray, block: np.ndarray, axis: int) -> np.ndarray:
    """Multiply a matrix with every fibre of a block along an axis."""
    before, n, after = block.shape[:axis], block.shape[axis], block.shape[axis + 1 :]
    matrix = matrix.astype(block.dtype, copy=False)
    if math.prod(after) == 1:
        product = block.reshape(-1, n) @ matrix.T
    else:
        product = matrix @ block.reshape(math.prod(before), n, math.prod(after))
    return product.reshape(*before, len(matrix), *after)


def products(block: np.ndarray, axis: int) -> np.ndarray:
    """Return the inner products of the slices of a block across an axis, in float64.

    Parameters
    ----------
    block : array
    axis : int
        Of length n.

    Returns
    -------
    array of shape (n, n), float64
    """
    fibres = np.moveaxis(block, axis, 0).reshape(block.shape[axis], -1)
    fibres = fibres.astype(np.float64, copy=False)
    return fibres @ fibres.T


def principal(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the modes of an axis by decreasing energy, and their energies.

    Parameters
    ----------
    products : array of shape (n, n)
        See the function of this name.

    Returns
    -------
    modes : array of shape (n, n), float64
        Columns are orthonormal.
    energies : array of shape (n,)
        Sum of squares of the coefficients of every mode.
    """
    energies, modes = scipy.linalg.eigh(products)
    return modes[:, ::-1], np.maximum(energies[::-1], 0)


def wave_numbers(kind: str, size: int) -> np.ndarray:
    """Return the wave number of every coefficient in cycles per axis; of modes, half their rank."""
    index = np.arange(size)
    return (index + 1) // 2 if kind == FOURIER else index / 2


@cache
def _matrix(kind: str, n: int) -> np.ndarray:
    """Return the transform of a short axis as a matrix, which is faster than the fast ones."""
    unit = np.eye(n)
    return _fourier(unit, 0) if kind == FOURIER else scipy.fft.dct(unit, axis=0, norm="ortho")


def _fourier(block: np.ndarray, axis: int) -> np.ndarray:
    # cosine and sine of every wave number side by side: constant, cos 1, sin 1, cos 2, …
    n = block.shape[axis]
    coefficients = scipy.fftpack.rfft(block, axis=axis)
    coefficients *= _lengths(n, axis, block)
    return coefficients


def _inverse_fourier(coefficients: np.ndarray, axis: int) -> np.ndarray:
    n = coefficients.shape[axis]
    scaled = coefficients * (1 / _lengths(n, axis, coefficients))
    return scipy.fftpack.irfft(scaled, axis=axis, overwrite_x=True)


def _lengths(n: int, axis: int, block: np.ndarray) -> np.ndarray:
    """Return what makes the packed Fourier series of an axis orthonormal."""
    lengths = np.full(n, np.sqrt(2 / n))
    lengths[0] = np.sqrt(1 / n)
    if n % 2 == 0:
        lengths[-1] = np.sqrt(1 / n)
    shape = [1] * block.ndim
    shape[axis] = n
    return lengths.reshape(shape).astype(block.dtype)
