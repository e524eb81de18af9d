"""Members of an ensemble: how they are fitted and judged where samples are, and what suits whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier, is_clusterer, is_outlier_detector
from sklearn.utils.validation import check_is_fitted

from dask_exa._array import to_host
from dask_exa._parameters import check_choice
from dask_exa.compose._voting import common_classes
from dask_exa.reduction._errors import naming
from dask_exa.summaries.moments import checked_weight


class Member(NamedTuple):
    """A model of an ensemble."""

    model: Any
    weight: float
    n_samples: int


class MemberAttributes:
    """What is read off the members of an ensemble."""

    _models: tuple[Member, ...]

    @property
    def estimators_(self) -> list[Any]:
        """Return the members."""
        return [member.model for member in self._fitted_members("estimators_")]

    @property
    def weights_(self) -> np.ndarray:
        """Return the weights of the members."""
        return np.array([member.weight for member in self._fitted_members("weights_")])

    @property
    def n_samples_seen_(self) -> int:
        """Return the number of samples that the members have seen."""
        return sum(member.n_samples for member in self._fitted_members("n_samples_seen_"))

    @property
    def classes_(self) -> np.ndarray:
        """Return the classes that any member has seen."""
        members = self._fitted_members("classes_")
        return common_classes([member.model for member in members])

    @property
    def offset_(self) -> float:
        """Return the mean offset of detectors: decision_function = score_samples - offset_."""
        members = self._fitted_members("offset_")
        return float(
            np.average([member.model.offset_ for member in members], weights=self.weights_)
        )

    def _fitted_members(self, name: str) -> tuple[Member, ...]:
        if "_models" not in vars(self):
            raise AttributeError(f"This {type(self).__name__} has no {name} before it is fitted.")
        return self._models


class Scores(NamedTuple):
    """Mean scores of all members on some samples."""

    n_samples: int
    scores: np.ndarray


def fit_member(estimator: Any, X: Any, y: Any, row: int) -> list[Member]:
    """Return a member that has learnt from samples in memory."""
    X = to_host(X)
    model = clone(estimator).fit(X) if y is None else clone(estimator).fit(X, to_host(y))
    return [Member(model, 1.0, len(X))]


def fit_shares(estimator: Any, X: np.ndarray, y: Any, n_estimators: int) -> list[Member]:
    """Deal samples in memory, at random but always in the same way, and fit a member on each."""
    order = np.random.default_rng(0).permutation(len(X))
    members = []
    for i, dealt in enumerate(np.array_split(order, min(n_estimators, len(order)))):
        rows = np.sort(dealt)
        with naming(f"member {i}"):
            members += fit_member(estimator, X[rows], None if y is None else y[rows], 0)
    return members


def members_of(models: Sequence[Any], weights: Any) -> tuple[Member, ...]:
    """Return models that are fitted already as members, with the weights that were asked for."""
    if not models:
        raise ValueError("models is empty; pass at least one fitted model.")
    for model in models:
        check_is_fitted(model)
        check_alike(models[0], model)
    counts = [int(getattr(model, "n_samples_seen_", 0)) for model in models]
    if isinstance(weights, str):
        check_choice("weights", weights, ("n_samples", None))
        if 0 in counts:
            raise ValueError(
                f"weights={weights!r} but model {counts.index(0)} has no n_samples_seen_; pass "
                "their numbers."
            )
        weights = counts
    weights = checked_weights(np.ones(len(models)) if weights is None else weights, models)
    return tuple(Member(m, float(w), n) for m, w, n in zip(models, weights, counts, strict=True))


def join(members: Sequence[list[Member]]) -> list[Member]:
    """Return the members of several lists in one."""
    return [member for some in members for member in some]


def score_members(members: Sequence[Member], X: Any, y: Any, row: int) -> Scores:
    """Return the score of every member on samples in memory."""
    X = to_host(X)
    known = () if y is None else (to_host(y),)
    return Scores(len(X), np.array([member.model.score(X, *known) for member in members]))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Return the scores on all samples together; the share of right answers is a mean."""
    n_samples = sum(some.n_samples for some in scores)
    mean = sum(some.n_samples / n_samples * some.scores for some in scores)
    return Scores(n_samples, np.asarray(mean))


def checked_weights(weights: Any, models: Sequence[Any]) -> np.ndarray:
    """Return one weight for each model; raise ValueError where they are not weights."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(models),):
        raise ValueError(
            f"weights has shape {weights.shape} for {len(models)} models; pass one each."
        )
    checked_weight(weights)
    if not weights.sum() > 0:
        raise ValueError("weights are zero for every model; weigh some of them.")
    return weights


def check_alike(one: Any, other: Any) -> None:
    """Raise ValueError for models that cannot answer the same question."""
    kinds = [tuple(is_a(m) for is_a in (is_classifier, is_clusterer, is_outlier_detector))
             for m in (one, other)]  # fmt: skip
    features = [getattr(model, "n_features_in_", None) for model in (one, other)]
    if kinds[0] != kinds[1] or (None not in features and features[0] != features[1]):
        raise ValueError(
            f"cannot let a {type(other).__name__} of {features[1]} features vote with a "
            f"{type(one).__name__} of {features[0]}; pass models of one kind and of the same "
            "features."
        )
    if is_clusterer(one):
        check_clusterers([one, other])


def check_clusterers(models: Sequence[Any]) -> None:
    """Raise TypeError for clusterings whose clusters cannot be told to be the same."""
    for model in models:
        if not (hasattr(model, "cluster_centers_") and hasattr(model, "predict")):
            raise TypeError(
                f"{type(model).__name__} has no cluster_centers_, by which clusters of different "
                "models are told to be the same; pass one that has, such as KMeans."
            )
