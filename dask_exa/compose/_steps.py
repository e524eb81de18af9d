"""What a pipeline may ask of the estimators that it is made of, whoever wrote them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from dask_exa.base import MergeableEstimator
from dask_exa.compose.per_block import PerBlock

_REPLACED_AS_A_WHOLE = (MergeableEstimator, PerBlock)
"""Estimators that never change what they refer to, only which."""


def is_there(step: Any) -> bool:
    """Whether a step is an estimator, and not a place where samples pass through or are dropped."""
    return step is not None and not isinstance(step, str)


def learns(step: Any) -> bool:
    """Whether a step has anything to learn: it is neither frozen nor without state."""
    if not is_there(step) or isinstance(step, FrozenEstimator):
        return False
    return hasattr(step, "partial_fit") or get_tags(step).requires_fit


def is_fitted(step: Any) -> bool:
    """Whether a step has learnt anything."""
    try:
        check_is_fitted(step)
    except NotFittedError:
        return False
    return True


def check_learns(name: str, step: Any) -> None:
    """Raise TypeError for a step that only learns from all samples at once."""
    if not learns(step) or hasattr(step, "partial_fit"):
        return
    remedy = "take an estimator with partial_fit"
    if type(step).__name__ == "ColumnTransformer":
        remedy = "take dask_exa.compose.StreamingColumnTransformer"
    elif type(step).__name__ == "Pipeline":
        remedy = "take dask_exa.compose.StreamingPipeline"
    raise TypeError(
        f"step {name!r} is a {type(step).__name__}, which has no partial_fit and only learns from "
        f"all samples at once; {remedy}, or fit it before and put it into a "
        "sklearn.frozen.FrozenEstimator."
    )


def check_chain(steps: Sequence[tuple[str, Any]]) -> None:
    """Raise ValueError or TypeError for steps that cannot learn one after the other."""
    if not steps:
        raise ValueError("The pipeline is empty. Please add steps.")
    for name, step in steps:
        check_learns(name, step)
    for name, step in steps[:-1]:
        if is_there(step) and not hasattr(step, "transform"):
            raise TypeError(
                f"step {name!r} is a {type(step).__name__}, which has no transform; only the last "
                "step may be one."
            )


def check_has(name: str, step: Any, method: str) -> None:
    """Raise TypeError for a step that learns and lacks `merge` or `forget`."""
    if learns(step) and not hasattr(step, method):
        raise TypeError(
            f"step {name!r} is a {type(step).__name__}, which has no {method}; take an estimator "
            "of dask_exa, or fit it before and put it into a sklearn.frozen.FrozenEstimator."
        )


def forget(owner: Any, named: Sequence[tuple[str, Any]], factor: float) -> None:
    """Let all members of an estimator forget, or none."""
    check_is_fitted(owner)
    for name, member in named:
        check_has(name, member, "forget")
    with unchanged_on_error([owner]):
        for _, member in named:
            if learns(member):
                member.forget(factor)


def duplicate(step: Any) -> Any:
    """Return an estimator that can learn without a change of the given one."""
    if not is_there(step) or isinstance(step, FrozenEstimator):
        return step
    if isinstance(step, _REPLACED_AS_A_WHOLE):
        return copy.copy(step)
    if hasattr(step, "_duplicate"):
        return step._duplicate()
    return copy.deepcopy(step)


@contextlib.contextmanager
def unchanged_on_error(estimators: Sequence[Any]) -> Iterator[None]:
    """Bring estimators, and those that they are made of, back to what they were."""
    restores = [_restore(estimator) for estimator in estimators]
    try:
        yield
    except BaseException:
        for restore in restores:
            restore()
        raise


def _restore(estimator: Any) -> Callable[[], None]:
    members = []
    if isinstance(estimator, _REPLACED_AS_A_WHOLE):
        before = dict(estimator.__dict__)
    elif hasattr(estimator, "_members"):
        before = dict(estimator.__dict__)
        members = [_restore(member) for member in estimator._members() if learns(member)]
    else:  # those of others change in place what they refer to
        before = copy.deepcopy(estimator).__dict__

    def restore() -> None:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        for member in members:
            member()

    return restore
