"""Squares and normalised probabilities on the CPU; the twin of `_mixture_cupy`."""

from __future__ import annotations

import numba
import numpy as np


def quadratic_features(
    X: np.ndarray, origin: np.ndarray, out: np.ndarray, *, pairs: bool = False
) -> None:
    """See `dask_exa.kernels.quadratic_features`."""
    write = _pairs if pairs else _squares
    write(X, np.ascontiguousarray(origin), out)


def normalize_log(log_joint: np.ndarray) -> np.ndarray:
    """See `dask_exa.kernels.normalize_log`."""
    log_norm = np.empty(log_joint.shape[0], dtype=log_joint.dtype)
    _subtract_largest(log_joint, log_norm)
    np.exp(log_joint, out=log_joint)  # NumPy's is vectorised, Numba's is not
    _divide_by_total(log_joint, log_norm)
    return log_norm


@numba.njit(nogil=True, cache=True)
def _squares(X, origin, out):  # pragma: no cover  (compiled)
    n_samples, n_features = X.shape
    for i in range(n_samples):
        for j in range(n_features):
            out[i, j] = X[i, j] - origin[j]
        for j in range(n_features):  # two loops: the compiler knows what to do with each
            out[i, n_features + j] = out[i, j] * out[i, j]
        out[i, 2 * n_features] = 1.0


@numba.njit(nogil=True, cache=True)
def _pairs(X, origin, out):  # pragma: no cover  (compiled)
    n_samples, n_features = X.shape
    for i in range(n_samples):
        for j in range(n_features):
            out[i, j] = X[i, j] - origin[j]
        start = n_features
        for j in range(n_features):
            factor = out[i, j]
            for k in range(j, n_features):
                out[i, start + k - j] = factor * out[i, k]
            start += n_features - j
        out[i, start] = 1.0


@numba.njit(nogil=True, cache=True, fastmath={"nsz", "reassoc"})
def _subtract_largest(log_joint, largest):  # pragma: no cover  (compiled)
    n_samples, n_components = log_joint.shape
    for i in range(n_samples):
        row = log_joint[i]
        top = row[0]
        for k in range(1, n_components):
            top = row[k] if row[k] > top else top
        largest[i] = top
        for k in range(n_components):
            row[k] -= top


@numba.njit(nogil=True, cache=True, fastmath={"nsz", "reassoc"})
def _divide_by_total(shares, log_norm):  # pragma: no cover  (compiled)
    n_samples, n_components = shares.shape
    for i in range(n_samples):
        row = shares[i]
        total = row[0]
        for k in range(1, n_components):
            total += row[k]
        log_norm[i] += np.log(total)
        part = row.dtype.type(1) / total
        for k in range(n_components):
            row[k] *= part
