"""Sums over the visibilities of each baseline, in one pass; which twin makes them.

Sums of parts of the channels or polarisations add up to those of all, but for the products of
neighbours on either side of a cut; so do those of parts of the dumps.
"""

from __future__ import annotations

from typing import NamedTuple

from dask_exa._array import Array, is_cupy, is_host, namespace


class BaselineSums(NamedTuple):
    """Sums for each baseline, all of shape (n_baselines,); V visibilities, w weights."""

    count: Array
    """Visibilities with a weight, float64."""
    weight: Array
    """Σ w."""
    amplitude: Array
    """Σ w |V|."""
    power: Array
    """Σ w |V|²."""
    visibility: Array
    """Σ w V, complex128."""
    plain_power: Array
    """Σ |V|² over those with a weight."""
    plain_square: Array
    """Σ |V|⁴ over those with a weight."""
    next_dump: Array
    """Σ w w' V' V*, with V' and w' of the next dump, complex128."""
    next_channel: Array
    """Σ w w' V' V*, with V' and w' of the next channel, complex128."""


def baseline_sums(visibility: Array, weight: Array) -> BaselineSums:
    """Add up the visibilities of each baseline, in float64.

    Parameters
    ----------
    visibility : array of shape (n_times, n_baselines, n_channels, n_polarisations)
        complex64 or complex128; anything where the weight is 0.
    weight : array of the same shape
        float32 or float64, not negative.

    Returns
    -------
    BaselineSums

    Examples
    --------
    >>> import numpy as np
    >>> V = np.array([1, 1j, 2]).reshape(1, 1, 3, 1)
    >>> sums = baseline_sums(V, np.ones((1, 1, 3, 1)))
    >>> sums.power.item(), sums.visibility.item(), sums.next_channel.item()
    (6.0, (3+1j), -1j)
    """
    if is_host(visibility) and visibility.flags.c_contiguous and weight.flags.c_contiguous:
        from dask_exa.kernels._baseline_sums_numba import baseline_sums as twin
    elif is_cupy(visibility):
        from dask_exa.kernels._baseline_sums_cupy import baseline_sums as twin
    else:
        twin = _baseline_sums
    sums = twin(visibility, weight)
    return BaselineSums(
        count=sums[:, 0],
        weight=sums[:, 1],
        amplitude=sums[:, 2],
        power=sums[:, 3],
        visibility=sums[:, 4] + 1j * sums[:, 5],
        plain_power=sums[:, 6],
        plain_square=sums[:, 7],
        next_dump=sums[:, 8] + 1j * sums[:, 9],
        next_channel=sums[:, 10] + 1j * sums[:, 11],
    )


def _baseline_sums(visibility: Array, weight: Array) -> Array:
    xp = namespace(visibility)
    V, w = xp.astype(visibility, xp.complex128), xp.astype(weight, xp.float64)
    is_used = w > 0
    V = xp.where(is_used, V, xp.zeros_like(V))
    one = xp.astype(is_used, xp.float64)
    power = xp.real(V) ** 2 + xp.imag(V) ** 2
    total = w * V
    along_time = w[1:, ...] * w[:-1, ...] * V[1:, ...] * xp.conj(V[:-1, ...])
    whole = slice(None)
    left, right = (whole, whole, slice(0, -1), ...), (whole, whole, slice(1, None), ...)
    along_channels = w[right] * w[left] * V[right] * xp.conj(V[left])
    columns = [one, w, w * xp.sqrt(power), w * power, xp.real(total), xp.imag(total), power]
    columns += [power * power, xp.real(along_time), xp.imag(along_time)]
    columns += [xp.real(along_channels), xp.imag(along_channels)]
    return xp.stack([xp.sum(column, axis=(0, 2, 3)) for column in columns], axis=1)
