"""What the clients of a federated average do with their samples, and how they are averaged."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_exa._array import Array, to_host
from dask_exa._samples import Samples, is_dask
from dask_exa.reduction.broadcast import Question, Rounds

_COEFFICIENTS = ("coef_", "intercept_", "offset_", "coefs_", "intercepts_")
_COUNTER = "t_"
"""Steps of gradient descent so far, which learning rates depend on."""


class Plan(NamedTuple):
    """How every client trains in a round."""

    local_epochs: int
    batch_size: int | None
    proximal: float
    classes: np.ndarray | None

    def train(self, model: Any, X: Array, y: Array | None) -> Any:
        """Return a model that has started from this one and learnt from samples of one client."""
        X = to_host(X)
        targets = () if y is None else (self._checked_targets(to_host(y)),)
        known = {} if self.classes is None else {"classes": self.classes}
        local = copy.deepcopy(model)
        vars(local).pop("_optimizer", None)  # momenta of a network: of the average, nobody has any
        anchor = read(model)
        step = self.batch_size or len(X)
        for _ in range(self.local_epochs):
            for start in range(0, len(X), step):
                rows = slice(start, start + step)
                local.partial_fit(X[rows], *[values[rows] for values in targets], **known)
                if self.proximal:
                    anchor = anchor or _origin(local)
                    _pull(local, anchor, self.proximal)
        return local

    def _checked_targets(self, y: np.ndarray) -> np.ndarray:
        if self.classes is not None and not np.isin(y, self.classes).all():
            unknown = np.setdiff1d(y, self.classes)
            raise ValueError(
                f"y has the classes {unknown[:5].tolist()} but the model knows "
                f"{self.classes.tolist()}; pass all classes to the first partial_fit."
            )
        return y


class Share(NamedTuple):
    """What one client, or several, have learnt in a round."""

    n_samples: int
    coefficients: list[np.ndarray]
    """Weighted by numbers of samples (McMahan et al. 2017, algorithm 1)."""
    model: Any
    """Of the first client: all that is not averaged."""

    def as_model(self) -> Any:
        """Return a model with these coefficients."""
        model = copy.copy(self.model)
        _write(model, self.coefficients)
        return model


def question(plan: Plan) -> Question:
    """Return what the samples of every client are asked about a model."""

    def answer(model: Any, X: Array, y: Array | None, row: int) -> Share:
        return as_share(plan.train(model, X, y), int(X.shape[0]))

    return Question(answer, average)


def as_share(model: Any, n_samples: int) -> Share:
    """Return the share of a trained model; raise TypeError if nothing of it can be averaged."""
    coefficients = read(model)
    if not coefficients:
        raise TypeError(
            f"estimator={model!r} has no coef_ after partial_fit; pass a linear model or a network "
            "of scikit-learn, or merge models that merge."
        )
    return Share(n_samples, coefficients, model)


def average(shares: Sequence[Share]) -> Share:
    """Return the mean of several shares, weighted by their numbers of samples."""
    n_samples = sum(share.n_samples for share in shares)
    weights = [share.n_samples / n_samples for share in shares]
    parts = zip(*(share.coefficients for share in shares), strict=True)
    means = [sum(w * part for w, part in zip(weights, same, strict=True)) for same in parts]
    return Share(n_samples, means, shares[0].model)


def distinct(y: Any) -> np.ndarray:
    """Return the distinct values of targets, in one pass over them, where they are."""
    if not is_dask(y):
        return np.unique(y)
    pick = Question(lambda small, values, weight, row: np.unique(to_host(values)), _unite)
    return Rounds(Samples(y[:, None])).ask(pick)


def _unite(found: Sequence[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(found))


def read(model: Any) -> list[np.ndarray]:
    """Return all that is averaged, the number of steps last; nothing of a model that is blank."""
    found: list[np.ndarray] = []
    for name in _COEFFICIENTS:
        value = getattr(model, name, None)
        if value is not None:
            found.extend(value if isinstance(value, list) else [np.asarray(value)])
    if found and hasattr(model, _COUNTER):
        found.append(np.asarray(model.t_, dtype=np.float64))
    return found


def _write(model: Any, coefficients: Sequence[np.ndarray]) -> None:
    """Set what `read` returned, in the dtypes that are there."""
    rest = iter(coefficients)
    for name in _COEFFICIENTS:
        value = getattr(model, name, None)
        if isinstance(value, list):
            setattr(model, name, [_like(next(rest), old) for old in value])
        elif value is not None:
            setattr(model, name, _like(next(rest), np.asarray(value)))
    if hasattr(model, _COUNTER):
        model.t_ = float(next(rest))


def _like(value: np.ndarray, old: np.ndarray) -> np.ndarray:
    return np.array(value, dtype=old.dtype, order="C")


def _origin(model: Any) -> list[np.ndarray]:
    """Return where the first round starts: linear models at zero, networks anywhere."""
    if hasattr(model, "coefs_"):
        return []
    return [np.zeros_like(part) for part in read(model)]


def _pull(model: Any, anchor: Sequence[np.ndarray], proximal: float) -> None:
    """Apply the proximal step: nearest to the model under a penalty on the way from the anchor."""
    if not anchor:
        return
    parts = read(model)
    n_pulled = len(parts) - hasattr(model, _COUNTER)
    pulled = [
        (part + proximal * start) / (1 + proximal)
        for part, start in zip(parts[:n_pulled], anchor, strict=False)
    ]
    _write(model, [*pulled, *parts[n_pulled:]])
