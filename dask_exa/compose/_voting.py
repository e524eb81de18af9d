"""How the answers of models that were fitted apart become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector

from dask_exa.cluster._alignment import align


@dataclass(frozen=True)
class Answerer:
    """One kind of answer of all members."""

    models: Sequence[Any]
    weights: np.ndarray
    method: str
    voting: str

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return the common answer about samples in memory."""
        kind = self.models[0]
        if self.method == "predict_proba":
            return self._probabilities(X)
        if self.method == "decision_function" and is_classifier(kind):
            return self._decisions(X)
        if self.method != "predict":
            return self._mean(self.method, X)
        if is_classifier(kind):
            return self._classes(X)
        if is_outlier_detector(kind):
            return self._verdicts(X)
        return self._clusters(X) if is_clusterer(kind) else self._mean("predict", X)

    def _mean(self, method: str, X: np.ndarray) -> np.ndarray:
        total = sum(w * getattr(m, method)(X) for w, m in self._pairs())
        return total / self.weights.sum()

    def _classes(self, X: np.ndarray) -> np.ndarray:
        """Return the class of the largest mean probability, or decision, or of most votes."""
        classes = common_classes(self.models)
        if self.voting == "soft" and _all_have(self.models, "predict_proba"):
            return classes[self._probabilities(X).argmax(axis=1)]
        if self.voting == "soft" and _all_have(self.models, "decision_function"):
            decisions = self._decisions(X)
            if decisions.ndim == 1:
                return classes[(decisions > 0).astype(int)]
            return classes[decisions.argmax(axis=1)]
        return classes[self._count([m.predict(X) for m in self.models], classes).argmax(axis=1)]

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        """Average probabilities; what a member has not seen is impossible to it."""
        classes = common_classes(self.models)
        total = np.zeros((len(X), len(classes)))
        for weight, model in self._pairs():
            total[:, np.searchsorted(classes, model.classes_)] += weight * model.predict_proba(X)
        return total / self.weights.sum()

    def _decisions(self, X: np.ndarray) -> np.ndarray:
        """Average decisions on every class over those members that have seen it."""
        classes = common_classes(self.models)
        total, weights = np.zeros((len(X), len(classes))), np.zeros(len(classes))
        for weight, model in self._pairs():
            decisions = model.decision_function(X)
            if decisions.ndim == 1:
                decisions = np.stack([-decisions, decisions], axis=1)
            columns = np.searchsorted(classes, model.classes_)
            total[:, columns] += weight * decisions
            weights[columns] += weight
        mean = np.divide(total, weights, out=np.full_like(total, -np.inf), where=weights > 0)
        return mean[:, 1] if len(classes) == 2 else mean

    def _verdicts(self, X: np.ndarray) -> np.ndarray:
        """Return 1 for what is normal and -1 for what is not."""
        if self.voting == "soft" and _all_have(self.models, "decision_function"):
            return np.where(self._mean("decision_function", X) >= 0, 1, -1)
        return np.where(self._mean("predict", X) >= 0, 1, -1)

    def _clusters(self, X: np.ndarray) -> np.ndarray:
        """Return the cluster of most votes, in the numbers of the first member with most."""
        numbers, n_clusters = cluster_numbers(self.models)
        pairs = zip(self.models, numbers, strict=True)
        labels = [own[np.asarray(m.predict(X))] for m, own in pairs]
        return self._count(labels, np.arange(n_clusters)).argmax(axis=1)

    def _count(self, labels: Sequence[np.ndarray], classes: np.ndarray) -> np.ndarray:
        """Return the weight of the votes for every class, shape (n_samples, n_classes)."""
        votes = np.zeros((len(labels[0]), len(classes)))
        rows = np.arange(len(votes))
        for weight, chosen in zip(self.weights, labels, strict=True):
            votes[rows, np.searchsorted(classes, chosen)] += weight
        return votes

    def _pairs(self) -> Any:
        return zip(self.weights, self.models, strict=True)


def common_classes(models: Sequence[Any]) -> np.ndarray:
    """Return the classes that any of the members has seen, in order."""
    return np.unique(np.concatenate([model.classes_ for model in models]))


def cluster_numbers(models: Sequence[Any]) -> tuple[list[np.ndarray], int]:
    """Return what the clusters of every member are called in the ensemble, and how many there are.

    Centres are assigned to those of the member that has most.
    """
    centers = [np.asarray(model.cluster_centers_) for model in models]
    reference = max(centers, key=len)
    return [align(own, reference)[: len(own)] for own in centers], len(reference)


def _all_have(models: Sequence[Any], method: str) -> bool:
    return all(hasattr(model, method) for model in models)
