"""EM for mixtures of Gaussians by its definition, one sample and component after the other."""

import math

import numpy as np


def full_covariances(covariance_type, covariances, n_components, n_features):
    """Return a matrix for every component, whatever the form of the covariances."""
    identity = np.eye(n_features)
    return [
        {
            "full": lambda k: covariances[k],
            "tied": lambda k: covariances,
            "diag": lambda k: np.diag(covariances[k]),
            "spherical": lambda k: covariances[k] * identity,
        }[covariance_type](k)
        for k in range(n_components)
    ]


def gaussian_log_density(x, mean, covariance):
    """Return the logarithm of a normal density."""
    offset = x - mean
    log_determinant = np.linalg.slogdet(covariance)[1]
    square = offset @ np.linalg.solve(covariance, offset)
    return -0.5 * (len(x) * math.log(2 * math.pi) + log_determinant + square)


def mixture_shares(X, weights, means, matrices):
    """Return what every component has of every sample, and the log-density of the mixture."""
    shares, log_norms = [], []
    for x in X:
        joint = [
            math.log(weight) + gaussian_log_density(x, mean, matrix)
            for weight, mean, matrix in zip(weights, means, matrices, strict=True)
        ]
        top = max(joint)
        total = sum(math.exp(value - top) for value in joint)
        log_norms.append(top + math.log(total))
        shares.append([math.exp(value - log_norms[-1]) for value in joint])
    return np.array(shares), np.array(log_norms)


def mixture_moments(X, shares, covariance_type):
    """Return count, mean and second central moments of every component, in two passes."""
    counts = shares.sum(axis=0)
    means = np.array([sum(r * x for r, x in zip(column, X, strict=True)) for column in shares.T])
    means = means / counts[:, None]
    scatter = np.array(
        [
            sum(r * np.outer(x - mean, x - mean) for r, x in zip(column, X, strict=True))
            for column, mean in zip(shares.T, means, strict=True)
        ]
    )
    m2 = {
        "full": lambda: scatter,
        "tied": lambda: scatter.sum(axis=0),
        "diag": lambda: np.array([np.diag(matrix) for matrix in scatter]),
        "spherical": lambda: np.array([np.trace(matrix) for matrix in scatter]),
    }[covariance_type]()
    return counts, means, m2


def em_pass(X, covariance_type, weights, means, covariances, reg_covar=0.0, sample_weight=None):
    """Return the next weights, means and covariances, and the mean log-likelihood before."""
    n_components, n_features = means.shape
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    matrices = full_covariances(covariance_type, covariances, n_components, n_features)
    shares, log_norms = mixture_shares(X, weights, means, matrices)
    counts, means, m2 = mixture_moments(X, shares * w[:, None], covariance_type)
    covariances = {
        "full": lambda: m2 / counts[:, None, None] + reg_covar * np.eye(n_features),
        "tied": lambda: m2 / counts.sum() + reg_covar * np.eye(n_features),
        "diag": lambda: m2 / counts[:, None] + reg_covar,
        "spherical": lambda: m2 / counts / n_features + reg_covar,
    }[covariance_type]()
    return counts / counts.sum(), means, covariances, float(w @ log_norms / w.sum())
