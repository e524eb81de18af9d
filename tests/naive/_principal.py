"""Moments, merges and principal components by their definitions."""

from typing import NamedTuple

import numpy as np


class PCA(NamedTuple):
    """What a principal component analysis finds, by the names of scikit-learn."""

    components: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    singular_values: np.ndarray
    explained_variance: np.ndarray
    explained_variance_ratio: np.ndarray
    noise_variance: float


def moments(X, sample_weight=None):
    """Weight, mean and scatter matrix of rows, one after the other, in the longest floats."""
    X = np.asarray(X, dtype=np.longdouble)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.longdouble)
    mean = sum(w_i * x for w_i, x in zip(w, X, strict=True)) / w.sum()
    scatter = sum(w_i * np.outer(x - mean, x - mean) for w_i, x in zip(w, X, strict=True))
    return float(w.sum()), mean.astype(float), scatter.astype(float)


def forgetting_weights(n_samples, factor):
    """Weight of every sample of a stream when each new one scales all earlier ones."""
    weights = []
    for _ in range(n_samples):
        weights = [factor * weight for weight in weights] + [1.0]
    return np.array(weights)


def stacked_svd(a, b):
    """Merge (weight, mean, rows) of two sets of samples by one SVD; nothing is truncated."""
    weight_a, mean_a, rows_a = a
    weight_b, mean_b, rows_b = b
    weight = weight_a + weight_b
    step = np.sqrt(weight_a * weight_b / weight) * (mean_b - mean_a)
    _, s, Vt = np.linalg.svd(np.vstack([rows_a, rows_b, step[None, :]]), full_matrices=False)
    return weight, (weight_a * mean_a + weight_b * mean_b) / weight, s[:, None] * Vt


def svd_chunk_by_chunk(chunks, factor=1.0):
    """Weight, mean and rows of chunks, merged in their order; `factor` forgets, by sample."""
    state = None
    for X in chunks:
        w = forgetting_weights(len(X), factor)
        mean = (w @ X) / w.sum()
        new = w.sum(), mean, np.sqrt(w)[:, None] * (X - mean)
        if state is not None:
            kept = factor ** len(X)
            old = kept * state[0], state[1], np.sqrt(kept) * state[2]
            new = stacked_svd(old, new)
        state = new
    return state


def positive_signs(components):
    """Turn every axis so that its entry of largest size is positive, as scikit-learn does."""
    return np.array([axis * np.sign(axis[np.argmax(np.abs(axis))]) for axis in components])


def pca(X, n_components, sample_weight=None):
    """Principal components by one full SVD; a weight is that many repetitions of a sample."""
    X = np.asarray(X, dtype=float)
    n_features = X.shape[1]
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    mean = (w @ X) / w.sum()
    centred = X - mean
    _, s, Vt = np.linalg.svd(np.sqrt(w)[:, None] * centred, full_matrices=False)
    variances = s**2 / (w.sum() - 1)
    left_out = min(round(w.sum()), n_features) - n_components
    return PCA(
        positive_signs(Vt[:n_components]),
        mean,
        (w @ centred**2) / w.sum(),
        s[:n_components],
        variances[:n_components],
        variances[:n_components] / variances.sum(),
        variances[n_components:].sum() / left_out if left_out > 0 else 0.0,
    )


def center(X, sample_weight=None):
    """Mean, Σ w (X - mean)² and √w (X - mean) of every column, by its definition."""
    X = np.asarray(X, dtype=np.longdouble)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.longdouble)
    mean = np.array([sum(w * column) / sum(w) for column in X.T])
    centred = (X - mean) * np.sqrt(w)[:, None]
    return mean.astype(float), (centred**2).sum(axis=0).astype(float), centred.astype(float)
