"""Models whose coefficients are averaged, round by round, over data that stay where they are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone, is_classifier

from dask_exa._parameters import check_count, check_positive
from dask_exa.compose import _clients
from dask_exa.compose._clients import Plan
from dask_exa.compose._predictor import Predictor
from dask_exa.reduction.broadcast import Rounds

_OF_THE_MODEL = ("coef_", "intercept_", "offset_", "coefs_", "intercepts_", "classes_")


class FederatedAverage(Predictor):
    """Train one linear model, or network, on data that stay with many clients.

    In every round each client starts from the common coefficients, trains a copy with
    ``partial_fit`` on its own samples, and sends the coefficients back; their mean, weighted by
    numbers of samples, is what the next round starts from. Clients are the chunks of samples of
    a Dask array: one task a chunk and round, fused onto the task that makes the chunk. Samples
    never move; chunks that are expensive to make are best persisted.

    Parameters
    ----------
    estimator : estimator
        Of scikit-learn, with ``partial_fit`` and, once fitted, ``coef_`` and ``intercept_``, or
        the ``coefs_`` and ``intercepts_`` of networks: `SGDClassifier`, `SGDRegressor`,
        `SGDOneClassSVM`, `Perceptron`, `MLPClassifier`, `MLPRegressor`.
    n_rounds : int, default=10
        Rounds of `fit`. Where clients are unlike, many rounds of few epochs are better than the
        reverse.
    local_epochs : int, default=1
        Passes of every client over its samples in a round.
    batch_size : int, optional
        Samples of one call of ``partial_fit``; all of the client by default.
    proximal : float, default=0.0
        How strongly clients are held near the common coefficients w0, for clients that are unlike
        each other. After every batch their own w become ``(w + proximal * w0) / (1 + proximal)``,
        the exact minimiser of a proximal step: ``proximal`` is η μ, the step of the estimator
        times the μ of FedProx, since the estimator's own steps cannot be changed from outside.
    n_clients : int, default=1
        Ranges of samples that an array in memory is split into. Of no consequence for Dask.
    sample_dims : hashable or sequence of hashable, optional
        Dimensions of an `xarray.DataArray` that count samples, by default its first one; all
        others are features.

    Attributes
    ----------
    estimator_ : estimator
        With the common coefficients. Predicts on its own, too.
    coef_, intercept_ : ndarray
        Of `estimator_`; networks have lists in `coefs_` and `intercepts_`.
    classes_ : ndarray of shape (n_classes,)
        Of classifiers.
    n_rounds_ : int
        Rounds so far.
    n_samples_seen_ : int
        Samples that were learnt from, counted once for `fit`, and once for every `partial_fit`.

    Notes
    -----
    **Merging** averages two models once. That is right for models of the same law, such as two
    shuffled halves of one data set, or two that start from a common model, and bad for others.
    Digits dealt to 8 clients, two shards sorted by class each (logistic regression, share of
    right answers): .97 in one place, .94 after 30 rounds, .97 after 100, and .76 for models that
    were trained apart and averaged once. Where clients are unlike, train in rounds.

    A client may have samples of a single class. The number of steps that learning rates depend on
    is averaged as coefficients are; momenta of networks start anew in every round.

    References
    ----------
    B. McMahan, E. Moore, D. Ramage, S. Hampson, B. Agüera y Arcas, "Communication-efficient
    learning of deep networks from decentralized data", AISTATS 2017, algorithm 1. T. Li, A. K.
    Sahu, M. Zaheer, M. Sanjabi, A. Talwalkar, V. Smith, "Federated optimization in heterogeneous
    networks", MLSys 2020, equation 2.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> from sklearn.linear_model import SGDRegressor
    >>> random = np.random.default_rng(0)
    >>> X = random.standard_normal((4000, 2))
    >>> y = X @ [1.0, -2.0] + 3
    >>> clients = da.from_array(X, chunks=(1000, 2)), da.from_array(y, chunks=1000)
    >>> model = FederatedAverage(SGDRegressor(random_state=0)).fit(*clients)
    >>> model.coef_.round(2), model.intercept_.round(2)
    (array([ 1., -2.]), array([3.]))
    """

    estimator_: Any
    n_rounds_: int
    n_samples_seen_: int

    def __init__(
        self,
        estimator: Any,
        *,
        n_rounds: int = 10,
        local_epochs: int = 1,
        batch_size: int | None = None,
        proximal: float = 0.0,
        n_clients: int = 1,
        sample_dims: Hashable | Sequence[Hashable] | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_rounds = n_rounds
        self.local_epochs = local_epochs
        self.batch_size = batch_size
        self.proximal = proximal
        self.n_clients = n_clients
        self.sample_dims = sample_dims

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train in `n_rounds` rounds, forgetting what was learnt before.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
        y : array of shape (n_samples,)
            With the chunks of `X`, or in memory. A classifier reads all of it once to know the
            classes.

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            self.__dict__.pop("estimator_", None)
            self._train(X, y, None, self.n_rounds)
        return self

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> Self:
        """Train one more round, on these samples; a call that raises changes nothing.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or labelled array
        y : array of shape (n_samples,)
        classes : array of shape (n_classes,), optional
            All that a classifier will ever see; needed in the first call if its `y` lacks some.

        Returns
        -------
        self
        """
        with self._unchanged_on_error():
            self._train(X, y, classes, 1)
        return self

    def merge(self, *others: Self) -> Self:
        """Average the coefficients with those of other models, once; see the notes of the class.

        Parameters
        ----------
        *others : estimators of the same class, and of the same classes and features
            Weighted by the numbers of samples that they have seen. Unfitted ones change nothing.

        Returns
        -------
        self
        """
        fitted = [model for model in (self, *others) if _is_fitted(model)]
        for model in fitted[1:]:
            _check_alike(fitted[0], model)
        if not fitted or fitted == [self]:
            return self
        shares = [_clients.as_share(model.estimator_, model.n_samples_seen_) for model in fitted]
        self.estimator_ = _clients.average(shares).as_model()
        self.n_samples_seen_ = sum(model.n_samples_seen_ for model in fitted)
        self.n_rounds_ = max(model.n_rounds_ for model in fitted)
        self._take_features(fitted[0])
        return self

    def __getattr__(self, name: str) -> Any:
        """Look up coefficients and classes in the common model."""
        if name in _OF_THE_MODEL and "estimator_" in vars(self):
            return getattr(self.estimator_, name)
        raise AttributeError(f"This {type(self).__name__} has no {name}.")

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn whether anything was learnt."""
        return "estimator_" in vars(self)

    def _answerer(self, method: str) -> Any:
        return getattr(self.estimator_, method)

    def _train(self, X: Any, y: Any, classes: Any, n_rounds: int) -> None:
        fresh = not self.__sklearn_is_fitted__()
        _check_parameters(self)
        samples, y = self._samples_and_targets(X, y, reset=fresh)
        if is_classifier(self.estimator):
            classes = _checked_classes(self, classes, y, fresh=fresh)
        model = clone(self.estimator) if fresh else self.estimator_
        plan = Plan(self.local_epochs, self.batch_size, float(self.proximal), classes)
        question = _clients.question(plan)
        rounds = Rounds(samples, y)
        for _ in range(n_rounds):
            model = rounds.ask(question, model, n_ranges=self.n_clients).as_model()
        self.estimator_ = model
        self.n_rounds_ = n_rounds + (0 if fresh else self.n_rounds_)
        self.n_samples_seen_ = samples.n_samples + (0 if fresh else self.n_samples_seen_)


