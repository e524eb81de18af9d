"""Federated averaging of a linear regression, and votes, one sample after the other."""

import numpy as np


def federated_average(clients, n_rounds, step, *, local_epochs=1, batch_size=None, proximal=0.0):
    """Return coefficients and intercept of least squares by gradient descent with clients.

    McMahan et al. 2017, algorithm 1, with the proximal step of Li et al. 2020 after every batch.
    """
    common = np.zeros(clients[0][0].shape[1] + 1)
    n_samples = sum(len(X) for X, _ in clients)
    for _ in range(n_rounds):
        mean = np.zeros_like(common)
        for X, y in clients:
            own = common.copy()
            size = batch_size or len(X)
            for _ in range(local_epochs):
                for start in range(0, len(X), size):
                    for i in range(start, min(start + size, len(X))):
                        error = own[:-1] @ X[i] + own[-1] - y[i]
                        own -= step * error * np.append(X[i], 1.0)
                    own = (own + proximal * common) / (1 + proximal)
            mean += len(X) / n_samples * own
        common = mean
    return common[:-1], common[-1]


def majority_vote(predictions, weights):
    """Return for every sample the label of most votes, the smallest of several."""
    winners = []
    for labels in zip(*predictions, strict=True):
        votes = {}
        for label, weight in zip(labels, weights, strict=True):
            votes[label] = votes.get(label, 0) + weight
        winners.append(min(votes, key=lambda label: (-votes[label], label)))
    return np.array(winners)


def mean_probabilities(models, weights, X):
    """Return for every sample the mean probability of every class, as a dictionary."""
    found = []
    for i in range(len(X)):
        total = {}
        for model, weight in zip(models, weights, strict=True):
            for label, p in zip(model.classes_, model.predict_proba(X[i : i + 1])[0], strict=True):
                total[label] = total.get(label, 0) + weight * p / sum(weights)
        found.append(total)
    return found
