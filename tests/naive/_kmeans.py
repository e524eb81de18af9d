"""k-means, sample by sample in exact differences."""

import numpy as np


def nearest_centers(X, centers):
    """Return label and squared distance of the nearest centre, the first of equals."""
    labels, distances = [], []
    for x in X.astype(np.float64):
        squares = [float(np.sum((x - center) ** 2)) for center in centers.astype(np.float64)]
        labels.append(int(np.argmin(squares)))
        distances.append(squares[labels[-1]])
    return np.array(labels), np.array(distances)


def sum_nearest(X, centers, sample_weight=None):
    """Return labels, and per centre the weights and weighted offsets that it attracts."""
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    labels, distances = nearest_centers(X, centers)
    counts, sums = np.zeros(len(centers)), np.zeros(centers.shape)
    for x, label, weight in zip(X.astype(np.float64), labels, weights, strict=True):
        counts[label] += weight
        sums[label] += weight * (x - centers[label])
    return labels, counts, sums, float(np.sum(weights * distances))


def lloyd(X, centers, sample_weight=None, max_iter=300):
    """Return centres, labels and inertia of Lloyd's algorithm, until no label changes.

    The samples farthest from their centres become the centres of the clusters that are empty.
    """
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    centers, before = centers.astype(np.float64), None
    for _ in range(max_iter):
        labels, distances = nearest_centers(X, centers)
        if before is not None and np.array_equal(labels, before):
            break
        before, labels = labels, labels.copy()
        empty = np.setdiff1d(np.arange(len(centers)), labels)
        labels[np.argsort(-distances, kind="stable")[: len(empty)]] = empty
        members = [labels == cluster for cluster in range(len(centers))]
        centers = np.array([np.average(X[m], axis=0, weights=weights[m]) for m in members])
    labels, distances = nearest_centers(X, centers)
    return centers, labels, float(np.sum(weights * distances))


def follow(X, centers, batch_size):
    """Return centres and counts after batches have moved them to their running means."""
    centers, counts = centers.astype(np.float64), np.zeros(len(centers))
    for start in range(0, len(X), batch_size):
        batch = X[start : start + batch_size]
        labels, _ = nearest_centers(batch, centers)
        for x, label in zip(batch.astype(np.float64), labels, strict=True):
            counts[label] += 1
            centers[label] += (x - centers[label]) / counts[label]
    return centers, counts