def _check_parameters(model: FederatedAverage) -> None:
    if not hasattr(model.estimator, "partial_fit"):
        raise TypeError(
            f"estimator={model.estimator!r} has no partial_fit, with which clients train; pass "
            "one that has, such as SGDClassifier, or an Ensemble of models fitted apart."
        )
    if getattr(model.estimator, "average", False):
        raise ValueError(
            f"average={model.estimator.average!r} of the estimator keeps coefficients that "
            "nobody sees; set it to False, since rounds average already."
        )
    for name in ("n_rounds", "local_epochs", "n_clients"):
        check_count(name, getattr(model, name))
    if model.batch_size is not None:
        check_count("batch_size", model.batch_size)
    check_positive("proximal", model.proximal, zero=True)


def _checked_classes(model: FederatedAverage, classes: Any, y: Any, *, fresh: bool) -> np.ndarray:
    """Return all classes; of the first samples, if nobody has said which there are."""
    if fresh and classes is None:
        found = _clients.distinct(y)
    else:
        found = model.classes_ if classes is None else np.unique(classes)
    if not fresh and not np.array_equal(found, model.classes_):
        raise ValueError(
            f"classes={classes!r} but the model knows {model.classes_.tolist()}; leave them out."
        )
    if len(found) < 2:
        raise ValueError(
            f"y has the only class {found.tolist()}, but a classifier needs two; pass all "
            "classes to partial_fit, or samples of more than one class."
        )
    return found


def _is_fitted(model: Any) -> bool:
    if not isinstance(model, FederatedAverage):
        raise TypeError(
            f"cannot merge a {type(model).__name__} into a FederatedAverage; pass models of the "
            "same class."
        )
    return model.__sklearn_is_fitted__()


def _check_alike(one: FederatedAverage, other: FederatedAverage) -> None:
    if one.n_features_in_ != other.n_features_in_:
        raise ValueError(
            f"cannot merge a model of {other.n_features_in_} features into one of "
            f"{one.n_features_in_}; fit both on the same features."
        )
    classes = [np.asarray(getattr(model, "classes_", ())) for model in (one, other)]
    shapes = [[part.shape for part in _clients.read(m.estimator_)] for m in (one, other)]
    if not np.array_equal(classes[0], classes[1]) or shapes[0] != shapes[1]:
        raise ValueError(
            f"cannot merge a model of the classes {classes[1].tolist()} into one of "
            f"{classes[0].tolist()}; pass all classes to partial_fit, and equal estimators."
        )
