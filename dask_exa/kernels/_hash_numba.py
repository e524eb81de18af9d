"""Random numbers that are a function of what they are for: no generator, no state, no order.

Written once for every kernel that draws; the constants are those of SplitMix64.

References
----------
G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

import numba
import numpy as np

STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_UNIT = 2.0**-53


@numba.njit(nogil=True, cache=True, inline="always")
def mix(bits):  # pragma: no cover  (compiled)
    """Scramble 64 bits."""
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    return bits ^ (bits >> np.uint64(31))


@numba.njit(nogil=True, cache=True, inline="always")
def drawn(base, number):  # pragma: no cover  (compiled)
    """Return the 64 random bits of a number among those that belong to `base`."""
    return mix(base + STEP * (np.uint64(number) + np.uint64(1)))


@numba.njit(nogil=True, cache=True, inline="always")
def unit(bits):  # pragma: no cover  (compiled)
    """Return a float in (0, 1]."""
    return (np.float64(bits >> np.uint64(11)) + 1.0) * _UNIT


@numba.njit(nogil=True, cache=True, inline="always")
def below(bits, count):  # pragma: no cover  (compiled)
    """Return an integer in [0, count), for counts below 2**32."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32))


@numba.njit(nogil=True, cache=True)
def tree_seeds(seed, stream, n_trees):  # pragma: no cover  (compiled)
    """Return one seed per tree, shape (n_trees,), uint64."""
    seeds = np.empty(n_trees, dtype=np.uint64)
    base = drawn(drawn(np.uint64(0), seed), stream)
    for i in range(n_trees):
        seeds[i] = drawn(base, i)
    return seeds
