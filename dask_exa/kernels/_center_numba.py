"""Centring on the CPU; the twin of `_center_cupy`."""

from __future__ import annotations

import numba
import numpy as np

_NO_WEIGHTS = np.empty(0)


def center(
    X: np.ndarray, columns: slice, sample_weight: np.ndarray | None, out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """See `dask_exa.kernels.center`; `X` and `out` in C order."""
    mean = np.zeros(out.shape[1])
    m2 = np.zeros(out.shape[1])
    weights = _NO_WEIGHTS if sample_weight is None else np.ascontiguousarray(sample_weight)
    _center(X, columns.start, weights, out, mean, m2)
    return mean, m2


# Sums start from the first sample: what is constant is then so to the last digit, and a mean that
# is much larger than the differences costs none of theirs.
# The whole row is passed, not a slice of it: only of a contiguous row does the compiler know that
# neighbours in memory are neighbours in the loop.
@numba.njit(nogil=True, cache=True)
def _center(X, first, weights, out, mean, m2):  # pragma: no cover  (compiled)
    n_samples, n_columns = out.shape
    total = 0.0
    for i in range(n_samples):
        weight = weights[i] if weights.size else 1.0
        total += weight
        for j in range(n_columns):
            mean[j] += weight * (np.float64(X[i, first + j]) - X[0, first + j])
    for j in range(n_columns):
        mean[j] = X[0, first + j] + mean[j] / total if total else 0.0
    for i in range(n_samples):
        root = np.sqrt(weights[i]) if weights.size else 1.0
        for j in range(n_columns):
            difference = root * (X[i, first + j] - mean[j])
            out[i, j] = difference
            m2[j] += difference * difference
