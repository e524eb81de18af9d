"""The vote, or the mean, of models that were fitted apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone, is_classifier, is_clusterer
from sklearn.utils.validation import check_is_fitted

from dask_exa._parameters import check_choice, check_count
from dask_exa.compose import _voting
from dask_exa.compose._members import (
    Member,
    MemberAttributes,
    check_alike,
    check_clusterers,
    checked_weights,
    fit_member,
    fit_shares,
    join,
    mean_scores,
    members_of,
    score_members,
)
from dask_exa.compose._predictor import Predictor
from dask_exa.reduction.broadcast import Question, Rounds


class Ensemble(MemberAttributes, Predictor):
    """Let models vote that were fitted apart: on chunks, ranks, sites, runs or days.

    For models whose state does not merge, such as trees, neighbours and networks. Every member
    has learnt from its own samples; nothing but members travels. Classifiers vote, or average
    their probabilities, class by class: members need not have seen the same classes. Detectors
    and regressors are averaged. Clusters are those of the member that has most of them, to which
    the centres of the others are assigned, and members vote on them.

    Parameters
    ----------
    estimator : estimator
        One is fitted per chunk of samples of a Dask array.
    n_estimators : int, default=4
        Members that samples in memory are dealt to, at random, but always in the same way.
    voting : {"soft", "hard"}, default="soft"
        ``soft`` takes the mean of ``predict_proba``, or ``decision_function`` where there is
        none; ``hard`` counts votes. Of no consequence for regressors and clusterers.
    weights : {"n_samples", None}, default=None
        Whether `fit` weighs members by their numbers of samples, or all alike. See also `weigh`.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    estimators_ : list of estimators
    weights_ : ndarray of shape (n_estimators,), float64
    classes_ : ndarray of shape (n_classes,)
        That any member of an ensemble of classifiers has seen.
    n_samples_seen_ : int

    Notes
    -----
    A member that has not seen a class gives it probability 0, and has no say in its
    ``decision_function``. Where each member knows a part of the classes only, a class is found
    by those that know it against the others, which are sure of something else: models that merge,
    or `FederatedAverage`, do better there.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ranks = [Ensemble.of_fitted([DecisionTreeClassifier(random_state=0).fit(X[i::3], y[i::3])])
    ...          for i in range(3)]
    >>> ensemble = ranks[0].merge(*ranks[1:])
    >>> len(ensemble.estimators_), ensemble.score(X, y) > 0.95
    (3, True)
    >>> ensemble.predict(da.from_array(X, chunks=(50, 4))).compute()[[0, 50, 100]]
    array([0, 1, 2])
    """

    def __init__(
        self,
        estimator: Any,
        *,
        n_estimators: int = 4,
        voting: str = "soft",
        weights: str | None = None,
        sample_dims: Hashable | Sequence[Hashable] | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.voting = voting
        self.weights = weights
        self.sample_dims = sample_dims

    @classmethod
    def of_fitted(cls, models: Iterable[Any], weights: Any = None, **params: Any) -> Self:
        """Return an ensemble of models that are fitted already.

        Parameters
        ----------
        models : iterable of estimators
            Of one kind, all classifiers for instance, and of the same features. They are not
            copied.
        weights : array of shape (n_models,), "n_samples" or None
            ``n_samples`` takes what each has in `n_samples_seen_`.
        **params
            Of the ensemble.
        """
        members = members_of(list(models), weights)
        ensemble = cls(clone(members[0].model), **params)
        ensemble._models = members
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(members[0].model, name):
                setattr(ensemble, name, getattr(members[0].model, name))
        return ensemble

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit one member per chunk, or `n_estimators` in memory, forgetting all earlier ones.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
        y : array of shape (n_samples,), optional
            With the chunks of `X`, or in memory.

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            self.__dict__.pop("_models", None)
            self._models = self._fit_members(X, y)
        return self

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> Self:
        """Fit members on more samples and add them; a call that raises changes nothing.

        Parameters
        ----------
        X, y
            As for `fit`.
        classes : None
            Ignored: members need not have seen the same classes.

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            self._models = (*self.__dict__.get("_models", ()), *self._fit_members(X, y))
        return self

    def merge(self, *others: Self) -> Self:
        """Take over the members of other ensembles, with their weights.

        Parameters
        ----------
        *others : ensembles of the same kind of models and features

        Returns
        -------
        self
        """
        fitted = [model for model in (self, *others) if _is_fitted(model)]
        for model in fitted:
            check_alike(fitted[0]._models[0].model, model._models[0].model)
        if fitted:
            self._models = tuple(member for model in fitted for member in model._models)
            self._take_features(fitted[0])
        return self

    def weigh(self, X: Any, y: Any = None) -> Self:
        """Weigh every member by its ``score`` on samples that none has seen.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
            Computed.
        y : array of shape (n_samples,)

        Returns
        -------
        self
        """
        check_is_fitted(self)
        samples, y = self._samples_and_targets(X, y, reset=False)
        scores = Rounds(samples, y).ask(Question(score_members, mean_scores), self._models)
        members = zip(self._models, np.maximum(scores.scores, 0), strict=True)
        weighed = tuple(member._replace(weight=float(score)) for member, score in members)
        checked_weights([member.weight for member in weighed], weighed)
        self._models = weighed
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn whether there are members."""
        return "_models" in vars(self)

    def _answers(self, method: str) -> bool:
        if method == "decision_function" and is_classifier(self.estimator):
            # probabilities decide
            return super()._answers(method) and not super()._answers("predict_proba")
        return super()._answers(method)

    def _answerer(self, method: str) -> _voting.Answerer:
        check_choice("voting", self.voting, ("soft", "hard"))
        return _voting.Answerer(self.estimators_, self.weights_, method, self.voting)

    def _fit_members(self, X: Any, y: Any) -> tuple[Member, ...]:
        check_count("n_estimators", self.n_estimators)
        check_choice("voting", self.voting, ("soft", "hard"))
        check_choice("weights", self.weights, ("n_samples", None))
        samples, y = self._samples_and_targets(X, y, reset=not self.__sklearn_is_fitted__())
        question = Question(fit_member, join)
        if samples.is_lazy:
            members = Rounds(samples, y).ask(question, self.estimator)
        else:
            members = fit_shares(self.estimator, samples.array, y, self.n_estimators)
        if self.weights == "n_samples":
            members = [member._replace(weight=float(member.n_samples)) for member in members]
        if is_clusterer(self.estimator):
            check_clusterers([member.model for member in members])
        return tuple(members)


def _is_fitted(model: Any) -> bool:
    if not isinstance(model, Ensemble):
        raise TypeError(
            f"cannot merge a {type(model).__name__} into an Ensemble; make one of it by "
            "Ensemble.of_fitted."
        )
    return model.__sklearn_is_fitted__()
